"""Une petite diffusion sur des vecteurs : un VAE à T niveaux, dont l'encodeur est fixé.

q(u_t|u₀) = N(√ᾱ_t u₀, (1 − ᾱ_t) I) ne s'apprend pas ; seul s'apprend le réseau qui devine u₀ dans u_t. Les
vecteurs sont centrés et réduits d'abord. Le rapport signal sur bruit ᾱ/(1 − ᾱ) décroît géométriquement en t.
"""

import math
from typing import Self

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from vaebook.sampled import climb

_LOG_SNR = (6.0, -7.0)  # log du rapport signal sur bruit, à t = 1 et à t = T


class Diffusion(nn.Module):
    """Une diffusion à T niveaux, qui donne une borne de log p(z) et des tirages.

    Paramètres :
        mean, scale : moyenne et écart-type (d,) qui centrent et réduisent les vecteurs.
        levels : T, au moins 2.
        hidden : taille des couches du réseau.

    Lève :
        ValueError : moins de deux niveaux.

    Source :
        Sohl-Dickstein et al. (2015) ; Ho, Jain et Abbeel (2020) ; la prédiction de v est de Salimans et Ho
        (2022), annexe D.
    """

    mean: Tensor
    scale: Tensor
    alpha_bar: Tensor
    weight: Tensor
    clock: Tensor

    def __init__(self, mean: Tensor, scale: Tensor, *, levels: int = 100, hidden: int = 256) -> None:
        super().__init__()
        if levels < 2:
            raise ValueError(f"levels={levels} : il faut au moins deux niveaux.")
        self.levels, dim = levels, len(mean)
        # ᾱ en float64 : les différences de rapports signal sur bruit en perdraient en simple précision.
        log_snr = torch.linspace(*_LOG_SNR, levels, dtype=torch.float64)
        alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), log_snr.sigmoid()])
        snr = log_snr.exp()
        self.register_buffer("alpha_bar", alpha_bar)  # (T + 1,), ᾱ₀ = 1
        # Le poids de ‖u₀ − û₀‖²/2 au niveau t : SNR(t − 1) − SNR(t), et SNR(1) au premier.
        self.register_buffer("weight", torch.cat([snr[:1], snr[:1], -snr.diff()]).to(mean.dtype))
        self.first = dim * (_LOG_SNR[0] - math.log(2 * math.pi)) / 2
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        # Le réseau lit t par quelques sinus et cosinus : deux niveaux voisins lui paraissent voisins.
        angles = torch.arange(levels + 1).unsqueeze(1) / levels * math.pi * 2 ** torch.arange(4.0)
        self.register_buffer("clock", torch.cat([angles.sin(), angles.cos()], 1).to(mean.dtype))
        self.inputs = nn.Linear(dim + self.clock.shape[1], hidden)
        self.body = nn.Sequential(nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    @classmethod
    def fit(
        cls,
        z: Tensor,
        *,
        levels: int = 100,
        hidden: int = 256,
        steps: int = 1500,
        batch_size: int = 256,
        lr: float = 3e-3,
    ) -> Self:
        """Une diffusion ajustée à des vecteurs, en montant sa borne ; t est tiré au hasard à chaque pas.

        Paramètres :
            z : (N, d).
            levels, hidden : ceux de `Diffusion`.
            steps, batch_size, lr : nombre de pas, de vecteurs par pas, premier pas d'apprentissage.

        Renvoie :
            la diffusion.

        Lève :
            ValueError : moins de deux niveaux ou d'un pas.
        """
        model = cls(z.mean(0), z.std(0), levels=levels, hidden=hidden).to(z.device)

        def objective() -> Tensor:
            chosen = z[torch.randint(len(z), (batch_size,), device=z.device)]
            # Des t également espacés, décalés au hasard : chacun a la même loi, leur moyenne varie moins.
            even = (torch.arange(batch_size, device=z.device) + torch.rand((), device=z.device)) / batch_size
            t = 1 + (even * levels).long().clamp(max=levels - 1)
            return (levels * model.term(model.standardise(chosen), t)).mean()

        climb(objective, model.parameters(), steps=steps, lr=lr)
        return model

    def standardise(self, z: Tensor) -> Tensor:
        """u₀ = (z − moyenne) / écart-type, même forme (..., d)."""
        return (z - self.mean) / self.scale

    def signal_and_noise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """√ᾱ_t et √(1 − ᾱ_t), chacun (..., 1), pour des entiers t (...) de 0 à T."""
        alpha_bar = self.alpha_bar[t].unsqueeze(-1)
        return alpha_bar.sqrt().to(self.mean.dtype), (1 - alpha_bar).sqrt().to(self.mean.dtype)

    def predict(self, u: Tensor, t: Tensor) -> Tensor:
        """û₀, ce que le réseau devine de u₀. u : u_t, (..., d) ; t : (...), de 1 à T ; renvoie (..., d)."""
        signal, noise = self.signal_and_noise(t)
        return signal * u - noise * self.body(self.inputs(torch.cat([u, self.clock[t]], -1)))

    def term(self, u0: Tensor, t: Tensor) -> Tensor:
        """Un terme de la borne, pour un tirage de u_t : −KL au niveau t, ou log p(u₀|u₁) si t = 1.

        Paramètres :
            u0 : (..., d), des vecteurs réduits.
            t : (...), entiers de 1 à T.

        Renvoie :
            (...), en nats ; leur somme sur t est, à −KL(q(u_T|u₀)‖N(0, I)) près, la borne.

        Source :
            Ho, Jain et Abbeel (2020), équation 5 ; Kingma et al. (2021), équation 13.
        """
        signal, noise = self.signal_and_noise(t)
        error = (u0 - self.predict(signal * u0 + noise * torch.randn_like(u0), t)).square().sum(-1)
        return (t == 1) * self.first - self.weight[t] * error / 2

    def log_prob_bound(self, z: Tensor) -> Tensor:
        """Une borne inférieure de log p(z), un tirage par niveau. z : (..., d) ; renvoie (...), en nats."""
        u0 = self.standardise(z)
        signal, noise = self.signal_and_noise(torch.tensor(self.levels, device=z.device))
        end = ((signal * u0).square() + noise**2 - 1 - 2 * noise.log()).sum(-1) / 2
        total = -end - self.scale.log().sum()
        for t in range(1, self.levels + 1):
            total = total + self.term(u0, torch.full(u0.shape[:-1], t, device=z.device))
        return total

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """n tirages (n, d) : u_T ~ N(0, I), puis un niveau après l'autre, jusqu'à z."""
        u = torch.randn(n, len(self.mean), device=self.mean.device)
        for t in range(self.levels, 0, -1):
            now = torch.full((n,), t, device=u.device)
            guess = self.predict(u, now)
            center, spread = self.step_back(u, guess, t)
            u = Normal(center, spread).sample()
        return self.mean + self.scale * u

    def step_back(self, u: Tensor, u0: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Moyenne (..., d) et écart-type (scalaire) de q(u_{t−1}|u_t, u₀) ; à t = 1, de p(u₀|u₁).

        Paramètres :
            u : u_t, (..., d).
            u0 : u₀, ou ce que l'on en devine, (..., d).
            t : le niveau, de 1 à T.

        Source :
            Ho, Jain et Abbeel (2020), équations 6 et 7.
        """
        before, now = self.alpha_bar[t - 1], self.alpha_bar[t]
        if t == 1:
            return u0, ((1 - now) / now).sqrt().to(u.dtype)
        beta = 1 - now / before
        center = (before.sqrt() * beta * u0 + (now / before).sqrt() * (1 - before) * u) / (1 - now)
        return center.to(u.dtype), ((1 - before) / (1 - now) * beta).sqrt().to(u.dtype)

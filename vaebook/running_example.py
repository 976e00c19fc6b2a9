"""L'exemple suivi tout au long du livre : un modèle en dimension 1 où tout se calcule par quadrature.

z ~ N(0, 1), puis x | z ~ N(f(z), σ²) avec f(z) = 2 tanh(2z) : p(x) a deux modes, et la loi a posteriori n'est
pas gaussienne. Les intégrales en z sont prises par la règle des trapèzes sur une grille fixe ; pour ces
fonctions lisses, nulles au bord, elle est exacte à la précision machine près.
"""

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from vaebook.networks import diagonal_gaussian
from vaebook.objectives import Terms

_GRID = torch.linspace(-10, 10, 4001, dtype=torch.float64)
_STEP = float(_GRID[1] - _GRID[0])


class RunningExample:
    """Le modèle de l'exemple suivi, avec sa log-vraisemblance et sa loi a posteriori exactes.

    Il a ``likelihood(z)`` et ``prior`` comme tous les modèles ; l'encodeur, c'est le lecteur, qui choisit q.

    Paramètres :
        sigma : σ, l'écart-type de x sachant z, au moins 0,05 pour que la grille suffise.

    Lève :
        ValueError : σ trop petit, ou infini.

    Source :
        exemple des auteurs ; la quadrature est la règle des trapèzes.
    """

    def __init__(self, sigma: float = 0.5) -> None:
        if not 0.05 <= sigma < math.inf:
            raise ValueError(f"sigma={sigma} : il faut un écart-type fini d'au moins 0,05.")
        self.sigma = sigma

    def decoder(self, z: Tensor) -> Tensor:
        """f(z) = 2 tanh(2z), même forme que z."""
        return 2 * torch.tanh(2 * z)

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z) = N(f(z), σ²). z : (..., 1) ; lot (...), événement (1,)."""
        return Independent(Normal(self.decoder(z), self.sigma), 1)

    @property
    def prior(self) -> Distribution:
        """p(z) = N(0, 1), événement (1,)."""
        return diagonal_gaussian(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))

    def sample(self, n: int) -> Tensor:
        """n tirages de x, de forme (n, 1)."""
        return self.likelihood(self.prior.sample(torch.Size((n,)))).sample()

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), exact. x : (B, 1) ; renvoie (B,), en nats."""
        return torch.logsumexp(self._log_joint(_GRID, x), dim=-1) + math.log(_STEP)

    def posterior_density(self, x: Tensor, z: Tensor) -> Tensor:
        """La densité exacte p(z|x). x : (B, 1), z : (Z,) ; renvoie (B, Z)."""
        return torch.exp(self._log_joint(z, x) - self.log_prob(x).unsqueeze(-1))

    def elbo(self, x: Tensor, q: Distribution) -> Terms:
        """L'ELBO exact d'un encodeur gaussien q, et ses deux termes ; dérivable en les paramètres de q.

        Paramètres :
            x : (B, 1).
            q : N(m, s²), de lot (B,) ou () et d'événement (1,).

        Renvoie :
            `Terms`, chacun (B,), en nats.

        Source :
            Kingma et Welling (2014), équation 3, l'espérance par quadrature.
        """
        density = q.log_prob(_GRID.view(-1, *[1] * len(q.batch_shape), 1)).exp()  # (Z, lot de q)
        log_likelihood = self.likelihood(_GRID.view(-1, 1, 1)).log_prob(x)  # (Z, B)
        density = density.reshape(len(_GRID), -1)  # (Z, B) ou (Z, 1)
        reconstruction = (density * log_likelihood).sum(0) * _STEP
        kl = kl_divergence(q, self.prior).expand(reconstruction.shape)
        return Terms(reconstruction - kl, reconstruction, kl)

    def posterior_kl(self, x: Tensor, q: Distribution) -> Tensor:
        """KL(q‖p(z|x)) par quadrature, sans passer par l'ELBO. x : (B, 1) ; renvoie (B,), en nats."""
        log_q = q.log_prob(_GRID.view(-1, *[1] * len(q.batch_shape), 1)).reshape(len(_GRID), -1).T  # (B, Z)
        log_posterior = self._log_joint(_GRID, x) - self.log_prob(x).unsqueeze(-1)
        return (log_q.exp() * (log_q - log_posterior)).sum(-1) * _STEP

    def best_gaussian(self, x: Tensor, *, beta: float = 1.0) -> Distribution:
        """Le q gaussien qui maximise E_q log p(x|z) − β KL(q‖p), le meilleur encodeur possible.

        Paramètres :
            x : (B, 1).
            beta : poids de la KL.

        Renvoie :
            N(m, s²), de lot (B,) et d'événement (1,).
        """
        m = torch.atanh((x / 2).clamp(-0.95, 0.95)).div(2).clone().requires_grad_()
        log_s = torch.full_like(m, -1.0).requires_grad_()
        optimiser = torch.optim.LBFGS(
            [m, log_s], max_iter=500, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
        )

        def loss() -> Tensor:
            optimiser.zero_grad()
            _, reconstruction, kl = self.elbo(x, diagonal_gaussian(m, log_s.exp()))
            value = (beta * kl - reconstruction).sum()
            value.backward()
            return value

        optimiser.step(loss)
        return diagonal_gaussian(m.detach(), log_s.detach().exp())

    def _log_joint(self, z: Tensor, x: Tensor) -> Tensor:
        """log p(x, z) : z (Z,), x (B, 1) ; renvoie (B, Z)."""
        log_likelihood = Normal(self.decoder(z), self.sigma).log_prob(x)
        return log_likelihood + Normal(0.0, 1.0).log_prob(z)

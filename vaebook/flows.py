"""Un flot normalisant comme loi a posteriori, et l'exemple à deux dimensions où l'on en mesure l'écart.

Un flot transporte N(0, I) par des bijections dont on connaît le jacobien ; ``torch.distributions`` fait le
reste, tirages et densité.
"""

import math
from types import SimpleNamespace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.distributions import (
    AffineTransform,
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    Transform,
    TransformedDistribution,
    constraints,
)

from vaebook.networks import diagonal_gaussian
from vaebook.sampled import climb, sampled_elbo

_LOG_SCALE_BOUND = 1.0
_EDGE, _SIDE = 6.0, 401  # la grille de quadrature : [−6, 6]², pas 0,03


class AffineCoupling(Transform):
    """Le couplage affine : une moitié de z passe inchangée, l'autre est dilatée et déplacée selon elle.

    Paramètres :
        network : la moitié gardée (..., d_a) -> (..., 2 d_b), les log-échelles puis les déplacements.
        kept : d_a, le nombre de coordonnées gardées.
        first : vrai si l'on garde les premières coordonnées, faux si l'on garde les dernières.

    Source :
        Dinh, Sohl-Dickstein et Bengio (2017), équations 4 à 8.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, network: nn.Module, kept: int, *, first: bool) -> None:
        super().__init__(cache_size=1)  # la densité d'un tirage n'a pas à refaire l'inverse
        self.network, self.kept, self.first = network, kept, first

    def _parts(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """La moitié gardée, l'autre, puis la log-échelle (bornée : exp ne déborde pas) et le déplacement."""
        if self.first:
            kept, other = z[..., : self.kept], z[..., self.kept :]
        else:
            kept, other = z[..., -self.kept :], z[..., : -self.kept]
        raw, shift = self.network(kept).chunk(2, -1)
        return kept, other, _LOG_SCALE_BOUND * torch.tanh(raw / _LOG_SCALE_BOUND), shift

    def _join(self, kept: Tensor, other: Tensor) -> Tensor:
        return torch.cat((kept, other) if self.first else (other, kept), -1)

    def _call(self, x: Tensor) -> Tensor:
        kept, other, log_scale, shift = self._parts(x)
        return self._join(kept, other * log_scale.exp() + shift)

    def _inverse(self, y: Tensor) -> Tensor:
        kept, other, log_scale, shift = self._parts(y)
        return self._join(kept, (other - shift) * (-log_scale).exp())

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log |det J| en x (..., d) : la somme des log-échelles, (...), en nats."""
        return self._parts(x)[2].sum(-1)


class Family(Protocol):
    """Une famille de lois : ses paramètres, et la loi qu'ils désignent."""

    @property
    def distribution(self) -> Distribution:
        """La loi courante, d'événement (d,)."""
        ...


class FreeGaussian(nn.Module):
    """Une gaussienne à paramètres libres, de covariance diagonale ou pleine.

    Paramètres :
        dim : d.
        full : vrai pour une covariance pleine.
        start : la première valeur de chaque coordonnée de la moyenne.
    """

    def __init__(self, dim: int = 2, *, full: bool = False, start: float = 0.0) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.full((dim,), start))
        self.log_scale = nn.Parameter(torch.zeros(dim))
        self.lower = nn.Parameter(torch.zeros(dim, dim)) if full else None

    @property
    def distribution(self) -> Distribution:
        """N(μ, Σ), événement (d,)."""
        if self.lower is None:
            return diagonal_gaussian(self.mu, self.log_scale.exp())
        scale_tril = self.lower.tril(-1) + self.log_scale.exp().diag()
        return MultivariateNormal(self.mu, scale_tril=scale_tril, validate_args=False)


class Flow(nn.Module):
    """Un flot de couplages affines, suivi d'une dilatation et d'une translation par coordonnée.

    Au départ, c'est N(0, I) ; toute gaussienne diagonale est dans la famille.

    Paramètres :
        dim : d, au moins 2.
        layers : le nombre de couplages ; ils gardent tour à tour le début et la fin de z.
        hidden : taille de la couche cachée de chacun.

    Lève :
        ValueError : moins de deux dimensions, ou moins d'un couplage.

    Source :
        Rezende et Mohamed (2015) ; Dinh, Sohl-Dickstein et Bengio (2017).
    """

    def __init__(self, dim: int = 2, *, layers: int = 6, hidden: int = 32) -> None:
        super().__init__()
        if dim < 2 or layers < 1:
            raise ValueError(f"dim={dim}, layers={layers} : il faut deux dimensions et un couplage au moins.")
        self.dim, self.kept = dim, dim // 2
        self.mu = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.zeros(dim))
        self.networks = nn.ModuleList(_network(self.kept, hidden, dim - self.kept) for _ in range(layers))

    @property
    def distribution(self) -> Distribution:
        """La loi de T(u), u ~ N(0, I) ; événement (d,)."""
        couplings: list[Transform] = [
            AffineCoupling(network, self.kept, first=i % 2 == 0) for i, network in enumerate(self.networks)
        ]
        base = diagonal_gaussian(torch.zeros_like(self.mu), torch.ones_like(self.mu))
        last = AffineTransform(self.mu, self.log_scale.exp(), event_dim=1, cache_size=1)
        return TransformedDistribution(base, [*couplings, last], validate_args=False)


class Parabola:
    """Un modèle à deux codes et une observation : z ~ N(0, I₂), puis x | z ~ N(z₁² + z₂, σ²).

    Sa loi a posteriori suit la parabole z₂ = x − z₁² : une banane, puis deux modes quand x grandit. Il a
    ``likelihood(z)`` et ``prior`` comme les autres modèles.

    Paramètres :
        sigma : σ, l'écart-type de x sachant z, au moins 0,1 pour que la grille suffise.

    Lève :
        ValueError : σ trop petit, ou infini.

    Source :
        exemple des auteurs ; les intégrales sont prises par la règle des trapèzes.
    """

    def __init__(self, sigma: float = 0.3) -> None:
        if not 0.1 <= sigma < math.inf:
            raise ValueError(f"sigma={sigma} : il faut un écart-type fini d'au moins 0,1.")
        self.sigma = sigma

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z). z : (..., 2) ; lot (...), événement (1,)."""
        return Independent(Normal(z[..., :1].square() + z[..., 1:], self.sigma), 1)

    @property
    def prior(self) -> Distribution:
        """p(z) = N(0, I₂), événement (2,), en float64."""
        return diagonal_gaussian(torch.zeros(2).double(), torch.ones(2).double())

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z). x : (1,), z : (..., 2) ; renvoie (...), en nats."""
        return self.likelihood(z).log_prob(x) + self.prior.log_prob(z)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), par quadrature sur la grille. x : (1,) ; renvoie un scalaire, en nats."""
        return self.log_joint(x, grid()).logsumexp((0, 1)) + 2 * math.log(_step())

    def posterior_density(self, x: Tensor, z: Tensor) -> Tensor:
        """p(z|x). x : (1,), z : (..., 2) ; renvoie (...)."""
        return (self.log_joint(x, z) - self.log_prob(x)).exp()

    @torch.no_grad()
    def posterior_kl(self, x: Tensor, q: Distribution) -> Tensor:
        """KL(q‖p(z|x)), par quadrature sur la grille. x : (1,) ; renvoie un scalaire, en nats."""
        z = grid()
        log_q = q.log_prob(z)
        log_posterior = self.log_joint(x, z) - self.log_prob(x)
        return (log_q.exp() * (log_q - log_posterior)).sum() * _step() ** 2


def grid(edge: float = _EDGE, side: int = _SIDE) -> Tensor:
    """Une grille carrée de [−edge, edge]² : (side, side, 2), float64, z₁ le long des colonnes."""
    line = torch.linspace(-edge, edge, side, dtype=torch.float64)
    z2, z1 = torch.meshgrid(line, line, indexing="ij")
    return torch.stack((z1, z2), -1)


def fit_posterior(
    family: nn.Module, model: Parabola, x: Tensor, *, steps: int = 1000, samples: int = 256, lr: float = 0.01
) -> Distribution:
    """Ajuste une famille à p(z|x) pour une seule observation, en montant l'ELBO par tirages reparamétrés.

    Paramètres :
        family : une `Family` ; modifiée sur place, en float64.
        model : le modèle.
        x : (1,), l'observation.
        steps, samples, lr : nombre de pas, de tirages par pas, premier pas d'apprentissage.

    Renvoie :
        la loi ajustée, d'événement (2,).

    Lève :
        ValueError : moins d'un pas ou d'un tirage.

    Source :
        Rezende et Mohamed (2015), algorithme 1, sans amortissement.
    """
    chosen: Family = family.double()  # type: ignore[assignment]
    view = SimpleNamespace(
        posterior=lambda x: chosen.distribution, likelihood=model.likelihood, prior=model.prior
    )
    climb(lambda: sampled_elbo(view, x, samples=samples).value, family.parameters(), steps=steps, lr=lr)
    return chosen.distribution


def _step() -> float:
    return 2 * _EDGE / (_SIDE - 1)


def _network(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    last = nn.Linear(hidden, 2 * outputs)
    nn.init.zeros_(last.weight)  # au départ, le couplage est l'identité
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), last)

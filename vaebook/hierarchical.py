"""Un VAE à deux niveaux : z = (z₁, z₂), p(z₂) p(z₁|z₂) p(x|z₁), et deux façons d'inférer.

z₁ et z₂ sont mis bout à bout : le modèle a ``posterior(x)``, ``likelihood(z)`` et ``prior`` comme les autres.
La KL entre deux lois à niveaux n'a pas de forme close ; l'objectif est `vaebook.sampled.sampled_elbo`.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints, kl_divergence

from vaebook.likelihoods import Likelihood
from vaebook.models import VAE
from vaebook.networks import GaussianHead, diagonal_gaussian
from vaebook.objectives import draw


class Levels(Distribution):
    """La loi de z = (z₁, z₂), tirée un niveau après l'autre.

    Paramètres :
        first : la loi du premier niveau tiré, d'événement (d,).
        then : un tirage (..., d) de ce niveau -> la loi de l'autre.
        sizes : d₁ et d₂.
        top_first : vrai si z₂ est tiré d'abord, comme par la loi a priori.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        first: Distribution,
        then: Callable[[Tensor], Distribution],
        sizes: Sequence[int],
        *,
        top_first: bool,
    ) -> None:
        self.first, self.then, self.sizes, self.top_first = first, then, list(sizes), top_first
        super().__init__(first.batch_shape, torch.Size((sum(sizes),)), validate_args=False)

    def factors(self, z: Tensor) -> tuple[Distribution, Distribution]:
        """Les deux lois dont `log_prob` fait la somme, en z (..., d₁ + d₂) : celle de z₁, celle de z₂."""
        z1, z2 = z.split(self.sizes, -1)
        return (self.then(z2), self.first) if self.top_first else (self.first, self.then(z1))

    def log_prob(self, z: Tensor) -> Tensor:
        """log-densité de z (..., d₁ + d₂) ; renvoie (...), en nats."""
        bottom, top = self.factors(z)
        z1, z2 = z.split(self.sizes, -1)
        return bottom.log_prob(z1) + top.log_prob(z2)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 (la signature de torch)
        """Tire z, (*sample_shape, *lot, d₁ + d₂), un niveau après l'autre ; le gradient traverse les deux."""
        head = self.first.rsample(torch.Size(sample_shape))
        return self._join(head, self.then(head).rsample())

    def path(self) -> Tensor:
        """z dont chaque niveau est à sa moyenne, sachant le précédent : (*lot, d₁ + d₂)."""
        head = self.first.mean
        return self._join(head, self.then(head).mean)

    def _join(self, head: Tensor, tail: Tensor) -> Tensor:
        return torch.cat((tail, head) if self.top_first else (head, tail), -1)


class HierarchicalVAE(VAE):
    """Le VAE à deux niveaux, d'inférence montante : q(z₁|x) q(z₂|z₁).

    Paramètres :
        latent_dims : d₁ et d₂.
        hidden, image_shape, likelihood, channels : ceux de `VAE`.
        between : couches cachées des deux réseaux entre niveaux, p(z₁|z₂) et q(z₂|z₁).

    Lève :
        ValueError : vraisemblance inconnue, dimension ou forme impossible.

    Source :
        Rezende, Mohamed et Wierstra (2014), section 3 ; Burda et al. (2016), équations 1 et 2.
    """

    top_mu: Tensor
    top_sigma: Tensor

    def __init__(
        self,
        latent_dims: Sequence[int] = (20, 10),
        hidden: Sequence[int] = (400,),
        image_shape: Sequence[int] = (1, 28, 28),
        likelihood: str | Likelihood | dict[str, Any] = "bernoulli",
        *,
        channels: Sequence[int] = (),
        between: Sequence[int] = (100,),
    ) -> None:
        d1, d2 = latent_dims
        super().__init__(d1, hidden, image_shape, likelihood, channels=channels)
        self.sizes, self.between = (d1, d2), tuple(between)
        self.up = _gaussian_network(d1, self.between, d2)
        self.down = _gaussian_network(d2, self.between, d1)
        self.register_buffer("top_mu", torch.zeros(d2), persistent=False)
        self.register_buffer("top_sigma", torch.ones(d2), persistent=False)

    @property
    def config(self) -> dict[str, Any]:
        """Les arguments qui reconstruisent le modèle, prêts pour du JSON."""
        config = super().config
        del config["latent_dim"]
        return config | {"latent_dims": list(self.sizes), "between": list(self.between)}

    def posterior(self, x: Tensor) -> Levels:
        """q(z₁|x) q(z₂|z₁). x : (B, C, H, W) ; lot (B,), événement (d₁ + d₂,).

        Lève :
            ValueError : x n'a pas la forme attendue.
        """
        return Levels(super().posterior(x), self.up, self.sizes, top_first=False)

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z₁). z : (..., d₁ + d₂), dont seul z₁ est décodé ; lot (...), événement (C, H, W)."""
        return super().likelihood(z[..., : self.latent_dim])

    @property
    def prior(self) -> Levels:
        """p(z₂) p(z₁|z₂), avec p(z₂) = N(0, I) ; événement (d₁ + d₂,)."""
        top = diagonal_gaussian(self.top_mu, self.top_sigma)
        return Levels(top, self.down, self.sizes, top_first=True)

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """La moyenne de p(x|z₁), chaque niveau étant à sa moyenne. x et le résultat : (B, C, H, W)."""
        return self.likelihood(self.posterior(x).path()).mean


class LadderVAE(HierarchicalVAE):
    """Le même modèle, d'inférence descendante : q(z₂|x) q(z₁|z₂, x).

    L'encodeur rend un *message* gaussien sur z₁ ; q(z₁|z₂, x) est le produit, normalisé, de ce message et de
    p(z₁|z₂), comme le ferait la règle de Bayes si la vraisemblance de z₁ était ce message.

    Source :
        Sønderby et al. (2016), équations 11 à 15.
    """

    def posterior(self, x: Tensor) -> Levels:
        """q(z₂|x) q(z₁|z₂, x). x : (B, C, H, W) ; lot (B,), événement (d₁ + d₂,).

        Lève :
            ValueError : x n'a pas la forme attendue.
        """
        message = super().posterior(x).first
        return Levels(
            self.up(message.mean),
            lambda z2: _product(message, self.down(z2)),
            self.sizes,
            top_first=True,
        )


class LevelKL(NamedTuple):
    """La KL d'un modèle à deux niveaux et sa part due à z₂, chacune (B,), en nats."""

    total: Tensor
    top: Tensor


def level_kl(model: HierarchicalVAE, x: Tensor, *, samples: int = 1) -> LevelKL:
    """La KL entre q(z₁, z₂|x) et p(z₁, z₂), par tirages, et la KL moyenne de z₂ à p(z₂), en forme close.

    La seconde est celle de q(z₂|z₁) ou de q(z₂|x). Le reste, ``total − top``, est celui de z₁ ; il n'est
    toujours positif que pour l'inférence descendante.

    Paramètres :
        model : un modèle à deux niveaux.
        x : (B, C, H, W).
        samples : nombre de tirages par image.

    Renvoie :
        `LevelKL`, deux tenseurs (B,), en nats.

    Lève :
        ValueError : moins d'un tirage.

    Source :
        Sønderby et al. (2016), section 3.
    """
    q, p = model.posterior(x), model.prior
    z = draw(q, samples)
    top = kl_divergence(q.factors(z)[1], p.factors(z)[1])
    return LevelKL((q.log_prob(z) - p.log_prob(z)).mean(0), top.expand(z.shape[:-1]).mean(0))


def _gaussian_network(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise((inputs, *hidden)):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, GaussianHead((inputs, *hidden)[-1], outputs))


def _product(p: Distribution, q: Distribution) -> Distribution:
    """Le produit normalisé de deux gaussiennes diagonales : les précisions s'ajoutent."""
    precision = 1 / p.variance + 1 / q.variance
    mu = (p.mean / p.variance + q.mean / q.variance) / precision
    return diagonal_gaussian(mu, precision.rsqrt())

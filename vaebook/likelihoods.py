"""Les vraisemblances p(x|z) : ce que le décodeur dit d'une image.

Une vraisemblance reçoit la sortie brute du décodeur et rend une distribution de ``torch.distributions``,
avec sa constante de normalisation. Les log-densités sont en nats, sommées sur les pixels d'une image.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import ContinuousBernoulli as TorchContinuousBernoulli
from torch.distributions import Distribution, Independent, Normal, constraints
from torch.distributions import Laplace as TorchLaplace

IMAGE_DIMS = 3  # canaux, hauteur, largeur


class Likelihood(nn.Module, ABC):
    """Base commune : sortie du décodeur -> distribution sur les images.

    ``parameters_per_pixel`` dit combien de nombres le décodeur rend par pixel ; ``support`` est le support
    d'un pixel, au sens de ``torch.distributions.constraints``.
    """

    parameters_per_pixel = 1
    support: constraints.Constraint

    @property
    def is_density(self) -> bool:
        """Vrai si ``log_prob`` est une log-densité pour la mesure de Lebesgue, donc comparable à une autre.

        L'entropie croisée d'un pixel gris (`Bernoulli`) n'en est pas une.
        """
        return not self.support.is_discrete

    @property
    def is_density_on_unit_interval(self) -> bool:
        """Vrai si la densité d'un pixel a toute sa masse sur [0, 1]."""
        return self.support is constraints.unit_interval

    @property
    def config(self) -> dict[str, Any]:
        """Le nom et les réglages qui suffisent à reconstruire cette vraisemblance."""
        return {"name": next(name for name, kind in LIKELIHOODS.items() if type(self) is kind)}

    def forward(self, parameters: Tensor) -> Distribution:
        """Construit p(x|z) à partir de la sortie du décodeur.

        Paramètres :
            parameters : (..., `parameters_per_pixel`, C, H, W), réels sans contrainte.

        Renvoie :
            une distribution de forme de lot (...) et d'événement (C, H, W) ; ``log_prob`` en nats par image.
        """
        pixel = self.pixel(*parameters.unbind(-1 - IMAGE_DIMS))
        return Independent(pixel, IMAGE_DIMS, validate_args=False)

    @abstractmethod
    def pixel(self, *parameters: Tensor) -> Distribution:
        """La distribution d'un pixel ; ses paramètres sont donnés un à un, chacun (..., C, H, W)."""


class Bernoulli(Likelihood):
    """Pixels binaires, paramétrés par leurs logits.

    Sur une image grise, ``log_prob`` est moins l'entropie croisée : une perte utile, mais pas une densité
    sur [0, 1] (voir `ContinuousBernoulli`).

    Source :
        Kingma et Welling (2014), annexe C.1.
    """

    support = constraints.boolean

    def pixel(self, *parameters: Tensor) -> Distribution:
        (logits,) = parameters
        return TorchBernoulli(logits=logits, validate_args=False)


class _TruncatedExponential(TorchContinuousBernoulli):
    """La Bernoulli continue, écrite par son logit η : p(x) = exp(ηx − A(η)) sur [0, 1].

    Celle de torch passe par λ = sigmoïde(η) borné à la précision machine : au-delà de |η| ≈ 16 en simple
    précision, sa normalisation et ses moments ne bougent plus. Ici, ils restent justes.
    """

    _SERIES_BELOW = (
        1e-2  # en deçà, les différences perdraient des chiffres et trois termes de série suffisent
    )

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Où employer la série en 0 ; ailleurs, un η non nul et sa valeur absolue."""
        near = self.logits.abs() < self._SERIES_BELOW
        eta = torch.where(near, torch.ones_like(self.logits), self.logits)
        return near, eta, eta.abs()

    def _log_partition(self) -> Tensor:
        """A(η) = log((e^η − 1)/η)."""
        near, eta, size = self._parts()
        series = self.logits / 2 + self.logits**2 / 24 - self.logits**4 / 2880
        return torch.where(near, series, F.relu(eta) + torch.log(-torch.expm1(-size) / size))

    def log_prob(self, value: Tensor) -> Tensor:
        return self.logits * value - self._log_partition()

    @property
    def mean(self) -> Tensor:
        near, eta, size = self._parts()
        below_half = 1 / size - 1 / torch.expm1(size)
        series = 0.5 + self.logits / 12 - self.logits**3 / 720
        return torch.where(near, series, torch.where(eta > 0, 1 - below_half, below_half))

    @property
    def variance(self) -> Tensor:
        near, _, size = self._parts()
        series = 1 / 12 - self.logits**2 / 240
        return torch.where(near, series, size**-2 - torch.exp(-size) / torch.expm1(-size) ** 2)

    def entropy(self) -> Tensor:
        return self._log_partition() - self.logits * self.mean

    # Par la symétrie x -> 1 − x, on ne calcule que pour −|η| : aucune exponentielle ne déborde.

    def cdf(self, value: Tensor) -> Tensor:
        value = value.clamp(0, 1)
        size, positive = self.logits.abs().clamp(min=1e-30), self.logits > 0
        below = torch.expm1(-size * torch.where(positive, 1 - value, value)) / torch.expm1(-size)
        return torch.where(positive, 1 - below, below)

    def icdf(self, value: Tensor) -> Tensor:
        size, positive = self.logits.abs().clamp(min=1e-30), self.logits > 0
        below = -torch.log1p(torch.where(positive, 1 - value, value) * torch.expm1(-size)) / size
        return torch.where(positive, 1 - below, below).clamp(0, 1)


class ContinuousBernoulli(Likelihood):
    """Pixels dans [0, 1], avec la constante de normalisation qui manque à l'entropie croisée.

    Sa moyenne n'est pas son paramètre λ = sigmoïde(η). Cette densité n'est pas bornée : sur un pixel
    exactement nul, log p croît comme log|η| quand η tend vers −∞.

    Source :
        Loaiza-Ganem et Cunningham (2019), équations 7 et 8.
    """

    support = constraints.unit_interval

    def pixel(self, *parameters: Tensor) -> Distribution:
        (logits,) = parameters
        return _TruncatedExponential(logits=logits, validate_args=False)


_LINKS: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "identity": lambda raw: raw}


class _RealLikelihood(Likelihood):
    """Base des lois sur ℝ : leur centre x̂ est l'image, par une fonction de lien, de la sortie du décodeur.

    Les pixels sont dans [0, 1] : la sigmoïde y garde x̂. L'identité est pour les modèles linéaires.
    """

    support = constraints.real

    def __init__(self, link: str) -> None:
        super().__init__()
        if link not in _LINKS:
            raise ValueError(f"Fonction de lien inconnue : « {link} ». Choisissez parmi {', '.join(_LINKS)}.")
        self.link = link

    @property
    def config(self) -> dict[str, Any]:
        return super().config | {"link": self.link}

    def center(self, raw: Tensor) -> Tensor:
        """x̂, le centre de la loi, de même forme que la sortie brute."""
        return _LINKS[self.link](raw)


class Gaussian(_RealLikelihood):
    """Pixels gaussiens d'écart-type σ fixé : −log p = ‖x − x̂‖² / 2σ² + (D/2) log 2πσ².

    Paramètres :
        sigma : l'écart-type σ (pas la variance), strictement positif.
        link : x̂ est la sigmoïde (« sigmoid ») de la sortie du décodeur, ou cette sortie (« identity »).

    Lève :
        ValueError : σ négatif, nul ou infini ; fonction de lien inconnue.

    Source :
        Kingma et Welling (2014), annexe C.2.
    """

    def __init__(self, sigma: float = 1.0, *, link: str = "sigmoid") -> None:
        super().__init__(link)
        self.sigma = _positive("sigma", sigma)

    @property
    def config(self) -> dict[str, Any]:
        return super().config | {"sigma": self.sigma}

    def pixel(self, *parameters: Tensor) -> Distribution:
        (raw,) = parameters
        return Normal(self.center(raw), torch.full_like(raw, self.sigma), validate_args=False)


class SharedGaussian(_RealLikelihood):
    """Pixels gaussiens d'un même écart-type σ, appris avec le reste.

    À l'optimum, σ² est l'erreur quadratique moyenne par pixel.

    Paramètres :
        sigma : la valeur de σ au départ.
        link : x̂ est la sigmoïde (« sigmoid ») de la sortie du décodeur, ou cette sortie (« identity »).

    Lève :
        ValueError : σ négatif, nul ou infini ; fonction de lien inconnue.

    Source :
        Rybkin, Daniilidis et Levine (2021), section 3.
    """

    def __init__(self, sigma: float = 0.3, *, link: str = "sigmoid") -> None:
        super().__init__(link)
        self.initial_sigma = _positive("sigma", sigma)
        self.log_sigma = nn.Parameter(torch.tensor(math.log(sigma)))

    @property
    def sigma(self) -> Tensor:
        """L'écart-type courant, un scalaire."""
        return self.log_sigma.exp()

    @property
    def config(self) -> dict[str, Any]:
        return super().config | {"sigma": self.initial_sigma}

    def pixel(self, *parameters: Tensor) -> Distribution:
        (raw,) = parameters
        return Normal(self.center(raw), self.sigma.expand_as(raw), validate_args=False)


class PixelGaussian(_RealLikelihood):
    """Pixels gaussiens, chacun son écart-type, appris et minoré : σ = plancher + softplus(s).

    Sans plancher, les pixels toujours nuls rendraient la vraisemblance infinie.

    Paramètres :
        floor : le plancher de σ, strictement positif.
        link : x̂ est la sigmoïde (« sigmoid ») de la sortie du décodeur, ou cette sortie (« identity »).

    Lève :
        ValueError : plancher négatif, nul ou infini ; fonction de lien inconnue.

    Source :
        Rybkin, Daniilidis et Levine (2021), section 3 ; le plancher est le nôtre.
    """

    parameters_per_pixel = 2

    def __init__(self, floor: float = 0.01, *, link: str = "sigmoid") -> None:
        super().__init__(link)
        self.floor = _positive("floor", floor)

    @property
    def config(self) -> dict[str, Any]:
        return super().config | {"floor": self.floor}

    def pixel(self, *parameters: Tensor) -> Distribution:
        raw, raw_sigma = parameters
        return Normal(self.center(raw), self.floor + F.softplus(raw_sigma), validate_args=False)


class Laplace(_RealLikelihood):
    """Pixels de Laplace d'échelle b fixée : −log p = ‖x − x̂‖₁ / b + D log 2b.

    Paramètres :
        scale : l'échelle b, strictement positive ; l'écart-type vaut b√2.
        link : x̂ est la sigmoïde (« sigmoid ») de la sortie du décodeur, ou cette sortie (« identity »).

    Lève :
        ValueError : échelle négative, nulle ou infinie ; fonction de lien inconnue.

    Source :
        Laplace (1774) ; l'erreur absolue en est l'opposé de la log-densité, à une constante près.
    """

    def __init__(self, scale: float = 1.0, *, link: str = "sigmoid") -> None:
        super().__init__(link)
        self.scale = _positive("scale", scale)

    @property
    def config(self) -> dict[str, Any]:
        return super().config | {"scale": self.scale}

    def pixel(self, *parameters: Tensor) -> Distribution:
        (raw,) = parameters
        return TorchLaplace(self.center(raw), torch.full_like(raw, self.scale), validate_args=False)


# Les vraisemblances, par le nom qu'elles ont dans les arguments et les points de reprise.
LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulli,
    "gaussian": Gaussian,
    "shared_gaussian": SharedGaussian,
    "pixel_gaussian": PixelGaussian,
    "laplace": Laplace,
}


def make_likelihood(likelihood: "str | Likelihood | dict[str, Any]") -> Likelihood:
    """Une vraisemblance à partir de son nom, d'elle-même, ou de son `config`.

    Lève :
        ValueError : nom inconnu.
    """
    if isinstance(likelihood, Likelihood):
        return likelihood
    config = {"name": likelihood} if isinstance(likelihood, str) else dict(likelihood)
    name = cast(str, config.pop("name"))
    if name not in LIKELIHOODS:
        raise ValueError(
            f"Vraisemblance inconnue : « {name} ». Choisissez parmi {', '.join(LIKELIHOODS)}, "
            "ou passez un objet de vaebook.likelihoods."
        )
    return LIKELIHOODS[name](**config)


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} doit être un nombre strictement positif et fini, pas {value}.")
    return float(value)

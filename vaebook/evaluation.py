"""Mesurer un modèle déjà entraîné ; rien ici ne s'entraîne, sauf le classifieur de la distance de Fréchet.

Un modèle est tout objet qui a ``posterior(x)``, ``likelihood(z)`` et ``prior``, l'ACP probabiliste comprise.
Les images passent par lots, les tirages par paquets : la mémoire ne dépend ni du nombre d'images ni de celui
des tirages. Le bruit d'une image ne dépend que de la graine et des pixels de l'image : ni la taille des lots,
ni l'ordre des images, ni un dernier lot plus court ne changent un résultat. Tout est en nats par image, et
les sommes sont en float64.
"""

import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.distributions import (
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from vaebook.models import LatentVariableModel
from vaebook.networks import diagonal_gaussian
from vaebook.objectives import Terms, check_samples, importance_terms
from vaebook.training import Labelled, fit

_SAMPLES_AT_ONCE = 50  # tirages décodés à la fois, par image
_PAIRS_AT_ONCE = 2**21  # couples (tirage, composante) à la fois : 16 Mio


class Estimate(NamedTuple):
    """Une moyenne et son erreur type."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Tensor) -> Self:
        """La moyenne de valeurs indépendantes (N,) ; erreur type : leur écart-type / √N."""
        values = values.double()
        error = values.std() / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return cls(float(values.mean()), float(error))

    def __repr__(self) -> str:
        return f"{self.mean:.2f} ± {self.error:.2f}".replace(".", ",").replace("-", "−")


# ---------------------------------------------------------------- bornes de log p(x)


class Bounds(NamedTuple):
    """L'ELBO moyen et ses deux termes, en nats par image."""

    value: Estimate
    reconstruction: Estimate
    kl: Estimate


class RateDistortion(NamedTuple):
    """Le débit (la KL moyenne) et la distorsion (−E_q[log p(x|z)]), en nats par image."""

    rate: Estimate
    distortion: Estimate


def elbo_on(
    model: LatentVariableModel,
    data: Labelled | Tensor,
    *,
    samples: int = 1,
    batch_size: int = 250,
    seed: int = 0,
) -> Bounds:
    """L'ELBO moyen sur des images, et ses deux termes ; z est tiré de q, la KL est en forme close.

    Paramètres :
        model : un modèle ; conditionnel, il reçoit les étiquettes de `data`.
        data : des images (N, ...), ou un jeu qui en a.
        samples : le nombre de tirages de z par image.
        batch_size : le nombre d'images à la fois ; sans effet sur le résultat.
        seed : la graine du bruit.

    Renvoie :
        ``value``, ``reconstruction`` et ``kl``, chacun avec son erreur type.

    Lève :
        ValueError : moins d'un tirage, ou aucune image.
        TypeError : si q n'est pas gaussien.

    Source :
        Kingma et Welling (2014), éq. 7.
    """
    terms = _per_image(model, data, samples, batch_size, seed)
    return Bounds(*(Estimate.of(term) for term in (terms.elbo, terms.reconstruction, terms.kl)))


def rate_distortion(
    model: LatentVariableModel,
    data: Labelled | Tensor,
    *,
    samples: int = 1,
    batch_size: int = 250,
    seed: int = 0,
) -> RateDistortion:
    """Le débit et la distorsion d'un modèle : les deux termes de l'ELBO, −ELBO = D + R.

    Paramètres :
        model, data, samples, batch_size, seed : ceux de `elbo_on`.

    Renvoie :
        ``rate`` et ``distortion``, des nombres en nats par image, chacun avec son erreur type.

    Lève :
        ValueError, TypeError : comme `elbo_on`.

    Source :
        Alemi et al. (2018), « Fixing a broken ELBO », éq. 4 et 5.
    """
    _, reconstruction, kl = elbo_on(model, data, samples=samples, batch_size=batch_size, seed=seed)
    return RateDistortion(kl, Estimate(-reconstruction.mean, reconstruction.error))


def log_likelihood(
    model: LatentVariableModel,
    data: Labelled | Tensor,
    *,
    samples: int = 5000,
    batch_size: int = 50,
    seed: int = 0,
) -> Tensor:
    """La borne pondérée par importance, L_k = log (1/k) Σ p(x, z)/q(z|x), en moyenne un minorant de log p(x).

    Paramètres :
        model, data, batch_size, seed : ceux de `elbo_on`.
        samples : k ; la borne croît en moyenne avec lui, vers log p(x).

    Renvoie :
        (N,), float64, en nats ; ``Estimate.of`` en donne la moyenne et l'erreur type.

    Lève :
        ValueError, TypeError : comme `elbo_on`.

    Source :
        Burda et al. (2016), éq. 8.
    """
    return _per_image(model, data, samples, batch_size, seed).log_likelihood


def bits_per_dim(nats: float | Tensor, dims: int, *, levels: int = 256) -> float | Tensor:
    """Convertit une log-densité sur [0, 1] en bits par pixel entier : −nats / (D ln 2) + log₂ L.

    Convention : le pixel entier k, de 0 à L − 1, est déquantifié en x = (k + u)/L, u uniforme sur [0, 1[
    (``vaebook.data.dequantise``), et `nats` est log p(x), ou une borne inférieure, *à ce x bruité*. Alors, en
    moyenne sur u, le résultat majore −log₂ P(k)/D. Évalué sur x = k/255 sans bruit, ce n'est la borne de
    rien ; pour une vraisemblance discrète (pixels binarisés), prendre ``levels=1``.

    Paramètres :
        nats : la log-densité par image, un nombre ou un tenseur (...).
        dims : D, le nombre de pixels (et de canaux).
        levels : L, le nombre de niveaux d'un pixel.

    Renvoie :
        des bits par dimension, de même forme que `nats`.

    Lève :
        ValueError : si `dims` ou `levels` est inférieur à 1.

    Source :
        Theis, van den Oord et Bethge (2016), « A note on the evaluation of generative models », § 3.1.
    """
    if dims < 1 or levels < 1:
        raise ValueError(f"dims={dims}, levels={levels} : les deux sont au moins égaux à 1.")
    return -nats / (dims * math.log(2)) + math.log2(levels)


# ---------------------------------------------------------------- l'espace latent


@dataclass(frozen=True)
class ActiveUnits:
    """Le nombre de dimensions latentes actives, et la variance sur les images de chaque E_q[z_j], (d,)."""

    count: int
    variance: Tensor


@dataclass(frozen=True)
class AggregatePosterior:
    """La KL moyenne et ses parts, en nats ; q(z) = (1/N) Σ q(z|x_i) sur les images données.

    Attributs :
        rate : (1/N) Σ KL(q(z|x_i)‖p(z)), en forme close ; c'est I + KL(q(z)‖p(z)), à l'erreur type près.
        mutual_information : I_q(x ; z), au plus log N. Près de zéro, l'estimation peut être négative.
        marginal_kl : KL(q(z)‖p(z)), égal à ``total_correlation`` + ``dimension_wise_kl``.
        total_correlation : KL(q(z)‖Π q(z_j)).
        dimension_wise_kl : Σ_j KL(q(z_j)‖p(z_j)).
        by_dimension : (d,), ses termes.
    """

    rate: float
    mutual_information: Estimate
    marginal_kl: Estimate
    total_correlation: Estimate
    dimension_wise_kl: Estimate
    by_dimension: Tensor


@torch.no_grad()
def posteriors(
    model: LatentVariableModel, data: Labelled | Tensor, *, batch_size: int = 1000
) -> Distribution:
    """q(z|x) pour toutes les images d'un coup, en float64 sur le processeur.

    Paramètres :
        model, data, batch_size : ceux de `elbo_on`.

    Renvoie :
        une gaussienne de lot (N,) et d'événement (d,) ; ``.mean`` est la carte des codes, ``.sample()`` tire
        de l'a posteriori agrégé, une fois par image.

    Lève :
        ValueError : aucune image.
        TypeError : si q n'est pas gaussien.
    """
    parts = [part.posterior(x) for part, x in _batches(model, data, batch_size)]
    mean = torch.cat([_check_gaussian(q).mean for q in parts]).to("cpu", torch.float64)
    if isinstance(parts[0], MultivariateNormal):
        scale_tril = torch.cat([q.scale_tril for q in parts if isinstance(q, MultivariateNormal)])
        return MultivariateNormal(mean, scale_tril=scale_tril.to("cpu", torch.float64), validate_args=False)
    return diagonal_gaussian(mean, torch.cat([q.stddev for q in parts]).to("cpu", torch.float64))


def active_units(
    model: LatentVariableModel, data: Labelled | Tensor, *, threshold: float = 0.01, batch_size: int = 1000
) -> ActiveUnits:
    """Les dimensions latentes dont la moyenne varie d'une image à l'autre : Var_x(E_q[z_j]) > seuil.

    Paramètres :
        model, data, batch_size : ceux de `elbo_on`.
        threshold : le seuil de variance.

    Renvoie :
        ``count`` et ``variance`` (d,).

    Lève :
        ValueError : moins de deux images.
        TypeError : si q n'est pas gaussien.

    Source :
        Burda et al. (2016), § 5.2.
    """
    means = posteriors(model, data, batch_size=batch_size).mean
    if len(means) < 2:
        raise ValueError("Il faut au moins deux images pour mesurer une variance.")
    variance = means.var(0)
    return ActiveUnits(int((variance > threshold).sum()), variance)


@torch.no_grad()
def aggregate_posterior(
    model: LatentVariableModel,
    data: Labelled | Tensor,
    *,
    samples: int = 1,
    batch_size: int = 1000,
    seed: int = 0,
) -> AggregatePosterior:
    """Décompose la KL moyenne : information mutuelle, corrélation totale, KL par dimension.

    La densité du mélange q(z) est exacte, par log-somme-exp sur tous les couples ; seule l'espérance sur z
    est de Monte-Carlo, `samples` tirages de chaque composante. Avec un seul, l'erreur type prend la variance
    entre images pour du bruit : elle majore la vraie ; avec plusieurs, c'est celle d'un tirage stratifié.

    Paramètres :
        model, data, batch_size, seed : ceux de `elbo_on`.
        samples : le nombre de tirages par image.

    Renvoie :
        `AggregatePosterior`.

    Lève :
        ValueError : moins d'un tirage, ou aucune image.
        TypeError : si q n'est pas gaussien, si p(z) n'est pas une gaussienne à dimensions indépendantes, ou
            si le modèle est conditionnel.

    Source :
        Hoffman et Johnson (2016) ; Chen et al. (2018), éq. 2.
    """
    check_samples(samples)
    if hasattr(model, "given"):
        raise TypeError("Un modèle conditionnel a un a posteriori agrégé par étiquette, non mesuré ici.")
    q = posteriors(model, data, batch_size=batch_size)
    prior = _factors(model.prior)
    z = _reparameterise(q, _noise(_generators(_images(data), seed), samples, q.mean))
    log_conditional = q.log_prob(z)
    log_prior = prior.log_prob(z)
    log_joint = _mixture_log_prob(q, z)
    log_factors = torch.stack(
        [
            _mixture_log_prob(diagonal_gaussian(mean, stddev), z_j)
            for mean, stddev, z_j in zip(
                q.mean.split(1, -1), q.stddev.split(1, -1), z.split(1, -1), strict=True
            )
        ],
        dim=-1,
    )
    by_dimension = log_factors - log_prior
    return AggregatePosterior(
        rate=float(kl_divergence(q, Independent(prior, 1)).mean()),
        mutual_information=_stratified(log_conditional - log_joint),
        marginal_kl=_stratified(log_joint - log_prior.sum(-1)),
        total_correlation=_stratified(log_joint - log_factors.sum(-1)),
        dimension_wise_kl=_stratified(by_dimension.sum(-1)),
        by_dimension=by_dimension.mean((0, 1)),
    )


# ---------------------------------------------------------------- d'où vient l'écart à log p(x)


class InferenceGaps(NamedTuple):
    """log p(x) − ELBO et ses deux causes, en nats par image.

    log p(x) y est remplacé par sa borne pondérée par importance : l'écart d'approximation
    est minoré si q* est atteinte.
    """

    log_likelihood: Estimate
    refined_elbo: Estimate
    elbo: Estimate
    approximation: Estimate
    amortisation: Estimate
    inference: Estimate


class GeneralisationGap(NamedTuple):
    """ELBO(train) − ELBO(test), et ses deux causes : le modèle et l'inférence généralisent mal."""

    elbo: Estimate
    likelihood: Estimate
    inference: Estimate


def refine(
    model: LatentVariableModel,
    x: Tensor,
    *,
    steps: int = 300,
    lr: float = 0.05,
    samples: int = 4,
    seed: int = 0,
) -> Distribution:
    """La meilleure gaussienne diagonale de chaque image, cherchée par Adam à partir de celle de l'encodeur.

    On optimise μ = μ₀ + σ₀δ et σ = σ₀ exp(λ), pour que le pas `lr`, qui décroît jusqu'à zéro, soit à
    l'échelle de chaque q. Ni le décodeur ni l'encodeur ne sont modifiés.

    Paramètres :
        model : un modèle.
        x : (B, ...), des images.
        steps, lr, samples : le nombre de pas, leur taille, et le nombre de tirages par pas et par image.
        seed : la graine du bruit.

    Renvoie :
        `Independent(Normal, 1)`, de lot (B,).

    Lève :
        ValueError : moins d'un tirage.
        TypeError : si q n'est pas gaussien.

    Source :
        Cremer et al. (2018), § 5.2.
    """
    check_samples(samples)
    with torch.no_grad():
        start = _check_gaussian(model.posterior(x))
    shift, log_scale = (torch.zeros_like(start.mean, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.Adam([shift, log_scale], lr=lr)
    generators = list(_generators(x, seed))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        with torch.enable_grad():
            q = diagonal_gaussian(start.mean + start.stddev * shift, start.stddev * log_scale.exp())
            z = _reparameterise(q, _noise(generators, samples, start.mean))
            elbo = model.likelihood(z).log_prob(x).mean(0) - kl_divergence(q, model.prior)
            # Gradient de ces deux tenseurs seulement : ceux du modèle restent comme ils étaient.
            shift.grad, log_scale.grad = torch.autograd.grad(-elbo.sum(), [shift, log_scale])
        optimizer.step()
    return diagonal_gaussian(
        start.mean + start.stddev * shift.detach(), start.stddev * log_scale.detach().exp()
    )


def inference_gaps(
    model: LatentVariableModel,
    data: Labelled | Tensor,
    *,
    steps: int = 300,
    lr: float = 0.05,
    samples: int = 1000,
    batch_size: int = 50,
    seed: int = 0,
) -> InferenceGaps:
    """Partage log p(x) − ELBO entre la famille de q et l'encodeur.

    L'écart d'*approximation*, log p(x) − ELBO(q*), est dû à la famille : q* est la meilleure gaussienne
    diagonale de chaque image, trouvée par `refine`. L'écart d'*amortissement*, ELBO(q*) − ELBO(q), est dû à
    l'encodeur, qui rend q d'une même fonction de x. log p(x) est la borne pondérée par importance de q ou de
    q*, la plus haute en moyenne sur les images : il faut assez de tirages pour qu'elle soit serrée.

    Paramètres :
        model, data, batch_size, seed : ceux de `elbo_on`.
        steps, lr : ceux de `refine`.
        samples : le nombre de tirages par image des deux ELBO et de la borne de log p(x).

    Renvoie :
        `InferenceGaps` ; les écarts sont des différences image par image, et ``inference`` est leur somme.

    Lève :
        ValueError, TypeError : comme `elbo_on`.

    Source :
        Cremer et al. (2018), § 3.1.
    """
    check_samples(samples)
    before, after = [], []
    for part, x in _batches(model, data, batch_size):
        best = refine(part, x, steps=steps, lr=lr, seed=seed)
        # Le bruit de la mesure n'est pas celui de l'optimisation.
        before.append(_bounds(part, x, part.posterior(x), samples, seed + 1))
        after.append(_bounds(part, x, best, samples, seed + 1))
    encoded, refined = _joined(before), _joined(after)
    log_likelihood = max(encoded.log_likelihood, refined.log_likelihood, key=lambda bound: bound.mean())
    approximation = log_likelihood - refined.elbo
    amortisation = refined.elbo - encoded.elbo
    gaps = (approximation, amortisation, approximation + amortisation)
    return InferenceGaps(
        *(Estimate.of(values) for values in (log_likelihood, refined.elbo, encoded.elbo, *gaps))
    )


def generalisation_gap(train: InferenceGaps, test: InferenceGaps) -> GeneralisationGap:
    """Partage ELBO(train) − ELBO(test) entre le modèle et l'inférence ; l'égalité des parts est exacte.

    ELBO = log p(x) − écart d'inférence : la différence vient de log p(x), plus bas sur des images nouvelles,
    et de l'écart d'inférence, plus grand.

    Paramètres :
        train, test : les écarts de `inference_gaps`, sur des images d'apprentissage et de test.

    Renvoie :
        ``elbo`` = ``likelihood`` + ``inference``, avec leurs erreurs types.

    Source :
        Cremer et al. (2018), § 5.4.
    """

    def difference(a: Estimate, b: Estimate) -> Estimate:
        return Estimate(a.mean - b.mean, math.hypot(a.error, b.error))

    return GeneralisationGap(
        difference(train.elbo, test.elbo),
        difference(train.log_likelihood, test.log_likelihood),
        difference(test.inference, train.inference),
    )


# ---------------------------------------------------------------- démêlage


class MutualInformationGap(NamedTuple):
    """Le MIG, entre 0 et 1, sa part par facteur (K,), et les informations I(z_j ; v_k), (d, K), en nats."""

    value: float
    by_factor: Tensor
    information: Tensor


def mutual_information_gap(latents: Tensor, factors: Tensor, *, bins: int = 20) -> MutualInformationGap:
    """Le MIG : pour chaque facteur, l'écart entre les deux dimensions latentes qui l'informent le plus.

    MIG = (1/K) Σ_k [I(z_(1) ; v_k) − I(z_(2) ; v_k)] / H(v_k). Chaque z_j est rangé dans `bins` classes
    d'égale largeur entre ses extrêmes. Sur N points, I est surestimée d'environ (bins − 1)(|v_k| − 1)/2N.

    Paramètres :
        latents : (N, d), par exemple les moyennes de q(z|x).
        factors : (N, K), entiers : les facteurs qui ont engendré les images.
        bins : le nombre de classes.

    Renvoie :
        ``value`` (sans unité), ``by_factor`` et ``information``.

    Lève :
        ValueError : formes incompatibles, facteurs non entiers, ou facteur constant (son entropie est nulle).

    Source :
        Chen et al. (2018), éq. 6 ; classes d'égale largeur de Locatello et al. (2019).
    """
    if latents.dim() != 2 or factors.dim() != 2 or len(latents) != len(factors) or bins < 1:
        raise ValueError(
            "Il faut des codes (N, d), des facteurs (N, K) et au moins une classe : "
            f"reçu {tuple(latents.shape)}, {tuple(factors.shape)} et bins={bins}."
        )
    if factors.is_floating_point():
        raise ValueError("Les facteurs sont des entiers : leurs valeurs sont les classes à retrouver.")
    low, high = latents.amin(0), latents.amax(0)
    width = torch.where(high > low, high - low, 1)
    codes = ((latents - low) / width * bins).long().clamp(max=bins - 1)
    values = [factor.unique(return_inverse=True)[1] for factor in factors.unbind(1)]
    entropies = torch.stack([_entropy(value) for value in values])
    if bool((entropies == 0).any()):
        constant = int((entropies == 0).nonzero()[0])
        raise ValueError(f"Le facteur {constant} est constant : le MIG n'est pas défini.")
    information = torch.stack(
        [
            torch.stack(
                [_entropy(code) + _entropy(value) - _entropy(value * bins + code) for value in values]
            )
            for code in codes.unbind(1)
        ]
    )
    # Une dimension latente de plus, sans information : avec une seule, l'écart est à zéro.
    padded = torch.cat([information, torch.zeros_like(information[:1])])
    first, second = padded.topk(2, dim=0).values
    by_factor = (first - second) / entropies
    return MutualInformationGap(float(by_factor.mean()), by_factor, information)


def _entropy(classes: Tensor) -> Tensor:
    """L'entropie empirique de classes entières, en nats."""
    frequency = classes.bincount().double() / len(classes)
    return -torch.xlogy(frequency, frequency).sum()


# ---------------------------------------------------------------- qualité des tirages


class GaussianMixtureSampler:
    """Un mélange de gaussiennes ajusté à des codes z : une seconde loi d'où tirer pour engendrer des images.

    ``model.likelihood(sampler.sample(64)).mean`` en donne ; `log_prob` se compare à celle de la loi a priori.

    Paramètres :
        weights : (K,), de somme 1.
        means : (K, d).
        covariances : (K, d, d).
    """

    def __init__(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        self.weights, self.means, self.covariances = weights, means, covariances

    @classmethod
    def fit(
        cls,
        z: Tensor,
        components: int = 10,
        *,
        covariance: Literal["full", "diagonal"] = "full",
        steps: int = 100,
        floor: float = 1e-4,
        seed: int = 0,
    ) -> Self:
        """Maximum de vraisemblance par EM ; les moyennes de départ sont choisies comme dans k-means++.

        Paramètres :
            z : (N, d), par exemple ``posteriors(model, data).sample()``.
            components : K.
            covariance : « full » ou « diagonal ».
            steps : le nombre d'itérations.
            floor : part de la variance totale moyenne ajoutée à chaque covariance : sans elle, une composante
                posée sur un seul point rendrait la vraisemblance infinie.
            seed : la graine du départ.

        Renvoie :
            le mélange ajusté, en float64.

        Lève :
            ValueError : forme, nombre de composantes ou sorte de covariance impossibles ; codes constants.

        Source :
            Bishop (2006), § 9.2.2 ; Arthur et Vassilvitskii (2007) pour le départ.
        """
        if z.dim() != 2 or not 1 <= components <= len(z):
            raise ValueError(
                f"Il faut des codes (N, d) et 1 ≤ components ≤ N : {tuple(z.shape)}, {components}."
            )
        if covariance not in ("full", "diagonal"):
            raise ValueError(f"Covariance inconnue : « {covariance} ». Choisissez « full » ou « diagonal ».")
        z = z.detach().double()
        variance = z.var(0, correction=0).mean()
        if not variance > 0:
            raise ValueError("Tous les codes sont égaux : aucun mélange ne s'y ajuste.")
        ridge = floor * variance * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)

        def covariances(responsibility: Tensor, means: Tensor) -> Tensor:
            total = responsibility.sum(0)
            centred = z.unsqueeze(1) - means  # (N, K, d)
            if covariance == "diagonal":
                return (
                    torch.einsum("nk,nki->ki", responsibility, centred.square()) / total[:, None]
                ).diag_embed() + ridge
            weighted = centred * (responsibility / total).unsqueeze(-1)
            return torch.einsum("nki,nkj->kij", weighted, centred) + ridge

        means = _spread_points(z, components, seed)
        weights = z.new_full((components,), 1 / components)
        everything = covariances(z.new_ones(len(z), 1), z.mean(0, keepdim=True))
        mixture = cls(weights, means, everything.expand(components, -1, -1))
        for _ in range(steps):
            log_joint = mixture._log_joint(z)
            responsibility = (log_joint - log_joint.logsumexp(1, keepdim=True)).exp() + 1e-300  # jamais 0 / 0
            total = responsibility.sum(0)
            means = responsibility.T @ z / total[:, None]
            mixture = cls(total / total.sum(), means, covariances(responsibility, means))
        return mixture

    @property
    def distribution(self) -> Distribution:
        """La loi du mélange, d'événement (d,)."""
        return MixtureSameFamily(
            Categorical(self.weights), MultivariateNormal(self.means, self.covariances, validate_args=False)
        )

    def log_prob(self, z: Tensor) -> Tensor:
        """log-densité de z (..., d) : (...), en nats."""
        return self.distribution.log_prob(z.double())

    def sample(self, n: int) -> Tensor:
        """n tirages (n, d), en float32 comme les poids des décodeurs, par le générateur global de torch."""
        return self.distribution.sample(torch.Size((n,))).float()

    def _log_joint(self, z: Tensor) -> Tensor:
        component = MultivariateNormal(self.means, self.covariances, validate_args=False)
        return component.log_prob(z.unsqueeze(1)) + self.weights.log()


def _spread_points(z: Tensor, count: int, seed: int) -> Tensor:
    """k-means++ : chaque point est tiré à proportion du carré de sa distance aux précédents."""
    generator = torch.Generator(z.device).manual_seed(seed)
    chosen = [z[torch.randint(len(z), (), generator=generator, device=z.device)]]
    for _ in range(count - 1):
        distance = torch.cdist(z, torch.stack(chosen)).amin(1).square()
        if not distance.any():  # moins de points distincts que de composantes
            distance = torch.ones_like(distance)
        chosen.append(z[distance.multinomial(1, generator=generator)[0]])
    return torch.stack(chosen)


class FeatureClassifier(nn.Module):
    """Un petit classifieur convolutif, dont l'avant-dernière couche décrit une image pour `frechet_distance`.

    Il s'entraîne ici, en une minute : les distances qu'il donne ne sont pas la « FID », qui emploie le réseau
    Inception, et ne se comparent qu'entre elles, pour un même classifieur.

    Paramètres :
        classes : le nombre d'étiquettes.
        features : la taille de l'avant-dernière couche.
        image_shape : (C, H, W).
    """

    def __init__(
        self, classes: int = 10, features: int = 64, image_shape: tuple[int, int, int] = (1, 28, 28)
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.image_shape = image_shape
        self.body = nn.Sequential(
            nn.Conv2d(channels, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * math.ceil(height / 4) * math.ceil(width / 4), features),
        )
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(features, classes))

    @classmethod
    def trained(
        cls,
        data: Labelled,
        *,
        epochs: int = 5,
        features: int = 64,
        device: str = "auto",
        seed: int = 0,
        progress: bool = True,
    ) -> Self:
        """Un classifieur entraîné par maximum de vraisemblance des étiquettes.

        Paramètres :
            data : des images (N, C, H, W) et leurs étiquettes (N,), de 0 à K − 1.
            epochs, device, seed, progress : ceux de ``vaebook.training.fit``.
            features : la taille de l'avant-dernière couche.

        Renvoie :
            le classifieur, en mode évaluation.

        Lève :
            ValueError : comme ``vaebook.training.fit``.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            channels, height, width = data.images.shape[1:]
            classifier = cls(int(data.labels.max()) + 1, features, (channels, height, width))
        fit(
            classifier,
            data,
            epochs=epochs,
            device=device,
            seed=seed,
            progress=progress,
            objective=_label_log_likelihood,
        )
        return classifier

    def forward(self, x: Tensor) -> Tensor:
        """Les logits des classes : x (B, C, H, W) -> (B, K)."""
        logits: Tensor = self.head(self.body(x))
        return logits

    def given(self, y: Tensor) -> Callable[[Tensor], Tensor]:
        """x -> log p(y|x), (B,), en nats, pour ces étiquettes (B,)."""
        return lambda x: Categorical(logits=self(x)).log_prob(y)

    @torch.no_grad()
    def features(self, images: Tensor, *, batch_size: int = 1000) -> Tensor:
        """L'avant-dernière couche, avant sa non-linéarité : (N, C, H, W) -> (N, F), sur le processeur."""
        return torch.cat([self.body(x.to(_device(self))).cpu() for x in images.split(batch_size)])

    @torch.no_grad()
    def accuracy(self, data: Labelled, *, batch_size: int = 1000) -> float:
        """La part des images bien classées, entre 0 et 1."""
        guesses = torch.cat(
            [self(x.to(_device(self))).argmax(1).cpu() for x in data.images.split(batch_size)]
        )
        return float((guesses == data.labels.cpu()).double().mean())


def _label_log_likelihood(given: Callable[[Tensor], Tensor], x: Tensor) -> Terms:
    value = given(x)
    return Terms(value, value, torch.zeros_like(value))


def frechet_distance(features_a: Tensor, features_b: Tensor) -> float:
    """La distance de Fréchet entre les gaussiennes ajustées à deux nuages de caractéristiques.

    ‖μ_a − μ_b‖² + tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½). Avec les caractéristiques de
    `FeatureClassifier`, ce n'est pas la « FID » d'Inception. Elle est biaisée vers le haut quand les nuages
    sont petits : n'en comparer que de même taille.

    Paramètres :
        features_a, features_b : (N, F) et (M, F).

    Renvoie :
        la distance (au carré de l'unité des caractéristiques), nulle si moyennes et covariances sont égales.

    Lève :
        ValueError : si les formes ne s'accordent pas, ou s'il y a moins de deux points.

    Source :
        Dowson et Landau (1982) ; Heusel et al. (2017) pour son usage.
    """
    shapes = tuple(features_a.shape), tuple(features_b.shape)
    if features_a.dim() != 2 or features_b.dim() != 2 or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"Il faut deux nuages (N, F) et (M, F) : reçu {shapes[0]} et {shapes[1]}.")
    if min(len(features_a), len(features_b)) < 2:
        raise ValueError("Il faut au moins deux points par nuage.")
    a, b = features_a.double(), features_b.double()
    cov_a, cov_b = (torch.cov(x.T).reshape(x.shape[1], x.shape[1]) for x in (a, b))
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # Les valeurs propres de Σ_aΣ_b sont celles de Σ_a^½ Σ_b Σ_a^½, qui est symétrique.
    overlap = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return float((a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * overlap)


# ---------------------------------------------------------------- ce que les mesures partagent


class _PerImage(NamedTuple):
    """Les trois quantités d'une image, (B,) chacune, float64."""

    reconstruction: Tensor
    kl: Tensor
    log_likelihood: Tensor

    @property
    def elbo(self) -> Tensor:
        return self.reconstruction - self.kl


def _per_image(
    model: LatentVariableModel, data: Labelled | Tensor, samples: int, batch_size: int, seed: int
) -> _PerImage:
    check_samples(samples)
    with torch.no_grad():
        return _joined(
            [
                _bounds(part, x, part.posterior(x), samples, seed)
                for part, x in _batches(model, data, batch_size)
            ]
        )


@torch.no_grad()
def _bounds(model: LatentVariableModel, x: Tensor, q: Distribution, samples: int, seed: int) -> _PerImage:
    """ELBO et borne pondérée par importance d'un même q, des mêmes tirages, par paquets de tirages."""
    generators = list(_generators(x, seed))
    reconstruction = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    log_sum = torch.full_like(reconstruction, -math.inf)
    for first in range(0, samples, _SAMPLES_AT_ONCE):
        count = min(_SAMPLES_AT_ONCE, samples - first)
        z = _reparameterise(q, _noise(generators, count, _check_gaussian(q).mean))
        log_px, log_w = importance_terms(model, x, q, z)
        reconstruction += log_px.double().sum(0)
        log_sum = torch.logaddexp(log_sum, log_w.double().logsumexp(0))
    kl = kl_divergence(q, model.prior).double()
    return _PerImage(*(part.cpu() for part in (reconstruction / samples, kl, log_sum - math.log(samples))))


def _joined(parts: list[_PerImage]) -> _PerImage:
    return _PerImage(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _images(data: Labelled | Tensor) -> Tensor:
    return data if isinstance(data, Tensor) else data.images


def _batches(
    model: LatentVariableModel, data: Labelled | Tensor, batch_size: int
) -> Iterator[tuple[LatentVariableModel, Tensor]]:
    """Les lots d'images, sur l'appareil du modèle, et le modèle, sachant leurs étiquettes au besoin."""
    images = _images(data)
    if not len(images) or batch_size < 1:
        raise ValueError(f"{len(images)} images par lots de {batch_size} : il en faut au moins une par lot.")
    given: Any = getattr(model, "given", None)
    if given is not None and isinstance(data, Tensor):
        raise ValueError("Ce modèle est conditionnel : passez un jeu avec des étiquettes (images et labels).")
    device = _device(model) if isinstance(model, nn.Module) else images.device
    for first in range(0, len(images), batch_size):
        chosen = slice(first, first + batch_size)
        part = model if isinstance(data, Tensor) or given is None else given(data.labels[chosen].to(device))
        yield part, images[chosen].to(device)


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _generators(x: Tensor, seed: int) -> Iterator[torch.Generator]:
    """Un générateur par image, semé par la graine et par les pixels : l'ordre et le lot n'y changent rien."""
    rows = x.detach().cpu().contiguous().numpy()
    return (torch.Generator().manual_seed(zlib.crc32(row.tobytes(), seed % 2**32)) for row in rows)


def _noise(generators: Iterable[torch.Generator], samples: int, like: Tensor) -> Tensor:
    """Du bruit normal (samples, B, d), du type et sur l'appareil de `like` (B, d)."""
    shape = (samples, like.shape[-1])
    return torch.stack([torch.randn(shape, generator=g, dtype=like.dtype) for g in generators], 1).to(
        like.device
    )


def _reparameterise(q: Distribution, noise: Tensor) -> Tensor:
    if isinstance(q, MultivariateNormal):
        return q.mean + torch.einsum("bij,sbj->sbi", q.scale_tril, noise)
    return q.mean + q.stddev * noise


def _check_gaussian(q: Distribution) -> Distribution:
    if isinstance(q, MultivariateNormal) or (isinstance(q, Independent) and isinstance(q.base_dist, Normal)):
        return q
    raise TypeError(f"Seules les lois q gaussiennes sont mesurées ici : reçu {q}.")


def _factors(prior: Distribution) -> Normal:
    """Les lois p(z_j) d'une loi a priori gaussienne à dimensions indépendantes, en float64, sur CPU."""
    _check_gaussian(prior)
    if isinstance(prior, MultivariateNormal):
        covariance = prior.covariance_matrix
        if not torch.equal(covariance, covariance.diagonal().diag()):
            raise TypeError(
                "La décomposition par dimension demande une loi a priori à dimensions indépendantes."
            )
    return Normal(prior.mean.to("cpu", torch.float64), prior.stddev.to("cpu", torch.float64))


def _mixture_log_prob(q: Distribution, z: Tensor) -> Tensor:
    """log (1/N) Σ_j q_j(z), exact, pour z (..., d) : tous les couples, par produits de matrices.

    Une gaussienne est une famille exponentielle : log q_j(z) = η_j · T(z), T(z) = (1, z, zzᵀ) ou (1, z, z²).
    """
    *shape, size = z.shape
    points, mean = z.reshape(-1, size), q.mean
    if isinstance(q, MultivariateNormal):
        precision = q.precision_matrix
        linear = (precision @ mean.unsqueeze(-1)).squeeze(-1)
        log_det = 2 * q.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        squares = (points.unsqueeze(2) * points.unsqueeze(1)).flatten(1)
    else:
        precision = q.variance.reciprocal()
        linear = mean * precision
        log_det = q.variance.log().sum(-1)
        squares = points.square()
    constant = -((linear * mean).sum(-1) + log_det + size * math.log(2 * math.pi)) / 2
    eta = torch.cat([constant.unsqueeze(1), linear, -precision.flatten(1) / 2], 1)
    statistics = torch.cat([torch.ones_like(points[:, :1]), points, squares], 1)

    # Un seul tampon, réécrit sur place : c'est deux fois plus rapide que torch.logsumexp.
    buffer = mean.new_empty(max(1, _PAIRS_AT_ONCE // len(mean)), len(mean))
    log_sums = []
    for rows in statistics.split(len(buffer)):
        log_q = torch.mm(rows, eta.T, out=buffer[: len(rows)])
        peak = log_q.amax(1, keepdim=True)
        log_sums.append(log_q.sub_(peak).exp_().sum(1).log_() + peak.squeeze(1))
    return torch.cat(log_sums).reshape(shape) - math.log(len(mean))


def _stratified(values: Tensor) -> Estimate:
    """La moyenne de valeurs (tirages, images), chaque image donnant autant de tirages."""
    samples, images = values.shape
    if samples == 1:
        return Estimate.of(values[0])
    return Estimate(float(values.mean()), math.sqrt(float(values.var(0).mean()) / (samples * images)))

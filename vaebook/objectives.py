"""Les objectifs : des fonctions pures d'un modèle et d'un lot d'images.

Toutes rendent un nombre par image, en nats, à maximiser ; la moyenne sur le lot est l'affaire de l'appelant.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from vaebook.networks import diagonal_factors, diagonal_gaussian

if TYPE_CHECKING:
    from vaebook.models import Autoencoder, ConditionalVAE, LatentVariableModel


class Terms(NamedTuple):
    """Un objectif et ses deux termes, chacun de forme (B,), en nats."""

    value: Tensor
    reconstruction: Tensor
    kl: Tensor


def elbo(model: "LatentVariableModel", x: Tensor, *, samples: int = 1, beta: float = 1.0) -> Terms:
    """La borne ELBO par image : E_q log p(x|z) − β KL(q(z|x)‖p(z)).

    La KL est en forme close, l'espérance par Monte-Carlo reparamétré.

    Paramètres :
        model : un objet qui a ``posterior(x)``, ``likelihood(z)`` et ``prior``.
        x : (B, ...), les observations.
        samples : nombre de tirages de z par image.
        beta : poids de la KL ; 1 donne l'ELBO ; tout β ≥ 1, un minorant de log p(x).

    Renvoie :
        `Terms` : ``value``, ``reconstruction`` et ``kl``, chacun (B,), en nats.

    Lève :
        ValueError : moins d'un tirage.

    Source :
        Kingma et Welling (2014), équation 7 ; β de Higgins et al. (2017), équation 4.
    """
    q = model.posterior(x)
    z = draw(q, samples)
    reconstruction = model.likelihood(z).log_prob(x).mean(0)
    kl = kl_divergence(q, model.prior)
    return Terms(reconstruction - beta * kl, reconstruction, kl)


def free_bits(
    model: "LatentVariableModel", x: Tensor, *, threshold: float, samples: int = 1, beta: float = 1.0
) -> Terms:
    """L'ELBO dont chaque dimension latente a `threshold` nats de KL gratuits.

    Comme dans l'article, le seuil s'applique à la KL moyenne du lot : en deçà, elle n'a plus de gradient.

    Paramètres :
        model, x, samples, beta : ceux de `elbo` ; q et p(z) gaussiennes diagonales.
        threshold : λ, nats par dimension latente.

    Renvoie :
        `Terms`, chacun (B,), en nats ; ``kl`` est la vraie KL, ``value`` emploie la KL seuillée.

    Lève :
        ValueError : moins d'un tirage, ou seuil négatif.
        TypeError : q n'est pas une gaussienne diagonale.

    Source :
        Kingma et al. (2016), équation 15.
    """
    if threshold < 0:
        raise ValueError(f"threshold={threshold} : le seuil est un nombre de nats, positif ou nul.")
    q = model.posterior(x)
    z = draw(q, samples)
    reconstruction = model.likelihood(z).log_prob(x).mean(0)
    kl_by_dim = kl_divergence(diagonal_factors(q), diagonal_factors(model.prior))
    penalty = kl_by_dim.mean(0).clamp(min=threshold).sum()
    return Terms(reconstruction - beta * penalty, reconstruction, kl_by_dim.sum(-1))


def capacity(
    model: "LatentVariableModel", x: Tensor, *, target: float, beta: float = 1.0, samples: int = 1
) -> Terms:
    """L'ELBO dont la KL est attirée vers une capacité C : E_q log p(x|z) − β |KL − C|.

    Paramètres :
        model, x, samples, beta : ceux de `elbo`.
        target : C, en nats.

    Renvoie :
        `Terms`, chacun (B,), en nats.

    Lève :
        ValueError : moins d'un tirage.

    Source :
        Burgess et al. (2018), équation 8.
    """
    _, reconstruction, kl = elbo(model, x, samples=samples)
    return Terms(reconstruction - beta * (kl - target).abs(), reconstruction, kl)


def log_weights(
    model: "LatentVariableModel", x: Tensor, *, samples: int, gradient: str = "standard"
) -> Tensor:
    """Les log-poids d'importance log w = log p(x|z) + log p(z) − log q(z|x), avec z ~ q(z|x).

    Paramètres :
        model : un objet qui a ``posterior(x)``, ``likelihood(z)`` et ``prior``.
        x : (B, ...).
        samples : nombre k de tirages par image.
        gradient : « standard » ; « stl » retire le score de q (biaisé si k > 1) ; « dreg » le remplace par
            un estimateur sans biais et de moindre variance.

    Renvoie :
        (k, B), en nats. Les valeurs ne dépendent pas de `gradient`, seuls les gradients en dépendent.

    Lève :
        ValueError : moins d'un tirage, ou gradient inconnu.
        TypeError : « stl » ou « dreg », et q n'est pas une gaussienne diagonale.

    Source :
        Burda et al. (2016), équation 8 ; Roeder et al. (2017) ; Tucker et al. (2019), équation 8.
    """
    _, _, log_w = _weigh(model, x, samples, gradient)
    return log_w


def iwae_bound(
    model: "LatentVariableModel", x: Tensor, *, samples: int, gradient: str = "standard"
) -> Tensor:
    """La borne pondérée L_k = log (1/k) Σ_i w_i, croissante en k, de limite log p(x).

    Paramètres :
        model, x, samples, gradient : ceux de `log_weights`.

    Renvoie :
        (B,), en nats.

    Lève :
        ValueError : moins d'un tirage, ou gradient inconnu.

    Source :
        Burda et al. (2016), équation 8.
    """
    return log_weights(model, x, samples=samples, gradient=gradient).logsumexp(0) - math.log(samples)


def importance_weighted(
    model: "LatentVariableModel", x: Tensor, *, samples: int, gradient: str = "standard"
) -> Terms:
    """La borne `iwae_bound` comme objectif d'entraînement.

    Ses deux termes sont ceux de l'ELBO aux mêmes tirages, pour l'historique et sans gradient ; leur
    différence n'est ``value`` qu'à k = 1, et en espérance.

    Paramètres :
        model, x, samples, gradient : ceux de `log_weights`.

    Renvoie :
        `Terms`, chacun (B,), en nats.

    Lève :
        ValueError : moins d'un tirage, ou gradient inconnu.

    Source :
        Burda et al. (2016), équation 8.
    """
    q, log_px, log_w = _weigh(model, x, samples, gradient)
    value = log_w.logsumexp(0) - math.log(samples)
    return Terms(value, log_px.mean(0).detach(), kl_divergence(q, model.prior).detach())


def marginal_bound(model: "ConditionalVAE", x: Tensor, *, samples: int = 1) -> Tensor:
    """La borne de log p(x) quand l'étiquette manque : log Σ_y p(y) exp ELBO(x|y), étiquettes équiprobables.

    Paramètres :
        model : un VAE conditionnel à K étiquettes.
        x : (B, C, H, W).
        samples : nombre de tirages par image et par étiquette.

    Renvoie :
        (B,), en nats.

    Lève :
        ValueError : moins d'un tirage.

    Source :
        Kingma et al. (2014, « Semi-supervised learning with deep generative models »), équation 7, au
        meilleur q(y|x).
    """
    by_label = [
        elbo(model.given(torch.full((len(x),), y, device=x.device)), x, samples=samples).value
        for y in range(model.classes)
    ]
    return torch.stack(by_label).logsumexp(0) - math.log(model.classes)


def reconstruction(model: "Autoencoder", x: Tensor) -> Terms:
    """Moins l'erreur de reconstruction d'un auto-encodeur ; pas de KL.

    Paramètres :
        model : un auto-encodeur.
        x : (B, C, H, W).

    Renvoie :
        `Terms`, chacun (B,) ; la KL est nulle.

    Source :
        Hinton et Salakhutdinov (2006).
    """
    return denoising(model, x, noise=lambda image: image)


def denoising(model: "Autoencoder", x: Tensor, *, noise: Callable[[Tensor], Tensor]) -> Terms:
    """Moins l'erreur entre la reconstruction de l'image bruitée x̃ et l'image propre x.

    Paramètres :
        model : un auto-encodeur.
        x : (B, C, H, W).
        noise : x -> x̃, par exemple ``gaussian_noise(0.3)`` ou ``masking_noise(0.5)``.

    Renvoie :
        `Terms`, chacun (B,) ; la KL est nulle.

    Source :
        Vincent et al. (2008).
    """
    value = -model.error(noise(x), target=x)
    return Terms(value, value, torch.zeros_like(value))


def gaussian_noise(sigma: float) -> Callable[[Tensor], Tensor]:
    """Le bruit x̃ = x + σε, ε ~ N(0, I). La forme de x est gardée.

    Lève :
        ValueError : écart-type négatif.
    """
    if sigma < 0:
        raise ValueError(f"sigma={sigma} : l'écart-type du bruit doit être positif ou nul.")
    return lambda x: x + sigma * torch.randn_like(x)


def masking_noise(rate: float) -> Callable[[Tensor], Tensor]:
    """Le bruit qui met à zéro chaque pixel avec la probabilité `rate`. La forme de x est gardée.

    Lève :
        ValueError : taux hors de [0, 1].
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate={rate} : le taux de masquage est une probabilité, entre 0 et 1.")
    return lambda x: x * (torch.rand_like(x) >= rate)


def draw(q: Distribution, samples: int) -> Tensor:
    """Tire z de q, (samples, B, d) ; le gradient traverse le tirage.

    Il ne traverse pas celui d'une loi discrète : l'encodeur ne reçoit alors que celui des termes exacts.

    Lève :
        ValueError : moins d'un tirage.
        TypeError : q est continue et ne sait pas tirer par reparamétrisation ; son gradient serait perdu.
    """
    check_samples(samples)
    shape = torch.Size((samples,))
    if q.has_rsample:
        return q.rsample(shape)
    if q.support is None or not q.support.is_discrete:
        raise TypeError(
            f"{type(q).__name__} ne sait pas tirer par reparamétrisation : choisissez une autre q."
        )
    return q.sample(shape)


def importance_terms(
    model: "LatentVariableModel", x: Tensor, q: Distribution, z: Tensor
) -> tuple[Tensor, Tensor]:
    """log p(x|z) et le log-poids log p(x|z) + log p(z) − log q(z), pour des tirages z de q.

    Paramètres :
        model : un objet qui a ``likelihood(z)`` et ``prior``.
        x : (B, ...).
        q : la loi des tirages, de lot (B,).
        z : (k, B, d).

    Renvoie :
        deux tenseurs (k, B), en nats.

    Source :
        Burda et al. (2016), équation 8.
    """
    log_px = model.likelihood(z).log_prob(x)
    return log_px, log_px + model.prior.log_prob(z) - q.log_prob(z)


def _weigh(
    model: "LatentVariableModel", x: Tensor, samples: int, gradient: str
) -> tuple[Distribution, Tensor, Tensor]:
    """q(z|x), puis log p(x|z) et les log-poids (k, B) de tirages de q, au gradient demandé."""
    if gradient not in ("standard", "stl", "dreg"):
        raise ValueError(f"Gradient inconnu : « {gradient} ». Choisissez « standard », « stl » ou « dreg ».")
    q = model.posterior(x)
    z = draw(q, samples)
    scored = q
    if gradient != "standard":
        factors = diagonal_factors(q)
        scored = diagonal_gaussian(factors.loc.detach(), factors.scale.detach())
    log_px, log_w = importance_terms(model, x, scored, z)
    if gradient == "dreg" and z.requires_grad:
        normalised = torch.softmax(log_w.detach(), 0)
        z.register_hook(lambda grad: grad * normalised.unsqueeze(-1))
    return q, log_px, log_w


def check_samples(samples: int) -> None:
    """Refuse un nombre de tirages nul ou négatif.

    Lève :
        ValueError : moins d'un tirage.
    """
    if samples < 1:
        raise ValueError(f"samples={samples} : il faut au moins un tirage.")

"""Quand la KL n'a pas de forme close : l'ELBO par tirages, et une boucle pour le monter.

`sampled_elbo` ne demande aux lois que ``log_prob`` et des tirages ; il sert aux modèles à plusieurs niveaux,
aux flots et aux codes discrets. `climb` est la boucle de ce qui ne s'apprend pas sur des images : une loi,
un tableau de codes.
"""

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vaebook import quick
from vaebook.objectives import Terms, draw, importance_terms

if TYPE_CHECKING:
    from vaebook.models import LatentVariableModel

_QUICK_STEPS = 20


def sampled_elbo(model: "LatentVariableModel", x: Tensor, *, samples: int = 1, beta: float = 1.0) -> Terms:
    """L'ELBO dont les deux termes sont estimés aux mêmes tirages : la KL est E_q[log q(z|x) − log p(z)].

    C'est la moyenne des log-poids d'importance. Une KL estimée peut être négative ; pas son espérance.

    Paramètres :
        model : un objet qui a ``posterior(x)``, ``likelihood(z)`` et ``prior``.
        x : (B, ...).
        samples : nombre de tirages de z par image.
        beta : poids de la KL.

    Renvoie :
        `Terms`, chacun (B,), en nats.

    Lève :
        ValueError : moins d'un tirage.

    Source :
        Kingma et Welling (2014), équation 6.
    """
    q = model.posterior(x)
    log_px, log_w = importance_terms(model, x, q, draw(q, samples))
    reconstruction = log_px.mean(0)
    kl = reconstruction - log_w.mean(0)
    return Terms(reconstruction - beta * kl, reconstruction, kl)


def climb(
    objective: Callable[[], Tensor], parameters: Iterable[Tensor], *, steps: int, lr: float = 1e-3
) -> Tensor:
    """Monte un objectif tiré au hasard, par Adam ; le pas décroît jusqu'à zéro.

    Le mode rapide (``VAEBOOK_QUICK=1``) s'arrête plus tôt, et le dit.

    Paramètres :
        objective : sans argument ; rend un scalaire à maximiser, dérivable en `parameters`.
        parameters : les tenseurs à apprendre, modifiés sur place.
        steps : nombre de pas.
        lr : premier pas d'apprentissage.

    Renvoie :
        (steps,), l'objectif à chaque pas, avant la mise à jour.

    Lève :
        ValueError : moins d'un pas.
        FloatingPointError : l'objectif n'est plus un nombre fini.

    Source :
        Kingma et Ba (2015) pour Adam.
    """
    if steps < 1:
        raise ValueError(f"steps={steps} : il faut au moins un pas.")
    if quick.enabled() and steps > _QUICK_STEPS:
        quick.notice(f"{_QUICK_STEPS} pas au lieu de {steps}")
        steps = _QUICK_STEPS
    optimizer = torch.optim.Adam(parameters, lr=lr)
    values = torch.full((steps,), math.nan, dtype=torch.float64)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        value = objective()
        optimizer.zero_grad()
        (-value).backward()
        optimizer.step()
        values[step] = value.detach()
        if not values[step].isfinite():
            raise FloatingPointError(f"L'objectif n'est plus un nombre fini au pas {step + 1}. Réduisez lr.")
    return values

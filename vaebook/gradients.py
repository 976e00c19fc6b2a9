"""Deux façons d'estimer ∇ E_q[f(z)] par rapport aux paramètres d'une gaussienne q, tirage par tirage.

Rien n'est moyenné : la moyenne sur les tirages estime le gradient, leur variance est celle de l'estimateur à
un tirage. Les deux ont la même espérance ; aucun n'a toujours la plus petite variance. Pour f(z) = sin(50 z)
et q = N(0, 1), le gradient reparamétré par rapport à μ, 50 cos(50 z), a pour variance 1250, et celui du
score, z sin(50 z), ½ (à des termes en exp(−1250) près) ; pour f(z) = z², c'est 4 contre 15.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal


class Gradients(NamedTuple):
    """Un gradient par tirage, par rapport à la moyenne et à l'écart-type de q."""

    mu: Tensor
    sigma: Tensor


def reparameterised(f: Callable[[Tensor], Tensor], q: Distribution, samples: int) -> Gradients:
    """Le gradient reparamétré : z = μ + σε, ε ~ N(0, 1), et ∇f(z) traverse z.

    f doit être dérivable ; elle ne reçoit que z et ne doit pas dépendre autrement de μ ni de σ.

    Paramètres :
        f : z (samples, *lot, *événement) -> (samples, *lot), élément par élément sur les tirages.
        q : `Normal` de lot (*lot), ou `Independent(Normal, 1)` d'événement (d,).
        samples : le nombre de tirages, faits par le générateur global de torch.

    Renvoie :
        ``mu`` et ``sigma``, chacun (samples, *lot, *événement), dans l'unité de f par unité de z.

    Lève :
        TypeError : si q n'est pas l'une de ces gaussiennes.
        ValueError : s'il y a moins d'un tirage, si f n'est pas dérivable en z ou rend une autre forme.

    Source :
        Kingma et Welling (2014), § 2.4 ; Mohamed et al. (2020), § 5.
    """
    copies, parameters = _one_copy_per_sample(q, samples)
    value = _evaluate(f, copies.rsample(), copies)
    if not value.requires_grad:
        raise ValueError(
            "f n'est pas dérivable en z : le gradient ne la traverse pas. Essayez score_function."
        )
    return Gradients(*torch.autograd.grad(value.sum(), parameters))


def score_function(
    f: Callable[[Tensor], Tensor],
    q: Distribution,
    samples: int,
    *,
    baseline: float | Tensor | Literal["leave_one_out"] = 0.0,
) -> Gradients:
    """Le gradient du score (REINFORCE) : (f(z) − b) ∇ log q(z). f n'a pas à être dérivable.

    Toute référence b indépendante de z laisse l'espérance inchangée, car E_q[∇ log q] = 0.

    Paramètres :
        f, q, samples : ceux de `reparameterised` ; f est évaluée sans gradient.
        baseline : b, un nombre ou un tenseur (*lot), ou ``"leave_one_out"`` : pour chaque tirage, la moyenne
            de f sur les autres.

    Renvoie :
        ``mu`` et ``sigma``, chacun (samples, *lot, *événement), dans l'unité de f par unité de z.

    Lève :
        TypeError : si q n'est pas une gaussienne diagonale.
        ValueError : s'il y a moins d'un tirage (de deux, avec "leave_one_out"), si f rend une autre forme, ou
            si la référence est inconnue.

    Source :
        Williams (1992) ; Mohamed et al. (2020), § 4 ; Kool, van Hoof et Welling (2019) pour la référence
        « tous sauf un ».
    """
    if isinstance(baseline, str) and baseline != "leave_one_out":
        raise ValueError(f"Référence inconnue : « {baseline} ». Donnez un nombre ou « leave_one_out ».")
    if baseline == "leave_one_out" and samples < 2:
        raise ValueError("La référence « leave_one_out » demande au moins deux tirages.")
    copies, parameters = _one_copy_per_sample(q, samples)
    z = copies.sample()
    with torch.no_grad():
        value = _evaluate(f, z, copies)
    reference = (value.sum(0) - value) / (samples - 1) if isinstance(baseline, str) else baseline
    surrogate = (value - reference) * copies.log_prob(z)
    return Gradients(*torch.autograd.grad(surrogate.sum(), parameters))


def _one_copy_per_sample(q: Distribution, samples: int) -> tuple[Distribution, tuple[Tensor, Tensor]]:
    """q avec une copie de μ et de σ par tirage : le gradient d'une somme y est la liste des gradients."""
    if samples < 1:
        raise ValueError(f"samples={samples} : il faut au moins un tirage.")
    base = q.base_dist if isinstance(q, Independent) else q
    if not isinstance(base, Normal) or len(q.event_shape) > 1:
        raise TypeError(f"q doit être une gaussienne diagonale, Normal ou Independent(Normal, 1) : reçu {q}.")
    shape = (samples, *base.batch_shape)
    mu = base.loc.detach().expand(shape).clone().requires_grad_()
    sigma = base.scale.detach().expand(shape).clone().requires_grad_()
    return Independent(Normal(mu, sigma), len(q.event_shape)), (mu, sigma)


def _evaluate(f: Callable[[Tensor], Tensor], z: Tensor, copies: Distribution) -> Tensor:
    value = f(z)
    if value.shape != copies.batch_shape:
        expected = tuple(copies.batch_shape)
        raise ValueError(f"f doit rendre un nombre par tirage, {expected} : reçu {tuple(value.shape)}.")
    return value

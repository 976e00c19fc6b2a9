"""La variance d'un gradient estimé par un tirage : mesurée sur des tirages, ou exacte en dimension 1."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Variance(NamedTuple):
    """Une variance mesurée et la demi-largeur de son intervalle à 95 %."""

    value: Tensor
    half: Tensor


class ExactVariances(NamedTuple):
    """Les variances exactes de trois estimateurs, chacune de la forme de s."""

    reparameterised: Tensor
    score: Tensor
    best_baseline: Tensor


def variance(gradients: Tensor) -> Variance:
    """La variance à un tirage, sommée sur les composantes, et son intervalle.

    Paramètres :
        gradients : (samples, ...), un gradient par tirage, tirages indépendants.

    Renvoie :
        ``value`` et ``half``, scalaires, en carré de l'unité du gradient. L'intervalle est celui du théorème
        central limite pour la moyenne des carrés des écarts.

    Lève :
        ValueError : moins de deux tirages.
    """
    samples = len(gradients)
    if samples < 2:
        raise ValueError(f"{samples} tirage : il en faut au moins deux pour mesurer une variance.")
    squares = (gradients - gradients.mean(0)).square().reshape(samples, -1).sum(1)
    return Variance(squares.sum() / (samples - 1), 1.96 * squares.std() / samples**0.5)


def exact_variances(f: Callable[[Tensor], Tensor], m: float | Tensor, s: Tensor) -> ExactVariances:
    """Les variances à un tirage du gradient en m de E_q[f(z)], q = N(m, s²), par quadrature.

    Le gradient reparamétré est f'(m + sε), celui du score (f(z) − b) ε / s, avec b = 0 puis la meilleure
    constante, b* = E_q[f ε²].

    Paramètres :
        f : z -> f(z), élément par élément, dérivable ; lisse à l'échelle de s/1000.
        m : la moyenne, un nombre.
        s : les écarts-types, de forme quelconque.

    Renvoie :
        `ExactVariances`, chacune de la forme de s.

    Source :
        Mohamed et al. (2020), § 4 et 5 ; l'espérance par la règle des trapèzes en ε.
    """
    epsilon = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    weights = torch.exp(-(epsilon**2) / 2)
    weights = weights / weights.sum()
    s = s.double().unsqueeze(-1)
    z = (m + s * epsilon).detach().requires_grad_()
    value = f(z)
    (slope,) = torch.autograd.grad(value.sum(), z)
    value = value.detach()
    baseline = (value * epsilon**2 * weights).sum(-1, keepdim=True)

    def spread(draws: Tensor) -> Tensor:
        mean = (draws * weights).sum(-1, keepdim=True)
        return ((draws - mean).square() * weights).sum(-1)

    return ExactVariances(
        spread(slope), spread(value * epsilon / s), spread((value - baseline) * epsilon / s)
    )

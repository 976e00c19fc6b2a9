"""De quoi évaluer des espérances sans hasard : quadratures, et gaussiennes dont les tirages sont donnés."""

from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Independent, Normal


def line(edge: float = 10.0, points: int = 801) -> tuple[Tensor, float]:
    """Une grille de [−edge, edge] et son pas ; la règle des trapèzes y est exacte pour nos densités."""
    z = torch.linspace(-edge, edge, points, dtype=torch.float64)
    return z, float(z[1] - z[0])


def kl(q: Tensor, p: Tensor, step: float) -> Tensor:
    """KL(q‖p) de deux densités données sur une grille (…, Z), par la règle des trapèzes."""
    return (torch.xlogy(q, q) - torch.xlogy(q, p)).sum(-1) * step


def nodes(mu: Tensor, sigma: Tensor, order: int = 12) -> tuple[Tensor, Tensor]:
    """Gauss-Hermite pour N(μ, diag σ²), μ et σ (d,) : des points (n, d) et leurs poids (n,), de somme 1."""
    points, weights = np.polynomial.hermite_e.hermegauss(order)
    weights = weights / weights.sum()
    noise = torch.tensor(list(product(points, repeat=len(mu))), dtype=torch.float64)
    weight = torch.tensor(list(product(weights, repeat=len(mu))), dtype=torch.float64).prod(1)
    return mu + sigma * noise, weight


def cube(d: int) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre sur le cube unité, exact au degré 3 : des points (2^d, d) et leurs poids (2^d,)."""
    half = torch.tensor([0.5 - 12**-0.5, 0.5 + 12**-0.5], dtype=torch.float64)
    return torch.cartesian_prod(*[half] * d), torch.full((2**d,), 0.5**d, dtype=torch.float64)


class Prescribed(Independent):
    """La gaussienne N(μ, diag σ²), μ et σ (B, d), de tirages μ + σε pour les ε (k, B, d) que l'on donne."""

    def __init__(self, mu: Tensor, sigma: Tensor, noise: Tensor) -> None:
        super().__init__(Normal(mu, sigma), 1)
        self.noise = noise

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008 (la signature de torch)
        assert tuple(sample_shape) == (len(self.noise),)
        return self.mean + self.stddev * self.noise


def cubature(d: int) -> Tensor:
    """2d bruits (2d, 1, d) de moyenne 0 et de covariance I : la moyenne y est celle de N(0, I) au degré 3."""
    half = d**0.5 * torch.eye(d, dtype=torch.float64).unsqueeze(1)
    return torch.cat([half, -half])

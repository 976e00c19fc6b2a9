"""Les tirages dont les exercices font leurs cas, en double précision."""

import torch
from torch import Tensor


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Des N(0, 1), de la forme donnée."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def uniform(generator: torch.Generator, *shape: int) -> Tensor:
    """Des nombres uniformes dans [0,05 ; 0,95], de la forme donnée : leur logarithme ne surprend pas."""
    return 0.05 + 0.9 * torch.rand(shape, generator=generator, dtype=torch.float64)


def simplex(generator: torch.Generator, *shape: int) -> Tensor:
    """Des probabilités, de somme 1 sur le dernier axe."""
    return normal(generator, *shape).softmax(-1)

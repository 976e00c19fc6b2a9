"""Les deux membres d'une équation : de quoi les évaluer au hasard, et les comparer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

SEEDS = (0, 1)


class Draw:
    """Des entrées tirées au hasard, en float64, les mêmes pour une même graine.

    Paramètres :
        seed : la graine.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        """Des réels, de loi normale réduite."""
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Des réels entre `low` et `high`."""
        return low + (high - low) * torch.rand(shape, generator=self.generator, dtype=torch.float64)

    def positive(self, *shape: int) -> Tensor:
        """Des réels de [0,3 ; 0,7] ou de [1,4 ; 2,6] : loin de 0 et de 1, où trop de formules coïncident."""
        small, large = self.uniform(*shape, low=0.3, high=0.7), self.uniform(*shape, low=1.4, high=2.6)
        return torch.where(self.uniform(*shape) < 0.5, small, large)

    def simplex(self, *shape: int) -> Tensor:
        """Des probabilités, de somme 1 sur la dernière dimension."""
        weights = self.uniform(*shape, low=0.2, high=2.0)
        return weights / weights.sum(-1, keepdim=True)

    def spd(self, d: int) -> Tensor:
        """Une matrice symétrique définie positive, `(d, d)`, qui n'est pas diagonale."""
        root = self.normal(d, d)
        return root @ root.mT + 0.5 * torch.eye(d, dtype=torch.float64)


@contextmanager
def float64(seed: int) -> Iterator[None]:
    """Rend float64 le type par défaut et fixe la graine de torch, le temps d'un test."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_default_dtype(before)


def same(left: Any, right: Any, tol: float = 1e-9) -> None:
    """Échoue si les deux membres diffèrent.

    Paramètres :
        left, right : des nombres, ou des tenseurs de même forme.
        tol : l'écart permis, relatif au-dessus de 1, absolu au-dessous.

    Lève :
        AssertionError : s'ils ne sont ni finis, ni de même forme, ni égaux à `tol` près.
    """
    left, right = _sides(left, right)
    gap = (left - right).abs()
    assert (gap <= _scaled(tol, left, right)).all(), f"écart de {gap.max():.3g} : {left} et {right}"


def at_most(smaller: Any, larger: Any, tol: float = 1e-12) -> None:
    """Échoue si le premier membre dépasse le second quelque part, ou ne lui est inférieur nulle part.

    Paramètres :
        smaller, larger : des nombres, ou des tenseurs de même forme.
        tol : le dépassement permis, relatif au-dessus de 1, absolu au-dessous.

    Lève :
        AssertionError : si l'inégalité est fausse, ou si ces entrées n'en disent rien.
    """
    smaller, larger = _sides(smaller, larger)
    room, allowed = larger - smaller, _scaled(tol, smaller, larger)
    assert (room >= -allowed).all(), f"l'inégalité est fausse de {-room.min():.3g}"
    assert (room > 10 * allowed).any(), "l'inégalité n'est stricte nulle part"


def _sides(*sides: Any) -> list[Tensor]:
    found = [
        torch.as_tensor(side, dtype=None if isinstance(side, Tensor) else torch.float64) for side in sides
    ]
    for side in found:
        assert side.dtype in (torch.float64, torch.int64), f"un membre est en {side.dtype}"
        assert side.isfinite().all(), f"un membre n'est pas fini : {side}"
    shapes = {tuple(side.shape) for side in found}
    assert len(shapes) == 1, f"les membres n'ont pas la même forme : {shapes}"
    return [side.detach().double() for side in found]


def _scaled(tol: float, left: Tensor, right: Tensor) -> Tensor:
    return tol * torch.maximum(left.abs(), right.abs()).clamp(min=1.0)

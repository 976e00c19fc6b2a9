"""Plusieurs appareils pour un entraînement lancé par ``torchrun`` : chaque lot est partagé entre eux."""

import atexit
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vaebook.objectives import Terms

# Loin de la graine d'une époque, qui tient en 52 bits.
_SEEDS_APART = 2**53


@dataclass(frozen=True)
class Team:
    """Les processus d'un entraînement : un seul d'ordinaire, plusieurs sous ``torchrun``.

    Paramètres :
        rank : le rang de celui-ci, 0 pour le premier.
        size : leur nombre.
    """

    rank: int = 0
    size: int = 1

    def place(self, device: torch.device) -> torch.device:
        """L'appareil de ce processus : chacun le sien, s'il y a des GPU."""
        if self.size > 1 and device.type == "cuda" and device.index is None:
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", self.rank)))
        return device

    def share(self, model: nn.Module, terms: Callable[..., Terms]) -> Callable[..., Terms]:
        """L'objectif de la part d'un lot qui revient à ce processus, d'un gradient moyenné entre tous.

        La moyenne, entre les processus, des moyennes que rend le résultat est celle du lot entier.
        """
        if self.size == 1:
            return terms
        shared = nn.parallel.DistributedDataParallel(_Objective(model, terms))

        def part(chosen: Tensor, **options: Any) -> Terms:
            if len(chosen) < self.size:  # un dernier lot trop court : chacun le fait en entier
                return Terms(*shared(chosen, **options))
            mine = chosen.tensor_split(self.size)[self.rank]
            weight = len(mine) * self.size / len(chosen)
            return Terms(*(weight * term for term in shared(mine, **options)))

        return part

    def separate(self, seed: int) -> None:
        """Après l'ordre des images, commun à tous, chaque processus a ses propres tirages."""
        if self.size > 1:
            torch.manual_seed(seed + self.rank * _SEEDS_APART)

    def mean(self, measured: Tensor, device: torch.device) -> Tensor:
        """La moyenne d'un tenseur entre les processus."""
        if self.size == 1:
            return measured
        total = measured.to(device)
        dist.all_reduce(total)
        return total.to(measured.device) / self.size


def team() -> Team:
    """Les processus que ``torchrun`` a lancés, reliés au premier appel ; un seul sans lui."""
    if not dist.is_available() or not dist.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
        return Team()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(dist.destroy_process_group)
    return Team(dist.get_rank(), dist.get_world_size())


class _Objective(nn.Module):
    """`DistributedDataParallel` ne connaît que `forward` : l'objectif en est un."""

    def __init__(self, model: nn.Module, terms: Callable[..., Terms]) -> None:
        super().__init__()
        self.model, self._terms = model, terms

    def forward(self, chosen: Tensor, **options: Any) -> tuple[Tensor, ...]:
        return tuple(self._terms(chosen, **options))

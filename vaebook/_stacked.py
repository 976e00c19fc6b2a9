"""Plusieurs modèles de même forme entraînés ensemble : leurs poids empilés, un seul calcul pour tous."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent
from torch.func import functional_call, stack_module_state

from vaebook.networks import diagonal_factors
from vaebook.objectives import Terms


class Stack:
    """K modèles de même architecture, comme un seul dont chaque poids a une dimension de plus.

    Les tirages de q(z|x) sont donnés du dehors : chaque modèle garde ceux qu'il aurait seul.

    Paramètres :
        models : les K modèles, sur le même appareil.
        objective : ``objective(model, x)`` -> `Terms`, celui de ``vaebook.training.fit``.

    Lève :
        RuntimeError : si les modèles n'ont pas la même architecture.
    """

    def __init__(self, models: Sequence[nn.Module], objective: Callable[..., Terms]) -> None:
        self.models = list(models)
        one = _Objective(self.models[0], objective)
        self.weights, _ = stack_module_state(self.models)
        names = {f"model.{name}": name for name in self.weights}

        def terms(weights: dict[str, Tensor], x: Tensor, noise: Sequence[Tensor], beta: Any) -> Any:
            chosen = {key: weights[name] for key, name in names.items()}
            return functional_call(one, chosen, (x, iter(noise), beta))

        self._one = one
        self._shapes: dict[torch.Size, list[torch.Size]] = {}
        self._plain = torch.vmap(lambda weights, x, *noise: terms(weights, x, noise, None))
        self._weighted = torch.vmap(lambda weights, x, beta, *noise: terms(weights, x, noise, beta))

    def terms(self, x: Tensor, beta: Tensor | None, *noise: Tensor) -> Terms:
        """Les termes des K modèles.

        Paramètres :
            x : (K, B, C, H, W), le lot de chacun.
            beta : (K,), le β de chacun, ou rien.
            noise : les tirages de N(0, I), dans l'ordre où l'objectif les demande, chacun (K, …).

        Renvoie :
            `Terms`, chacun (K, B).
        """
        if beta is None:
            return Terms(*self._plain(self.weights, x, *noise))
        return Terms(*self._weighted(self.weights, x, beta, *noise))

    def noise(self, x: Tensor, generators: Sequence[torch.Generator]) -> list[Tensor]:
        """Les tirages d'un pas : pour chaque modèle, ceux de son générateur.

        Paramètres :
            x : (B, C, H, W), un lot d'un seul modèle, pour ses formes.
            generators : un par modèle.

        Renvoie :
            des tenseurs (K, …), dans l'ordre où l'objectif les demande.
        """
        if x.shape not in self._shapes:
            self._shapes[x.shape] = self._asked(x)
        shapes = self._shapes[x.shape]
        drawn = [torch.empty(len(generators), *shape, dtype=x.dtype, device=x.device) for shape in shapes]
        for rank, generator in enumerate(generators):
            for tensor in drawn:
                tensor[rank].normal_(generator=generator)
        return drawn

    def rehearse(self, x: Tensor) -> None:
        """Vérifie sur un lot x (B, C, H, W) que le premier modèle a ici le même gradient que seul.

        ``vmap`` n'exécute pas les crochets qu'un objectif pose sur un tirage : il faut le voir.

        Lève :
            RuntimeError, TypeError, ValueError : sinon.
        """
        noise = self.noise(x, [torch.Generator(x.device) for _ in self.models])
        alone = self._one(x, (tensor[0] for tensor in noise), None)[0].mean()
        stacked = self.terms(x.expand(len(self.models), *x.shape), None, *noise).value[0].mean()
        expected = _gradient(alone, self.models[0].parameters())
        got = _gradient(stacked, (self.weights[name] for name, _ in self.models[0].named_parameters()), 0)
        if not (got - expected).norm() <= 1e-3 * expected.norm():
            raise RuntimeError("l'objectif n'y a pas le même gradient")

    @torch.no_grad()
    def _asked(self, x: Tensor) -> list[torch.Size]:
        """La forme de chaque tirage que l'objectif demande pour un lot d'un seul modèle."""
        shapes: list[torch.Size] = []

        def record(shape: torch.Size) -> Tensor:
            shapes.append(shape)
            return torch.zeros(shape, dtype=x.dtype, device=x.device)

        self._one.objective(_View(self._one.model, record), x)
        return shapes

    @torch.no_grad()
    def unstack(self) -> None:
        """Rend à chaque modèle ses poids, en mode évaluation."""
        for rank, model in enumerate(self.models):
            for name, weight in model.named_parameters():
                weight.copy_(self.weights[name][rank])
            model.eval()


def _gradient(value: Tensor, weights: Iterable[Tensor], rank: int | None = None) -> Tensor:
    """Le gradient en un seul vecteur, celui du modèle de ce rang si les poids sont empilés."""
    parts = torch.autograd.grad(value, list(weights), materialize_grads=True)
    return torch.cat([(part if rank is None else part[rank]).flatten() for part in parts])


class _Objective(nn.Module):
    def __init__(self, model: nn.Module, objective: Callable[..., Terms]) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, x: Tensor, noise: Iterator[Tensor], beta: Tensor | None) -> tuple[Tensor, ...]:
        options = {} if beta is None else {"beta": beta}
        return tuple(self.objective(_View(self.model, lambda _: next(noise)), x, **options))


class _View:
    """Un modèle dont la loi q(z|x) reçoit ses tirages de `source`."""

    def __init__(self, model: nn.Module, source: Callable[[torch.Size], Tensor]) -> None:
        self._model, self._source = model, source

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def posterior(self, x: Tensor) -> Distribution:
        model: Any = self._model
        return _Fed(model.posterior(x), self._source)


class _Fed(Independent):  # type: ignore[type-arg]
    """Une gaussienne diagonale dont les tirages sont donnés : z = μ + σ ε."""

    def __init__(self, q: Distribution, source: Callable[[torch.Size], Tensor]) -> None:
        super().__init__(diagonal_factors(q), 1, validate_args=False)
        self._source = source

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        factors = diagonal_factors(self)
        return factors.loc + self._source(self._extended_shape(torch.Size(sample_shape))) * factors.scale

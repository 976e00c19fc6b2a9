"""Un pas d'entraînement enregistré dans un graphe CUDA : le processeur ne lance plus ses noyaux un à un.

Sur un GPU, un petit modèle attend surtout que Python lui donne ses deux cents opérations. Enregistrées une
fois, elles se rejouent d'un seul appel, aux mêmes adresses et dans le même ordre.
"""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

_WARM_UP = 3  # de vrais pas, avant d'enregistrer : bibliothèques et optimiseur y prennent leur mémoire


class CapturedStep:
    """Appelle `step` ; après quelques pas, l'enregistre et le rejoue.

    Un lot d'une autre forme, comme le dernier d'une époque, est fait pas à pas. Si l'enregistrement est
    impossible, tous le sont, et un message le dit. Ce que Python fait dans `step` n'est fait qu'à
    l'enregistrement : seules comptent les opérations sur l'appareil.

    Paramètres :
        step : tenseurs et réels -> un tenseur ; ne lit rien de l'appareil.
    """

    def __init__(self, step: Callable[..., Tensor]) -> None:
        self._step = step
        self._calls = 0
        self._signature: Any = None
        self._inputs: tuple[Tensor, ...] = ()
        self._weights: dict[str, Tensor] = {}
        self._output = torch.empty(0)
        self._replay: Callable[[], None] | None = None
        self.failed = False

    def __call__(self, *inputs: Tensor, **weights: float) -> Tensor:
        """Fait un pas. Les réels, comme β, deviennent des scalaires de l'appareil."""
        signature = ([x.shape for x in inputs], sorted(weights))
        if not self.failed and self._replay is None and self._calls >= _WARM_UP:
            self._record(signature, inputs, weights)
        self._calls += 1
        if self._replay is None or signature != self._signature:
            return self._one_by_one(*inputs, **weights)
        for held, given in zip(self._inputs, inputs, strict=True):
            held.copy_(given)
        for name, value in weights.items():
            self._weights[name].fill_(value)
        self._replay()
        return self._output.clone()

    def _one_by_one(self, *inputs: Tensor, **weights: float) -> Tensor:
        """Le pas ordinaire ; sur un GPU, dans un flux à part, comme le demande un enregistrement à venir."""
        if not inputs[0].is_cuda:
            return self._step(*inputs, **weights)
        main, side = torch.cuda.current_stream(), self._side
        side.wait_stream(main)
        with torch.cuda.stream(side):
            output = self._step(*inputs, **weights)
        main.wait_stream(side)
        return output

    @cached_property
    def _side(self) -> torch.cuda.Stream:
        return torch.cuda.Stream()

    def _record(self, signature: Any, inputs: tuple[Tensor, ...], weights: dict[str, float]) -> None:
        self._signature = signature
        self._inputs = tuple(x.clone() for x in inputs)
        # Sans dimension, un double ne change pas le type de ce qu'il multiplie : comme un réel de Python.
        options: dict[str, Any] = {"dtype": torch.float64, "device": inputs[0].device}
        self._weights = {name: torch.full((), value, **options) for name, value in weights.items()}
        try:
            run = partial(self._step, *self._inputs, **self._weights)
            self._replay, self._output = capture(run)
        except (RuntimeError, TypeError, ValueError) as error:
            self.failed = True
            reason = str(error).splitlines()[0]
            tqdm.write(
                f"Le pas ne peut pas être enregistré dans un graphe CUDA ({reason}) ; "
                "l'entraînement continue pas à pas, plus lentement."
            )


def capture(run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Enregistre `run`, sans l'exécuter. Renvoie de quoi le rejouer, et le tenseur où il écrit.

    Lève :
        RuntimeError : pas de GPU, ou une opération qui ne s'enregistre pas.
    """
    if not torch.cuda.is_available():
        raise RuntimeError("pas de GPU")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = run()
    return graph.replay, output

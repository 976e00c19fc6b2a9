"""Les figures du musée des bogues : elles dessinent ce qu’on leur donne."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from vaebook.figures import CLASSES, GREY, _axes, _cpu, _latent_axes, _styled

# La faute et sa correction : ni l’un ni l’autre des deux termes ; le trait les distingue aussi.
_STROKES: tuple[dict[str, Any], ...] = (
    {"color": CLASSES[3], "linestyle": "--"},
    {"color": GREY, "linestyle": "-"},
)


@_styled
def losses_and_slopes(logits: Tensor, losses: Mapping[str, Tensor]) -> None:
    """Trace des pertes d’un pixel en fonction de son logit, et leurs dérivées, calculées par autograd.

    Paramètres :
        logits : (n,), croissants, avec gradient.
        losses : légende → pertes (n,) calculées à partir de ``logits`` ; la fautive d’abord, deux au plus.
    """
    values, slopes = _axes(1, 2, figsize=(7.0, 3.6))
    for (label, loss), stroke in zip(losses.items(), _STROKES, strict=False):
        (slope,) = torch.autograd.grad(loss.sum(), logits, retain_graph=True)
        values.plot(_cpu(logits), _cpu(loss), label=label, **stroke)
        slopes.plot(_cpu(logits), _cpu(slope), **stroke)
    values.set(xlabel="logit", title="perte, en nats")
    slopes.set(xlabel="logit", title="sa dérivée")
    values.figure.legend(loc="outside upper center", ncols=2)


@_styled
def clouds(named: Mapping[str, Tensor]) -> None:
    """Dessine côte à côte, aux mêmes échelles, des nuages de points à deux dimensions.

    Paramètres :
        named : titre → points (N, 2) ; quelques milliers au plus.
    """
    edge = 1.05 * max(float(points.abs().max()) for points in named.values())
    axes = _axes(1, len(named), figsize=(7.0, 3.9), sharex=True, sharey=True)
    for ax, (title, points), colour in zip(axes, named.items(), (CLASSES[3], GREY), strict=False):
        first, second = _cpu(points).unbind(1)
        ax.scatter(first, second, s=5, color=colour, alpha=0.5, linewidths=0)
        _latent_axes(ax)
        ax.set(xlim=(-edge, edge), ylim=(-edge, edge), title=title)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.label_outer()

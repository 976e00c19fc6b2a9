"""Le plancher d'un pas : ses seuls produits de matrices, ou convolutions, à leurs formes, sans rien d'autre.

Pour chaque couche linéaire ou convolutive : le produit de l'aller, celui du gradient des poids, et celui du
gradient de l'entrée, sauf pour la première, dont l'entrée est l'image.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Product = Callable[[], Any]


def step_products(run: Callable[[], Any], model: nn.Module) -> tuple[list[Product], int]:
    """Les produits du pas de `run`, prêts à refaire, et leur nombre d'opérations (deux par couple multiplié).

    Paramètres :
        run : calcule la perte, une fois, pour que chaque couche voie passer son entrée et sa sortie.
    """
    seen: list[tuple[nn.Module, Tensor, Tensor]] = []
    handles = [
        layer.register_forward_hook(lambda layer, inputs, output: seen.append((layer, inputs[0], output)))
        for layer in model.modules()
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
    ]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    products: list[Product] = []
    operations = 0
    for rank, (layer, x, y) in enumerate(seen):
        steps = _linear(layer, x, y) if isinstance(layer, nn.Linear) else _convolution(layer, x, y, rank)
        if rank == 0 and isinstance(layer, nn.Linear):
            steps = steps[:2]
        products += steps
        weight: Any = layer.weight
        # Chaque poids sert une fois par image, et par position pour une convolution.
        positions = y.shape[-1] * y.shape[-2] if isinstance(layer, nn.Conv2d) else 1
        if isinstance(layer, nn.ConvTranspose2d):
            positions = x.shape[-1] * x.shape[-2]
        operations += 2 * len(x) * weight.numel() * positions * (2 if rank == 0 else 3)
    return products, operations


def _linear(layer: nn.Linear, x: Tensor, y: Tensor) -> list[Product]:
    weight, gradient = layer.weight.detach(), torch.randn_like(y)
    return [lambda: x @ weight.T, lambda: gradient.T @ x, lambda: gradient @ weight]


def _convolution(layer: Any, x: Tensor, y: Tensor, rank: int) -> list[Product]:
    weight, gradient = layer.weight.detach(), torch.randn_like(y)
    transposed = isinstance(layer, nn.ConvTranspose2d)
    options = [layer.stride, layer.padding, layer.dilation, transposed, layer.output_padding, layer.groups]
    backward = torch.ops.aten.convolution_backward
    wanted = [rank > 0, True, False]
    return [
        lambda: torch.ops.aten.convolution(x, weight, None, *options),
        lambda: backward(gradient, x, weight, None, *options, wanted),
    ]

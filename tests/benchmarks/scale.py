"""Comment le temps croît : avec le nombre d'images, la dimension latente, le nombre de tirages.

Usage : python tests/benchmarks/scale.py
"""

from typing import Any

import torch
from common import alternate, french, summary, table
from products import step_products
from torch import Tensor

from vaebook.data import fashion_mnist
from vaebook.models import VAE
from vaebook.objectives import elbo, importance_weighted
from vaebook.training import fit

BATCH, ROUNDS, STEPS = 128, 3, 20
IMAGES = (2000, 4000, 8000, 16_000, 32_000)
LATENTS = (2, 8, 32, 128, 512)
SAMPLES = (1, 4, 16, 64)


def run() -> dict[str, Any]:
    """Trois courbes : les abscisses, les secondes (par époque, ou par pas), et les opérations par pas."""
    images = fashion_mnist("train").images
    few = images[: STEPS * BATCH]
    options: dict[str, Any] = {"epochs": 1, "batch_size": BATCH, "progress": False, "device": "cpu"}

    def epoch(count: int) -> int:
        fit(VAE(20, (400,)), images[:count], **options)
        return 1

    def latent(size: int) -> int:
        fit(VAE(size, (400,)), few, **options)
        return STEPS

    def samples(k: int) -> int:
        part = few[: max(2, STEPS // k) * BATCH]
        fit(
            VAE(20, (400,)),
            part,
            objective=lambda model, x: importance_weighted(model, x, samples=k),
            **options,
        )
        return len(part) // BATCH

    return {
        "threads": torch.get_num_threads(),
        "batch_size": BATCH,
        "images": curve(epoch, IMAGES)
        | {"operations": [operations(20, 1, few) * -(-n // BATCH) for n in IMAGES]},
        "latent": curve(latent, LATENTS) | {"operations": [operations(d, 1, few) for d in LATENTS]},
        "samples": curve(samples, SAMPLES) | {"operations": [operations(20, k, few) for k in SAMPLES]},
    }


def curve(measure: Any, values: tuple[int, ...]) -> dict[str, Any]:
    seconds = alternate({str(value): lambda value=value: measure(value) for value in values}, ROUNDS)
    return {"x": list(values), "seconds": [summary(seconds[str(value)]) for value in values]}


def operations(latent_dim: int, k: int, images: Tensor) -> int:
    """Les opérations des produits d'un pas."""
    model = VAE(latent_dim, (400,))
    return step_products(lambda: elbo(model, images[:BATCH], samples=k), model)[1]


def report(results: dict[str, Any]) -> None:
    for name, unit in (("images", "s / époque"), ("latent", "s / pas"), ("samples", "s / pas")):
        found = results[name]
        rows = [[name, unit, "Gop/s"]]
        for x, second, count in zip(found["x"], found["seconds"], found["operations"], strict=True):
            rows.append([str(x), french(second["median"], 4), f"{count / second['median'] / 1e9:.0f}"])
        table(rows)
        print()


if __name__ == "__main__":
    report(run())

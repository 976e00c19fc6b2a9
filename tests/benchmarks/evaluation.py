"""La vitesse et la mémoire de l'évaluation : borne pondérée par importance, loi a posteriori agrégée.

La borne à 5000 tirages est chronométrée sur quelques images : chaque image coûte autant qu'une autre, et dix
mille coûtent cent fois plus que cent. Le plancher : les deux produits du décodeur, aux formes employées.

Usage : python tests/benchmarks/evaluation.py
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from common import alternate, french, in_processes, summary, table
from products import step_products

from vaebook.data import fashion_mnist
from vaebook.evaluation import aggregate_posterior, log_likelihood
from vaebook.models import VAE

SAMPLES, IMAGES, ALL = 5000, 50, 10_000
AT_ONCE = 50  # tirages décodés à la fois par `log_likelihood`, pour chaque image d'un lot de 50
PROCESSES, ROUNDS = 2, 2


def run() -> dict[str, Any]:
    """Temps en secondes, mémoire en octets, débits en couples image × tirage par seconde."""
    processes = in_processes("evaluation", PROCESSES)
    pairs = IMAGES * SAMPLES
    bound = [second for one in processes for second in one["seconds"]["bound"]]
    floor = [second for one in processes for second in one["seconds"]["floor"]]
    return {
        "threads": torch.get_num_threads(),
        "samples": SAMPLES,
        "images": IMAGES,
        "pairs_per_second": summary([pairs / second for second in bound]),
        "floor_pairs_per_second": summary([pairs / second for second in floor]),
        "floor_share": summary([f / b for f, b in zip(floor, bound, strict=True)]),
        "extrapolated_seconds": summary([second * ALL / IMAGES for second in bound]),
        # La mémoire de pointe d'un processus qui évalue peu d'images, puis dix fois plus.
        "peak_memory": {str(n): in_processes("evaluation", 1, str(n))[0] for n in (IMAGES, 10 * IMAGES)},
        "aggregate_seconds": summary([one["aggregate"] for one in processes]),
        "aggregate_images": ALL,
    }


def one_process() -> dict[str, Any]:
    """Les temps d'un processus."""
    test = fashion_mnist("test").images
    model = VAE(20, (400,)).eval()
    z = torch.randn(AT_ONCE, IMAGES, 20)
    products, _ = step_products(lambda: model.decoder(z), model.decoder)
    forward = [products[0], products[2]]  # l'aller seul ; la première couche n'a que deux produits
    calls = SAMPLES // AT_ONCE

    def floor() -> int:
        for _ in range(calls):
            for product in forward:
                product()
        return 1

    def bound() -> int:
        log_likelihood(model, test[:IMAGES], samples=SAMPLES)
        return 1

    seconds = alternate({"bound": bound, "floor": floor}, ROUNDS)
    start = time.perf_counter()
    aggregate_posterior(model, test[:ALL])
    return {"seconds": seconds, "aggregate": time.perf_counter() - start}


def peak_memory(images: int) -> int:
    """Les octets au plus, en évaluant ces images à 500 tirages, de plus qu'après le chargement."""
    test = fashion_mnist("test").images
    model = VAE(20, (400,)).eval()
    log_likelihood(model, test[:2], samples=2)
    before = _highest()
    log_likelihood(model, test[:images], samples=500)
    return _highest() - before


def _highest() -> int:
    """La mémoire de pointe, en octets, sous Linux ; `getrusage` compterait celle du programme parent."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def report(results: dict[str, Any]) -> None:
    rate, floor = results["pairs_per_second"]["median"], results["floor_pairs_per_second"]["median"]
    rows = [["", "couples image × tirage / s", "plancher", "part du plancher"]]
    share = f"{100 * results['floor_share']['median']:.0f} %"
    table([*rows, [f"borne à {SAMPLES} tirages", f"{rate:,.0f}", f"{floor:,.0f}", share]])
    print(f"pour {ALL} images, par extrapolation : {results['extrapolated_seconds']['median']:.0f} s")
    memory = {n: f"{peak / 2**20:.0f} Mio" for n, peak in results["peak_memory"].items()}
    print("mémoire de pointe, selon le nombre d'images :", memory)
    seconds = french(results["aggregate_seconds"]["median"], 1)
    print(f"loi a posteriori agrégée de {ALL} images : {seconds} s")


if __name__ == "__main__":
    if "--un" not in sys.argv:
        report(run())
    elif sys.argv[-1].isdigit():
        print(json.dumps(peak_memory(int(sys.argv[-1]))))
    else:
        print(json.dumps(one_process()))

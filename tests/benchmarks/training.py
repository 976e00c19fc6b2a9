"""La vitesse de l'entraînement sur un processeur : la boucle des tutoriels, `fit`, et leur plancher.

Concurrents, à tour de rôle dans chaque processus : la boucle des tutoriels ; `fit` ; le même pas écrit à la
main, sans autograd ; les produits de matrices du pas à leurs formes ; un grand produit ; le modèle convolutif
et son plancher ; plusieurs modèles, ensemble ou l'un après l'autre. Puis l'ELBO de test des deux boucles.

Usage : python tests/benchmarks/training.py
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from by_hand import trained_by_hand
from common import alternate, french, in_processes, summary, table
from products import step_products
from tutorial import TutorialVAE, steps

from vaebook.data import fashion_mnist
from vaebook.evaluation import elbo_on
from vaebook.models import VAE
from vaebook.objectives import elbo
from vaebook.training import fit, fit_many

BATCH, PROCESSES, ROUNDS = 128, 3, 7
EPOCHS, SEEDS = 2, (0, 1, 2)  # de la comparaison des ELBO
CONVOLUTIONAL: dict[str, Any] = {"hidden": (400,), "channels": (32, 64)}
SIDE = 1024  # du grand produit


def run() -> dict[str, Any]:
    """Toutes les mesures. Temps en secondes, débits en opérations par seconde, ELBO en nats par image."""
    processes = in_processes("training", PROCESSES)
    ratios = (
        "speedup",
        "floor_share",
        "by_hand_share",
        "large_share",
        "convolutional_share",
        "together_share",
    )
    return {
        "threads": torch.get_num_threads(),
        "batch_size": BATCH,
        "processes": PROCESSES,
        "rounds": ROUNDS,
        "epochs": EPOCHS,
        "operations": processes[0]["operations"],
        "seconds": {
            name: summary([second for one in processes for second in one["seconds"][name]])
            for name in processes[0]["seconds"]
        },
        # Les rapports se prennent tour par tour : c'est là qu'ils ont partagé la même machine.
        "ratios": {name: summary([r for one in processes for r in one["ratios"][name]]) for name in ratios},
        "where": processes[0]["where"],
        "elbo": final_elbos(),
    }


def one_process() -> dict[str, Any]:
    """Les mesures d'un processus."""
    images = fashion_mnist("train").images
    dense, convolutional = VAE(20, (400,)), VAE(20, **CONVOLUTIONAL)
    batch = images[:BATCH]
    products, operations = step_products(lambda: elbo(dense, batch), dense)
    convolutions, heavy = step_products(lambda: elbo(convolutional, batch), convolutional)
    big = torch.randn(SIDE, SIDE)
    tutorial = steps(TutorialVAE(), images)
    seconds = alternate(
        {
            "tutorial": lambda: sum(1 for _ in zip(range(25), tutorial, strict=False)),
            "fit": lambda: trained(dense, images, 100),
            "by_hand": lambda: trained_by_hand(dense, images[: 100 * BATCH], BATCH),
            "products": lambda: repeated(products, 100),
            "large": lambda: repeated([lambda: big @ big], 10),
            "fit_convolutional": lambda: trained(convolutional, images, 8),
            "convolutions": lambda: repeated(convolutions, 8),
            "one_by_one": lambda: many(images, 20, together=False),
            "together": lambda: many(images, 20, together=True),
        },
        ROUNDS,
    )
    rate = 2 * SIDE**3 / operations
    return {
        "operations": {"dense": operations, "convolutional": heavy, "large": 2 * SIDE**3},
        "seconds": seconds,
        "ratios": {
            "speedup": ratio(seconds, "tutorial", "fit"),
            "floor_share": ratio(seconds, "products", "fit"),
            "by_hand_share": ratio(seconds, "products", "by_hand"),
            "large_share": [share / rate for share in ratio(seconds, "large", "fit")],
            "convolutional_share": ratio(seconds, "convolutions", "fit_convolutional"),
            "together_share": ratio(seconds, "one_by_one", "together"),
        },
        "where": where(dense, images),
    }


def ratio(seconds: dict[str, list[float]], top: str, bottom: str) -> list[float]:
    return [a / b for a, b in zip(seconds[top], seconds[bottom], strict=True)]


def trained(model: VAE, images: torch.Tensor, count: int) -> int:
    """Une époque de `fit` sur `count` lots ; ce que `fit` prépare et vérifie compte aussi."""
    fit(model, images[: count * BATCH], epochs=1, batch_size=BATCH, progress=False, device="cpu")
    return count


def repeated(products: list[Callable[[], Any]], count: int) -> int:
    with torch.no_grad():
        for _ in range(count):
            for product in products:
                product()
    return count


def many(images: torch.Tensor, count: int, *, together: bool) -> int:
    """Trois modèles, `count` pas chacun."""
    options: dict[str, Any] = {"epochs": 1, "progress": False, "device": "cpu", "betas": (0.5, 1.0, 2.0)}
    models = [VAE(20, (400,)) for _ in range(3)]
    fit_many(models, images[: count * BATCH], together=together, batch_size=BATCH, **options)
    return 3 * count


def where(model: VAE, images: torch.Tensor) -> dict[str, float]:
    """La part du temps propre de chaque sorte d'opération, d'après le profileur, qui gonfle les petites."""
    kinds = {
        "products": ("aten::mm", "aten::addmm"),
        "adam": ("aten::_fused_adam_", "Optimizer.step#Adam.step"),
        "batch": ("aten::index_select", "aten::randperm"),
        "likelihood": ("aten::log_sigmoid_forward", "aten::sigmoid", "aten::sub_", "aten::sum"),
    }
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        trained(model, images, 100)
    times = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    shares = {kind: sum(times.get(name, 0.0) for name in names) for kind, names in kinds.items()}
    shares["rest"] = sum(times.values()) - sum(shares.values())
    return {kind: share / sum(times.values()) for kind, share in shares.items()}


def final_elbos() -> dict[str, list[float]]:
    """L'ELBO de test des deux boucles, après autant d'époques, une par graine."""
    train, test = fashion_mnist("train").images, fashion_mnist("test").images
    results: dict[str, list[float]] = {"tutorial": [], "fit": []}
    for seed in SEEDS:
        torch.manual_seed(seed)
        usual, ours = TutorialVAE(), VAE(20, (400,))
        for _ in zip(range(EPOCHS * -(-len(train) // BATCH)), steps(usual, train, seed), strict=False):
            pass
        fit(ours, train, epochs=EPOCHS, batch_size=BATCH, seed=seed, progress=False, device="cpu")
        for name, model in (("tutorial", usual.in_the_book()), ("fit", ours)):
            results[name].append(elbo_on(model, test, samples=2).value.mean)
    return results


def report(results: dict[str, Any]) -> None:
    """Le tableau, le plancher à côté de chaque ligne."""
    seconds, ratios = results["seconds"], results["ratios"]
    epoch = -(-60_000 // BATCH)
    rows = [["", "ms / pas", "s / époque", "opérations", "Gop/s", "plancher : ms / pas", "part du plancher"]]
    for label, name, kind, floor, share in (
        ("boucle des tutoriels", "tutorial", "dense", "products", None),
        ("fit", "fit", "dense", "products", "floor_share"),
        ("à la main, sans autograd", "by_hand", "dense", "products", "by_hand_share"),
        ("produits seuls", "products", "dense", "products", None),
        ("fit, convolutif", "fit_convolutional", "convolutional", "convolutions", "convolutional_share"),
        ("un grand produit", "large", "large", "large", None),
    ):
        time_ = seconds[name]["median"]
        count = results["operations"][kind]
        cells = [label, french(1e3 * time_), french(epoch * time_), f"{count / 1e6:.0f} M"]
        cells += [f"{count / time_ / 1e9:.0f}", french(1e3 * seconds[floor]["median"])]
        rows.append([*cells, f"{100 * ratios[share]['median']:.0f} %" if share else ""])
    table(rows)
    print(f"fit / tutoriel : {french(ratios['speedup']['median'])} fois plus vite")
    print(f"débit de fit / débit du grand produit : {french(ratios['large_share']['median'])}")
    together = french(ratios["together_share"]["median"])
    print(f"trois modèles ensemble : {together} fois la vitesse de l'un après l'autre")
    print("ELBO de test :", {k: [round(v, 2) for v in values] for k, values in results["elbo"].items()})
    print("où va le temps :", {kind: f"{100 * share:.0f} %" for kind, share in results["where"].items()})


if __name__ == "__main__":
    if "--un" in sys.argv:
        print(json.dumps(one_process()))
    else:
        start = time.monotonic()
        report(run())
        print(f"{time.monotonic() - start:.0f} s")

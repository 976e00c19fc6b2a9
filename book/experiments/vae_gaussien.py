"""Deux compléments du chapitre « L'auto-encodeur variationnel gaussien » : déquantification, convolutions.

La Bernoulli continue du script `likelihoods`, mais apprise sur des images déquantifiées ; puis, sur 20 000
images, un réseau convolutif sans couche dense cachée face au réseau dense 784-400-20, à nombre d'époques égal
puis à durée voisine. Trois graines partout. Durée : environ cinq minutes sur deux cœurs libres.
"""

import time
from typing import Any

import torch
from torch import Tensor

from vaebook.data import Images, dequantise, fashion_mnist
from vaebook.evaluation import active_units, bits_per_dim, elbo_on
from vaebook.likelihoods import SharedGaussian
from vaebook.models import VAE
from vaebook.objectives import Terms, elbo
from vaebook.training import fit

SEEDS = (0, 1, 2)
LATENT = 20
EPOCHS = 10  # de la Bernoulli continue, sur toutes les images, comme dans `likelihoods`
SUBSET, SHORT, LONG = 20_000, 12, 26  # images et époques de la comparaison des réseaux
DRAWS = 4
DENSE: dict[str, Any] = {"hidden": (400,)}
CONVOLUTIONAL: dict[str, Any] = {"hidden": (), "channels": (16, 32)}


def run() -> dict[str, Any]:
    """Renvoie des listes, un élément par graine ; ELBO et KL en nats par image, sur les images de test."""
    train, test = fashion_mnist("train"), fashion_mnist("test")
    noisy = dequantise(test.images, generator=torch.Generator().manual_seed(0))
    results: dict[str, list[dict[str, float]]] = {"dequantised_bernoulli": []}
    for seed in SEEDS:
        torch.manual_seed(seed)
        model = VAE(LATENT, likelihood="continuous_bernoulli")
        fit(model, train, epochs=EPOCHS, seed=seed, objective=dequantised_elbo, progress=False)
        results["dequantised_bernoulli"].append(measure(model, test.images, noisy))
        print(f"Bernoulli continue, graine {seed} : {results['dequantised_bernoulli'][-1]}", flush=True)
    networks = (("dense", DENSE, SHORT), ("convolutional", CONVOLUTIONAL, SHORT), ("dense_long", DENSE, LONG))
    for name, shape, epochs in networks:
        results[name] = [compare(train[:SUBSET], test, shape, epochs, seed) for seed in SEEDS]
        print(f"{name} : {results[name]}", flush=True)
    columns = {
        name: {quantity: [run[quantity] for run in runs] for quantity in runs[0]}
        for name, runs in results.items()
    }
    settings = {"seeds": list(SEEDS), "epochs": EPOCHS, "subset": SUBSET, "short": SHORT, "long": LONG}
    return {"settings": settings} | columns


def dequantised_elbo(model: VAE, x: Tensor) -> Terms:
    """L'ELBO d'images déquantifiées, de nouveau bruitées à chaque lot."""
    return elbo(model, dequantise(x))


def measure(model: VAE, images: Tensor, noisy: Tensor) -> dict[str, float]:
    """Les mêmes colonnes que `likelihoods` : aux points k/255, et en bits sur les images déquantifiées."""
    bounds = elbo_on(model, images, samples=DRAWS)
    nats = elbo_on(model, noisy, samples=DRAWS).value.mean
    return {
        "elbo": bounds.value.mean,
        "kl": bounds.kl.mean,
        "active": active_units(model, images).count,
        "bits": float(bits_per_dim(nats, images[0].numel())),
    }


def compare(train: Images, test: Images, shape: dict[str, Any], epochs: int, seed: int) -> dict[str, float]:
    """Un réseau entraîné : ses poids, sa durée, son ELBO de test et d'apprentissage."""
    torch.manual_seed(seed)
    # À 1e-3 par pas, log σ n'aurait pas le temps de descendre de sa valeur habituelle.
    model = VAE(LATENT, likelihood=SharedGaussian(sigma=0.12), **shape)
    start = time.perf_counter()
    fit(model, train, epochs=epochs, seed=seed, progress=False)
    seconds = time.perf_counter() - start
    bounds = elbo_on(model, test, samples=DRAWS)
    on_train = elbo_on(model, train[: len(test)], samples=DRAWS).value.mean
    return {
        "elbo": bounds.value.mean,
        "kl": bounds.kl.mean,
        "train_elbo": on_train,
        "gap": on_train - bounds.value.mean,
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "seconds": seconds,
    }

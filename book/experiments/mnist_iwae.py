"""Deux lignes d'un tableau publié : VAE (k = 1) et IWAE (k = 50) sur MNIST binarisé au hasard.

Modèle et données de Burda, Grosse et Salakhutdinov (2016) : une couche stochastique de 50 dimensions, deux
couches denses de 200 unités tanh de chaque côté, poids de Glorot, pixels binarisés de nouveau à chaque lot,
lots de 20 images, Adam (ε = 10⁻⁴). On mesure −log p(x) sur les images de test, binarisées une seule fois.

Le calendrier publié a 3280 époques, des heures de GPU. S'il y a un GPU, `run` le suit. Sinon, il suit un
calendrier abrégé de trois époques, les mêmes pour les deux valeurs de k, une dizaine de minutes sur deux
cœurs, et il prolonge un VAE pour voir ce que du temps lui apporte. Les résultats disent lequel a été suivi.
"""

import time
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vaebook.data import binarise, mnist
from vaebook.evaluation import Estimate, active_units, elbo_on, log_likelihood
from vaebook.models import VAE
from vaebook.objectives import importance_weighted
from vaebook.training import pick_device


class Stage(NamedTuple):
    """Des époques au même pas d'apprentissage."""

    epochs: int
    lr: float


Schedule = tuple[Stage, ...]

PUBLISHED = {1: 86.76, 50: 84.78}  # −log p(x) en nats, table 1 de l'article
FULL: Schedule = tuple(Stage(3**i, 1e-3 * 10 ** (-i / 7)) for i in range(8))  # celui de l'article
SHORT: Schedule = (Stage(2, 1e-3), Stage(1, 3e-4))
LONGER: Schedule = (Stage(20, 1e-3), Stage(5, 3e-4))  # pour k = 1 seulement : à k = 50, vingt minutes
SEEDS = (0, 1, 2)  # du calendrier abrégé ; une seule, 0, pour le publié
BATCH = 20
SAMPLES = 5000  # tirages par image pour −log p(x), comme dans l'article
ROUGH_SAMPLES, REFINED_IMAGES = 100, 500  # voir `negative_log_likelihood`


def run() -> dict[str, Any]:
    """Entraîne et mesure ; le calendrier publié s'il y a un GPU, l'abrégé sinon."""
    device = pick_device("auto")
    full = device.type == "cuda"
    train_images = mnist("train").images.to(device)
    test = binarise(mnist("test").images, generator=torch.Generator().manual_seed(0)).to(device)
    plan = [(k, 0, FULL) for k in PUBLISHED]
    if not full:
        plan = [(k, seed, SHORT) for k in PUBLISHED for seed in SEEDS]
        plan.append((1, 0, LONGER))
    return {
        "schedule": "publié" if full else "abrégé",
        "published_epochs": sum(stage.epochs for stage in FULL),
        "batch_size": BATCH,
        "samples": SAMPLES,
        "refined_images": REFINED_IMAGES,
        "test_images": len(test),
        "published": {str(k): value for k, value in PUBLISHED.items()},
        "runs": [one_run(train_images, test, k, seed, stages) for k, seed, stages in plan],
    }


def one_run(images: Tensor, test: Tensor, k: int, seed: int, stages: Schedule) -> dict[str, Any]:
    """Un entraînement et ses mesures, en nats par image."""
    start = time.monotonic()
    model = train(images, k, seed, stages)
    seconds = time.monotonic() - start
    nll = negative_log_likelihood(model, test)
    bounds = elbo_on(model, test, samples=10)
    epochs = sum(stage.epochs for stage in stages)
    print(f"k = {k}, graine {seed}, {epochs} époques en {seconds:.0f} s : −log p(x) = {nll}", flush=True)
    return {
        "k": k,
        "seed": seed,
        "stages": [stage._asdict() for stage in stages],
        "epochs": epochs,
        "nll": nll.mean,
        "nll_error": nll.error,
        "elbo": bounds.value.mean,
        "kl": bounds.kl.mean,
        "active": active_units(model, test).count,
        "seconds": seconds,
    }


def build() -> VAE:
    """Le modèle de l'article : celui du paquet, avec des tanh au lieu des ReLU, et des poids de Glorot."""
    model = VAE(50, (200, 200), likelihood="bernoulli")
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.Tanh())
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    return model


def train(images: Tensor, k: int, seed: int, stages: Schedule) -> VAE:
    """Monte la borne L_k. La boucle n'est pas `fit` : l'article a un seul Adam de bout en bout, et son ε."""
    torch.manual_seed(seed)
    model = build().to(images.device)
    optimizer = torch.optim.Adam(model.parameters(), eps=1e-4, fused=True)
    for epochs, lr in stages:
        optimizer.param_groups[0]["lr"] = lr
        for _ in range(epochs):
            for chosen in torch.randperm(len(images), device=images.device).split(BATCH):
                bound = importance_weighted(model, binarise(images[chosen]), samples=k).value
                optimizer.zero_grad()
                (-bound.mean()).backward()
                optimizer.step()
    return model.eval()


def negative_log_likelihood(model: VAE, test: Tensor) -> Estimate:
    """−log p(x) moyen sur tout `test` : une borne grossière partout, et sa correction sur quelques images.

    La correction L_5000 − L_100 varie peu d'une image à l'autre : quelques centaines d'images, tirées au
    hasard, la donnent à quelques centièmes de nat près. L'erreur type est la sienne, images de test fixées.
    """
    rough = log_likelihood(model, test, samples=ROUGH_SAMPLES)
    chosen = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:REFINED_IMAGES]
    fine = log_likelihood(model, test[chosen.to(test.device)], samples=SAMPLES)
    correction = Estimate.of(fine - rough[chosen])
    return Estimate(-float(rough.mean()) - correction.mean, correction.error)

"""Les vraisemblances du chapitre « L'auto-encodeur variationnel gaussien », mesurées sur le même réseau.

Réseau 784-400-20, Adam de pas 1e-3, lots de 128, Fashion-MNIST entier, trois graines par ligne ; l'ACP
probabiliste, exacte, sert de repère. Sur les modèles de deux de ces lignes, on compare ensuite quatre lois de
z pour engendrer ; enfin, sur moins d'images, un réseau convolutif et un réseau dense d'autant de poids.

Les pixels sont x = k/255, sans bruit, pour l'apprentissage et pour les nats ; les bits par dimension sont
mesurés sur les images de test déquantifiées. Durée : environ onze minutes sur deux cœurs libres.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vaebook import quick
from vaebook.data import Images, binarise, dequantise, fashion_mnist
from vaebook.evaluation import (
    FeatureClassifier,
    GaussianMixtureSampler,
    active_units,
    bits_per_dim,
    elbo_on,
    frechet_distance,
    log_likelihood,
    posteriors,
)
from vaebook.exact import PPCA
from vaebook.likelihoods import Gaussian, Laplace
from vaebook.models import VAE
from vaebook.objectives import elbo
from vaebook.training import fit

SEEDS = (0, 1, 2)
LATENT = 20
EPOCHS = 10
DRAWS = 4  # tirages de z par image, pour l'ELBO de test
BOUND_IMAGES, BOUND_DRAWS = 500, 500  # pour la borne pondérée par importance, plus coûteuse
GENERATED = 10_000  # autant que d'images de test : la distance de Fréchet dépend du nombre d'images
SUBSET, SHORT, LONG = 20_000, 6, 20  # images et époques de la comparaison avec les convolutions
COMPONENTS, MIXTURE_STEPS = 20, 40
PIXELS = 28 * 28

# Clé, vraisemblance, et ce que ses chiffres mesurent : une densité des gris, une probabilité d'images
# binarisées, ou ni l'une ni l'autre.
ROWS: tuple[tuple[str, Callable[[], Any], str], ...] = (
    ("gaussian_1", lambda: Gaussian(sigma=1.0), "density"),
    ("gaussian_half", lambda: Gaussian(sigma=0.5**0.5), "density"),
    ("shared_gaussian", lambda: "shared_gaussian", "density"),
    ("laplace", lambda: Laplace(scale=0.07), "density"),
    ("continuous_bernoulli", lambda: "continuous_bernoulli", "density"),
    ("binarised", lambda: "bernoulli", "binary"),
    ("cross_entropy", lambda: "bernoulli", "loss"),
)
SAMPLED = ("gaussian_half", "shared_gaussian")  # les lignes dont on engendre des images


def run() -> dict[str, Any]:
    """Entraîne et mesure tout ; renvoie des nombres et des listes, un élément de liste par graine."""
    train, test = fashion_mnist("train"), fashion_mnist("test")
    noisy = dequantise(test.images, generator=torch.Generator().manual_seed(0))
    binary = binarise(test.images, generator=torch.Generator().manual_seed(0))
    judge = Judge(train, test)
    rows: dict[str, dict[str, list[float]]] = {}
    generation: dict[str, dict[str, list[float]]] = {}
    for key, likelihood, kind in ROWS:
        for seed in SEEDS:
            model, seconds = trained(likelihood(), train, seed, binary=kind == "binary")
            target = binary if kind == "binary" else test.images
            measured = measure(model, target) | {"seconds": seconds}
            if kind == "density":
                measured["bits"] = bits(elbo_on(model, noisy, samples=DRAWS).value.mean)
            elif kind == "binary":
                measured["bits"] = bits(measured["elbo"], levels=1)
            append(rows.setdefault(key, {}), measured)
            if key in SAMPLED:
                append(generation.setdefault(key, {}), judge(model, seed))
            print(f"{key}, graine {seed} : ELBO {measured['elbo']:.1f}, {seconds:.0f} s")
    return {
        "settings": {
            "seeds": list(SEEDS),
            "epochs": EPOCHS,
            "bound_images": BOUND_IMAGES,
            "bound_draws": BOUND_DRAWS,
            "generated": min(GENERATED, len(test)),
            "subset": SUBSET,
            "short": SHORT,
            "long": LONG,
            "components": COMPONENTS,
        },
        "ppca": ppca(train, test, noisy),
        "rows": rows,
        "judge": {"accuracy": judge.accuracy, "real": judge.real},
        "generation": generation,
        "convolutions": convolutions(train[:SUBSET], test),
    }


def trained(
    likelihood: Any, train: Images, seed: int, *, epochs: int = EPOCHS, binary: bool = False, **shape: Any
) -> tuple[VAE, float]:
    """Un VAE entraîné, et la durée de son entraînement en secondes."""
    torch.manual_seed(seed)
    model = VAE(LATENT, likelihood=likelihood, **shape)
    # Binarisation dynamique : de nouveaux tirages des pixels à chaque lot.
    objective = (lambda model, x: elbo(model, binarise(x))) if binary else elbo
    start = time.perf_counter()
    fit(model, train, epochs=epochs, seed=seed, objective=objective, progress=False)
    return model, time.perf_counter() - start


def measure(model: VAE, images: Tensor) -> dict[str, float]:
    """L'ELBO de test et ses termes, le gain de la borne pondérée, les unités actives, σ s'il est appris."""
    bounds = elbo_on(model, images, samples=DRAWS)
    few = images[:BOUND_IMAGES]
    gain = log_likelihood(model, few, samples=BOUND_DRAWS).mean() - elbo_on(model, few, samples=50).value.mean
    sigma = getattr(model.observation, "sigma", None)
    return {
        "elbo": bounds.value.mean,
        "image_error": bounds.value.error,  # erreur type due aux images de test, pour un modèle
        "reconstruction": bounds.reconstruction.mean,
        "kl": bounds.kl.mean,
        "active": active_units(model, images).count,
        "bound_gain": float(gain),
    } | ({} if sigma is None else {"sigma": float(sigma)})


def bits(nats: float, levels: int = 256) -> float:
    return float(bits_per_dim(nats, PIXELS, levels=levels))


def append(table: dict[str, list[float]], measured: dict[str, float]) -> None:
    for name, value in measured.items():
        table.setdefault(name, []).append(value)


def ppca(train: Images, test: Images, noisy: Tensor) -> dict[str, float]:
    """La log-vraisemblance exacte de l'ACP probabiliste de même dimension latente."""
    model = PPCA.fit(train.images.flatten(1), LATENT)
    nats, noisy_nats = (float(model.log_prob(x.flatten(1)).mean()) for x in (test.images, noisy))
    rate = model.rate_distortion(1.0).rate
    return {"log_prob": nats, "bits": bits(noisy_nats), "sigma": float(model.sigma2.sqrt()), "kl": float(rate)}


class Judge:
    """Compare quatre lois de z pour engendrer : distances de Fréchet aux images de test, et gain d'ELBO."""

    def __init__(self, train: Images, test: Images) -> None:
        self.train, self.test = train, test
        self.classifier = FeatureClassifier.trained(train, progress=False)
        self.accuracy = self.classifier.accuracy(test)
        self.target = self.classifier.features(test.images)
        self.count = min(GENERATED, len(test))
        # Le plancher : de vraies images d'apprentissage, en même nombre.
        self.real = self.distance(train.images[: self.count])

    def distance(self, images: Tensor) -> float:
        return frechet_distance(self.classifier.features(images), self.target)

    @torch.no_grad()
    def __call__(self, model: VAE, seed: int) -> dict[str, float]:
        torch.manual_seed(seed)
        device = model.prior_mu.device
        q = posteriors(model, self.train)
        codes = q.sample()  # un tirage par image d'apprentissage
        chosen = torch.randperm(len(codes))[: self.count]
        mixture = GaussianMixtureSampler.fit(codes[chosen], COMPONENTS, steps=MIXTURE_STEPS, seed=seed)
        fifty = chosen[torch.randint(min(50, len(chosen)), (self.count,))]
        drawn = {
            "prior": model.prior.sample(torch.Size([self.count])),
            "aggregate": codes[chosen].float(),
            "mixture": mixture.sample(self.count),
            "aggregate_50": (q.mean[fifty] + q.stddev[fifty] * torch.randn_like(q.mean[fifty])).float(),
        }
        distances = {name: self.distance(self.decode(model, z.to(device))) for name, z in drawn.items()}
        # Le mélange pris pour loi a priori : log p(z) change, rien d'autre ne change dans l'ELBO.
        z = posteriors(model, self.test).sample()
        gain = (mixture.log_prob(z) - model.prior.log_prob(z.float().to(device)).double().cpu()).mean()
        return distances | {"mixture_gain": float(gain)}

    def decode(self, model: VAE, z: Tensor) -> Tensor:
        """Les moyennes de p(x|z), et non des tirages."""
        return torch.cat([model.likelihood(part).mean for part in z.split(1000)])


def convolutions(train: Images, test: Images) -> dict[str, dict[str, list[float]]]:
    """Dense et convolutif, au même nombre d'époques et de poids, puis dense à durée à peu près égale."""
    dense, convolutional = {"hidden": (400,)}, {"hidden": (200,), "channels": (16, 32)}
    variants = {"dense": (dense, SHORT), "convolutional": (convolutional, SHORT), "dense_long": (dense, LONG)}
    results: dict[str, dict[str, list[float]]] = {}
    for name, (shape, epochs) in variants.items():
        for seed in SEEDS:
            model, seconds = trained("shared_gaussian", train, seed, epochs=epochs, **shape)
            bounds = elbo_on(model, test, samples=DRAWS)
            measured = {
                "elbo": bounds.value.mean,
                "train_elbo": elbo_on(model, train[:10_000], samples=DRAWS).value.mean,
                "reconstruction": bounds.reconstruction.mean,
                "kl": bounds.kl.mean,
                "sigma": float(model.observation.sigma),
                "parameters": sum(weights.numel() for weights in model.parameters()),
                "seconds": seconds,
            }
            append(results.setdefault(name, {}), measured)
            print(f"{name}, graine {seed} : ELBO {measured['elbo']:.1f}, {seconds:.0f} s")
    return results


if quick.enabled():
    # Un essai court, qui passe partout ; ses nombres ne sont pas ceux du livre.
    quick.notice("30 images et 30 tirages pour la borne pondérée, 3 itérations du mélange")
    BOUND_IMAGES, BOUND_DRAWS, MIXTURE_STEPS = 30, 30, 3

"""Les vraisemblances du chapitre « L'auto-encodeur variationnel gaussien », mesurées sur le même réseau.

Réseau 784-400-20, Adam de pas 1e-3, lots de 128, Fashion-MNIST entier, dix époques, trois graines par ligne ;
l'ACP probabiliste, exacte, sert de repère. Sur les modèles de deux de ces lignes, on compare quatre lois de z
pour engendrer. Enfin, sur un tiers des images, on compare un réseau convolutif à un réseau dense d'autant de
poids, et l'apprentissage avec et sans KL.

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
from vaebook.likelihoods import Gaussian, Laplace, SharedGaussian
from vaebook.models import VAE
from vaebook.objectives import Terms, elbo
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
            print(f"{key}, graine {seed} : ELBO {measured['elbo']:.1f}, {seconds:.0f} s", flush=True)
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
        "variants": variants(train[:SUBSET], test, judge),
    }


def trained(
    likelihood: Any,
    train: Images,
    seed: int,
    *,
    epochs: int = EPOCHS,
    binary: bool = False,
    beta: float = 1.0,
    **shape: Any,
) -> tuple[VAE, float]:
    """Un VAE entraîné, et la durée de son entraînement en secondes."""
    torch.manual_seed(seed)
    model = VAE(LATENT, likelihood=likelihood, **shape)
    objective = dynamically_binarised if binary else elbo
    start = time.perf_counter()
    fit(model, train, epochs=epochs, seed=seed, objective=objective, beta=beta, progress=False)
    return model, time.perf_counter() - start


def dynamically_binarised(model: VAE, x: Tensor, *, beta: float) -> Terms:
    """L'ELBO d'images binarisées, de nouveau tirées à chaque lot."""
    return elbo(model, binarise(x), beta=beta)


def measure(model: VAE, images: Tensor) -> dict[str, float]:
    """L'ELBO de test et ses termes, le gain de la borne pondérée, les unités actives, σ s'il est appris."""
    bounds = elbo_on(model, images, samples=DRAWS)
    few = images[: 30 if quick.enabled() else BOUND_IMAGES]
    draws = 30 if quick.enabled() else BOUND_DRAWS
    gain = log_likelihood(model, few, samples=draws).mean() - elbo_on(model, few, samples=50).value.mean
    return {
        "elbo": bounds.value.mean,
        "image_error": bounds.value.error,  # erreur type due aux images de test, pour un modèle
        "reconstruction": bounds.reconstruction.mean,
        "kl": bounds.kl.mean,
        "active": active_units(model, images).count,
        "bound_gain": float(gain),
    } | decoder_sigma(model)


def decoder_sigma(model: VAE) -> dict[str, float]:
    """L'écart-type du décodeur, fixé ou appris, s'il en a un."""
    sigma = getattr(model.observation, "sigma", None)
    return {} if sigma is None else {"sigma": float(torch.as_tensor(sigma).detach())}


def bits(nats: float, levels: int = 256) -> float:
    return float(bits_per_dim(nats, PIXELS, levels=levels))


def append(table: dict[str, list[float]], measured: dict[str, float]) -> None:
    for name, value in measured.items():
        table.setdefault(name, []).append(value)


def ppca(train: Images, test: Images, noisy: Tensor) -> dict[str, float]:
    """La log-vraisemblance exacte de l'ACP probabiliste de même dimension latente."""
    model = PPCA.fit(train.images.flatten(1), LATENT)
    nats, noisy_nats = (float(model.log_prob(x.flatten(1)).mean()) for x in (test.images, noisy))
    return {
        "log_prob": nats,
        "bits": bits(noisy_nats),
        "sigma": float(model.sigma2.sqrt()),
        "kl": float(model.rate_distortion(1.0).rate),
    }


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
        steps = 2 if quick.enabled() else MIXTURE_STEPS
        mixture = GaussianMixtureSampler.fit(codes[chosen], COMPONENTS, steps=steps, seed=seed)
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


def variants(train: Images, test: Images, judge: Judge) -> dict[str, dict[str, list[float]]]:
    """Dense et convolutif, à époques et poids égaux ; dense à durée voisine ; le même, sans KL."""
    dense, convolutional = {"hidden": (400,)}, {"hidden": (200,), "channels": (16, 32)}
    runs: tuple[tuple[str, dict[str, Any], int, float], ...] = (
        ("dense", dense, SHORT, 1.0),
        ("convolutional", convolutional, SHORT, 1.0),
        ("dense_long", dense, LONG, 1.0),
        ("without_kl", dense, LONG, 0.0),
    )
    results: dict[str, dict[str, list[float]]] = {}
    for name, shape, epochs, beta in runs:
        for seed in SEEDS:
            # À 1e-3 par pas, log σ n'aurait pas le temps de descendre de sa valeur habituelle.
            likelihood = SharedGaussian(sigma=0.12)
            model, seconds = trained(likelihood, train, seed, epochs=epochs, beta=beta, **shape)
            bounds, q = elbo_on(model, test, samples=DRAWS), posteriors(model, test)
            measured = {
                "elbo": bounds.value.mean,
                "train_elbo": elbo_on(model, train[: len(test)], samples=DRAWS).value.mean,
                "reconstruction": bounds.reconstruction.mean,
                "kl": bounds.kl.mean,
                "encoder_sigma": float(q.stddev.median()),
                "spread": float(q.mean.std(0).mean()),
                "parameters": sum(weights.numel() for weights in model.parameters()),
                "seconds": seconds,
            }
            measured |= decoder_sigma(model) | regularity(model, test, judge, seed)
            append(results.setdefault(name, {}), measured)
            print(f"{name}, graine {seed} : ELBO {measured['elbo']:.1f}, {seconds:.0f} s", flush=True)
    return results


@torch.no_grad()
def regularity(model: VAE, test: Images, judge: Judge, seed: int) -> dict[str, float]:
    """Continuité et exhaustivité de l'espace latent.

    `jump` : le plus grand pas d'une marche entre deux codes, sur le pas moyen ; médiane de 250 marches.
    `tremor` : de combien change un pixel (racine de la moyenne des carrés) si z ~ p(z) bouge de 0,1 par axe.
    `prior` : la distance de Fréchet des images décodées depuis p(z).
    """
    torch.manual_seed(seed)
    codes = model.posterior(test.images[:500].to(model.prior_mu.device)).mean
    start, end = codes.chunk(2)
    t = torch.linspace(0, 1, 41, device=codes.device).view(-1, 1, 1)
    frames = model.likelihood(torch.lerp(start, end, t)).mean.flatten(2)
    steps = frames.diff(dim=0).norm(dim=-1)
    z = model.prior.sample(torch.Size([2000]))
    moved = model.likelihood(z + 0.1 * torch.randn_like(z)).mean - model.likelihood(z).mean
    return {
        "jump": float((steps.amax(0) / steps.mean(0)).median()),
        "tremor": float(moved.square().mean().sqrt()),
        "prior": judge.distance(judge.decode(model, model.prior.sample(torch.Size([judge.count])))),
    }

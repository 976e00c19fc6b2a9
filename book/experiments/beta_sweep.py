"""Balayage de β sur Fashion-MNIST : neuf valeurs sur trois décades, trois graines chacune.

Le VAE (784-400-20, décodeur gaussien) a la variance du bruit de l'ACP probabiliste à 20 dimensions : leurs
débits et leurs distorsions se comparent. Compter une douzaine de minutes sur deux cœurs.
"""

from typing import Any

import torch
from torch.distributions import kl_divergence

from vaebook.data import Images, fashion_mnist
from vaebook.evaluation import active_units, posteriors, rate_distortion
from vaebook.exact import PPCA
from vaebook.likelihoods import Gaussian
from vaebook.models import VAE
from vaebook.training import fit

BETAS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 100.0)
SEEDS = (0, 1, 2)
EPOCHS = 10
LATENT_DIM = 20


def run() -> dict[str, Any]:
    """Entraîne les vingt-sept modèles et mesure chacun sur le test, et sur 10 000 images d'apprentissage."""
    train, test = fashion_mnist("train"), fashion_mnist("test")
    sigma = float(PPCA.fit(train.images.flatten(1), LATENT_DIM).sigma2.sqrt())
    runs = []
    for beta in BETAS:
        for seed in SEEDS:
            runs.append(one_run(train, test, sigma, beta, seed))
            measured = {name: round(runs[-1][name], 1) for name in ("rate", "distortion", "elbo")}
            print(f"β = {beta:g}, graine {seed} : {measured}, {runs[-1]['active']} dimensions actives")
    return {"sigma": sigma, "latent_dim": LATENT_DIM, "epochs": EPOCHS, "betas": list(BETAS), "runs": runs}


def one_run(train: Images, test: Images, sigma: float, beta: float, seed: int) -> dict[str, Any]:
    """Un entraînement et ses mesures : débit et distorsion en nats par image, ELBO à β = 1."""
    torch.manual_seed(seed)
    model = VAE(LATENT_DIM, (400,), likelihood=Gaussian(sigma=sigma))
    history = fit(model, train, epochs=EPOCHS, seed=seed, beta=beta, progress=False)
    rate, distortion = rate_distortion(model, test, samples=8)
    train_rate, train_distortion = rate_distortion(model, train[:10_000], samples=8)
    q = posteriors(model, test)
    by_dimension = kl_divergence(q.base_dist, torch.distributions.Normal(0.0, 1.0)).mean(0)
    return {
        "beta": beta,
        "seed": seed,
        "rate": rate.mean,
        "distortion": distortion.mean,
        "rate_error": rate.error,
        "distortion_error": distortion.error,
        "train_rate": train_rate.mean,
        "train_distortion": train_distortion.mean,
        "elbo": -rate.mean - distortion.mean,
        "active": active_units(model, test).count,
        "kl_by_dimension": by_dimension.sort(descending=True).values.tolist(),
        "history": {"rate": history.kl.tolist(), "distortion": (-history.reconstruction).tolist()},
    }

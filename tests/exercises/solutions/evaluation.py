"""Les solutions en code du chapitre « Mesurer un VAE », telles que la page les montre."""

import math
from types import SimpleNamespace

import torch

from vaebook.evaluation import frechet_distance
from vaebook.networks import diagonal_gaussian
from vaebook.objectives import log_weights


def bits(log_px, dims, levels):
    return -log_px / (dims * math.log(2)) + math.log2(levels)


def effective_samples(log_w):
    return 1 / log_w.softmax(0).square().sum(0)


def log_aggregate(z, mu, logvar):
    each = diagonal_gaussian(mu, (logvar / 2).exp()).log_prob(z.unsqueeze(1))  # (S, N)
    return each.logsumexp(1) - math.log(len(mu))


def blurred(model, factor=2.0):
    """Le même modèle, dont l'encodeur a des écarts-types trop grands."""

    def posterior(x):
        q = model.posterior(x)
        return diagonal_gaussian(q.mean, factor * q.stddev)

    return SimpleNamespace(posterior=posterior, likelihood=model.likelihood, prior=model.prior)


def bound_and_weighted(model, x, samples=1024):
    """L_k et la moyenne pondérée des log-poids, moyennées sur les images."""
    torch.manual_seed(0)
    with torch.no_grad():
        log_w = log_weights(model, x, samples=samples).double()
    bound = log_w.logsumexp(0) - math.log(samples)
    return bound.mean(), (log_w.softmax(0) * log_w).sum(0).mean()


def noisy_distance(model, features, reference):
    """La distance de Fréchet d'autant de vrais tirages de p(x|z), bruit compris, que de références."""
    torch.manual_seed(0)
    with torch.no_grad():
        images = model.likelihood(model.prior.sample((len(reference),))).sample().clamp(0, 1)
    return frechet_distance(reference, features(images))

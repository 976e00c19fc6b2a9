"""Les solutions en code du chapitre « Le musée des bogues », telles que la page les montre."""

import math

import torch
import torch.nn.functional as F
from torch.distributions import kl_divergence

from vaebook.networks import diagonal_gaussian
from vaebook.objectives import Terms, elbo


def repaired_loss(x, x_hat, mu, logvar):
    reconstruction = 0.5 * (x - x_hat).square().sum(1)
    kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1)
    return (reconstruction + kl).mean()


def bernoulli_log_likelihood(logits, x):
    return (x * logits - F.softplus(logits)).sum(1)


def pixel_log_likelihood(x, x_hat, raw, floor):
    sigma = floor + F.softplus(raw)
    by_pixel = -0.5 * ((x - x_hat) / sigma) ** 2 - sigma.log() - 0.5 * math.log(2 * math.pi)
    return by_pixel.sum(1)


def summed_over_images(model, x):
    """La faute : la divergence sommée sur les images, puis moyennée sur les dimensions latentes."""
    q = model.posterior(x)
    by_dim = -0.5 * (1 + q.variance.log() - q.mean**2 - q.variance)
    return by_dim.sum(0).mean()


def price_of_the_mean(model, x, scale):
    """Ce que l'évaluation en z = μ a de trop, et l'ELBO, les écarts-types de q étant multipliés par scale."""
    start = model.posterior(x)
    q = diagonal_gaussian(start.mean, scale * start.stddev)
    kl = kl_divergence(q, model.prior)
    at_mean = model.likelihood(q.mean).log_prob(x) - kl
    drawn = model.likelihood(q.sample((200,))).log_prob(x).mean(0) - kl
    return (at_mean - drawn).mean(), drawn.mean()


def doubled(model, x, beta=1.0):
    value, reconstruction, kl = elbo(model, x, beta=beta)
    return Terms(value - kl, reconstruction, kl)


def definition_gap(objective, model, x):
    """reconstruction − KL − valeur, en moyenne : nul si l'objectif est l'ELBO."""
    torch.manual_seed(0)
    terms = objective(model, x)
    return (terms.reconstruction - terms.kl - terms.value).mean()

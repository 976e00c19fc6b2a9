"""Les solutions en code du chapitre « β-VAE », telles que la page les montre."""

from functools import partial

import torch

from vaebook import evaluation, objectives, training
from vaebook.likelihoods import Gaussian
from vaebook.models import VAE


def hidden_beta(pixels, weight, sigma):
    variance = weight * pixels / 2
    return variance / sigma**2


def free_bits_penalty(mu, logvar, threshold):
    by_dim = -0.5 * (1 + logvar - mu**2 - logvar.exp())
    return by_dim.mean(0).clamp(min=threshold).sum()


def capacity_objective(reconstruction, kl, target, beta):
    return reconstruction - beta * (kl - target).abs()


def mig(information, entropy):
    first, second = information.topk(2, dim=0).values
    return ((first - second) / entropy).mean()


def largest_slope(model, x, threshold):
    """La plus grande dérivée, en valeur absolue, de la pénalité par rapport à un poids de l'encodeur."""
    parameters = [*model.encoder.parameters(), *model.head.parameters()]
    terms = objectives.free_bits(model, x, threshold=threshold)
    penalty = (terms.reconstruction - terms.value).mean()
    gradient = torch.autograd.grad(penalty, parameters)
    return max(float(g.abs().max()) for g in gradient)


def aimed_points(few, test, sigma, targets=(5.0, 15.0, 30.0), hidden=(400,)):
    """Le débit et la distorsion obtenus, sur les images de test, pour chaque capacité visée."""
    points = []
    for target in targets:
        torch.manual_seed(0)
        model = VAE(20, hidden, likelihood=Gaussian(sigma=sigma))
        aimed = partial(objectives.capacity, target=target, beta=20.0)
        training.fit(model, few, epochs=2, objective=aimed, progress=False)
        found = evaluation.rate_distortion(model.eval(), test)
        points.append((found.rate.mean, found.distortion.mean))
    return points


def chord_slope(rate, distortion, low, high):
    """La pente, changée de signe, de la corde entre deux β, donnés par leurs rangs."""
    return (distortion[low] - distortion[high]) / (rate[high] - rate[low])

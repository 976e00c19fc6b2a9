"""Les solutions des exercices codés du chapitre, telles qu'un lecteur les écrirait ; la page les montre."""

import torch


def draw(mu, logvar, eps):
    return mu + torch.exp(logvar / 2) * eps


def score_gradient(f, z, mu, sigma):
    in_mu = (z - mu) / sigma**2
    in_sigma = (z - mu) ** 2 / sigma**3 - 1 / sigma
    return f[:, None] * torch.stack([in_mu, in_sigma], dim=1)


def relax(logits, u, temperature):
    gumbel = -torch.log(-torch.log(u))
    return torch.softmax((logits + gumbel) / temperature, dim=-1)

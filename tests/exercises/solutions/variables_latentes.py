"""Les solutions des exercices codés du chapitre, telles qu'un lecteur les écrirait ; la page les montre."""

import torch
from torch.distributions import Normal


def responsibilities(x, weights, means, sigmas):
    log_joint = weights.log() + Normal(means, sigmas).log_prob(x[:, None])  # (B, K)
    return log_joint.softmax(dim=1)


def posterior_mean(x, W, mu, sigma):
    M = W.T @ W + sigma**2 * torch.eye(W.shape[1], dtype=W.dtype)
    return torch.linalg.solve(M, W.T @ (x - mu).T).T


def update_means(x, r):
    return x @ r / r.sum(0)

"""Les solutions des exercices codés du chapitre, telles qu'un lecteur les écrirait ; la page les montre."""

import math

from torch.nn.functional import logsigmoid


def kl(mu, logvar):
    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(dim=1)


def log_likelihood(x, x_hat, sigma):
    by_pixel = -0.5 * ((x - x_hat) / sigma) ** 2 - math.log(sigma) - 0.5 * math.log(2 * math.pi)
    return by_pixel.flatten(1).sum(dim=1)


def log_likelihood_bernoulli(x, logits):
    by_pixel = x * logsigmoid(logits) + (1 - x) * logsigmoid(-logits)
    return by_pixel.flatten(1).sum(dim=1)

"""Les solutions des exercices codés du chapitre, telles qu'un lecteur les écrirait ; la page les montre."""

import math

import torch


def elbo(q, prior, likelihood):
    log_joint = likelihood.log() + prior.log()
    return (q * log_joint - torch.xlogy(q, q)).sum(1)


def bound(log_w):
    return torch.logsumexp(log_w, dim=0) - math.log(log_w.shape[0])

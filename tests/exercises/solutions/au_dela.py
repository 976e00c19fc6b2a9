"""Les solutions en code du chapitre « Au-delà du VAE gaussien », telles que la page les montre."""

import torch
from torch.distributions import kl_divergence

from vaebook.flows import Flow, FreeGaussian, fit_posterior
from vaebook.hierarchical import HierarchicalVAE, level_kl
from vaebook.networks import diagonal_gaussian
from vaebook.sampled import sampled_elbo
from vaebook.training import fit


def ladder_kl(mu2, logvar2, mu1, logvar1, prior_mu1, prior_logvar1):
    top = 0.5 * (mu2**2 + logvar2.exp() - 1 - logvar2).sum(-1)
    q = diagonal_gaussian(mu1, (logvar1 / 2).exp())
    p = diagonal_gaussian(prior_mu1, (prior_logvar1 / 2).exp())
    return top + kl_divergence(q, p).mean(0)


def quantise(vectors, codebook):
    nearest = codebook[torch.cdist(vectors, codebook).argmin(1)]
    return vectors + (nearest - vectors).detach()


def coupling_log_prob(z_a, z_b, log_scale, shift):
    u = torch.cat([z_a, (z_b - shift) * (-log_scale).exp()], 1)
    log_r = diagonal_gaussian(torch.zeros_like(u), torch.ones_like(u)).log_prob(u)
    return log_r - log_scale.sum(1)


def diffuse(u0, noise, alpha, t):
    alpha_bar = alpha.cumprod(0)[t - 1].unsqueeze(1)
    return alpha_bar.sqrt() * u0 + (1 - alpha_bar).sqrt() * noise


def share_of_the_top(likelihood, train, x, **sizes):
    """La divergence d'un modèle montant appris par cette vraisemblance, et la part de z₂."""
    torch.manual_seed(0)
    model = HierarchicalVAE((20, 10), likelihood=likelihood, **sizes)
    fit(model, train, epochs=6, seed=0, progress=False, objective=sampled_elbo)
    with torch.no_grad():
        kl, top = level_kl(model, x, samples=8)
    return kl.mean(), top.mean()


def sides(example, value, steps=500):
    """Pour la gaussienne pleine et le flot : la divergence, et la part des tirages où z₁ > 0."""
    x = torch.tensor([value]).double()
    found = {}
    for family in (FreeGaussian(full=True, start=1.0), Flow(layers=5)):
        torch.manual_seed(0)
        q = fit_posterior(family, example, x, steps=steps, samples=128, lr=0.02)
        side = (q.sample((4000,))[:, 0] > 0).double().mean()
        found[type(family).__name__] = (example.posterior_kl(x, q), side)
    return found

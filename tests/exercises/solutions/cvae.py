"""Les solutions en code du chapitre « Le VAE conditionnel », telles que la page les montre."""

import torch
import torch.nn.functional as F

from vaebook.objectives import elbo, marginal_bound


def conditional_kl(mu, logvar, y, prior_mu, prior_logvar):
    m, log_s2 = prior_mu[y], prior_logvar[y]
    by_dim = log_s2 - logvar - 1 + ((mu - m) ** 2 + logvar.exp()) / log_s2.exp()
    return by_dim.sum(-1) / 2


def bound_over_labels(elbo, log_prior):
    return (elbo + log_prior).logsumexp(1)


def transport(z, y, new_y, prior_mu, prior_logvar):
    s = (prior_logvar / 2).exp()
    u = (z - prior_mu[y]) / s[y]
    return prior_mu[new_y] + s[new_y] * u


def bounds_by_samples(model, x, y):
    """La borne marginale moyenne selon le nombre de tirages, puis celle de la seule vraie étiquette."""
    torch.manual_seed(0)
    with torch.no_grad():
        marginal = {
            samples: torch.cat([marginal_bound(model, part, samples=samples) for part in x.split(50)]).mean()
            for samples in (1, 4, 16, 64)
        }
        true = elbo(model.given(y), x, samples=64).value.mean() - torch.tensor(model.classes).log()
    return marginal, true


def two_analogies(model, x, y, new_y):
    """L'image décodée dans la nouvelle classe, z gardé tel quel, puis u gardé."""
    before, after = model.given(y), model.given(new_y)
    with torch.no_grad():
        z = before.posterior(x).mean
        u = (z - before.prior.mean) / before.prior.stddev
        moved = after.prior.mean + after.prior.stddev * u
        return after.likelihood(z).mean, after.likelihood(moved).mean


def probed_features(model, data, device="cpu"):
    """Ce que la sonde peut lire de chaque image : ses pixels, la moyenne de q(z|x, y), ou un tirage."""
    with torch.no_grad():
        q = model.given(data.labels).posterior(data.images.to(device))
        found = {"pixels": data.images.flatten(1), "moyennes": q.mean, "tirages": q.sample()}
    return {name: F.pad(features, (0, 1), value=1.0).cpu() for name, features in found.items()}

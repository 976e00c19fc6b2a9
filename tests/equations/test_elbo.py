"""Les équations du chapitre « La borne variationnelle »."""

import math
from functools import cache
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from quadrature import Prescribed, cubature, line, nodes
from sides import Draw, at_most, same
from torch import Tensor
from torch.distributions import (
    Categorical,
    Distribution,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from vaebook.exact import PPCA
from vaebook.networks import diagonal_gaussian
from vaebook.objectives import elbo, iwae_bound, log_weights
from vaebook.running_example import RunningExample

Z, STEP = line()
MODEL = RunningExample()


def gaussian(t: Tensor, mean: Tensor | float, sigma: Tensor | float) -> Tensor:
    """N(t ; m, σ²), en toutes lettres."""
    return torch.exp(-(((t - mean) / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi))


def expectation(q: Tensor, values: Tensor) -> Tensor:
    """E_q des valeurs, q étant donnée par sa densité sur la grille ; rien là où elle est nulle."""
    return torch.where(q > 0, q * values, 0).sum(-1) * STEP


def kl(q: Tensor, p: Tensor) -> Tensor:
    """KL(q‖p) de densités sur la grille."""
    return expectation(q, torch.log(q / p))


class Setting(NamedTuple):
    """L'exemple suivi : trois observations, trois gaussiennes q, et les densités sur la grille."""

    x: Tensor  # (3, 1)
    law: Distribution
    q: Tensor  # (3, Z)
    likelihood: Tensor  # (3, Z) : p(x|z)
    joint: Tensor  # (3, Z) : p(x, z)


def running(draw: Draw) -> Setting:
    x, m, s = 1.5 * draw.normal(3, 1), draw.normal(3, 1), draw.uniform(3, 1, low=0.5, high=0.9)
    likelihood = gaussian(x, 2 * torch.tanh(2 * Z), 0.5)
    law = diagonal_gaussian(m, s)
    return Setting(x, law, gaussian(Z, m, s), likelihood, gaussian(Z, 0, 1) * likelihood)


def drawn(draw: Draw, k: int) -> tuple[SimpleNamespace, Tensor, Tensor, Tensor, Tensor]:
    """Un encodeur pour l'exemple suivi, x (3, 1), ses k tirages (k, 3, 1), leurs p(x, z) et q(z) (k, 3)."""
    x, m, s = draw.normal(3, 1), draw.normal(3, 1), draw.positive(3, 1)
    noise = draw.normal(k, 3, 1)
    encoder = SimpleNamespace(
        posterior=lambda x: Prescribed(m, s, noise), likelihood=MODEL.likelihood, prior=MODEL.prior
    )
    z = m + s * noise
    joint = gaussian(z, 0, 1) * gaussian(x, 2 * torch.tanh(2 * z), 0.5)
    return encoder, x, z, joint.squeeze(-1), gaussian(z, m, s).squeeze(-1)


def linear(draw: Draw) -> tuple[PPCA, Tensor, Tensor, Tensor]:
    """Une ACP probabiliste, quatre observations (4, 5), les moyennes et écarts-types (4, 3) d'un encodeur."""
    model = PPCA(draw.normal(5, 3), draw.normal(5), float(draw.positive(1)))
    return model, draw.normal(4, 5), draw.normal(4, 3), draw.positive(4, 3)


def reconstruction(model: PPCA, x: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """E_q[log p(x|z)] par Gauss-Hermite, une observation après l'autre : (B,)."""
    found = []
    for image, m, s in zip(x, mu, sigma, strict=True):
        z, weight = nodes(m, s, order=3)
        found.append((weight * model.likelihood(z).log_prob(image)).sum())
    return torch.stack(found)


# --- La divergence de Kullback-Leibler ---


@pytest.mark.equation("eq-elbo-kl-discrete")
def test_the_divergence_of_discrete_laws(draw: Draw) -> None:
    q, p = draw.simplex(5), draw.simplex(6)
    q = torch.cat([q, torch.zeros(1)])  # une valeur que q exclut n'y compte pas
    left = kl_divergence(Categorical(q), Categorical(p))
    right = sum(q[k] * torch.log(q[k] / p[k]) for k in range(len(q)) if q[k] > 0)
    same(left, right)


@pytest.mark.equation("eq-elbo-kl-densites")
def test_the_divergence_of_densities(draw: Draw) -> None:
    m, s = draw.normal(2), draw.uniform(2, low=0.5, high=0.9)
    q, p = gaussian(Z, m[0], s[0]), gaussian(Z, m[1], s[1])
    left = kl_divergence(Normal(m[0], s[0]), Normal(m[1], s[1]))
    right = (q * torch.log(q / p))[q > 0].sum() * STEP
    same(left, right)


@pytest.mark.equation("eq-elbo-gibbs")
def test_gibbs(draw: Draw) -> None:
    q, p = Categorical(draw.simplex(8, 4)), Categorical(draw.simplex(8, 4))
    at_most(torch.zeros(8), kl_divergence(q, p))
    same(kl_divergence(q, q), torch.zeros(8))
    m, s = draw.normal(8, 1), draw.uniform(8, 1, low=0.5, high=0.9)
    densities = gaussian(Z, m, s)
    at_most(torch.zeros(7), kl(densities[1:], densities[:-1]))
    same(kl(densities, densities), torch.zeros(8))


@pytest.mark.equation("eq-elbo-gaussiennes")
def test_the_divergence_of_gaussians(draw: Draw) -> None:
    d = 3
    mu_q, mu_p, S_q, S_p = draw.normal(d), draw.normal(d), draw.spd(d), draw.spd(d)
    left = kl_divergence(MultivariateNormal(mu_q, S_q), MultivariateNormal(mu_p, S_p))
    inverse, det = torch.linalg.inv, torch.linalg.det
    right = (1 / 2) * (
        torch.trace(inverse(S_p) @ S_q)
        + (mu_p - mu_q) @ inverse(S_p) @ (mu_p - mu_q)
        - d
        + torch.log(det(S_p) / det(S_q))
    )
    same(left, right)


@pytest.mark.equation("eq-elbo-gaussiennes-1d")
def test_the_divergence_of_gaussians_in_one_dimension(draw: Draw) -> None:
    (mu_q, mu_p), (s_q, s_p) = draw.normal(2), draw.uniform(2, low=0.5, high=0.9)
    left = kl(gaussian(Z, mu_q, s_q), gaussian(Z, mu_p, s_p))
    right = torch.log(s_p / s_q) + (s_q**2 + (mu_q - mu_p) ** 2) / (2 * s_p**2) - 1 / 2
    same(left, right)


# --- La borne ---


@cache
def best_gaussians() -> tuple[Tensor, Distribution]:
    """Trois observations et leurs meilleures gaussiennes, qu'une descente cherche : une fois pour toutes."""
    x = torch.tensor([[-1.7], [0.4], [1.2]], dtype=torch.float64)
    return x, MODEL.best_gaussian(x)


@pytest.mark.equation("eq-elbo-probleme")
def test_the_best_gaussian_minimises_the_divergence_to_the_posterior(draw: Draw) -> None:
    x, best = best_gaussians()
    others = [
        diagonal_gaussian(best.mean + shift, best.stddev * factor)
        for shift, factor in ((0.01, 1.0), (-0.01, 1.0), (0.0, 1.01), (0.0, 0.99))
    ]
    others.append(diagonal_gaussian(draw.normal(3, 1), draw.positive(3, 1)))
    at_most(
        MODEL.posterior_kl(x, best).expand(len(others), 3),
        torch.stack([MODEL.posterior_kl(x, q) for q in others]),
    )


@pytest.mark.equation("eq-elbo-definition")
def test_the_elbo_is_an_expected_log_ratio(draw: Draw) -> None:
    x, law, q, _, joint = running(draw)
    left = MODEL.elbo(x, law).value
    right = expectation(q, torch.log(joint / q))
    same(left, right)


@pytest.mark.equation("eq-elbo-decomposition")
def test_the_evidence_is_the_elbo_plus_the_gap(draw: Draw) -> None:
    x, law, q, _, joint = running(draw)
    bound, gap = expectation(q, torch.log(joint / q)), MODEL.posterior_kl(x, law)
    left = MODEL.log_prob(x)
    right = bound + gap
    same(left, right)


@pytest.mark.equation("eq-elbo-exemple")
def test_the_running_example(draw: Draw) -> None:
    z, x = draw.normal(5, 1), draw.normal(5, 1)
    log, pi = math.log, math.pi
    left = MODEL.prior.log_prob(z)
    right = (-(z**2) / 2 - log(2 * pi) / 2).squeeze(-1)
    same(left, right)
    left = MODEL.likelihood(z).log_prob(x)
    right_2 = (-((x - 2 * torch.tanh(2 * z)) ** 2) / (2 * 0.5**2) - log(0.5) - log(2 * pi) / 2).squeeze(-1)
    same(left, right_2)


# --- De trois façons ---


@pytest.mark.equation("eq-elbo-poids")
def test_the_importance_weight(draw: Draw) -> None:
    encoder, x, _, joint, q = drawn(draw, k=4)
    left = log_weights(encoder, x, samples=4).exp()
    right = joint / q
    same(left, right)


@pytest.mark.equation("eq-elbo-log-poids")
def test_the_bound_and_the_evidence_by_the_weights(draw: Draw) -> None:
    x, law, q, _, joint = running(draw)
    w = joint / q
    left = MODEL.elbo(x, law).value
    right = expectation(q, torch.log(w))
    same(left, right)
    left = MODEL.log_prob(x)
    right_2 = torch.log(expectation(q, w))
    same(left, right_2)


@pytest.mark.equation("eq-elbo-jensen")
def test_jensen(draw: Draw) -> None:
    x, law, q, _, joint = running(draw)
    log_px = MODEL.log_prob(x)
    left = MODEL.elbo(x, law).value
    right = expectation(q, torch.log(joint / q))
    same(left, right)
    # Une q qui ignore une partie de l'intégrale rend stricte la première inégalité ; Jensen, la seconde.
    cut = q * (law.mean - 0.3 < Z)
    cut = cut / (cut.sum(-1, keepdim=True) * STEP)
    for law_on_grid in (q, cut):
        at_most(expectation(law_on_grid, torch.log(joint / law_on_grid)), log_px)
    mean_weight = expectation(cut, joint / cut)
    at_most(torch.log(mean_weight), log_px)
    at_most(expectation(cut, torch.log(joint / cut)), torch.log(mean_weight))
    # Les deux sont des égalités pour la loi a posteriori.
    posterior = joint / torch.exp(log_px).unsqueeze(-1)
    same(torch.log(expectation(posterior, joint / posterior)), log_px)
    same(expectation(posterior, torch.log(joint / posterior)), log_px)


# --- Deux termes ---


@pytest.mark.equation("eq-elbo-termes")
def test_reconstruction_minus_regularisation(draw: Draw) -> None:
    """`elbo` sur des tirages choisis : leur moyenne est exacte, le décodeur étant linéaire."""
    model, x, mu, sigma = linear(draw)
    noise = cubature(3)
    q, prior = Prescribed(mu, sigma, noise), diagonal_gaussian(torch.zeros(3), torch.ones(3))
    encoder = SimpleNamespace(posterior=lambda x: q, likelihood=model.likelihood, prior=prior)
    left = elbo(encoder, x, samples=len(noise)).value
    right = reconstruction(model, x, mu, sigma) - kl_divergence(q, prior)
    same(left, right)


@pytest.mark.equation("eq-elbo-deux-kl")
def test_the_two_divergences(draw: Draw) -> None:
    x, law, q, likelihood, _ = running(draw)
    prior = gaussian(Z, 0, 1).expand_as(q)
    left = MODEL.posterior_kl(x, law)
    right = -expectation(q, torch.log(likelihood)) + kl(q, prior) + MODEL.log_prob(x)
    same(left, right)


@pytest.mark.equation("eq-elbo-diagonale")
def test_the_best_diagonal_gaussian(draw: Draw) -> None:
    mu, precision = draw.normal(4), draw.spd(4)
    p = MultivariateNormal(mu, precision_matrix=precision)
    s = precision.diagonal().rsqrt()
    left = kl_divergence(diagonal_gaussian(mu, s), p)
    right = (1 / 2) * (sum(torch.log(precision[j, j]) for j in range(4)) - torch.logdet(precision))
    same(left, right)
    around = torch.cat([mu + 0.01 * torch.eye(4), mu - 0.01 * torch.eye(4)])
    at_most(left.expand(8), kl_divergence(diagonal_gaussian(around, s.expand(8, 4)), p))
    scales = torch.cat([s + 0.01 * torch.eye(4), s - 0.01 * torch.eye(4)])
    at_most(left.expand(8), kl_divergence(diagonal_gaussian(mu.expand(8, 4), scales), p))
    diagonal = MultivariateNormal(mu, precision_matrix=torch.diag(precision.diagonal()))
    same(kl_divergence(diagonal_gaussian(mu, s), diagonal), torch.tensor(0.0))


# --- De l'observation à l'échantillon ---


@pytest.mark.equation("eq-elbo-somme")
def test_the_bound_of_a_sample(draw: Draw) -> None:
    model, x, mu, sigma = linear(draw)
    q, prior = diagonal_gaussian(mu, sigma), diagonal_gaussian(torch.zeros(3), torch.ones(3))
    terms, to_prior = reconstruction(model, x, mu, sigma), kl_divergence(q, prior)
    left = model.elbo(x, q).sum()
    right = sum(terms[i] - to_prior[i] for i in range(len(x)))
    same(left, right)
    at_most(left, model.log_prob(x).sum())
    same(model.elbo(x, model.posterior(x)).sum(), model.log_prob(x).sum())


@pytest.mark.equation("eq-elbo-ecarts")
def test_the_gap_is_approximation_plus_amortisation(draw: Draw) -> None:
    """La famille est celle des gaussiennes diagonales, dont la meilleure est connue."""
    model, x, mu, sigma = linear(draw)
    q = diagonal_gaussian(mu, sigma)
    log_px, supremum, bound = model.log_prob(x), model.elbo(x, model.best_diagonal(x)), model.elbo(x, q)
    left = kl_divergence(q, model.posterior(x))
    right = (log_px - supremum) + (supremum - bound)
    same(left, right)
    at_most(supremum, log_px)
    at_most(bound, supremum)


@pytest.mark.equation("eq-elbo-agrege")
def test_the_aggregate_posterior(draw: Draw) -> None:
    m, s, n = draw.normal(4, 1), draw.positive(4, 1), 4
    left = MixtureSameFamily(Categorical(torch.ones(n)), Normal(m.flatten(), s.flatten())).log_prob(Z).exp()
    right = (1 / n) * sum(gaussian(Z, m[i], s[i]) for i in range(n))
    same(left, right)


@pytest.mark.equation("eq-elbo-chirurgie")
def test_the_mean_divergence_to_the_prior(draw: Draw) -> None:
    m, s, n = draw.normal(4, 1), draw.uniform(4, 1, low=0.5, high=0.9), 4
    q, p = gaussian(Z, m, s), gaussian(Z, 0, 1)
    aggregate = q.mean(0)
    left = kl_divergence(Normal(m, s), Normal(torch.zeros(1), 1.0)).mean()
    right = (1 / n) * sum(kl(q[i], aggregate) for i in range(n)) + kl(aggregate, p)
    same(left, right)


# --- Vraisemblance et ELBO ---


@pytest.mark.equation("eq-elbo-garantie")
def test_what_a_gain_of_the_bound_guarantees(draw: Draw) -> None:
    """L'égalité : le nouvel encodeur est la nouvelle loi a posteriori."""
    model, x, mu, sigma = linear(draw)
    new = PPCA(draw.normal(5, 3), draw.normal(5), 0.8)
    q, log_px = diagonal_gaussian(mu, sigma), model.log_prob(x).sum()
    bound = model.elbo(x, q).sum()
    new_bounds = torch.stack([new.elbo(x, law).sum() for law in (q, new.posterior(x))])
    left = (new.log_prob(x).sum() - log_px).expand(2)
    right = (new_bounds - bound) - (log_px - bound)
    at_most(right, left)
    same(left[1], right[1])


@pytest.mark.equation("eq-elbo-iwae")
def test_the_importance_weighted_bound(draw: Draw) -> None:
    k = 5
    encoder, x, _, joint, q = drawn(draw, k)
    left = iwae_bound(encoder, x, samples=k)
    right_weights = joint / q
    right = torch.log((1 / k) * sum(right_weights[i] for i in range(k)))
    same(left, right)

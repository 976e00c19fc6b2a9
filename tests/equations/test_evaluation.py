"""Les équations de « Évaluer un VAE »."""

import math
from types import SimpleNamespace

import pytest
import torch
from quadrature import Prescribed, cube, kl, line, nodes
from sides import Draw, at_most, same
from torch import Tensor
from torch.distributions import Binomial, Distribution, Normal, kl_divergence

from vaebook import evaluation
from vaebook.evaluation import Estimate, bits_per_dim, frechet_distance
from vaebook.exact import PPCA
from vaebook.networks import diagonal_gaussian
from vaebook.objectives import iwae_bound, log_weights


def linear_model(draw: Draw) -> PPCA:
    """Un modèle linéaire gaussien : trois codes, cinq pixels."""
    return PPCA(draw.normal(5, 3), draw.normal(5), 0.8)


def encoder(draw: Draw, n: int) -> Distribution:
    """Des lois q au hasard, une par image : n gaussiennes diagonales de dimension 3."""
    return diagonal_gaussian(draw.normal(n, 3), draw.positive(n, 3))


def with_encoder(model: PPCA, q: Distribution) -> SimpleNamespace:
    """Le modèle, et q pour encodeur."""
    return SimpleNamespace(posterior=lambda x: q, likelihood=model.likelihood, prior=model.prior)


@pytest.mark.equation("eq-evaluation-bits")
def test_bits_per_dimension_bound_the_length_of_a_code(draw: Draw) -> None:
    D, L, x = 2, 32, torch.tensor([5.0, 20.0])
    pixels = Normal((x + draw.uniform(D)) / L, draw.positive(D) / L)
    u, weight = cube(D)
    log_p = pixels.log_prob((x + u) / L).sum(1)
    probability = (pixels.cdf((x + 1) / L) - pixels.cdf(x / L)).prod()
    left = -1 / D * probability.log2()
    right = (weight * (-1 / D * log_p / math.log(2))).sum() + math.log2(L)
    at_most(left, right)
    same(bits_per_dim((weight * log_p).sum(), D, levels=L), right)
    # Égalité si la densité est constante sur le pavé : ici, celle d'un cube de côté 1,7.
    log_p = torch.full_like(weight, -D * math.log(1.7))
    left = torch.tensor(-1 / D * math.log2((1.7 * L) ** -D))
    right = (weight * (-1 / D * log_p / math.log(2))).sum() + math.log2(L)
    same(left, right)


@pytest.mark.equation("eq-evaluation-borne")
def test_the_weighted_bound_is_the_log_of_a_mean_of_weights(draw: Draw) -> None:
    k, x, noise = 4, draw.normal(2, 5), draw.normal(4, 2, 3)
    decoder, mu, sigma = linear_model(draw), draw.normal(2, 3), draw.positive(2, 3)
    q = Prescribed(mu, sigma, noise)
    model, z = with_encoder(decoder, q), mu + sigma * noise
    p_x_z, p_z = decoder.likelihood(z).log_prob(x).exp(), decoder.prior.log_prob(z).exp()
    right_w = p_x_z * p_z / Normal(mu, sigma).log_prob(z).sum(-1).exp()
    same(log_weights(model, x, samples=k), right_w.log())
    left = iwae_bound(model, x, samples=k)
    right = torch.log(1 / k * right_w.sum(0))
    same(left, right)


@pytest.mark.equation("eq-evaluation-biais")
def test_the_bias_of_the_bound_is_half_the_variance_over_k(draw: Draw) -> None:
    """r prend deux valeurs, de moyenne 1 : une loi binomiale donne E[L_k] exactement."""
    share, low = draw.uniform(low=0.3, high=0.6), draw.uniform(low=0.4, high=0.8)
    high = (1 - share * low) / (1 - share)
    v = share * (low - 1) ** 2 + (1 - share) * (high - 1) ** 2
    errors = []
    for k in (400, 800):
        times = torch.arange(k + 1.0)
        chance = Binomial(k, share).log_prob(times).exp()
        left = -(chance * torch.log((times * low + (k - times) * high) / k)).sum()
        right = v / (2 * k)
        errors.append((left - right).abs())
    # Le reste est en 1/k² : doubler k le divise par quatre.
    same((errors[0] / errors[1]).log2(), 2.0, tol=0.05)


@pytest.mark.equation("eq-evaluation-chi2")
def test_the_variance_of_the_weights_of_two_gaussians(draw: Draw) -> None:
    c = draw.uniform(low=0.85, high=1.6)
    z, step = line(30.0, 4001)
    p, q = Normal(0.0, 1.0).log_prob(z), Normal(0.0, c).log_prob(z)
    left = ((2 * p - q).exp().sum() * step) ** 10 - 1
    right = (c**2 / torch.sqrt(2 * c**2 - 1)) ** 10 - 1
    same(left, right)


@pytest.mark.equation("eq-evaluation-faux")
def test_the_weighted_mean_of_the_log_weights_is_above_the_bound(draw: Draw) -> None:
    k, noise = 4, draw.normal(4, 2, 3)
    model = with_encoder(linear_model(draw), Prescribed(draw.normal(2, 3), draw.positive(2, 3), noise))
    x = draw.normal(2, 5)
    log_w, bound = log_weights(model, x, samples=k), iwae_bound(model, x, samples=k)
    normalised = log_w.exp() / log_w.exp().sum(0)
    left = (normalised * log_w).sum(0)
    right_H = -(normalised * normalised.log()).sum(0)
    right = bound + math.log(k) - right_H
    same(left, right)
    at_most(bound, left)
    # Égalité si tous les poids sont égaux : avec la vraie loi a posteriori.
    log_w = draw.normal(1).expand(4)
    same((log_w.softmax(0) * log_w).sum(), log_w.logsumexp(0) - math.log(4))


def mixture_on_a_line(draw: Draw, n: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, float]:
    """μ et σ de n lois q, leurs densités (n, Z) sur une grille, celle de N(0, 1), la grille et son pas."""
    z, step = line(15.0, 1201)
    mu, sigma = draw.normal(n), draw.uniform(n, low=0.4, high=1.6)
    q = Normal(mu[:, None], sigma[:, None]).log_prob(z).exp()
    return mu, sigma, q, Normal(0.0, 1.0).log_prob(z).exp(), z, step


@pytest.mark.equation("eq-evaluation-information")
def test_the_information_is_the_mean_divergence_to_the_aggregate(draw: Draw) -> None:
    """L'espérance sur z de l'objet est tirée au hasard : quatre mille tirages par image, à 0,03 près."""
    mu, sigma, q, _, _, step = mixture_on_a_line(draw)
    N, prior = 3, diagonal_gaussian(torch.zeros(1), torch.ones(1))
    model = SimpleNamespace(posterior=lambda x: diagonal_gaussian(mu[:, None], sigma[:, None]), prior=prior)
    found = evaluation.aggregate_posterior(model, torch.arange(3.0)[:, None], samples=4000)
    left = found.mutual_information.mean
    right = 1 / N * sum(kl(q[i], q.mean(0), step) for i in range(N))
    same(left, right.item(), tol=0.03)
    # Sans hasard : l'entropie du mélange moins la moyenne des entropies.
    same(-torch.xlogy(q.mean(0), q.mean(0)).sum() * step - Normal(mu, sigma).entropy().mean(), right)


@pytest.mark.equation("eq-evaluation-chirurgie")
def test_the_mean_divergence_is_information_plus_a_gap(draw: Draw) -> None:
    mu, sigma, q, p, z, step = mixture_on_a_line(draw)
    aggregate = q.mean(0)
    prior = diagonal_gaussian(torch.zeros(1), torch.ones(1))
    model = SimpleNamespace(posterior=lambda x: diagonal_gaussian(mu[:, None], sigma[:, None]), prior=prior)
    left = evaluation.aggregate_posterior(model, torch.arange(3.0)[:, None]).rate
    information = kl(q, aggregate, step).mean()
    right = information + kl(aggregate, p, step)
    same(left, right.item())
    at_most(0.0, information)
    at_most(information, math.log(3))
    # Les deux égalités : des lois toutes égales, des lois qui ne se recouvrent pas.
    same(kl(q[:1].expand(3, -1), q[0], step).mean(), 0.0)
    apart = Normal(torch.tensor([[-6.0], [0.0], [6.0]]), 0.2).log_prob(z).exp()
    same(kl(apart, apart.mean(0), step).mean(), math.log(3))


@pytest.mark.equation("eq-evaluation-correlation")
def test_the_gap_is_total_correlation_plus_divergences_by_dimension(draw: Draw) -> None:
    z, step = line(9.0, 161)
    mu, sigma = draw.normal(3, 2), draw.uniform(3, 2, low=0.4, high=1.6)
    q_1, q_2 = Normal(mu.T[:, :, None], sigma.T[:, :, None]).log_prob(z).exp()
    q = torch.einsum("na,nb->ab", q_1, q_2) / 3
    p = Normal(0.0, 1.0).log_prob(z).exp()
    marginals = q.sum(1) * step, q.sum(0) * step
    left = kl(q.flatten(), (p[:, None] * p).flatten(), step**2)
    right_correlation = kl(q.flatten(), (marginals[0][:, None] * marginals[1]).flatten(), step**2)
    right = right_correlation + sum(kl(q_j, p, step) for q_j in marginals)
    same(left, right)
    # Ce qu'en mesure l'objet, par tirages : à 0,05 près.
    prior = diagonal_gaussian(torch.zeros(2), torch.ones(2))
    model = SimpleNamespace(posterior=lambda x: diagonal_gaussian(mu, sigma), prior=prior)
    found = evaluation.aggregate_posterior(model, torch.arange(3.0)[:, None], samples=4000)
    same(found.total_correlation.mean, right_correlation.item(), tol=0.05)
    same(found.marginal_kl.mean, right.item(), tol=0.05)


@pytest.mark.equation("eq-evaluation-actives")
def test_active_units_are_counted_by_the_variance_of_their_mean(draw: Draw) -> None:
    spread = torch.linspace(-1, 1, 6)[torch.randperm(6, generator=draw.generator)]  # de variance 0,56
    means = spread[:, None] * torch.tensor([0.9, 0.162, 0.07])  # de variances 0,454, 0,0147 et 0,0027
    q = diagonal_gaussian(means + draw.normal(3), draw.positive(6, 3))
    model = SimpleNamespace(posterior=lambda x: q)
    found = evaluation.active_units(model, torch.zeros(6, 1))
    # La variance des images est estimée : le diviseur est n − 1.
    right = ((q.mean - q.mean.mean(0)) ** 2).sum(0) / (6 - 1)
    same(found.variance, right)
    right_count = (right > 0.01).sum()
    same(found.count, right_count.double())


@pytest.mark.equation("eq-evaluation-ecarts")
def test_the_inference_gap_is_approximation_plus_amortisation(draw: Draw) -> None:
    model, x, q = linear_model(draw), draw.normal(4, 5), encoder(draw, 4)
    log_p, best = model.log_prob(x), model.best_diagonal(x)
    left = log_p - model.elbo(x, q)
    same(left, kl_divergence(q, model.posterior(x)))
    right_approximation = log_p - model.elbo(x, best)
    same(kl_divergence(best, model.posterior(x)), right_approximation)
    right = right_approximation + (model.elbo(x, best) - model.elbo(x, q))
    same(left, right)
    at_most(model.elbo(x, q), model.elbo(x, best))
    gaps = evaluation.inference_gaps(with_encoder(model, q), x, steps=2, samples=8, batch_size=4)
    same(gaps.log_likelihood.mean - gaps.elbo.mean, gaps.approximation.mean + gaps.amortisation.mean)


@pytest.mark.equation("eq-evaluation-generalisation")
def test_the_gap_between_train_and_test_has_two_parts(draw: Draw) -> None:
    model, train, test = linear_model(draw), draw.normal(4, 5), 2 * draw.normal(6, 5)
    q_train, q_test = encoder(draw, 4), encoder(draw, 6)
    G_train = kl_divergence(q_train, model.posterior(train)).mean()
    G_test = kl_divergence(q_test, model.posterior(test)).mean()
    left = model.elbo(train, q_train).mean() - model.elbo(test, q_test).mean()
    right_density = model.log_prob(train).mean() - model.log_prob(test).mean()
    right = right_density + (G_test - G_train)
    same(left, right)
    # L'objet ne fait que ces trois différences.
    measured = [
        [
            Estimate.of(values)
            for values in (model.log_prob(x), model.elbo(x, q), model.log_prob(x) - model.elbo(x, q))
        ]
        for x, q in ((train, q_train), (test, q_test))
    ]
    none = Estimate(0.0, 0.0)
    gap = evaluation.generalisation_gap(
        *(evaluation.InferenceGaps(log_p, none, bound, none, none, lost) for log_p, bound, lost in measured)
    )
    same(gap.elbo.mean, right.item())
    same(gap.likelihood.mean, right_density.item())
    same(gap.inference.mean, (G_test - G_train).item())


@pytest.mark.equation("eq-evaluation-frechet")
def test_the_squared_frechet_distance_of_two_gaussians(draw: Draw) -> None:
    a, b = draw.normal(40, 3) @ draw.normal(3, 3), draw.normal(30, 3) @ draw.normal(3, 3) + 0.4
    (mu_a, S_a), (mu_b, S_b) = ((cloud.mean(0), torch.cov(cloud.T)) for cloud in (a, b))
    left = frechet_distance(a, b)
    right_cross = root(root(S_a) @ S_b @ root(S_a))
    right = ((mu_a - mu_b) ** 2).sum() + (S_a + S_b - 2 * right_cross).trace()
    same(left, right)
    # Une distance : nulle entre deux mêmes nuages, et celle des moyennes s'ils ne diffèrent que d'elles.
    same(frechet_distance(a, a), 0.0, tol=1e-7)


def root(matrix: Tensor) -> Tensor:
    """La racine carrée symétrique positive d'une matrice symétrique positive."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ values.sqrt().diag() @ vectors.T


@pytest.mark.equation("eq-evaluation-debit")
def test_the_negative_bound_is_distortion_plus_rate(draw: Draw) -> None:
    model, x, q = linear_model(draw), draw.normal(4, 5), encoder(draw, 4)
    left = (kl_divergence(q, model.posterior(x)) - model.log_prob(x)).mean()
    losses = []
    for i in range(4):
        z, weight = nodes(q.mean[i], q.stddev[i], 3)
        losses.append(-(weight * model.likelihood(z).log_prob(x[i])).sum())
    right_D = sum(losses) / 4
    right_R = kl_divergence(q, model.prior).mean()
    right = right_D + right_R
    same(left, right)
    rate = evaluation.rate_distortion(with_encoder(model, q), x, batch_size=4).rate
    same(rate.mean, right_R)

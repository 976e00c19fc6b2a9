"""Les équations de « Le β-VAE »."""

import math
from types import SimpleNamespace

import pytest
import torch
from quadrature import Prescribed, cubature, kl, line, nodes
from sides import Draw, at_most, same
from torch import Tensor
from torch.distributions import Distribution, Normal, kl_divergence

from vaebook import evaluation
from vaebook.exact import PPCA
from vaebook.networks import diagonal_gaussian
from vaebook.objectives import elbo
from vaebook.running_example import RunningExample


def decoder(draw: Draw) -> PPCA:
    """Un décodeur linéaire gaussien : trois codes, cinq pixels."""
    return PPCA(draw.normal(5, 3), draw.normal(5), 0.8)


def standard() -> Distribution:
    """N(0, I) en dimension 3."""
    return diagonal_gaussian(torch.zeros(3), torch.ones(3))


def distortion_of(model: PPCA, x: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """−E_q log p(x|z), image par image, par Gauss-Hermite : exact pour un décodeur linéaire."""
    losses = []
    for i in range(len(x)):
        z, weight = nodes(mu[i], sigma[i], 3)
        losses.append((weight * -model.likelihood(z).log_prob(x[i])).sum())
    return torch.stack(losses)


@pytest.mark.equation("eq-beta-definitions")
def test_distortion_and_rate_are_the_two_halves_of_the_bound(draw: Draw) -> None:
    model, x, mu, sigma = decoder(draw), draw.normal(4, 5), draw.normal(4, 3), draw.positive(4, 3)
    q, n = diagonal_gaussian(mu, sigma), 4
    encoded = SimpleNamespace(posterior=lambda x: q, likelihood=model.likelihood, prior=model.prior)
    right_R = kl_divergence(q, model.prior).sum() / n
    same(evaluation.rate_distortion(encoded, x).rate.mean, right_R)
    right_D = distortion_of(model, x, mu, sigma).sum() / n
    same(-model.elbo(x, q).mean() - right_R, right_D)
    at_most(torch.tensor(0.0), right_R)
    same(kl_divergence(model.prior, model.prior), 0.0)


@pytest.mark.equation("eq-beta-objectif")
def test_the_objective_is_distortion_plus_beta_times_rate(draw: Draw) -> None:
    """Six tirages bien placés : l'espérance d'un décodeur linéaire y est exacte, et l'objet aussi."""
    model, x, mu, sigma = decoder(draw), draw.normal(4, 5), draw.normal(4, 3), draw.positive(4, 3)
    q = Prescribed(mu, sigma, cubature(3))
    encoded = SimpleNamespace(posterior=lambda x: q, likelihood=model.likelihood, prior=standard())
    beta = 2.7
    left = -elbo(encoded, x, samples=6, beta=beta).value.mean()
    D, R = distortion_of(model, x, mu, sigma).mean(), kl_divergence(q, standard()).mean()
    right = D + beta * R
    same(left, right)


@pytest.mark.equation("eq-beta-information")
def test_the_rate_is_information_plus_a_gap(draw: Draw) -> None:
    z, step = line(15.0, 1201)
    mu, sigma = draw.normal(4), draw.uniform(4, low=0.4, high=1.6)
    q, p = Normal(mu[:, None], sigma[:, None]).log_prob(z).exp(), Normal(0.0, 1.0).log_prob(z).exp()
    aggregate = q.mean(0)
    left = kl_divergence(Normal(mu, sigma), Normal(0.0, 1.0)).mean()
    right_information = kl(q, aggregate, step).mean()
    right = right_information + kl(aggregate, p, step)
    same(left, right)


@pytest.mark.equation("eq-beta-temperee")
def test_the_tempered_posterior_is_the_optimal_encoder(draw: Draw) -> None:
    beta, x = 2.6, draw.normal(3, 1)
    z, step = line(10.0, 801)
    p, likelihood = Normal(0.0, 1.0).log_prob(z).exp(), Normal(2 * torch.tanh(2 * z), 0.5).log_prob(x).exp()
    Z = (p * likelihood ** (1 / beta)).sum(1, keepdim=True) * step
    left = RunningExample(0.5 * beta**0.5).posterior_density(x, z)
    right = p * likelihood ** (1 / beta) / Z
    same(left, right)

    # Son objectif est le minimum ; toute autre loi fait moins bien, de β fois sa divergence à q_β.
    right_value = -beta * Z.log().squeeze(1)
    same(beta * kl(right, p, step) - (right * likelihood.log()).sum(1) * step, right_value)
    q = diagonal_gaussian(draw.normal(3, 1), draw.uniform(3, 1, low=0.4, high=1.2))
    _, reconstruction, divergence = RunningExample().elbo(x, q)
    at_most(right_value, beta * divergence - reconstruction)
    right_gap = beta * kl(Normal(q.mean, q.stddev).log_prob(z).exp(), right, step)
    same(beta * divergence - reconstruction - right_value, right_gap)


@pytest.mark.equation("eq-beta-contrainte")
def test_a_minimiser_of_the_objective_solves_the_constrained_problem(draw: Draw) -> None:
    """Une famille finie quelconque : le premier sens du théorème ne demande rien d'autre."""
    rate, distortion = draw.uniform(50, high=6.0), draw.normal(50)
    best = (distortion + 0.4 * rate).argmin()
    epsilon = rate[best]
    left = distortion[best]
    right = distortion[rate <= epsilon].min()
    same(left, right)


@pytest.mark.equation("eq-beta-corde")
def test_two_optima_frame_the_slope_of_their_chord(draw: Draw) -> None:
    low, high = 0.5, 2.5
    # La famille de tous les modèles linéaires, dont les optimums sont connus.
    model = PPCA.fit(draw.normal(20, 6) * torch.linspace(0.5, 3.0, 6), 3)
    (R_1, D_1), (R_2, D_2) = model.rate_distortion(low), model.rate_distortion(high)
    at_most(low * (R_1 - R_2), D_2 - D_1)
    at_most(D_2 - D_1, high * (R_1 - R_2))
    # Une famille de deux points, à égalité pour l'un des β : la corde y a sa pente extrême.
    R, D_1 = draw.uniform(2, low=2.0, high=5.0).sort().values, draw.normal(1)
    D_2 = D_1 + low * (R[1] - R[0])
    assert D_2 + high * R[0] < D_1 + high * R[1]
    left = D_2 - D_1
    right = low * (R[1:] - R[:1])
    same(left, right)
    D_2 = D_1 + high * (R[1] - R[0])
    assert D_1 + low * R[1] < D_2 + low * R[0]
    left = D_2 - D_1
    right = high * (R[1:] - R[:1])
    same(left, right)


@pytest.mark.equation("eq-beta-enveloppe")
def test_the_derivative_of_the_minimum_is_the_rate(draw: Draw) -> None:
    """Le minimum sur toutes les lois q, à décodeur fixé : F(β) = −β log Z_β, dérivée automatiquement."""
    beta, x = draw.uniform(low=0.6, high=3.0).requires_grad_(), draw.normal(1, 1)
    z, step = line(10.0, 801)
    p, log_likelihood = (
        Normal(0.0, 1.0).log_prob(z).exp(),
        RunningExample().likelihood(z[:, None]).log_prob(x),
    )
    Z = (p * (log_likelihood / beta).exp()).sum() * step
    (left,) = torch.autograd.grad(-beta * Z.log(), beta)
    q = RunningExample(0.5 * beta.item() ** 0.5).posterior_density(x, z)[0]
    right = (q * (q.log() - p.log())).sum() * step
    same(left, right)


@pytest.mark.equation("eq-beta-pente")
def test_the_slope_of_the_curve_is_minus_beta(draw: Draw) -> None:
    x = draw.normal(3, 1)
    z, step = line(10.0, 801)
    p, log_likelihood = (
        Normal(0.0, 1.0).log_prob(z).exp(),
        RunningExample().likelihood(z[:, None, None]).log_prob(x),
    )

    def curve(beta: Tensor) -> tuple[Tensor, Tensor]:
        """Débit et distorsion moyens de la loi optimale, par quadrature."""
        q = torch.softmax(p.log()[:, None] + log_likelihood / beta, 0) / step
        return (torch.xlogy(q, q) - q * p.log()[:, None]).sum(0).mean() * step, -(q * log_likelihood).sum(
            0
        ).mean() * step

    beta = draw.uniform(low=0.6, high=3.0)
    dR, dD = torch.func.jacrev(curve)(beta)
    right = -beta
    same(dD / dR, right)
    # Et pour tous les modèles linéaires, le décodeur s'apprenant aussi.
    dR, dD = torch.func.jacrev(PPCA.fit(draw.normal(20, 6), 3).rate_distortion)(beta / 20)
    same(dD / dR, right / 20)


@pytest.mark.equation("eq-beta-lineaire")
def test_the_curve_of_the_linear_model(draw: Draw) -> None:
    beta, d, D_x = 3.0, 3, 6
    # De valeurs propres 9, 4, 0,4, 0,2, 0,15 et 0,1 : avec βσ² = 0,45, une des trois dimensions est inactive.
    noise = draw.normal(12, D_x)
    x = 12**0.5 * torch.linalg.qr(noise - noise.mean(0)).Q
    x = x * torch.tensor([9, 4, 0.4, 0.2, 0.15, 0.1]).sqrt() @ torch.linalg.qr(draw.normal(D_x, D_x)).Q
    model = PPCA.fit(x, d)
    lam, sigma2, s = model.eigenvalues, model.sigma2, beta * model.sigma2

    def measured(W: Tensor) -> tuple[Tensor, Tensor]:
        """Débit et distorsion d'un décodeur W et de son meilleur encodeur, sur les images."""
        q = PPCA(W, model.mu, s).posterior(x)
        rate = kl_divergence(q, model.prior).mean()
        return rate, -PPCA(W, model.mu, sigma2).elbo(x, q).mean() - rate

    optimum = model.W / model.W.norm(dim=0) * (lam[:d] - s).clamp(min=0).sqrt()
    R, D = measured(optimum)
    right_R = 1 / 2 * sum(max(0.0, math.log(lam[j] / s)) for j in range(d))
    right_kept = sum(min(lam[j], s) for j in range(d))
    right_D = 1 / (2 * sigma2) * (right_kept + lam[d:].sum()) + D_x / 2 * (2 * math.pi * sigma2).log()
    same(R, right_R)
    same(D, right_D)
    same(torch.stack(model.rate_distortion(beta)), torch.stack([R, D]))
    for W in (optimum + 0.1 * draw.normal(D_x, d), model.W):
        rate, distortion = measured(W)
        at_most(right_D + beta * right_R, distortion + beta * rate)


@pytest.mark.equation("eq-beta-mig")
def test_the_mutual_information_gap(draw: Draw) -> None:
    factors = torch.randint(0, 3, (200, 2), generator=draw.generator)
    codes = factors[:, [0, 0, 1, 1]] + draw.normal(200, 4) * torch.tensor([0.4, 1.1, 0.7, 2.0])
    K, bins = 2, 5
    left = evaluation.mutual_information_gap(codes, factors, bins=bins)
    by_factor = []
    for k in range(K):
        H = entropy(factors[:, k].double(), 3)
        information = [H + entropy(z, bins) - entropy_of_pair(z, factors[:, k], bins) for z in codes.T]
        second, first = sorted(information)[-2:]
        right_gap = (first - second) / H
        by_factor.append(right_gap)
    right = 1 / K * sum(by_factor)
    same(left.value, right.item())
    at_most(torch.zeros(2), left.by_factor)
    at_most(left.by_factor, torch.ones(2))
    # Les deux égalités : des facteurs recopiés, une information répétée.
    every = torch.cartesian_prod(torch.arange(3), torch.arange(4))
    same(evaluation.mutual_information_gap(every.double(), every).by_factor, torch.ones(2))
    same(evaluation.mutual_information_gap(codes[:, [0, 0]], factors).value, 0.0)


def entropy(values: Tensor, bins: int) -> Tensor:
    share = torch.histc(values, bins) / len(values)
    return torch.special.entr(share).sum()


def entropy_of_pair(z: Tensor, factor: Tensor, bins: int) -> Tensor:
    low, high = z.min().item(), z.max().item()
    tables = [torch.histc(z[factor == value], bins, low, high) for value in factor.unique()]
    return torch.special.entr(torch.stack(tables) / len(z)).sum()

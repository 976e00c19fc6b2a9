"""Les équations de « L'auto-encodeur variationnel gaussien »."""

import math
from types import SimpleNamespace

import pytest
import torch
from quadrature import Prescribed, cubature, cube, nodes
from sides import Draw, at_most, same
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from vaebook.evaluation import bits_per_dim
from vaebook.exact import PPCA
from vaebook.models import VAE
from vaebook.networks import diagonal_gaussian
from vaebook.objectives import draw as draw_from
from vaebook.objectives import elbo

SHAPE = (1, 2, 3)


def small_vae() -> VAE:
    """Un VAE à trois codes et six pixels, de poids aléatoires."""
    return VAE(3, (5,), SHAPE, {"name": "gaussian", "sigma": 0.37})


@pytest.mark.equation("eq-gaussien-modele")
def test_the_model_is_two_gaussians(draw: Draw) -> None:
    model = small_vae()
    z, x = draw.normal(3), draw.uniform(*SHAPE)
    x_hat, d, D, sigma = model.likelihood(z).mean, 3, 6, 0.37
    left = model.prior.log_prob(z)
    right = -d / 2 * math.log(2 * math.pi) - (z**2).sum() / 2
    same(left, right)
    left = model.likelihood(z).log_prob(x)
    right = -D / 2 * math.log(2 * math.pi * sigma**2) - ((x - x_hat) ** 2).sum() / (2 * sigma**2)
    same(left, right)


@pytest.mark.equation("eq-gaussien-encodeur")
def test_the_encoder_is_a_gaussian_of_diagonal_covariance(draw: Draw) -> None:
    model = small_vae()
    x, z = draw.uniform(1, *SHAPE), draw.normal(3)
    mu, logvar = model.head.linear(model.encoder(x))[0].split(3)
    right_covariance = torch.diag((logvar / 2).exp() ** 2)
    same(torch.diag(model.posterior(x).variance[0]), right_covariance)
    left = model.posterior(x).log_prob(z)[0]
    right = MultivariateNormal(mu, right_covariance).log_prob(z)
    same(left, right)


@pytest.mark.equation("eq-gaussien-reseaux")
def test_the_two_networks_are_affine_maps_and_rectifiers(draw: Draw) -> None:
    model = small_vae()
    x, z = draw.uniform(*SHAPE), draw.normal(3)
    (W_1, b_1, head, bias), (W_4, b_4, W_5, b_5) = (
        [w.detach() for w in weights]
        for weights in (
            [*model.encoder.parameters(), *model.head.parameters()],
            list(model.decoder.parameters()),
        )
    )
    (W_2, W_3), (b_2, b_3) = head.split(3), bias.split(3)
    right_a = torch.relu(W_1 @ x.flatten() + b_1)
    right_mu = W_2 @ right_a + b_2
    right_logvar = W_3 @ right_a + b_3
    q = model.posterior(x.unsqueeze(0))
    same(model.encoder(x.unsqueeze(0))[0], right_a)
    same(q.mean[0], right_mu)
    same(2 * q.stddev[0].log(), right_logvar)
    right_b = torch.relu(W_4 @ z + b_4)
    right = 1 / (1 + torch.exp(-(W_5 @ right_b + b_5)))
    same(model.likelihood(z).mean.flatten(), right)


@pytest.mark.equation("eq-gaussien-elbo")
def test_the_bound_is_below_the_evidence_and_touches_it(draw: Draw) -> None:
    model = PPCA(draw.normal(5, 3), draw.normal(5), 0.8)
    x = draw.normal(1, 5)
    log_p, exact = model.log_prob(x)[0], model.posterior(x)

    def bound(q: MultivariateNormal) -> Tensor:
        noise, weight = nodes(torch.zeros(3), torch.ones(3), 3)
        z = q.mean[0] + noise @ q.scale_tril[0].mT
        right_reconstruction = (weight * model.likelihood(z).log_prob(x)).sum()
        right_bound: Tensor = right_reconstruction - kl_divergence(q, model.prior)[0]
        return right_bound

    at_most(bound(MultivariateNormal(draw.normal(1, 3), draw.spd(3).unsqueeze(0))), log_p)
    same(log_p, bound(MultivariateNormal(exact.mean, exact.covariance_matrix)))
    # `elbo`, sur six tirages bien placés : l'espérance d'un décodeur linéaire y est exacte.
    mu, sigma = draw.normal(1, 3), draw.positive(1, 3)
    drawn, prior = Prescribed(mu, sigma, cubature(3)), diagonal_gaussian(torch.zeros(3), torch.ones(3))
    encoded = SimpleNamespace(posterior=lambda x: drawn, likelihood=model.likelihood, prior=prior)
    same(elbo(encoded, x, samples=6).value[0], bound(MultivariateNormal(mu, (sigma**2).diag_embed())))
    # L'écart entre les deux membres est exactement la divergence à la vraie loi a posteriori.
    q = MultivariateNormal(draw.normal(1, 3), draw.spd(3).unsqueeze(0))
    same(log_p - bound(q), kl_divergence(q, exact)[0])


@pytest.mark.equation("eq-gaussien-reparam")
def test_a_draw_is_the_mean_plus_the_scaled_noise(draw: Draw) -> None:
    mu, sigma = draw.normal(4, 3), draw.positive(4, 3)
    torch.manual_seed(draw.seed)
    left = draw_from(diagonal_gaussian(mu, sigma), 2)
    torch.manual_seed(draw.seed)
    epsilon = torch.randn(2, 4, 3)
    right = mu + sigma * epsilon
    same(left, right)
    # Sa loi : la densité de ε, divisée par le jacobien.
    same(Normal(mu, sigma).log_prob(right), Normal(0.0, 1.0).log_prob(epsilon) - sigma.log())


@pytest.mark.equation("eq-gaussien-kl-covariance")
def test_the_divergence_to_the_standard_gaussian(draw: Draw) -> None:
    mu, covariance, d = draw.normal(4), draw.spd(4), 4
    standard = MultivariateNormal(torch.zeros(4), torch.eye(4))
    left = kl_divergence(MultivariateNormal(mu, covariance), standard)
    right = 1 / 2 * (covariance.trace() + (mu**2).sum() - d - torch.logdet(covariance))
    same(left, right)


@pytest.mark.equation("eq-gaussien-kl")
def test_the_divergence_of_a_diagonal_gaussian(draw: Draw) -> None:
    mu, sigma = draw.normal(5, 3), draw.positive(5, 3)
    model = SimpleNamespace(
        posterior=lambda x: diagonal_gaussian(mu, sigma),
        likelihood=lambda z: diagonal_gaussian(z, torch.ones(3)),
        prior=diagonal_gaussian(torch.zeros(3), torch.ones(3)),
    )
    left = elbo(model, draw.normal(5, 3)).kl
    right = -1 / 2 * (1 + (sigma**2).log() - mu**2 - sigma**2).sum(-1)
    same(left, right)
    at_most(torch.zeros(5), right)
    same(kl_divergence(model.prior, model.prior), 0.0)


@pytest.mark.equation("eq-gaussien-kl-logvar")
def test_the_divergence_written_with_the_log_variance(draw: Draw) -> None:
    mu, logvar = draw.normal(5, 3), draw.normal(5, 3)
    model = SimpleNamespace(
        posterior=lambda x: diagonal_gaussian(mu, torch.exp(logvar / 2)),
        likelihood=lambda z: diagonal_gaussian(z, torch.ones(3)),
        prior=diagonal_gaussian(torch.zeros(3), torch.ones(3)),
    )
    left = elbo(model, draw.normal(5, 3)).kl
    right = -1 / 2 * (1 + logvar - mu**2 - torch.exp(logvar)).sum(-1)
    same(left, right)


@pytest.mark.equation("eq-gaussien-bits")
def test_bits_per_dimension_bound_the_length_of_a_code(draw: Draw) -> None:
    D, k = 3, torch.tensor([7.0, 120.0, 201.0])
    pixels = Normal((k + draw.uniform(3)) / 256, draw.positive(3) / 256)
    noise, weight = cube(D)
    probability = (pixels.cdf((k + 1) / 256) - pixels.cdf(k / 256)).prod()
    expectation = (weight * pixels.log_prob((k + noise) / 256).sum(1)).sum()
    left = -probability.log2() / D
    right = -expectation / (D * math.log(2)) + 8
    at_most(left, right)
    same(bits_per_dim(expectation, D), right)
    # Égalité si la densité est constante sur le pavé : ici, celle d'un cube de côté 1,7.
    expectation = torch.tensor(-D * math.log(1.7))
    left = -torch.tensor((256 * 1.7) ** -D).log2() / D
    right = -expectation / (D * math.log(2)) + 8
    same(left, right)


@pytest.mark.equation("eq-gaussien-kl-deux")
def test_the_divergence_between_two_diagonal_gaussians(draw: Draw) -> None:
    mu, m, sigma, s = draw.normal(4), draw.normal(4), draw.positive(4), draw.positive(4)
    left = kl_divergence(diagonal_gaussian(mu, sigma), diagonal_gaussian(m, s))
    right = 1 / 2 * ((s**2 / sigma**2).log() + (sigma**2 + (mu - m) ** 2) / s**2 - 1).sum()
    same(left, right)

"""Les vraisemblances, contre scipy et la quadrature."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch

from vaebook import likelihoods
from vaebook.likelihoods import LIKELIHOODS, make_likelihood

SHAPE = (2, 3, 4)  # canaux, hauteur, largeur


def parameters(count: int, batch: tuple[int, ...] = (5,), seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*batch, count, *SHAPE, generator=generator, dtype=torch.float64)


def images(seed: int = 1) -> torch.Tensor:
    return torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_shapes_and_config_of_every_likelihood(name):
    likelihood = make_likelihood(name).double()
    p = likelihood(parameters(likelihood.parameters_per_pixel, (7, 5)))
    assert p.batch_shape == (7, 5)
    assert p.event_shape == SHAPE
    assert p.log_prob(images()).shape == (7, 5)
    assert p.mean.shape == p.sample().shape == (7, 5, *SHAPE)
    again = make_likelihood(likelihood.config)
    assert type(again) is type(likelihood)
    assert again.config == likelihood.config


def test_gaussian_is_scipy_norm():
    mean, x = parameters(1), images()
    p = likelihoods.Gaussian(0.3, link="identity").double()(mean)
    expected = scipy.stats.norm.logpdf(x, mean[:, 0], 0.3).sum((1, 2, 3))
    np.testing.assert_allclose(p.log_prob(x), expected, rtol=1e-12)


def test_laplace_is_scipy_laplace():
    mean, x = parameters(1), images()
    p = likelihoods.Laplace(0.25, link="identity").double()(mean)
    expected = scipy.stats.laplace.logpdf(x, mean[:, 0], 0.25).sum((1, 2, 3))
    np.testing.assert_allclose(p.log_prob(x), expected, rtol=1e-12)


def test_bernoulli_is_scipy_bernoulli_on_binary_pixels():
    logits, x = parameters(1), (images() > 0.5).double()
    p = likelihoods.Bernoulli()(logits)
    expected = scipy.stats.bernoulli.logpmf(x, torch.sigmoid(logits[:, 0])).sum((1, 2, 3))
    np.testing.assert_allclose(p.log_prob(x), expected, rtol=1e-10)


def test_pixel_gaussian_has_one_floored_sigma_per_pixel():
    raw, x = parameters(2), images()
    p = likelihoods.PixelGaussian(floor=0.05, link="identity")(raw)
    sigma = 0.05 + np.log1p(np.exp(raw[:, 1].numpy()))
    np.testing.assert_allclose(p.stddev, sigma, rtol=1e-12)
    expected = scipy.stats.norm.logpdf(x, raw[:, 0], sigma).sum((1, 2, 3))
    np.testing.assert_allclose(p.log_prob(x), expected, rtol=1e-12)
    very_certain = likelihoods.PixelGaussian(floor=0.05, link="identity")(torch.full_like(raw, -1e4))
    np.testing.assert_allclose(very_certain.stddev, 0.05)


@pytest.mark.parametrize("name", ["gaussian", "shared_gaussian", "pixel_gaussian", "laplace"])
def test_sigmoid_link_keeps_the_mean_in_the_unit_interval(name):
    likelihood = make_likelihood(name)
    raw = 3 * parameters(likelihood.parameters_per_pixel)
    torch.testing.assert_close(likelihood(raw).mean, torch.sigmoid(raw[:, 0]))
    linear = make_likelihood(likelihood.config | {"link": "identity"})
    torch.testing.assert_close(linear(raw).mean, raw[:, 0])
    with pytest.raises(ValueError, match="lien inconnue : « probit »"):
        make_likelihood({"name": name, "link": "probit"})


# Identité 16 : la Bernoulli continue.


def continuous_bernoulli(logit: float) -> torch.distributions.Distribution:
    logits = torch.full((1, 1, 1, 1), logit, dtype=torch.float64)
    return likelihoods.ContinuousBernoulli()(logits)


@pytest.mark.parametrize("logit", [-120.0, -20.0, -3.0, -0.02, -0.005, 0.0, 0.005, 0.02, 1.0, 8.0, 40.0])
def test_continuous_bernoulli_integrates_to_one_and_gives_its_mean(logit):
    p = continuous_bernoulli(logit)

    def density(value: float) -> float:
        return p.log_prob(torch.full((1, 1, 1), value, dtype=torch.float64)).exp().item()

    # La masse se presse sur un bord : on y resserre la quadrature.
    points = [1 / max(abs(logit), 2), 1 - 1 / max(abs(logit), 2)]
    total, _ = scipy.integrate.quad(density, 0, 1, points=points, epsabs=1e-12)
    mean, _ = scipy.integrate.quad(lambda v: v * density(v), 0, 1, points=points, epsabs=1e-12)
    assert total == pytest.approx(1, abs=1e-10)
    assert p.mean.item() == pytest.approx(mean, abs=1e-9)


@pytest.mark.parametrize("logit", [-120.0, -3.0, -0.005, 0.0, 0.02, 8.0, 120.0])
def test_continuous_bernoulli_variance_cdf_and_entropy(logit):
    p = likelihoods.ContinuousBernoulli()(torch.full((1, 1, 1, 1), logit, dtype=torch.float64)).base_dist
    x = torch.linspace(0, 1, 400_001, dtype=torch.float64)
    log_density = p.log_prob(x.view(-1, 1, 1, 1))[:, 0, 0, 0]
    density = log_density.exp()
    mean = p.mean.item()
    assert p.variance.item() == pytest.approx(torch.trapezoid((x - mean) ** 2 * density, x).item(), rel=1e-5)
    assert p.entropy().item() == pytest.approx(-torch.trapezoid(density * log_density, x).item(), abs=1e-5)
    middle = torch.tensor(0.3, dtype=torch.float64)
    below = torch.trapezoid(density[x <= 0.3], x[x <= 0.3]).item()
    assert p.cdf(middle).item() == pytest.approx(below, abs=1e-5)
    assert p.cdf(p.icdf(middle)).item() == pytest.approx(0.3, abs=1e-9)
    assert 0 <= p.icdf(torch.zeros(())).item() <= p.icdf(torch.ones(())).item() <= 1


def test_continuous_bernoulli_normaliser_is_log_2_at_one_half():
    # À λ = ½, entropie croisée log 2 et constante log 2 s'annulent : la loi est uniforme.
    assert continuous_bernoulli(0.0).log_prob(torch.full((1, 1, 1), 0.3)).item() == pytest.approx(
        0, abs=1e-15
    )


def test_continuous_bernoulli_mean_is_not_its_parameter():
    assert continuous_bernoulli(2.0).mean.item() == pytest.approx(1 / (1 - math.exp(-2)) - 1 / 2, rel=1e-12)
    assert abs(continuous_bernoulli(2.0).mean.item() - 1 / (1 + math.exp(-2))) > 0.2


def test_continuous_bernoulli_agrees_with_torch_where_torch_is_exact():
    logits, x = 2 * parameters(1), images()
    ours = likelihoods.ContinuousBernoulli()(logits)
    theirs = torch.distributions.ContinuousBernoulli(logits=logits[:, 0])
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x).sum((1, 2, 3)), rtol=0, atol=1e-8)
    torch.testing.assert_close(ours.mean, theirs.mean, rtol=0, atol=1e-8)


def test_continuous_bernoulli_keeps_a_gradient_where_torch_saturates():
    logits = torch.tensor(-120.0, requires_grad=True)
    likelihoods.ContinuousBernoulli()(logits.view(1, 1, 1, 1)).log_prob(torch.zeros(1, 1, 1)).sum().backward()
    assert logits.grad.item() == pytest.approx(-1 / 120, rel=1e-4)  # d log|η| / dη
    saturated = torch.tensor(-120.0, requires_grad=True)
    torch.distributions.ContinuousBernoulli(logits=saturated).log_prob(torch.tensor(0.0)).backward()
    assert saturated.grad.item() == 0


def test_continuous_bernoulli_samples_follow_their_mean():
    torch.manual_seed(0)
    for logit in (-30.0, -1.0, 0.001, 3.0):
        p = continuous_bernoulli(logit)
        draws = p.sample((200_000,)).flatten()
        assert 0 <= draws.min() <= draws.max() <= 1
        error = 4 * draws.std().item() / math.sqrt(len(draws))
        assert draws.mean().item() == pytest.approx(p.mean.item(), abs=error)


def test_bernoulli_from_logits_does_not_saturate():
    logits = torch.full((1, 1, 1, 1), 120.0, requires_grad=True)
    loss = -likelihoods.Bernoulli()(logits).log_prob(torch.zeros(1, 1, 1)).sum()
    loss.backward()
    assert loss.item() == 120
    assert logits.grad.item() == 1


@pytest.mark.parametrize(
    ("name", "density", "unit"),
    [
        ("bernoulli", False, False),
        ("continuous_bernoulli", True, True),
        ("gaussian", True, False),
        ("shared_gaussian", True, False),
        ("pixel_gaussian", True, False),
        ("laplace", True, False),
    ],
)
def test_each_says_what_it_is_a_density_on(name, density, unit):
    likelihood = make_likelihood(name)
    assert likelihood.is_density is density
    assert likelihood.is_density_on_unit_interval is unit


def test_squared_error_is_the_gaussian_of_variance_one_half():
    """Identité 14 : SSE = −log p à σ² = ½, à (D/2) log π près (448,73 nats pour D = 784)."""
    mean, x = parameters(1), images()
    size = math.prod(SHAPE)
    squared = ((x - mean[:, 0]) ** 2).sum((1, 2, 3))
    negative = -likelihoods.Gaussian(math.sqrt(0.5), link="identity").double()(mean).log_prob(x)
    torch.testing.assert_close(squared, negative - size / 2 * math.log(math.pi), rtol=1e-6, atol=0)
    assert 784 / 2 * math.log(math.pi) == pytest.approx(448.73, abs=5e-3)


def test_best_shared_variance_is_the_mean_squared_error():
    """Identité 15 : σ² optimal = erreur quadratique moyenne, où −log p = D/2 (1 + log 2πσ²)."""
    mean, x = parameters(1), images()
    mse = ((x - mean[:, 0]) ** 2).mean()
    shared = likelihoods.SharedGaussian(math.sqrt(mse.item()), link="identity").double()
    value = shared(mean).log_prob(x).mean()
    (gradient,) = torch.autograd.grad(value, shared.log_sigma)
    size = math.prod(SHAPE)
    assert abs(gradient.item()) < 1e-4 * size
    assert -value.item() == pytest.approx(size / 2 * (1 + math.log(2 * math.pi * mse)), rel=1e-9)


def test_unknown_names_and_impossible_scales_are_refused_in_french():
    with pytest.raises(ValueError, match="Vraisemblance inconnue : « poisson »"):
        make_likelihood("poisson")
    for build in (
        likelihoods.Gaussian,
        likelihoods.SharedGaussian,
        likelihoods.PixelGaussian,
        likelihoods.Laplace,
    ):
        for value in (0.0, -1.0, math.nan, math.inf):
            with pytest.raises(ValueError, match="strictement positif"):
                build(value)

"""L'ACP probabiliste contre scipy, la quadrature, et les nombres publiés de Fashion-MNIST."""

import math
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from vaebook import data, objectives
from vaebook.exact import PPCA


def model(latent_dim: int = 3, size: int = 7, seed: int = 0, sigma2: float = 0.3) -> PPCA:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    return PPCA(normal(size, latent_dim), normal(size), sigma2)


def observations(ppca: PPCA, n: int = 5, seed: int = 1) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ppca.sample(n)


def random_rotation(d: int, seed: int = 2) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, d, generator=g, dtype=torch.float64))[0]


def random_gaussian(kind: str, n: int, d: int, seed: int) -> Independent | MultivariateNormal:
    g = torch.Generator().manual_seed(seed)
    mean = torch.randn(n, d, generator=g, dtype=torch.float64)
    if kind == "diagonal":
        return Independent(Normal(mean, 0.2 + torch.rand(n, d, generator=g, dtype=torch.float64)), 1)
    root = torch.randn(n, d, d, generator=g, dtype=torch.float64)
    return MultivariateNormal(mean, root @ root.mT + 0.1 * torch.eye(d, dtype=torch.float64))


@settings(deadline=None, max_examples=25)
@given(d=st.integers(1, 5), extra=st.integers(0, 6), n=st.integers(1, 6), seed=st.integers(0, 1000))
def test_log_prob_is_the_density_of_scipy(d: int, extra: int, n: int, seed: int) -> None:
    ppca = model(d, d + extra, seed)
    x = observations(ppca, n, seed + 1)
    covariance = ppca.W @ ppca.W.T + ppca.sigma2 * torch.eye(d + extra, dtype=torch.float64)
    expected = multivariate_normal(ppca.mu.numpy(), covariance.numpy()).logpdf(x.numpy())
    np.testing.assert_allclose(ppca.log_prob(x).numpy(), np.atleast_1d(expected), rtol=1e-9, atol=1e-9)


def test_posterior_is_bayes_rule() -> None:
    ppca = model()
    x = observations(ppca)
    z = torch.randn(4, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    bayes = ppca.prior.log_prob(z) + ppca.likelihood(z).log_prob(x) - ppca.log_prob(x)
    torch.testing.assert_close(ppca.posterior(x).log_prob(z), bayes, rtol=1e-10, atol=1e-10)


def test_identity_2_elbo_at_the_exact_posterior_is_log_prob() -> None:
    ppca = model()
    x = observations(ppca, 20)
    torch.testing.assert_close(ppca.elbo(x, ppca.posterior(x)), ppca.log_prob(x), rtol=1e-13, atol=1e-12)


@settings(deadline=None, max_examples=25)
@given(
    kind=st.sampled_from(["diagonal", "full"]),
    d=st.integers(1, 4),
    n=st.integers(1, 5),
    seed=st.integers(0, 999),
)
def test_identity_3_gap_is_the_kl_to_the_posterior(kind: str, d: int, n: int, seed: int) -> None:
    ppca = model(d, d + 3, seed)
    x = observations(ppca, n, seed + 1)
    q = random_gaussian(kind, n, d, seed + 2)
    gap = ppca.log_prob(x) - ppca.elbo(x, q)
    torch.testing.assert_close(gap, kl_divergence(q, ppca.posterior(x)), rtol=1e-9, atol=1e-9)
    assert (gap >= 0).all()


def test_exact_elbo_is_a_quadrature() -> None:
    ppca = model(1, 2)
    x = observations(ppca, 1)
    q = Independent(Normal(*torch.tensor([[[0.4]], [[0.7]]], dtype=torch.float64)), 1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    z = 0.4 + 0.7 * torch.from_numpy(nodes)[:, None, None]
    integrand = ppca.likelihood(z).log_prob(x) + ppca.prior.log_prob(z) - q.log_prob(z)
    expected = (torch.from_numpy(weights)[:, None] * integrand).sum() / math.sqrt(2 * math.pi)
    assert float(ppca.elbo(x, q)) == pytest.approx(float(expected), abs=1e-11)


def test_monte_carlo_elbo_of_the_objectives_agrees() -> None:
    ppca = model()
    x = observations(ppca, 3)
    torch.manual_seed(4)
    terms = objectives.elbo(ppca, x, samples=20_000)
    torch.testing.assert_close(terms.value, ppca.log_prob(x), rtol=0, atol=0.08)
    torch.testing.assert_close(terms.kl, kl_divergence(ppca.posterior(x), ppca.prior))
    assert terms.value.dtype == torch.float64


def test_identity_4_maximum_likelihood_has_a_diagonal_posterior() -> None:
    x = observations(model(3, 7), 400)
    fitted = PPCA.fit(x, 3)
    gram = fitted.W.T @ fitted.W
    assert float((gram - gram.diagonal().diag()).abs().max()) < 1e-12
    best = fitted.elbo(x, fitted.best_diagonal(x))
    torch.testing.assert_close(best, fitted.log_prob(x), rtol=1e-12, atol=1e-11)


def test_identity_5_rotation_costs_the_diagonal_family() -> None:
    x = observations(model(3, 7), 400)
    fitted = PPCA.fit(x, 3)
    rotated = fitted.rotate(random_rotation(3))
    torch.testing.assert_close(rotated.log_prob(x), fitted.log_prob(x), rtol=1e-11, atol=1e-11)
    gap = rotated.log_prob(x) - rotated.elbo(x, rotated.best_diagonal(x))
    precision = torch.eye(3, dtype=torch.float64) + rotated.W.T @ rotated.W / rotated.sigma2
    hadamard = 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision))
    assert float(hadamard) > 0.05
    torch.testing.assert_close(gap, hadamard.expand(400), rtol=1e-9, atol=1e-9)
    permuted = fitted.rotate(torch.eye(3)[[2, 0, 1]])
    same = permuted.elbo(x, permuted.best_diagonal(x))
    torch.testing.assert_close(same, fitted.log_prob(x), rtol=1e-11, atol=1e-11)


def test_best_diagonal_beats_its_neighbours() -> None:
    ppca = model()
    x = observations(ppca)
    best = ppca.best_diagonal(x)
    value = ppca.elbo(x, best)
    g = torch.Generator().manual_seed(5)
    for _ in range(50):
        shift, scale = (0.05 * torch.randn(5, 3, generator=g, dtype=torch.float64) for _ in range(2))
        near = Independent(Normal(best.mean + shift, best.stddev * scale.exp()), 1)
        assert (ppca.elbo(x, near) < value).all()


def test_fit_is_a_maximum_of_the_likelihood() -> None:
    x = observations(model(2, 5), 300)
    fitted = PPCA.fit(x, 2)
    W, mu, log_sigma2 = (t.clone().requires_grad_() for t in (fitted.W, fitted.mu, fitted.sigma2.log()))
    PPCA(W, mu, log_sigma2.exp()).log_prob(x).mean().backward()
    for parameter in (W, mu, log_sigma2):
        assert parameter.grad is not None
        assert float(parameter.grad.abs().max()) < 1e-9
    assert float(PPCA.fit(x, 3).log_prob(x).mean()) > float(fitted.log_prob(x).mean())


def test_fit_recovers_the_model_and_keeps_float64() -> None:
    truth = model(2, 6, sigma2=0.09)
    x = observations(truth, 50_000).float()
    fitted = PPCA.fit(x, 2)
    assert fitted.W.dtype == fitted.log_prob(x).dtype == torch.float64
    assert float(fitted.sigma2) == pytest.approx(0.09, rel=0.02)
    torch.testing.assert_close(fitted.W @ fitted.W.T, truth.W @ truth.W.T, rtol=0.05, atol=0.05)


def test_sample_follows_the_density() -> None:
    ppca = model(2, 3)
    x = observations(ppca, 100_000)
    covariance = ppca.W @ ppca.W.T + ppca.sigma2 * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(x.mean(0), ppca.mu, rtol=0, atol=0.03)
    torch.testing.assert_close(torch.cov(x.T), covariance, rtol=0.03, atol=0.03)


# ---------------------------------------------------------------- identité 12


def test_identity_12_slope_of_the_optimal_curve_is_minus_beta() -> None:
    ppca = PPCA.fit(observations(model(4, 9), 500), 4)
    beta = torch.logspace(-1, 1.5, 60, dtype=torch.float64)
    assert float(ppca.rate_distortion(beta).rate.min()) > 0
    step = 1e-5
    above, below = ppca.rate_distortion(beta * (1 + step)), ppca.rate_distortion(beta * (1 - step))
    slope = (above.distortion - below.distortion) / (above.rate - below.rate)
    # Loin d'un changement du nombre de dimensions actives, où R a un coin.
    ratio = ppca.eigenvalues[:4, None] / (beta * ppca.sigma2)
    smooth = ((ratio - 1).abs() > 10 * step).all(0)
    assert int(smooth.sum()) > 50
    torch.testing.assert_close(slope[smooth], -beta[smooth], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("beta", [0.2, 1.0, 3.0])
def test_identity_12_closed_form_is_reached_and_never_beaten(beta: float) -> None:
    x = observations(model(3, 8), 400)
    fitted = PPCA.fit(x, 3)
    sigma2 = float(fitted.sigma2)
    directions = fitted.W / fitted.W.norm(dim=0)
    kept = (fitted.eigenvalues[:3] - beta * sigma2).clamp(min=0).sqrt()

    def measured(W: Tensor, q_scale: float = 1.0) -> tuple[float, float]:
        posterior = PPCA(W, fitted.mu, beta * sigma2).posterior(x)
        q = MultivariateNormal(posterior.mean, posterior.covariance_matrix * q_scale)
        decoder = PPCA(W, fitted.mu, sigma2)
        kl = kl_divergence(q, decoder.prior)
        return float(kl.mean()), float(-(decoder.elbo(x, q) + kl).mean())

    rate, distortion = (float(part) for part in fitted.rate_distortion(beta))
    assert measured(directions * kept) == pytest.approx((rate, distortion), abs=1e-10)
    optimum = distortion + beta * rate
    g = torch.Generator().manual_seed(6)
    for scale in (0.01, 0.1, 1.0):
        W = directions * kept + scale * torch.randn(8, 3, generator=g, dtype=torch.float64)
        for q_scale in (0.8, 1.0, 1.2):
            r, d = measured(W, q_scale)
            assert d + beta * r > optimum


def test_rate_distortion_at_one_is_the_fitted_model() -> None:
    x = observations(model(3, 8), 400)
    fitted = PPCA.fit(x, 3)
    point = fitted.rate_distortion(1.0)
    assert float(point.rate) == pytest.approx(float(kl_divergence(fitted.posterior(x), fitted.prior).mean()))
    assert float(-point.distortion - point.rate) == pytest.approx(float(fitted.log_prob(x).mean()))


def test_eigenvalues_of_an_unfitted_model_are_those_of_its_covariance() -> None:
    ppca = model(3, 7)
    covariance = ppca.W @ ppca.W.T + ppca.sigma2 * torch.eye(7, dtype=torch.float64)
    torch.testing.assert_close(ppca.eigenvalues, torch.linalg.eigvalsh(covariance).flip(0))


def test_high_beta_collapses() -> None:
    ppca = PPCA.fit(observations(model(3, 8), 400), 3)
    assert float(ppca.rate_distortion(1e6).rate) == 0


# ---------------------------------------------------------------- identité 22


@settings(deadline=None, max_examples=25)
@given(d=st.integers(1, 4), n=st.integers(1, 4), seed=st.integers(0, 999))
def test_identity_22_mixed_kls_are_those_of_full_gaussians(d: int, n: int, seed: int) -> None:
    diagonal = random_gaussian("diagonal", n, d, seed)
    full = random_gaussian("full", n, d, seed + 1)
    as_full = MultivariateNormal(diagonal.mean, diagonal.variance.diag_embed())
    forward, reverse = kl_divergence(diagonal, full), kl_divergence(full, diagonal)
    torch.testing.assert_close(forward, kl_divergence(as_full, full), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(reverse, kl_divergence(full, as_full), rtol=1e-8, atol=1e-8)
    assert (forward >= 0).all()
    assert (reverse >= 0).all()
    torch.testing.assert_close(kl_divergence(diagonal, as_full), torch.zeros(n).double(), rtol=0, atol=1e-10)


def test_identity_22_mixed_kl_is_a_quadrature() -> None:
    diagonal = random_gaussian("diagonal", 1, 1, 0)
    full = random_gaussian("full", 1, 1, 1)
    z = torch.linspace(-40, 40, 400_001, dtype=torch.float64)[:, None, None]
    for q, p in ((diagonal, full), (full, diagonal)):
        log_q = q.log_prob(z).squeeze()
        expected = torch.trapezoid(log_q.exp() * (log_q - p.log_prob(z).squeeze()), z.squeeze())
        assert float(kl_divergence(q, p)) == pytest.approx(float(expected), abs=1e-9)


def test_kl_of_other_independents_stays_unknown() -> None:
    laplace = Independent(torch.distributions.Laplace(torch.zeros(1, 2), torch.ones(1, 2)), 1)
    full = MultivariateNormal(torch.zeros(2), torch.eye(2))
    with pytest.raises(NotImplementedError):
        kl_divergence(laplace, full)
    with pytest.raises(NotImplementedError):
        kl_divergence(full, laplace)


# ---------------------------------------------------------------- identités 6 et 7


class Loose(PPCA):
    """Le même modèle, avec un q faux : décalé et trop large."""

    def posterior(self, x: Tensor) -> Independent:  # type: ignore[override]
        exact = PPCA.posterior(self, x)
        return Independent(Normal(exact.mean + 0.3, 1.3 * exact.stddev), 1)


def test_identity_6_importance_weighted_bounds_increase_to_log_prob() -> None:
    truth = model(2, 4, sigma2=1.0)
    loose = Loose(truth.W, truth.mu, truth.sigma2)
    x = observations(truth, 1)
    log_px = float(truth.log_prob(x))
    torch.manual_seed(7)
    means, errors = [], []
    for k in (1, 2, 5, 20, 200):
        bound = objectives.iwae_bound(loose, x.expand(8000, -1), samples=k)
        means.append(float(bound.mean()))
        errors.append(float(bound.std()) / math.sqrt(8000))
    assert means[0] == pytest.approx(float(truth.elbo(x, loose.posterior(x))), abs=4 * errors[0])
    for i in range(4):
        assert means[i + 1] > means[i] + 2 * errors[i]
    assert all(mean < log_px + 4 * error for mean, error in zip(means, errors, strict=True))
    assert means[-1] == pytest.approx(log_px, abs=0.01)


def test_identity_7_weighted_mean_of_log_weights() -> None:
    truth = model(2, 4)
    loose = Loose(truth.W, truth.mu, truth.sigma2)
    x = observations(truth, 50)
    torch.manual_seed(8)
    log_w = objectives.log_weights(loose, x, samples=64)
    bound = log_w.logsumexp(0) - math.log(64)
    w = log_w.softmax(0)
    entropy = torch.distributions.Categorical(probs=w.T).entropy()
    wrong = (w * log_w).sum(0)
    torch.testing.assert_close(wrong, bound + math.log(64) - entropy, rtol=1e-10, atol=1e-10)
    assert (wrong >= bound).all()
    # Le mauvais estimateur dépasse log p(x) en moyenne : il tend vers log p(x) + KL(p(z|x)‖q).
    assert float((wrong - truth.log_prob(x)).mean()) > 0


# ---------------------------------------------------------------- ce que l'on refuse


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PPCA(torch.ones(3), torch.ones(3), 1.0), "de forme"),
        (lambda: PPCA(torch.ones(3, 2), torch.ones(2), 1.0), "de forme"),
        (lambda: PPCA(torch.ones(3, 2), torch.ones(3), 0.0), "strictement positif"),
        (lambda: PPCA(torch.ones(3, 2), torch.ones(3), math.nan), "strictement positif"),
        (lambda: PPCA.fit(torch.ones(5, 1, 2, 2), 1), "flatten"),
        (lambda: PPCA.fit(torch.randn(5, 3), 3), "latent_dim"),
        (lambda: PPCA.fit(torch.randn(5, 3), 0), "latent_dim"),
        (lambda: PPCA.fit(torch.randn(3, 8), 2), "reproduisent"),
        (lambda: model().log_prob(torch.ones(2, 6)), "une image par ligne"),
        (lambda: model().posterior(torch.ones(7)), "une image par ligne"),
        (lambda: model().rotate(2 * torch.eye(3)), "orthogonale"),
        (lambda: model().rotate(torch.eye(2)), "orthogonale"),
        (lambda: model().rate_distortion(0.0), "beta"),
    ],
)
def test_refusals(build, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        build()


def test_elbo_refuses_what_is_not_gaussian() -> None:
    q = Independent(torch.distributions.Laplace(torch.zeros(5, 3), torch.ones(5, 3)), 1)
    with pytest.raises(TypeError, match="gaussienne"):
        model().elbo(torch.zeros(5, 7), q)


# ---------------------------------------------------------------- Fashion-MNIST


@pytest.fixture(scope="module")
def fashion() -> tuple[Tensor, Tensor]:
    try:
        train, test = data.fashion_mnist("train"), data.fashion_mnist("test")
    except OSError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"Fashion-MNIST introuvable : {error}")
    return train.images.flatten(1), test.images.flatten(1)


@pytest.mark.parametrize(
    ("latent_dim", "sigma2", "train_log_prob", "test_log_prob", "train_rate"),
    [
        (2, "0.04641", "85.25", "86.93", "5.81"),
        (10, "0.02469", "314.81", "315.16", "23.74"),
        (20, "0.01919", "396.76", "396.70", "40.55"),
        (50, "0.01276", "513.86", "512.85", "83.34"),
    ],
)
def test_fashion_mnist_table(
    fashion: tuple[Tensor, Tensor],
    latent_dim: int,
    sigma2: str,
    train_log_prob: str,
    test_log_prob: str,
    train_rate: str,
) -> None:
    train, test = fashion
    ppca = PPCA.fit(train, latent_dim)
    rate = kl_divergence(ppca.posterior(train), ppca.prior).mean()
    assert f"{ppca.sigma2:.5f}" == sigma2
    assert f"{ppca.log_prob(train).mean():.2f}" == train_log_prob
    assert f"{ppca.log_prob(test).mean():.2f}" == test_log_prob
    assert f"{rate:.2f}" == train_rate
    assert float(ppca.rate_distortion(1.0).rate) == pytest.approx(float(rate), rel=1e-9)

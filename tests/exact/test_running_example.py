"""L'exemple suivi : contre la quadrature adaptative de scipy, et contre l'identité qui lie borne et écart."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch

from vaebook.networks import diagonal_gaussian
from vaebook.objectives import elbo
from vaebook.running_example import RunningExample

MODEL = RunningExample()
X = torch.tensor([[-2.3], [-1.0], [0.0], [0.4], [1.5], [2.0], [3.0]], dtype=torch.float64)


def joint(z: float, x: float, sigma: float = 0.5) -> float:
    return scipy.stats.norm.pdf(x, 2 * math.tanh(2 * z), sigma) * scipy.stats.norm.pdf(z)


def q(m: float, s: float, rows: int = len(X)) -> torch.distributions.Distribution:
    shape = (rows, 1)
    return diagonal_gaussian(
        torch.full(shape, m, dtype=torch.float64), torch.full(shape, s, dtype=torch.float64)
    )


def test_log_prob_is_scipy_quadrature():
    exact = [
        math.log(scipy.integrate.quad(joint, -10, 10, args=(x,), epsabs=1e-14)[0]) for x in X[:, 0].tolist()
    ]
    np.testing.assert_allclose(MODEL.log_prob(X), exact, atol=1e-10)


def test_density_of_x_integrates_to_one_and_has_two_modes():
    x = torch.linspace(-6, 6, 2401, dtype=torch.float64).unsqueeze(1)
    density = MODEL.log_prob(x).exp()
    assert float(torch.trapezoid(density, x[:, 0])) == pytest.approx(1, abs=1e-10)
    inside = density[1:-1]
    peaks = x[1:-1, 0][(inside > density[:-2]) & (inside > density[2:])]
    assert len(peaks) == 2
    assert peaks.sum().abs().item() < 1e-9  # symétriques


def test_posterior_integrates_to_one_and_is_skewed():
    z = torch.linspace(-8, 8, 6401, dtype=torch.float64)
    density = MODEL.posterior_density(X, z)
    np.testing.assert_allclose(torch.trapezoid(density, z), 1, atol=1e-10)
    mean = torch.trapezoid(density * z, z)
    third = torch.trapezoid(density * (z - mean[:, None]) ** 3, z)
    second = torch.trapezoid(density * (z - mean[:, None]) ** 2, z)
    assert (third / second**1.5)[5] > 0.5  # x = 2 : très dissymétrique


@pytest.mark.parametrize(("m", "s"), [(0.0, 1.0), (0.7, 0.3), (-0.5, 0.1), (1.0, 0.8)])
def test_bound_plus_gap_is_the_log_likelihood(m, s):
    value, reconstruction, kl = MODEL.elbo(X, q(m, s))
    torch.testing.assert_close(value, reconstruction - kl)
    total = value + MODEL.posterior_kl(X, q(m, s))
    assert (total - MODEL.log_prob(X)).abs().max() < 1e-10


def test_quadrature_is_what_monte_carlo_estimates():
    class WithEncoder(RunningExample):
        def posterior(self, x):
            return q(0.7, 0.3, len(x))

    torch.manual_seed(0)
    x, draws = X[4:5], 200_000
    estimated = elbo(WithEncoder(), x, samples=draws)
    exact = MODEL.elbo(x, q(0.7, 0.3, 1))
    assert estimated.reconstruction.item() == pytest.approx(exact.reconstruction.item(), abs=0.01)
    assert estimated.kl.item() == pytest.approx(exact.kl.item(), abs=1e-12)


def test_best_gaussian_is_a_maximum_for_every_beta():
    for beta in (0.5, 1.0, 4.0):
        best = MODEL.best_gaussian(X, beta=beta)
        _, reconstruction, kl = MODEL.elbo(X, best)
        top = reconstruction - beta * kl
        for shift, scale in ((0.02, 1.0), (-0.02, 1.0), (0.0, 1.03), (0.0, 0.97)):
            near = diagonal_gaussian(best.mean + shift, best.stddev * scale)
            _, reconstruction, kl = MODEL.elbo(X, near)
            assert (reconstruction - beta * kl < top).all()


def test_gradients_flow_to_m_and_s():
    m = torch.tensor([[0.7]], dtype=torch.float64, requires_grad=True)
    s = torch.tensor([[0.3]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: MODEL.elbo(X[4:5], diagonal_gaussian(a, b)).value, (m, s))


def test_samples_follow_the_density():
    torch.manual_seed(0)
    x = MODEL.sample(100_000)
    assert x.shape == (100_000, 1)
    exact = scipy.integrate.quad(
        lambda v: math.exp(MODEL.log_prob(torch.tensor([[v]], dtype=torch.float64)).item()), 1, 6
    )[0]
    assert (x > 1).double().mean().item() == pytest.approx(
        exact, abs=4 * math.sqrt(exact * (1 - exact) / 1e5)
    )


def test_too_small_sigma_is_refused():
    with pytest.raises(ValueError, match="au moins 0,05"):
        RunningExample(0.01)

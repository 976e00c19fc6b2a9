"""Le mélange de deux gaussiennes contre la quadrature et la formule de Bayes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from torch import Tensor

from vaebook.exact import BernoulliGaussianMixture


def mixture() -> BernoulliGaussianMixture:
    return BernoulliGaussianMixture(0.3, [-1.0, 2.0], [0.5, 1.2])


def observations(n: int, seed: int = 0) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return mixture().sample(n)


def test_density_is_the_one_of_scipy_and_integrates_to_one() -> None:
    x = torch.linspace(-20, 20, 100_001, dtype=torch.float64)
    density = mixture().log_prob(x).exp()
    expected = 0.7 * norm(-1, 0.5).pdf(x.numpy()) + 0.3 * norm(2, 1.2).pdf(x.numpy())
    torch.testing.assert_close(density, torch.from_numpy(expected), rtol=1e-12, atol=1e-15)
    assert float(torch.trapezoid(density, x)) == pytest.approx(1, abs=1e-10)


def test_posterior_is_bayes_rule() -> None:
    x = torch.linspace(-4, 6, 11, dtype=torch.float64)
    on = 0.3 * norm(2, 1.2).pdf(x.numpy())
    expected = torch.from_numpy(on / (on + 0.7 * norm(-1, 0.5).pdf(x.numpy())))
    torch.testing.assert_close(mixture().posterior(x).probs, expected, rtol=1e-12, atol=1e-14)


def test_sample_has_the_right_moments() -> None:
    x = observations(200_000)
    mean = 0.7 * -1 + 0.3 * 2
    variance = 0.7 * (0.25 + 1) + 0.3 * (1.44 + 4) - mean**2
    assert float(x.mean()) == pytest.approx(mean, abs=0.02)
    assert float(x.var()) == pytest.approx(variance, abs=0.05)


@settings(deadline=None, max_examples=20)
@given(
    p=st.floats(0.05, 0.95),
    means=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    sigmas=st.tuples(st.floats(0.1, 3), st.floats(0.1, 3)),
    update=st.sets(st.sampled_from(["p", "means", "sigmas"]), min_size=1),
)
def test_em_never_lowers_the_likelihood(p, means, sigmas, update) -> None:  # type: ignore[no-untyped-def]
    start = BernoulliGaussianMixture(p, means, sigmas)
    fitted, history = start.em(observations(200), steps=30, update=tuple(update))
    assert (history.diff() >= -1e-12).all()
    assert float(history[0]) == float(start.log_prob(observations(200)).mean())
    assert float(history[-1]) == float(fitted.log_prob(observations(200)).mean())
    for name in {"p", "means", "sigmas"} - update:
        assert torch.equal(getattr(fitted, name), getattr(start, name))


def test_em_finds_a_stationary_point_near_the_truth() -> None:
    x = observations(20_000)
    fitted, _ = BernoulliGaussianMixture(0.5, [-2.0, 1.0], [1.0, 1.0]).em(x, steps=300)
    assert float(fitted.p) == pytest.approx(0.3, abs=0.02)
    torch.testing.assert_close(fitted.means, torch.tensor([-1.0, 2.0]).double(), rtol=0, atol=0.06)
    torch.testing.assert_close(fitted.sigmas, torch.tensor([0.5, 1.2]).double(), rtol=0, atol=0.05)
    parameters = [t.clone().requires_grad_() for t in (fitted.p, fitted.means, fitted.sigmas)]
    BernoulliGaussianMixture(*parameters).log_prob(x).mean().backward()
    for parameter in parameters:
        assert parameter.grad is not None
        assert float(parameter.grad.abs().max()) < 1e-5


def test_em_survives_a_component_that_nothing_claims() -> None:
    x = torch.zeros(10, dtype=torch.float64)
    near = BernoulliGaussianMixture(0.5, [0.0, 0.0], [0.25, 1.0])
    fitted, history = near.em(x, steps=200, update=("p",))
    assert 0 < float(fitted.p) < 1e-10
    assert (history.diff() >= 0).all()
    far = BernoulliGaussianMixture(0.5, [0.0, 1e6], [1.0, 1.0])
    fitted, history = far.em(x, steps=5)
    assert float(fitted.means[1]) == 1e6
    assert float(fitted.sigmas[1]) == 1
    assert history.isfinite().all()


def test_em_on_one_point_stops_at_the_floor() -> None:
    fitted, history = mixture().em(torch.zeros(10), steps=50, min_sigma=0.01)
    assert float(fitted.sigmas.min()) == 0.01
    assert history.isfinite().all()


@pytest.mark.parametrize(
    "build",
    [
        lambda: BernoulliGaussianMixture(0.0, [0, 1], [1, 1]),
        lambda: BernoulliGaussianMixture(1.0, [0, 1], [1, 1]),
        lambda: BernoulliGaussianMixture(0.5, [0, 1, 2], [1, 1]),
        lambda: BernoulliGaussianMixture(0.5, [0, 1], [1, 0]),
        lambda: mixture().em(torch.zeros(3), update=("q",)),  # type: ignore[arg-type]
    ],
)
def test_refusals(build) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"p doit|means et sigmas|update ne"):
        build()

"""Les deux estimateurs de gradient contre leurs espérances et leurs variances analytiques (identité 9)."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Independent, Laplace, Normal

from vaebook.exact import PPCA
from vaebook.gradients import Gradients, reparameterised, score_function

SAMPLES = 200_000


def normal(mu: float, sigma: float) -> Normal:
    return Normal(*torch.tensor([mu, sigma], dtype=torch.float64))


def leave_one_out(f: Callable[[Tensor], Tensor], q: Normal, samples: int) -> Gradients:
    return score_function(f, q, samples, baseline="leave_one_out")


def constant_baseline(f: Callable[[Tensor], Tensor], q: Normal, samples: int) -> Gradients:
    return score_function(f, q, samples, baseline=1.7)


ESTIMATORS = [reparameterised, score_function, leave_one_out, constant_baseline]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("f", "mu", "sigma", "expected"),
    [
        # E[z²] = μ² + σ² ; E[z³] = μ³ + 3μσ² ; E[sin az] = sin(aμ) exp(−a²σ²/2)
        (lambda z: z**2, 0.7, 1.3, (1.4, 2.6)),
        (lambda z: z**3, 0.7, 0.5, (3 * 0.49 + 3 * 0.25, 6 * 0.7 * 0.5)),
        (
            lambda z: torch.sin(2 * z),
            0.3,
            0.6,
            (2 * math.cos(0.6) * math.exp(-0.72), -4 * 0.6 * math.sin(0.6) * math.exp(-0.72)),
        ),
    ],
)
def test_identity_9_both_are_unbiased(estimator, f, mu, sigma, expected) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    gradients = estimator(f, normal(mu, sigma), SAMPLES)
    for values, mean in zip(gradients, expected, strict=True):
        assert values.shape == (SAMPLES,)
        assert float(values.mean()) == pytest.approx(mean, abs=4 * float(values.std()) / math.sqrt(SAMPLES))


@pytest.mark.parametrize(
    ("f", "pathwise", "score"),
    [(lambda z: torch.sin(50 * z), (1250.0, 1250.0), (0.5, 1.0)), (lambda z: z**2, (4.0, 8.0), (15.0, 74.0))],
)
def test_identity_9_variances_at_the_standard_normal(f, pathwise, score) -> None:  # type: ignore[no-untyped-def]
    # sin 50z : 50² E[cos²] = 1250, 50² E[ε² cos²] = 1250 ; E[z² sin²] = ½, E[(z² − 1)² sin²] = 1.
    # z² : Var(2z) = 4, Var(2z²) = 8 ; E[z⁶] = 15, E[z⁴(z² − 1)²] − 2² = 105 − 30 + 3 − 4 = 74.
    torch.manual_seed(1)
    q = normal(0, 1)
    for gradients, expected in (
        (reparameterised(f, q, SAMPLES), pathwise),
        (score_function(f, q, SAMPLES), score),
    ):
        assert float(gradients.mu.var()) == pytest.approx(expected[0], rel=0.03)
        assert float(gradients.sigma.var()) == pytest.approx(expected[1], rel=0.1)


def test_a_baseline_lowers_the_variance() -> None:
    def far(z: Tensor) -> Tensor:
        return 10 + z

    torch.manual_seed(2)
    q = normal(0, 1)
    plain = score_function(far, q, 50_000).mu.var()
    for baseline in (10.0, torch.tensor(10.0), "leave_one_out"):
        assert float(score_function(far, q, 50_000, baseline=baseline).mu.var()) < float(plain) / 20  # type: ignore[arg-type]


def test_leave_one_out_is_the_mean_of_the_others() -> None:
    q = normal(0, 1)
    torch.manual_seed(3)
    plain = score_function(lambda z: z**2, q, 3)
    torch.manual_seed(3)
    z = q.sample((3,))
    expected = torch.stack(
        [z[i] * (z[i] ** 2 - (z**2)[[j for j in range(3) if j != i]].mean()) for i in range(3)]
    )
    torch.manual_seed(3)
    actual = score_function(lambda z: z**2, q, 3, baseline="leave_one_out")
    torch.testing.assert_close(actual.mu, expected)
    torch.testing.assert_close(plain.mu, z**3)


@settings(deadline=None, max_examples=15)
@given(batch=st.lists(st.integers(1, 3), max_size=2), d=st.integers(1, 4), samples=st.integers(2, 5))
def test_shapes(batch: list[int], d: int, samples: int) -> None:
    q = Independent(Normal(torch.zeros(*batch, d), torch.ones(*batch, d)), 1)
    for estimator in ESTIMATORS:
        gradients = estimator(lambda z: z.square().sum(-1), q, samples)  # type: ignore[arg-type]
        assert gradients.mu.shape == gradients.sigma.shape == (samples, *batch, d)


def test_on_an_elbo_both_agree_with_the_exact_gradient_and_the_score_is_noisier() -> None:
    g = torch.Generator().manual_seed(4)
    W, mu = torch.randn(6, 2, generator=g, dtype=torch.float64), torch.zeros(6, dtype=torch.float64)
    ppca = PPCA(W, mu, 0.5)
    x = torch.randn(1, 6, generator=g, dtype=torch.float64)
    mean = torch.tensor([[0.2, -0.4]], dtype=torch.float64, requires_grad=True)
    stddev = torch.tensor([[0.5, 0.8]], dtype=torch.float64, requires_grad=True)
    q = Independent(Normal(mean, stddev), 1)
    exact = torch.autograd.grad(ppca.elbo(x, q).sum(), [mean, stddev])
    frozen = Independent(Normal(mean.detach(), stddev.detach()), 1)

    # E_q[∇ log q] = 0 : q peut être figé dans f.
    def log_weight(z: Tensor) -> Tensor:
        return ppca.likelihood(z).log_prob(x) + ppca.prior.log_prob(z) - frozen.log_prob(z)

    torch.manual_seed(5)
    pathwise, score = reparameterised(log_weight, q, 50_000), score_function(log_weight, q, 50_000)
    for gradients in (pathwise, score):
        for values, expected in zip(gradients, exact, strict=True):
            error = values.std(0) / math.sqrt(50_000)
            assert ((values.mean(0) - expected).abs() < 4.5 * error).all()
    assert (score.mu.var(0) > 3 * pathwise.mu.var(0)).all()


def test_score_function_needs_no_derivative() -> None:
    torch.manual_seed(6)
    q = normal(0, 1)
    step = score_function(lambda z: (z > 0).double(), q, SAMPLES)
    assert float(step.mu.mean()) == pytest.approx(1 / math.sqrt(2 * math.pi), abs=0.01)
    with pytest.raises(ValueError, match="dérivable"):
        reparameterised(lambda z: (z > 0).double(), q, 10)


@pytest.mark.parametrize("estimator", [reparameterised, score_function])
def test_refusals(estimator) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="au moins un tirage"):
        estimator(torch.sin, normal(0, 1), 0)
    with pytest.raises(ValueError, match="un nombre par tirage"):
        estimator(lambda z: z.sum(), normal(0, 1), 3)
    with pytest.raises(TypeError, match="gaussienne diagonale"):
        estimator(torch.sin, Laplace(0.0, 1.0), 3)
    with pytest.raises(TypeError, match="gaussienne diagonale"):
        estimator(torch.sin, Independent(Normal(torch.zeros(2, 2), torch.ones(2, 2)), 2), 3)


def test_unknown_or_impossible_baseline() -> None:
    with pytest.raises(ValueError, match="Référence inconnue"):
        score_function(torch.sin, normal(0, 1), 3, baseline="mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="au moins deux"):
        score_function(torch.sin, normal(0, 1), 1, baseline="leave_one_out")

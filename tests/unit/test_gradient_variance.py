"""La variance des gradients : contre des formules closes, et contre des tirages."""

import pytest
import torch

from vaebook.gradient_variance import exact_variances, variance
from vaebook.gradients import reparameterised, score_function
from vaebook.networks import diagonal_gaussian

ONE = torch.ones((), dtype=torch.float64)


def test_variance_sums_the_components():
    draws = torch.tensor([[0.0, 1.0], [2.0, 5.0], [4.0, 3.0]], dtype=torch.float64)
    assert variance(draws).value.item() == pytest.approx(draws.var(0).sum().item())
    # Carrés des écarts : 4 + 4, 0 + 4, 4 + 0.
    squares = torch.tensor([8.0, 4.0, 4.0], dtype=torch.float64)
    assert variance(draws).half.item() == pytest.approx(1.96 * squares.std().item() / 3**0.5)


def test_variance_interval_covers_the_truth_about_95_percent_of_the_time():
    torch.manual_seed(0)
    covered = 0
    for _ in range(400):
        value, half = variance(3 * torch.randn(500, dtype=torch.float64))
        covered += bool((value - 9).abs() < half)
    assert 365 <= covered <= 395


def test_one_draw_has_no_variance():
    with pytest.raises(ValueError, match="au moins deux"):
        variance(torch.zeros(1, 3))


def test_square_has_variances_4_15_and_6():
    exact = exact_variances(lambda z: z**2, 0.0, ONE)
    assert [v.item() for v in exact] == pytest.approx([4, 15, 6], abs=1e-10)


@pytest.mark.parametrize("k", [0.5, 2.0, 50.0])
def test_sine_matches_its_closed_form(k):
    exact = exact_variances(lambda z: (k * z).sin(), 0.0, ONE)
    k = torch.tensor(k, dtype=torch.float64)
    mean_square = k**2 * torch.exp(-(k**2))
    pathwise = k**2 / 2 * (1 + torch.exp(-2 * k**2)) - mean_square
    score = (1 - (1 - 4 * k**2) * torch.exp(-2 * k**2)) / 2 - mean_square
    torch.testing.assert_close(exact.reparameterised, pathwise)
    torch.testing.assert_close(exact.score, score)
    torch.testing.assert_close(exact.best_baseline, score)  # b* = 0, par imparité


def test_shape_follows_s_and_values_match_draws():
    s = torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)

    def f(z):
        return torch.tanh(z).exp()

    exact = exact_variances(f, 0.4, s)
    assert exact.score.shape == (3,)
    torch.manual_seed(0)
    for k, width in enumerate(s):
        q = diagonal_gaussian(torch.tensor([0.4], dtype=torch.float64), width.view(1))
        draws = (reparameterised, exact.reparameterised), (score_function, exact.score)
        for estimator, expected in draws:
            value, half = variance(estimator(lambda z: f(z).squeeze(-1), q, 20_000).mu)
            assert (value - expected[k]).abs() < 3 * half

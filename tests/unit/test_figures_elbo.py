"""Les figures du chapitre sur l’ELBO : elles placent les nombres qu’on leur donne."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

import vaebook.figures.elbo as plots
from vaebook.figures import KL, RECONSTRUCTION
from vaebook.networks import diagonal_gaussian

STANDARD = Normal(torch.tensor(0.0), torch.tensor(1.0))


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def test_the_gap_has_neither_colour_of_the_two_terms():
    assert len({plots.GAP, plots.Q, RECONSTRUCTION, KL}) == 4


def test_bound_and_gap_bars_all_end_at_the_log_likelihood():
    rows = {
        "large": (torch.tensor(-3.0), torch.tensor(1.0)),
        "bonne": (torch.tensor(-2.25), torch.tensor(0.25)),
    }
    plots.bound_and_gap(rows, left=-4.0)
    ax = plt.gca()
    ends = [patch.get_x() + patch.get_width() for patch in ax.patches]
    np.testing.assert_allclose(ends, [-3.0, -2.0, -2.25, -2.0])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["large", "bonne"]
    assert ax.get_title() == "log p(x) = −2,00"
    assert "écart 0,25" in [text.get_text() for text in ax.texts]
    assert min(ax.get_xticks()) >= -4
    assert max(ax.get_xticks()) <= -2


def test_a_gap_of_zero_has_no_sign():
    plots.bound_and_gap({"exacte": (torch.tensor(1.0), torch.tensor(-1e-15))}, left=0.0)
    assert "écart 0,00" in [text.get_text() for text in plt.gca().texts]


def test_ellipses_are_two_standard_deviations_along_the_principal_axes():
    tilted = MultivariateNormal(torch.tensor([[1.0, 2.0]]), torch.tensor([[[2.0, 1.0], [1.0, 2.0]]]))
    flat = diagonal_gaussian(torch.zeros(1, 2), torch.tensor([[0.5, 1.5]]))
    plots.posterior_ellipses(tilted, {"diagonale": flat})
    exact, diagonal = plt.gca().patches
    assert exact.get_center() == (1.0, 2.0)
    assert exact.get_width() == pytest.approx(4 * 3**0.5)
    assert exact.get_height() == pytest.approx(4.0, rel=1e-5)
    assert exact.get_angle() % 180 == pytest.approx(45, abs=1e-3)
    assert (diagonal.get_width(), diagonal.get_height()) == pytest.approx((6.0, 2.0))
    assert diagonal.get_angle() % 180 == pytest.approx(90)


def test_integrand_is_q_log_q_over_p():
    z = torch.linspace(-2, 2, 9)
    plots.integrand(z, STANDARD, Normal(torch.tensor(0.0), torch.tensor(2.0)))
    drawn = plt.gcf().axes[1].lines[0].get_ydata()
    q = torch.exp(-(z**2) / 2) / (2 * torch.pi) ** 0.5
    np.testing.assert_allclose(drawn, q * (torch.tensor(2.0).log() - 3 * z**2 / 8), atol=1e-6)


def test_conflict_band_joins_the_two_maxima():
    sigma2 = torch.tensor([0.1, 0.3, 1.0, 3.0])
    plots.bound_against_likelihood(
        sigma2, torch.tensor([-2.0, -1.0, -1.5, -2.0]), torch.tensor([-5.0, -4.0, -3.0, -3.5])
    )
    band = plt.gca().patches[0].get_extents().transformed(plt.gca().transData.inverted())
    assert (band.x0, band.x1) == pytest.approx((0.3, 1.0), rel=1e-3)


def test_em_bounds_touch_where_the_step_starts():
    p = torch.linspace(0, 1, 11)
    log_likelihood = -((p - 0.7) ** 2)
    plots.em_steps(p, log_likelihood, [log_likelihood - (p - 0.2) ** 2], torch.tensor([0.2, 0.45]))
    disc, triangle = (line for line in plt.gca().lines if line.get_marker() in ("o", "^"))
    assert (disc.get_xdata()[0], disc.get_ydata()[0]) == pytest.approx((0.2, -0.25))
    assert triangle.get_xdata()[0] == pytest.approx(0.4, abs=0.11)


def test_importance_bound_draws_error_bars_and_the_exact_value():
    k = [1, 4, 16]
    mean, error = torch.tensor([-3.0, -2.5, -2.2]), torch.tensor([0.1, 0.2, 0.3])
    plots.importance_bound(k, mean, error, mean + 1, log_px=torch.tensor(-2.0))
    ax = plt.gca()
    bars = ax.collections[0].get_segments()
    np.testing.assert_allclose(bars[1][:, 1], [-2.7, -2.3], rtol=1e-6)
    assert ax.lines[0].get_ydata()[0] == -2.0
    assert [t.get_text() for t in ax.get_xticklabels()][:3] == ["1", "4", "16"]


def test_densities_and_maps_draw_each_choice():
    choices = {
        "a": diagonal_gaussian(torch.zeros(1), torch.ones(1)),
        "b": diagonal_gaussian(*torch.ones(2, 1)),
    }
    z = torch.linspace(-1, 1, 5)
    plots.encoder_choices(z, z.abs(), choices)
    assert plt.gca().lines[1].get_ydata()[2] == pytest.approx(
        STANDARD.log_prob(torch.tensor(-1.0)).exp().item()
    )
    m, s = torch.linspace(-1, 2, 7), torch.linspace(0.5, 2, 5)
    plots.elbo_map(m, s, -((m - 1) ** 2) - (s.view(-1, 1) - 1) ** 2, choices, levels=(-2, -1, -0.2))
    marks = plt.gca().lines
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in marks] == [(0.0, 1.0), (1.0, 1.0)]
    plots.gaussian_fits(z, STANDARD, {"un": STANDARD, "deux": STANDARD})
    assert [ax.get_title() for ax in plt.gcf().axes] == ["un", "deux"]
    plots.aggregates_and_prior(z, z.abs(), {"exact": z})
    np.testing.assert_array_equal(plt.gca().lines[0].get_ydata(), z)
    plots.log_weights(torch.linspace(-3, 1, 1001), bound=torch.tensor(-1.0), log_px=torch.tensor(-0.5))
    assert [line.get_xdata()[0] for line in plt.gca().lines] == [-1.0, -0.5]

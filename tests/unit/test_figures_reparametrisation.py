"""Les figures de la reparamétrisation : ce qui est tracé est ce qu’on a donné."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from vaebook import figures
from vaebook.figures import reparametrisation as plots


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def test_graphs_move_the_random_node_from_z_to_epsilon():
    plots.computation_graphs()
    before, after = plt.gcf().axes
    for ax, random in ((before, "$\\mathbf{z}$"), (after, "$\\varepsilon$")):
        purple = [text.get_text() for text in ax.texts if text.get_color() == plots.SCORE]
        assert purple == [random]
        colours = {text.get_text(): text.get_color() for text in ax.texts}
        assert colours["$\\mathrm{KL}$"] == figures.KL
        assert colours["$\\log p$"] == figures.RECONSTRUCTION
    assert "✗" in {text.get_text() for text in before.texts}
    assert "✗" not in {text.get_text() for text in after.texts}


def test_two_views_move_or_reweight_the_same_draws():
    plots.two_views(lambda z: 2 * z, mu=1.0, sigma=0.5, shift=0.25, samples=3)
    moved, weighted = plt.gcf().axes
    z = torch.distributions.Normal(1.0, 0.5).icdf(torch.tensor([1 / 6, 1 / 2, 5 / 6]))
    for ax in (moved, weighted):
        np.testing.assert_allclose(ax.collections[0].get_offsets(), torch.stack([z, 2 * z], 1), atol=1e-6)
    ratio = torch.distributions.Normal(1.25, 0.5).log_prob(z) - torch.distributions.Normal(1.0, 0.5).log_prob(
        z
    )
    np.testing.assert_allclose(weighted.collections[0].get_sizes(), 32 * ratio.exp(), rtol=1e-4)


def test_variances_draw_curves_points_and_intervals():
    x = torch.tensor([1.0, 10.0, 1000.0])
    points = [(torch.tensor(4.0), torch.tensor(1.0)), (torch.tensor(8.0), torch.tensor(2.0))]
    exact = {"un": 2 * x, "deux": 3 * x}
    plots.variances(x, exact, measured={"deux": points}, at=x[:2], xlabel="d", ylabel="variance")
    ax = plt.gca()
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 2 * x)
    (bars,) = ax.containers
    np.testing.assert_allclose(bars[0].get_ydata(), [4, 8])
    np.testing.assert_allclose([s[:, 1] for s in bars[2][0].get_segments()], [[3, 5], [6, 10]])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["un", "deux"]


def test_short_axis_is_labelled_with_numbers():
    x = torch.logspace(-0.5, 0.5, 20)
    plots.variances(x, {"un": 1000 * x**8}, xlabel="c", ylabel="variance")
    labels = [tick.get_text() for tick in plt.gca().get_xticklabels()]
    assert {"0,5", "1", "2"} <= set(labels)


def test_histograms_mark_the_exact_gradient():
    draws = torch.randn(500, generator=torch.Generator().manual_seed(0))
    estimates = {"reparamétré": (draws, draws), "score": (3 * draws, 3 * draws)}
    plots.gradient_histograms(estimates, (0.25, -1.0), ("m", "s"))
    axes = plt.gcf().axes
    assert [ax.lines[0].get_xdata()[0] for ax in axes] == [0.25, -1.0]
    (legend,) = plt.gcf().legends
    assert [text.get_text() for text in legend.get_texts()] == ["reparamétré", "score"]


def test_ascents_mark_start_and_maximum():
    m, s = torch.linspace(-1, 1, 21), torch.linspace(0.1, 1.1, 11)
    objective = -((m[None] - 0.5) ** 2) - (s[:, None] - 0.3) ** 2
    path = torch.tensor([[-0.5, 0.8], [0.0, 0.5], [0.5, 0.3]])
    plots.ascents(m, s, 20 * objective, {"un": path, "deux": path})
    ax = plt.gcf().axes[0]
    line, start, best = ax.lines
    np.testing.assert_allclose(line.get_xydata(), path)
    np.testing.assert_allclose(start.get_xydata(), path[:1])
    np.testing.assert_allclose(best.get_xydata(), [[0.5, 0.3]], atol=1e-6)

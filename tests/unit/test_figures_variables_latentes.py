"""Les figures du chapitre sur les variables latentes : ce qu’on y lit est ce qu’on leur a donné."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import vaebook.figures.variables_latentes as plots
from vaebook import figures
from vaebook.exact import PPCA, BernoulliGaussianMixture
from vaebook.running_example import RunningExample


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def test_colours_of_the_two_terms_are_left_alone():
    assert not {figures.RECONSTRUCTION, figures.KL} & {colour for colour, _, _ in plots.MARKS}
    assert len({colour for colour, _, _ in plots.MARKS}) == len({style for _, _, style in plots.MARKS}) == 3


def test_graphical_model_shades_only_the_observed_variable():
    plots.graphical_model()
    ax = plt.gca()
    shaded = [patch for patch in ax.patches if patch.get_facecolor()[3] > 0 and hasattr(patch, "get_radius")]
    place = {text.get_text(): text.get_position() for text in ax.texts}
    assert [patch.center for patch in shaded] == [place["$\\mathbf{x}_i$"]]
    assert "$\\theta$" in place


def test_mixture_density_is_the_sum_of_its_parts():
    torch.manual_seed(0)
    model = BernoulliGaussianMixture(0.3, (-1.0, 2.0), (1.0, 0.6))
    plots.mixture(model, model.sample(500))
    top, bottom = plt.gcf().axes
    first, second, total = (np.asarray(line.get_ydata()) for line in top.lines)
    np.testing.assert_allclose(first + second, total, rtol=1e-10)
    np.testing.assert_allclose(bottom.lines[0].get_ydata(), second / total, rtol=1e-8)


def test_likelihood_curves_mark_each_maximum():
    p = torch.linspace(0.1, 0.9, 9)
    plots.likelihood_curves(p, {"a": -((p - 0.3) ** 2), "b": -((p - 0.6) ** 2)}, truth=0.3)
    marks = [line for line in plt.gca().lines if len(line.get_xdata()) == 1]
    np.testing.assert_allclose([line.get_xdata()[0] for line in marks], [0.3, 0.6], atol=1e-6)


def test_joint_density_integrates_to_the_marginal_drawn_beside_it():
    plots.joint_density(RunningExample())
    left, right = plt.gcf().axes
    joint = np.asarray(left.images[0].get_array())
    assert left.images[0].get_extent() == [-2.6, 2.6, -4.0, 4.0]
    marginal = np.asarray(right.lines[0].get_xdata())
    np.testing.assert_allclose(joint.sum(1) * 0.02, marginal, rtol=0.03, atol=1e-4)


def test_error_bars_are_the_quantiles_of_each_column():
    values = torch.stack([torch.linspace(0, 100, 101), torch.linspace(-100, 0, 101)], 1)
    plots.error_bars((1, 10), {"seule": values}, xlabel="x", ylabel="y", log=True)
    ax = plt.gca()
    (container,) = ax.containers
    np.testing.assert_allclose(container.lines[0].get_xydata(), [[1, 50], [10, -50]], rtol=1e-6)
    low, high = (np.asarray(cap.get_ydata(), dtype=float) for cap in container.lines[1])
    np.testing.assert_allclose((low, high), [[5, -95], [95, -5]], rtol=1e-6)
    assert ax.get_xscale() == "log"


def test_points_stop_where_the_measure_does():
    lines = {"théorie": torch.arange(4.0)}
    plots.lines_and_points(range(4), lines, ("mesure", torch.tensor([0.1, 0.9])), xlabel="x", ylabel="y")
    theory, measure = plt.gca().lines
    np.testing.assert_allclose(theory.get_ydata(), [0, 1, 2, 3])
    np.testing.assert_allclose(measure.get_xdata(), [0, 1])
    assert measure.get_linestyle() == "None"


def test_reconstructions_lie_on_the_line_short_of_the_projection():
    torch.manual_seed(0)
    model = PPCA(torch.tensor([[1.6], [0.9]]), torch.zeros(2), 0.8)
    plots.principal_line(model, model.sample(300))
    ax = plt.gca()
    projected = np.asarray(ax.collections[-1].get_offsets())
    ends = np.array([patch._posA_posB[1] for patch in ax.patches])
    assert len(projected) == len(ends) == 6
    # Un facteur ‖w‖² / (‖w‖² + σ²) : la loi a priori retient la reconstruction.
    np.testing.assert_allclose(ends, projected * (3.37 / (3.37 + 0.8)), rtol=1e-5)
    assert np.abs(projected @ np.array([0.9, -1.6])).max() < 1e-5  # sur la droite
    outline = np.asarray(ax.lines[1].get_xydata())
    precision = np.linalg.inv((model.W @ model.W.T + model.sigma2 * torch.eye(2)).numpy())
    np.testing.assert_allclose(np.einsum("ni,ij,nj->n", outline, precision, outline), 4, rtol=1e-6)


def test_spectrum_starts_each_level_at_its_rank():
    plots.spectrum(torch.logspace(1, -3, 20), {"bruit": (5, 0.01)})
    ax = plt.gca()
    np.testing.assert_allclose(ax.lines[1].get_xydata(), [[5, 0.01], [20, 0.01]])
    assert ax.get_yscale() == ax.get_xscale() == "log"

"""Les figures du chapitre sur les auto-encodeurs montrent ce qu’on leur donne."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import vaebook.figures.autoencodeurs as plots
from vaebook.figures import GREY, RECONSTRUCTION


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def test_hourglass_colours_only_the_reconstruction():
    plots.hourglass()
    colours = {text.get_text(): text.get_color() for text in plt.gca().texts}
    assert colours["$\\hat{\\mathbf{x}}$"] == RECONSTRUCTION
    assert colours["$\\mathbf{z}$"] == GREY


def test_signed_images_are_scaled_by_their_largest_value():
    directions = torch.tensor([[0.0, 2.0], [-4.0, 1.0]]).view(1, 1, 2, 2)
    plots.signed_images({"une": directions, "autre": -directions})
    first, second = (np.asarray(ax.images[0].get_array()) for ax in plt.gcf().axes)
    # L’opacité dit la grandeur, la teinte dit le signe : le zéro est transparent.
    np.testing.assert_allclose(first[..., 3], [[0.0, 0.5], [1.0, 0.25]])
    np.testing.assert_allclose(second[..., 3], first[..., 3])
    np.testing.assert_allclose(first[0, 1, :3], second[1, 0, :3])
    assert not np.allclose(first[0, 1, :3], first[1, 0, :3])


def test_errors_by_size_draws_the_mean_and_the_range_of_the_runs():
    runs = torch.tensor([[3.0, 5.0], [1.0, 2.0]])
    plots.errors_by_size((2, 8), torch.tensor([6.0, 4.0]), runs)
    ax = plt.gca()
    linear, nonlinear = ax.lines
    np.testing.assert_allclose(linear.get_ydata(), [6.0, 4.0])
    np.testing.assert_allclose(nonlinear.get_ydata(), [4.0, 1.5])
    np.testing.assert_allclose(ax.collections[0].get_segments()[0], [[2.0, 3.0], [2.0, 5.0]])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["2", "8"]


def test_confusion_writes_the_percentage_of_each_class():
    plots.confusion(torch.tensor([[9, 0], [1, 3]]), ("Robe", "Sac"))
    written = {text.get_position(): text.get_text() for text in plt.gca().texts}
    assert written == {(0, 0): "90", (0, 1): "10", (1, 1): "100"}
    shown = np.ma.masked_invalid(plt.gca().images[0].get_array())
    assert shown.mask.tolist() == [[False, True], [False, False]]


def test_panels_keep_the_order_of_the_grid():
    grid = torch.arange(4.0).view(4, 1, 1, 1)
    plots.panels({"une": grid, "autre": grid.flip(0)})
    left, right = plt.gcf().axes
    np.testing.assert_array_equal(left.images[0].get_array(), [[0, 1], [2, 3]])
    np.testing.assert_array_equal(right.images[0].get_array(), [[3, 2], [1, 0]])


def test_distances_mark_the_median_and_the_deciles():
    values = torch.linspace(0, 10, 11)
    plots.distances({"repère": values, "essai": values + 1}, reference="repère")
    span, median, rule, *_ = plt.gca().lines
    np.testing.assert_allclose(span.get_xdata(), [1.0, 9.0], rtol=1e-6)
    np.testing.assert_allclose(median.get_xdata(), [5.0])
    assert rule.get_linestyle() == ":"
    assert rule.get_xdata()[0] == pytest.approx(5.0)

"""Les figures du β-VAE montrent ce qu'on leur donne, à sa place."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.patches import Circle

import vaebook.figures.beta_vae as plots


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def axes():
    return plt.gcf().axes


def line(ax, label):
    [found] = [line for line in ax.lines if line.get_label() == label]
    return found


def test_the_tangents_have_slope_minus_beta_through_their_point():
    rate = torch.linspace(0, 5, 20)
    plots.tradeoff({"courbe": (rate, rate.exp().reciprocal())}, {"points": (rate, rate)}, [(1.0, 2.0, 0.5)])
    [ax] = axes()
    assert line(ax, "points").get_marker() == "o"
    assert list(line(ax, "courbe").get_xdata()) == pytest.approx(rate.tolist())
    [tangent] = [found for found in ax.lines if len(found.get_xdata()) == 2]
    (x0, x1), (y0, y1) = tangent.get_xdata(), tangent.get_ydata()
    assert (y1 - y0) / (x1 - x0) == pytest.approx(-0.5)
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((1.0, 2.0))
    assert [text.get_text() for text in ax.texts] == ["0,5"]


def test_each_chord_is_beside_its_interval():
    plots.chords([1.0, 2.0, 8.0], torch.tensor([[1.5, 1.2], [4.0, 9.0]]))
    [ax] = axes()
    squares = [found.get_paths()[0].get_extents() for found in ax.collections[:2]]
    assert [(box.x0, box.y0, box.x1, box.y1) for box in squares] == [(1, 1, 2, 2), (2, 2, 8, 8)]
    points = [found for found in ax.lines if len(found.get_xdata())]
    assert [list(found.get_ydata()) for found in points] == [pytest.approx([1.5, 1.2]), [4.0, 9.0]]
    assert points[1].get_xdata()[0] == pytest.approx(4.0)


def test_active_units_by_seed_and_the_linear_steps():
    plots.active([1.0, 10.0], torch.tensor([[5, 4], [2, 1]]), torch.tensor([1.0, 3.0]), torch.tensor([5, 3]))
    [ax] = axes()
    dots = [list(found.get_ydata()) for found in ax.lines if found.get_marker() == "o"]
    assert dots == [[5, 2], [4, 1]]
    assert list(line(ax, "modèle linéaire optimal").get_ydata()) == [5, 3]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "10"]


def test_each_cloud_has_its_title_and_the_circle():
    plots.clouds({"un": torch.zeros(3, 2), "deux": torch.ones(3, 2)}, torch.tensor([0, 1, 0]))
    left, right = axes()
    assert (left.get_title(), right.get_title()) == ("un", "deux")
    assert right.collections[0].get_offsets().tolist() == [[1, 1]] * 3
    assert [patch.radius for patch in left.patches if isinstance(patch, Circle)] == [2]


def test_each_seed_has_its_path_and_each_name_one_entry():
    plots.kl_paths({"un": torch.tensor([[0.0, 1.0], [0.5, 2.0]])}, reference=1.5)
    [ax] = axes()
    assert [list(found.get_ydata()) for found in ax.lines] == [[0, 1], [0.5, 2], [1.5, 1.5]]
    entries = [text.get_text() for text in ax.get_legend().get_texts()]
    assert entries == ["un", "modèle linéaire optimal"]


def test_the_information_is_written_in_each_cell():
    plots.information({"un": torch.tensor([[0.25, 0.0], [0.1, 0.9]])}, ("x", "y"))
    [ax] = axes()
    texts = {text.get_position(): text.get_text() for text in ax.texts}
    assert texts == {(0, 0): "0,25", (1, 0): "0", (0, 1): "0,1", (1, 1): "0,9"}
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["x", "y"]

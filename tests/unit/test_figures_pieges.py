"""Les figures du musée des bogues montrent ce qu'on leur donne, à sa place."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch

import vaebook.figures.pieges as plots


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def test_each_loss_is_drawn_with_its_slope():
    logits = torch.linspace(-1, 1, 5).requires_grad_()
    plots.losses_and_slopes(logits, {"fautive": 0 * logits, "juste": logits**2})
    values, slopes = plt.gcf().axes
    assert [line.get_label() for line in values.lines] == ["fautive", "juste"]
    assert list(values.lines[1].get_ydata()) == pytest.approx([1, 0.25, 0, 0.25, 1])
    assert list(slopes.lines[0].get_ydata()) == [0] * 5
    assert list(slopes.lines[1].get_ydata()) == pytest.approx([-2, -1, 0, 1, 2])
    [legend] = plt.gcf().legends
    assert [text.get_text() for text in legend.get_texts()] == ["fautive", "juste"]


def test_clouds_share_their_scales():
    points = torch.tensor([[0.0, 1.0], [-4.0, 2.0]])
    plots.clouds({"un": points, "deux": points / 4})
    left, right = plt.gcf().axes
    assert (left.get_title(), right.get_title()) == ("un", "deux")
    assert left.get_xlim() == right.get_ylim() == pytest.approx((-4.2, 4.2))
    assert right.collections[0].get_offsets().tolist() == (points / 4).tolist()

"""Les figures du VAE conditionnel montrent ce qu'on leur donne, à sa place."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch

import vaebook.figures.cvae as plots

NAMES = ("botte", "sac")


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def names(ax):
    return [text.get_text() for text in ax.texts]


def test_each_column_of_the_grid_is_a_class():
    images = torch.zeros(3, 2, 1, 4, 4)
    images[:, 1] = 1
    plots.label_grid(images, NAMES)
    [ax] = plt.gcf().axes
    shown = ax.images[0].get_array()
    assert shown.shape == (14, 9)
    assert shown[0, 0] == 0
    assert shown[13, 8] == 1
    assert names(ax) == list(NAMES)


def test_the_originals_stand_on_the_left():
    plots.label_grid(torch.zeros(3, 2, 1, 4, 4), NAMES, originals=torch.ones(3, 1, 4, 4))
    left, right = plt.gcf().axes
    assert left.get_position().x1 < right.get_position().x0
    assert left.images[0].get_array().shape == (14, 4)
    assert left.images[0].get_array()[0, 0] == 1
    assert names(left) == ["départ"]
    assert names(right) == list(NAMES)


def test_seeds_show_every_value_and_two_standard_errors():
    plots.seeds({"un": torch.tensor([1.0, 2.0, 3.0]), "deux": torch.tensor([5.0, 5.0, 5.0])}, xlabel="nats")
    [ax] = plt.gcf().axes
    bar = ax.containers[0].lines[2][0].get_segments()[0]
    assert bar[:, 0] == pytest.approx([2 - 2 / 3**0.5, 2 + 2 / 3**0.5])
    points = [line for line in ax.lines if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in points] == [[1, 2, 3], [5, 5, 5]]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["un", "deux"]


def test_confusion_is_read_by_row_in_percent():
    plots.confusion(torch.tensor([[3, 1], [0, 2]]), NAMES)
    [ax] = plt.gcf().axes
    assert {text.get_position(): text.get_text() for text in ax.texts} == {
        (0, 0): "75",
        (1, 0): "25",
        (1, 1): "100",
    }
    assert ax.get_ylabel() == "vraie classe"


def test_the_label_enters_the_encoder_the_decoder_and_the_prior():
    plots.conditional_architecture()
    [ax] = plt.gcf().axes
    arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None) is not None]
    targets = {text.xy for text in arrows if text.arrow_patch.get_edgecolor()[:3] != (0.0, 0.0, 0.0)}
    assert {(1.6, -0.97), (6.6, -0.97), (3.4, -1.75)} <= targets

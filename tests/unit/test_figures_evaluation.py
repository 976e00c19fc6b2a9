"""Les figures de l'évaluation montrent ce qu'on leur donne, à sa place."""

import math

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch

import vaebook.figures.evaluation as plots
from vaebook.evaluation import AggregatePosterior, Estimate, InferenceGaps


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def labels(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def test_the_exact_value_is_drawn_only_where_it_is_known():
    mean, error = torch.tensor([1.0, 2.0]), torch.tensor([0.1, 0.1])
    known = plots.BoundCurve([1, 4], mean, error, mean + 1, 3.0)
    plots.importance_bounds({"connu": known, "inconnu": known._replace(exact=None)})
    left, right = plt.gcf().axes
    assert list(left.lines[0].get_ydata()) == [3.0, 3.0]
    assert len(left.lines) == len(right.lines) + 1
    assert left.get_title() == "connu"


def test_what_cannot_be_told_from_zero_has_no_logarithm():
    curve = plots.Curve([1, 4, 16], torch.tensor([1.0, 0.5, 0.01]), torch.tensor([0.1, 0.1, 0.1]))
    plots.bias_of_the_bound({"c = 2": curve}, {"c = 2": 8.0})
    [ax] = plt.gcf().axes
    [predicted] = (line for line in ax.lines if line.get_linestyle() == "--")
    assert list(ax.lines[0].get_ydata()) == [1.0, 0.5]
    assert list(predicted.get_ydata()) == [4.0, 1.0]
    assert ax.get_yscale() == "log"


def test_the_parts_are_stacked_from_zero():
    part = AggregatePosterior(6.0, *(Estimate(v, 0.1) for v in (1.0, 5.0, 3.0, 2.0)), torch.zeros(2))
    plots.decomposition({"un": part, "deux": part}, limit=math.log(10))
    [ax] = plt.gcf().axes
    bars = [(bar.get_x(), bar.get_width()) for bar in ax.patches[::2]]
    assert bars == [(0.0, 1.0), (1.0, 3.0), (4.0, 2.0)]
    assert labels(ax) == ["un", "deux"]


def test_a_negative_estimate_takes_no_room():
    part = AggregatePosterior(0.1, *(Estimate(v, 0.1) for v in (-0.2, 0.3, 0.2, 0.1)), torch.zeros(2))
    plots.decomposition({"effondré": part}, limit=1.0)
    [ax] = plt.gcf().axes
    assert [bar.get_x() for bar in ax.patches] == pytest.approx([0.0, 0.0, 0.2])


def test_counts_are_on_a_logarithmic_axis_beside_their_limit():
    curve = plots.Curve([10, 1000], torch.tensor([1.0, 2.0]), torch.zeros(2))
    plots.by_count({"a": curve}, ylabel="nats", limit=curve, note="limite")
    [ax] = plt.gcf().axes
    assert ax.get_xscale() == "log"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["10", "1\u202f000"]
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"a", "limite"}


def test_the_variances_are_in_decreasing_order():
    plots.unit_variances({"a": torch.tensor([0.1, 2.0, 0.5])}, threshold=0.01)
    [ax] = plt.gcf().axes
    assert list(ax.lines[0].get_ydata()) == pytest.approx([2.0, 0.5, 0.1])


def test_the_gaps_are_means_over_seeds():
    some = [
        InferenceGaps(*(Estimate(v, 0.0) for v in (0.0, 0.0, 0.0, a, b, a + b)))
        for a, b in ((1.0, 2.0), (3.0, 6.0))
    ]
    plots.inference_gaps({"test": some})
    [ax] = plt.gcf().axes
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0.0, 2.0), (2.0, 4.0)]
    assert list(ax.lines[0].get_xdata()) == [3.0, 9.0]


def test_a_row_without_a_published_value_has_no_diamond():
    plots.against_published({"a": torch.tensor([90.0, 91.0]), "b": torch.tensor([80.0])}, {"a": 86.0})
    [ax] = plt.gcf().axes
    assert [len(line.get_xdata()) for line in ax.lines] == [2, 1, 1]
    assert labels(ax) == ["a", "b"]

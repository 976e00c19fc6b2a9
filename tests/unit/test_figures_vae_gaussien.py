"""Les figures du chapitre sur le VAE gaussien : l'intervalle qu'elles citent, et ce qu'elles dessinent."""

import matplotlib.pyplot as plt
import pytest
from scipy import stats

import vaebook.figures.vae_gaussien as plots


def test_the_interval_is_student_s() -> None:
    values = [1.0, 2.0, 4.0]
    low, high = stats.t.interval(0.95, 2, loc=7 / 3, scale=stats.sem(values))
    mean, margin = plots.interval(values)
    assert mean == pytest.approx(7 / 3)
    assert (mean - margin, mean + margin) == pytest.approx((low, high), abs=1e-3)


def test_the_interval_refuses_another_number_of_seeds() -> None:
    with pytest.raises(ValueError, match="2 mesures"):
        plots.interval([1.0, 2.0])


def test_every_seed_is_drawn() -> None:
    nats, bits = {"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]}, {"a": [8.5, 8.6, 8.7], "b": [6.0, 6.1, 6.2]}
    plots.scores(nats, bits, reference=(2.5, 7.3))
    left, right = plt.gcf().axes
    assert [list(line.get_xdata()) for line in left.lines[:2]] == [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    assert {tuple(line.get_xdata()) for line in right.lines[2:]} == {(7.3, 7.3), (8, 8)}
    plt.close("all")


def test_each_model_has_its_panel_and_the_floor_is_visible() -> None:
    laws = {"agrégé": [5.0, 6.0, 7.0], "loi a priori": [90.0, 100.0, 110.0]}
    plots.distances({"un": laws, "deux": laws}, floor=0.3)
    axes = plt.gcf().axes
    assert [ax.get_title() for ax in axes] == ["un", "deux"]
    for ax in axes:
        low, high = ax.get_xlim()
        assert low < 0.3 < 110 < high
    plt.close("all")

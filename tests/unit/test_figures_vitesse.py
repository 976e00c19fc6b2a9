"""Les figures de l'annexe sur la vitesse montrent ce qu'on leur donne, à sa place."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest

import vaebook.figures.vitesse as plots


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def test_each_contender_has_its_bar_and_the_floor_its_line():
    timings = {"lent": plots.Timing(0.012, 0.011, 0.014), "plancher": plots.Timing(0.003, 0.003, 0.004)}
    plots.contenders(timings, floor=0.003)
    [ax] = plt.gcf().axes
    assert [bar.get_width() for bar in ax.patches] == pytest.approx([3.0, 12.0])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["plancher", "lent"]
    assert ax.lines[0].get_xdata().tolist() == pytest.approx([3.0, 4.0])
    assert ax.lines[-1].get_xdata() == pytest.approx([3.0, 3.0])
    assert [text.get_text() for text in ax.texts] == ["3,0", "12,0"]
    assert ax.patches[0].get_facecolor() != ax.patches[1].get_facecolor()


def test_shares_fill_the_bar():
    plots.shares({"produits": 0.5, "Adam": 0.2, "lot": 0.1, "vraisemblance": 0.15, "reste": 0.05})
    [ax] = plt.gcf().axes
    assert [bar.get_x() for bar in ax.patches] == pytest.approx([0, 0.5, 0.7, 0.8, 0.95])
    assert ax.patches[-1].get_x() + ax.patches[-1].get_width() == pytest.approx(1)
    assert "produits, 50 %" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_dashes_are_proportional_to_the_operations():
    seconds = [plots.Timing(2.0, 1.5, 3.0), plots.Timing(4.0, 3.5, 5.0)]
    plots.growth({"images": plots.Growth((10, 100), seconds, (5, 50))}, ["s"])
    [ax] = plt.gcf().axes
    dashes = next(line for line in ax.lines if line.get_linestyle() == "--")
    assert dashes.get_ydata() == pytest.approx([0.4, 4.0])
    assert ax.get_xscale() == ax.get_yscale() == "log"
    [bars] = ax.containers
    assert bars.lines[0].get_ydata() == pytest.approx([2.0, 4.0])
    low, high = (end.get_ydata().tolist() for end in bars.lines[1])
    assert (low, high) == ([1.5, 3.5], [3.0, 5.0])

"""Les figures du chapitre « Au-delà » montrent ce qu'on leur donne, à sa place."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch

import vaebook.figures.au_dela as plots
from vaebook.flows import grid


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def arrows(ax):
    """Les flèches d'un panneau, (départ, arrivée), arrondis au dixième."""
    found = [(text.xyann, text.xy) for text in ax.texts if getattr(text, "arrow_patch", None) is not None]
    found += [patch._posA_posB for patch in ax.patches if getattr(patch, "_posA_posB", None) is not None]
    return [tuple((round(float(x), 1), round(float(y), 1)) for x, y in pair) for pair in found]


def test_the_model_goes_down_and_each_inference_its_way():
    plots.two_levels()
    model, upward, downward = (
        {("bas" if start[1] > end[1] else "haut") for start, end in arrows(ax)} for ax in plt.gcf().axes
    )
    assert model == {"bas"}
    assert upward == {"haut"}
    assert downward == {"bas", "haut"}


def test_the_part_of_the_top_is_inside_the_total():
    total = {"un": torch.tensor([4.0, 6.0]), "deux": torch.tensor([3.0, 5.0])}
    plots.level_rates(total, {"deux": torch.tensor([1.0, 2.0])})
    [ax] = plt.gcf().axes
    assert [(round(bar.get_y() + 0.275), bar.get_width()) for bar in ax.patches] == [(0, 5), (1, 4), (1, 1.5)]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["un", "deux"]


def test_each_density_has_its_panel_and_the_same_outline():
    z = grid(3.0, 31)
    exact = torch.exp(-z.square().sum(-1))
    plots.densities(z, exact, {"a": exact.roll(3, 0), "b": exact, "c": exact})
    panels = plt.gcf().axes
    assert [ax.get_title() for ax in panels] == ["$p(z|x)$, exacte", "a", "b", "c"]
    outlines = [ax.collections[-1].get_paths()[0].vertices for ax in panels]
    assert all((outline == outlines[0]).all() for outline in outlines)
    shown = [ax.collections[0].get_paths()[0].vertices.mean(0) for ax in panels]
    assert abs(shown[0][1]) < 0.05
    assert shown[1][1] == pytest.approx(0.6, abs=0.1)


def test_circles_and_their_images_are_side_by_side():
    source = torch.rand(3, 8, 2)
    plots.straightened(source, source + 1)
    left, right = plt.gcf().axes
    assert left.lines[0].get_xdata() == pytest.approx(source[0, :, 0].tolist())
    assert right.lines[2].get_ydata() == pytest.approx((source[2, :, 1] + 1).tolist())


def test_the_diffusion_goes_both_ways_between_the_code_and_the_noise():
    plots.latent_diffusion()
    [ax] = plt.gcf().axes
    below = [(start[0] < end[0]) for start, end in arrows(ax) if start[1] == end[1] and start[1] < -3]
    assert sorted(below) == [False] * 3 + [True] * 3


def test_the_map_leads_to_six_models():
    plots.what_changes()
    [ax] = plt.gcf().axes
    words = " ".join(text.get_text() for text in ax.texts)
    for name in ("VAE hiérarchique", "VQ-VAE", "flot", "diffusion latente", "diffusion", "GAN"):
        assert name in words
    assert len(arrows(ax)) == 6

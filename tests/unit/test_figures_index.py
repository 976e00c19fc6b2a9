"""La carte de l'accueil se lit : tout y est, dans le cadre, et aucun texte n'en recouvre un autre."""

from itertools import combinations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.patches import FancyArrowPatch

import vaebook.figures.index as plots
from vaebook.running_example import RunningExample


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


@pytest.fixture
def texts():
    plots.landscape()
    [ax] = plt.gcf().axes
    return {text.get_text(): text for text in ax.texts if text.get_text()}


def test_every_family_and_milestone_is_named(texts):
    families = [family for lane in plots.MAP.values() for family in lane]
    wanted = {name for family in families for name, _ in family.milestones} | {f.name for f in families}
    assert set(texts) == wanted | set(plots.MAP) | {"ce livre", "le cours suivant"}


def test_no_text_covers_another_or_leaves_the_frame(texts):
    figure = plt.gcf()
    boxes = {name: text.get_window_extent() for name, text in texts.items()}
    assert [pair for pair in combinations(boxes, 2) if boxes[pair[0]].overlaps(boxes[pair[1]])] == []
    for name, box in boxes.items():
        assert figure.bbox.contains(box.x0, box.y0), name
        assert figure.bbox.contains(box.x1, box.y1), name


def test_links_go_forward_in_time(texts):
    arrows = [patch for patch in plt.gca().patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == len(plots.LINKS) == 3
    assert all(start < end for (_, start), (_, end) in plots.LINKS)


def test_the_three_uses_show_the_model_as_given():
    model = RunningExample()
    grid, z = torch.linspace(-4, 4, 81).double(), torch.linspace(-3, 3, 61).double()
    x = torch.tensor([[2.0], [-0.3]]).double()
    density, posterior = model.log_prob(grid[:, None]).exp(), model.posterior_density(x, z)
    plots.three_uses(model.sample(100), grid, density, x, z, posterior)
    draw, score, code = plt.gcf().axes
    assert [ax.get_title() for ax in (draw, score, code)] == ["engendrer", "évaluer", "représenter"]
    assert sum(bar.get_width() * bar.get_height() for bar in draw.patches) == pytest.approx(1)
    points = [line.get_xydata()[0] for line in score.lines if line.get_marker() != "None"]
    assert points[0] == pytest.approx([2.0, float(model.log_prob(x)[0].exp())])
    assert points[1] == pytest.approx([-0.3, float(model.log_prob(x)[1].exp())])
    assert torch.equal(torch.as_tensor(code.lines[1].get_ydata()), posterior[1])

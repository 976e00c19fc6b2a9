"""Les figures : ce qu’un lecteur y lit, et leur lisibilité sur fond clair comme sur fond sombre."""

from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from vaebook import figures
from vaebook.glue import french
from vaebook.likelihoods import Gaussian
from vaebook.models import VAE


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def luminance(colour):
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot([0.2126, 0.7152, 0.0722], channels))


def contrast(first, second):
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colour", [figures.RECONSTRUCTION, figures.KL, figures.GREY])
@pytest.mark.parametrize("background", ["#ffffff", "#14181e"])
def test_book_colours_are_legible_in_both_themes(colour, background):
    assert contrast(colour, background) >= 4


def test_class_colours_carry_white_labels_and_show_on_dark():
    assert len(set(figures.CLASSES)) == 10
    for colour in figures.CLASSES:
        assert contrast(colour, "#ffffff") >= 4.5
        assert contrast(colour, "#14181e") >= 3


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0,5"), (-1.25, "−1,25"), (3.0, "3"), (14000, "14\u202f000"), (0.1 + 0.2, "0,3")],
)
def test_french_number(value, text):
    assert figures.french_number(value) == text


def test_tick_labels_use_a_decimal_comma():
    x = torch.linspace(-1, 1, 5)
    figures.curves(x, {"y": x / 2}, xlabel="x", ylabel="y")
    ax = plt.gca()
    labels = [t.get_text() for t in (*ax.get_xticklabels(), *ax.get_yticklabels())]
    assert "0,5" in labels
    assert "−0,5" in labels
    assert not any("." in label for label in labels)


def test_training_curves_give_each_term_its_colour_and_values():
    history = SimpleNamespace(
        reconstruction=torch.tensor([1.0, 2.0, 2.5], dtype=torch.float64),
        kl=torch.tensor([3.0, 4.0, 5.0], dtype=torch.float64),
    )
    figures.training_curves(history)
    left, right = (ax.lines[0] for ax in plt.gcf().axes)
    assert left.get_color() == figures.RECONSTRUCTION
    assert right.get_color() == figures.KL
    np.testing.assert_allclose(left.get_ydata(), [1.0, 2.0, 2.5])
    np.testing.assert_allclose(right.get_xdata(), [1, 2, 3])


def test_images_keep_every_pixel_in_place():
    batch = torch.rand(3, 1, 4, 5, generator=torch.Generator().manual_seed(0))
    figures.images({"haut": batch, "bas": batch[:2]}, columns=2)
    top, bottom = plt.gcf().axes
    assert top.get_title(loc="left") == "haut"
    shown = top.images[0].get_array()
    assert shown.shape == (2 * 4 + 1, 2 * 5 + 1)
    np.testing.assert_array_equal(shown[:4, 6:], batch[1, 0])
    np.testing.assert_array_equal(shown[5:, :5], batch[2, 0])
    assert np.ma.getmaskarray(shown)[4].all()  # l’intervalle est transparent, ni noir ni blanc
    assert top.images[0].get_interpolation() == "nearest"
    assert top.images[0].get_clim() == (0, 1)
    assert bottom.images[0].get_array().shape == (4, 11)


def test_latent_grid_puts_each_decoding_at_its_code():
    model = VAE(latent_dim=2, hidden=(8,), image_shape=(1, 2, 2), likelihood=Gaussian())
    before = [parameter.clone() for parameter in model.parameters()]
    figures.latent_grid(model, side=3, span=1.0)
    ax = plt.gca()
    shown = np.asarray(ax.images[0].get_array())
    top_right = model.likelihood(torch.tensor([1.0, 1.0])).mean[0].detach()
    bottom_left = model.likelihood(torch.tensor([-1.0, -1.0])).mean[0].detach()
    bottom_right = model.likelihood(torch.tensor([1.0, -1.0])).mean[0].detach()
    np.testing.assert_allclose(shown[:2, -2:], top_right, atol=1e-6)
    np.testing.assert_allclose(shown[-2:, :2], bottom_left, atol=1e-6)
    np.testing.assert_allclose(shown[-2:, -2:], bottom_right, atol=1e-6)
    assert ax.images[0].get_extent() == [-1.5, 1.5, -1.5, 1.5]
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_latent_cloud_writes_each_class_on_its_own_points():
    labels = torch.arange(3).repeat_interleave(40)
    centres = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    mu = centres[labels] + 0.1 * torch.randn(120, 2, generator=torch.Generator().manual_seed(0))
    figures.latent_cloud(mu, labels, ("Robe", "Sac", "Pull"))
    texts = plt.gca().texts
    assert [text.get_text() for text in texts] == ["Robe", "Sac", "Pull"]
    places = torch.tensor([text.get_position() for text in texts])
    assert (places - centres).norm(dim=1).max() < 0.3
    assert [text.get_bbox_patch().get_facecolor()[:3] for text in texts] == [
        to_rgb(colour) for colour in figures.CLASSES[:3]
    ]


def test_sigma_histogram_counts_every_value_on_a_log_axis():
    figures.sigma_histogram({"avec": torch.full((5, 2), 0.5), "sans": torch.full((7,), 1e-3)})
    ax = plt.gca()
    assert ax.get_xscale() == "log"
    assert sum(patch.get_height() for patch in ax.patches) == 17


def test_architecture_colours_the_two_terms():
    figures.vae_architecture()
    colours = {text.get_text(): text.get_color() for text in plt.gca().texts}
    assert colours["$\\mu$"] == colours["$\\sigma$"] == figures.KL
    assert colours["$\\hat{\\mathbf{x}}$"] == figures.RECONSTRUCTION
    assert "encodeur\n$\\phi$" in colours


def test_style_stays_inside_the_figures():
    size = plt.rcParams["font.size"]
    figures.vae_architecture()
    assert plt.rcParams["font.size"] == size
    assert plt.gcf().get_facecolor()[3] == 0


@pytest.mark.parametrize(
    ("value", "spec", "text"),
    [
        (-1234.56, ",.1f", "−1\u202f234,6"),
        (torch.tensor(0.5), ".2f", "0,50"),
        (1e-3, ".2g", "0,001"),
        (2.04e-7, ".2g", "2\u00a0×\u00a010⁻⁷"),
        (1.5e12, ".2g", "1,5\u00a0×\u00a010¹²"),
        (60000, ",.0f", "60\u202f000"),
    ],
)
def test_numbers_in_prose_are_written_in_french(value, spec, text):
    assert french(value, spec) == text

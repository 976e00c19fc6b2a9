"""Les panneaux que l'on manie : ce que la page reçoit, sans navigateur."""

import base64
import io
import re
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from vaebook.data import fashion_mnist
from vaebook.explorer.encoder import EncoderPanel
from vaebook.explorer.latent import LatentExplorer, quantise
from vaebook.models import VAE, Autoencoder, ConditionalVAE
from vaebook.running_example import RunningExample


@pytest.fixture(scope="module")
def data():
    return fashion_mnist("test", sample=True)


@pytest.fixture(scope="module")
def flat():
    torch.manual_seed(0)
    model = VAE(2, (400,), likelihood="shared_gaussian")
    for parameter in model.parameters():
        parameter.data *= 2  # des images contrastées, des codes dispersés
    return model


def test_quantisation_is_within_half_a_step():
    torch.manual_seed(0)
    weight = torch.randn(50, 30) * torch.logspace(-4, 2, 50).unsqueeze(1)
    weight[7] = 0  # une ligne nulle ne divise pas par zéro
    scale, integers = quantise(weight)
    assert integers.dtype == np.int8
    assert np.abs(integers).max(axis=1).tolist() == [127 if row != 7 else 0 for row in range(50)]
    error = np.abs(scale[:, None] * integers - weight.numpy())
    assert (error <= 0.5001 * scale[:, None]).all()


class Reader:
    """Relit les nombres comme le fait le script."""

    def __init__(self, text):
        self.buffer, self.offset = zlib.decompress(base64.b64decode(text)), 0

    def take(self, kind, count):
        array = np.frombuffer(self.buffer, kind, count, self.offset)
        self.offset += -(-array.nbytes // 4) * 4
        return array


def read_back(panel):
    data = panel.data()
    reader = Reader(data["binary"])
    labels = reader.take("u1", data["points"])
    networks = []
    for model in data["models"]:
        layers = []
        for inputs, outputs, quantised in model["layers"]:
            bias = reader.take("<f4", outputs)
            scale = reader.take("<f4", outputs)[:, None] if quantised else 1
            weight = reader.take("i1" if quantised else "<f4", inputs * outputs).reshape(outputs, inputs)
            layers.append((scale * weight, bias))
        networks.append(layers)
    clouds = [reader.take("<i2", 2 * data["points"]).reshape(-1, 2) for _ in data["models"]]
    assert reader.offset == len(reader.buffer)
    return labels, networks, [1.25 * data["span"] / 32767 * cloud for cloud in clouds]


def test_the_page_receives_the_decoder_and_the_codes(flat, data):
    panel = LatentExplorer(flat, data, points=200)
    labels, [layers], [cloud] = read_back(panel)
    z = torch.randn(20, 2)
    values = z.numpy()
    for rank, (weight, bias) in enumerate(layers):
        values = values @ weight.T + bias
        values = np.maximum(values, 0) if rank < len(layers) - 1 else 1 / (1 + np.exp(-values))
    with torch.no_grad():
        expected = flat.likelihood(z).mean.flatten(1).numpy()
        codes = flat.posterior(data.images[:200]).mean.numpy()
    assert np.abs(values - expected).mean() < 1 / 255
    assert labels.tolist() == data.labels[:200].tolist()
    inside = np.abs(codes).max(axis=1) < panel.span
    assert inside.mean() > 0.97
    np.testing.assert_allclose(cloud[inside], codes[inside], atol=panel.span / 20_000)


def test_an_explorer_weighs_at_most_450_kilobytes(data):
    def like_trained(hidden):
        """Des poids répartis comme ceux d'un modèle appris : beaucoup de petits, quelques grands."""
        model = VAE(2, (hidden,))
        weight = model.decoder.layers[-1].weight
        weight.data = torch.distributions.Laplace(0.0, 1e-4).sample(weight.shape)
        return model

    torch.manual_seed(0)
    grid = 40_000  # la grille de vêtements, que ces modèles ne dessinent pas
    one = LatentExplorer(like_trained(400), data)
    four = LatentExplorer([(beta, like_trained(64)) for beta in (0.1, 1, 10, 100)], data)
    assert 300_000 < len(one.html().encode()) <= 450_000 - grid
    assert 200_000 < len(four.html().encode()) <= 450_000 - grid


def test_outputs_are_the_same_twice_and_name_no_other_place(flat, data):
    first, second = (LatentExplorer(flat, data)._repr_mimebundle_() for _ in range(2))
    assert first == second
    panels = first, EncoderPanel(RunningExample())._repr_mimebundle_()
    assert panels[1] == EncoderPanel(RunningExample())._repr_mimebundle_()
    for bundle in panels:
        assert set(bundle) == {"text/html", "image/png", "text/plain"}
        page = re.sub(r"[A-Za-z0-9+/=]{200,}", "", bundle["text/html"])
        addresses = set(re.findall(r"\w+://[\w./-]+", page))
        assert addresses <= {"http://www.w3.org/2000/svg"}  # un nom, pas une adresse
        assert not re.search(r"/(?:home|work|tmp|usr|root)/", page)
        assert page.count("</script>") == 1
        assert 'data-lm-suppress-shortcuts="true"' in page  # sinon JupyterLab garde les flèches pour lui
        assert f'alt="{bundle["text/plain"].split(" :")[0]}'[:20] in page


def test_a_name_cannot_close_the_script(data):
    class Named:
        images, labels, classes = data.images[:20], data.labels[:20], ("</script>",) * 10

    assert LatentExplorer(VAE(2, (8,)), Named()).html().count("</script>") == 1


@pytest.mark.parametrize(
    ("models", "size"),
    [
        (lambda: VAE(2, (8,)), (9 * 28, 9 * 28)),
        (lambda: ConditionalVAE(2, (8,)), (2 * 10 * 28, 2 * 5 * 28)),
        (lambda: [(1, VAE(2, (8,))), (2, VAE(2, (8,)))], (2 * 5 * 28 + 8, 5 * 28)),
    ],
)
def test_the_static_image_is_a_grid(models, size):
    panel = LatentExplorer(models())
    assert Image.open(io.BytesIO(panel.png())).size == size
    assert panel.data()["points"] == 0
    assert panel.span == 3


def test_a_conditional_explorer_names_its_labels(data):
    model = ConditionalVAE(2, (8,))
    assert LatentExplorer(model, data).data()["classes"] == data.classes
    panel = LatentExplorer(model)
    assert panel.data()["classes"][3] == "classe 3"
    assert panel.data()["models"][0]["layers"] == [[12, 8, False], [8, 784, False]]
    assert "classe 0, classe 1" in panel.alternative()


def test_a_list_keeps_its_order_and_its_french_names(data):
    panel = LatentExplorer([(0.5, VAE(2, (64,))), (4, VAE(2, (64,)))], data)
    described = panel.data()
    assert [model["name"] for model in described["models"]] == ["0,5", "4"]
    assert [len(model["spots"]) for model in described["models"]] == [10, 10]
    _, networks, clouds = read_back(panel)
    assert len(networks) == len(clouds) == 2
    assert "0,5 ; 4" in panel.alternative().replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("likelihood", "link"),
    [
        ("bernoulli", "sigmoid"),
        ("continuous_bernoulli", "continuous"),
        ("laplace", "sigmoid"),
        ("pixel_gaussian", "sigmoid"),
        ({"name": "gaussian", "link": "identity"}, "identity"),
    ],
)
def test_the_page_knows_the_mean_of_every_likelihood(likelihood, link):
    described = LatentExplorer(VAE(2, (8,), likelihood=likelihood)).data()["models"][0]
    assert described["link"] == link
    assert described["layers"][-1] == [8, 784, False]  # pas les écarts-types de `pixel_gaussian`


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([], "Aucun modèle"),
        (VAE(3, (8,)), "3 dimensions"),
        (VAE(2, (8,), channels=(4,)), "convolutions"),
        (VAE(2, (8,), (3, 8, 8)), "3 canaux"),
        (Autoencoder(2, (8,)), "pas Autoencoder"),
        ([(1, VAE(2, (8,))), (2, ConditionalVAE(2, (8,)))], "de même sorte"),
        ([(1, ConditionalVAE(2, (8,))), (2, ConditionalVAE(2, (8,), classes=3))], "mêmes étiquettes"),
    ],
)
def test_what_cannot_be_explored_is_refused(models, message):
    with pytest.raises(ValueError, match=message):
        LatentExplorer(models)


def test_the_encoder_panel_says_what_the_example_computes():
    panel = EncoderPanel(RunningExample(), 1.5, m=0.8, s=0.35)
    assert panel.data() == {"sigma": 0.5, "x": 1.5, "start": {"m": 0.8, "s": 0.35, "beta": 1.0}}
    numbers = [
        float(n.replace(",", ".").replace("−", "-")) for n in re.findall(r"−?\d+,\d+", panel.alternative())
    ]
    x, m, s, bound, gap, log_px, reconstruction, kl = numbers
    assert (x, m, s) == (1.5, 0.8, 0.35)
    assert log_px == pytest.approx(-1.36, abs=0.006)
    assert bound + gap == pytest.approx(log_px, abs=0.011)
    assert reconstruction - kl == pytest.approx(bound, abs=0.011)
    assert Image.open(io.BytesIO(panel.png())).size == (770, 572)


def test_the_panel_without_javascript_is_light():
    panel = EncoderPanel(RunningExample())
    image = len(base64.b64encode(panel.png()))
    assert len(panel.html().encode()) - image < 20_000


class Squared(RunningExample):
    def decoder(self, z):
        return z**2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"example": Squared()}, "décodeur"),
        ({"example": RunningExample(), "s": 0.05}, "0,1"),
        ({"example": RunningExample(), "m": 4}, "−3"),
        ({"example": RunningExample(), "beta": -1}, "beta"),
    ],
)
def test_what_the_panel_cannot_show_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        EncoderPanel(**arguments)

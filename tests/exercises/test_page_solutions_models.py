"""Les solutions que `check` ne corrige pas : ce que la page en dit est vrai sur de petits modèles."""

from __future__ import annotations

import importlib.util
import inspect
import math
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor

from vaebook.data import fashion_mnist
from vaebook.evaluation import frechet_distance
from vaebook.exact import PPCA
from vaebook.flows import Parabola
from vaebook.likelihoods import Gaussian
from vaebook.models import VAE, ConditionalVAE
from vaebook.objectives import elbo

SHAPE = (1, 4, 4)
BOOK = Path(__file__).resolve().parents[2] / "book"


def solutions(chapter: str) -> ModuleType:
    path = Path(__file__).with_name("solutions") / f"{chapter}.py"
    spec = importlib.util.spec_from_file_location(f"page_{chapter}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def x() -> Tensor:
    torch.manual_seed(1)
    return torch.rand(100, *SHAPE, dtype=torch.float64)


@pytest.fixture
def vae() -> VAE:
    return VAE(2, (8,), SHAPE, Gaussian(sigma=0.3)).double()


@pytest.fixture
def cvae() -> ConditionalVAE:
    return ConditionalVAE(2, (8,), SHAPE, Gaussian(sigma=0.1), classes=3, learned_prior=True).double()


# Le VAE conditionnel


def test_the_marginal_bound_falls_with_the_draws(cvae: ConditionalVAE, x: Tensor) -> None:
    y = torch.arange(len(x)) % 3
    marginal, true = solutions("cvae").bounds_by_samples(cvae, x, y)
    assert list(marginal) == [1, 4, 16, 64]
    assert marginal[1] > marginal[4] > marginal[16] > marginal[64]
    assert marginal[1] - marginal[4] > marginal[16] - marginal[64]
    assert true < marginal[64]


def test_the_two_analogies_differ_unless_the_class_stays(cvae: ConditionalVAE, x: Tensor) -> None:
    module, y = solutions("cvae"), torch.arange(len(x)) % 3
    plain, carried = module.two_analogies(cvae, x, y, (y + 1) % 3)
    assert (plain - carried).abs().max() > 0.01
    assert torch.allclose(plain, cvae.transfer(x, y, (y + 1) % 3))
    assert all(torch.allclose(image, cvae.reconstruct(x, y)) for image in module.two_analogies(cvae, x, y, y))


def test_transport_agrees_with_the_model(cvae: ConditionalVAE, x: Tensor) -> None:
    module, y = solutions("cvae"), torch.arange(len(x)) % 3
    new_y = (y + 1) % 3
    with torch.no_grad():
        prior = cvae.given(torch.arange(3)).prior
        z = cvae.given(y).posterior(x).mean
        moved = module.transport(z, y, new_y, prior.mean, prior.variance.log())
        _, carried = module.two_analogies(cvae, x, y, new_y)
        assert torch.allclose(cvae.given(new_y).likelihood(moved).mean, carried)


def test_the_mean_says_more_of_the_label_than_a_draw(cvae: ConditionalVAE, x: Tensor) -> None:
    data = SimpleNamespace(images=x, labels=torch.arange(len(x)) % 3)
    with torch.no_grad():
        cvae.head.linear.weight[:2] *= 0.2  # des moyennes serrées : le bruit les couvre
        found = solutions("cvae").probed_features(cvae, data)
    assert {name: tuple(part.shape) for name, part in found.items()} == {
        "pixels": (100, 17),
        "moyennes": (100, 3),
        "tirages": (100, 3),
    }
    assert all((part[:, -1] == 1).all() for part in found.values())
    targets = torch.nn.functional.one_hot(data.labels, 3).double()

    def accuracy(features: Tensor) -> float:
        weights = torch.linalg.lstsq(features, targets).solution
        return float(((features @ weights).argmax(1) == data.labels).double().mean())

    assert accuracy(found["moyennes"]) > accuracy(found["tirages"])


# β-VAE


def test_free_bits_have_no_slope_below_the_threshold(vae: VAE, x: Tensor) -> None:
    slope = solutions("beta_vae").largest_slope
    assert slope(vae, x, 50.0) == 0
    assert slope(vae, x, 0.0) > 0


def test_a_larger_capacity_gives_a_larger_rate() -> None:
    few, test = fashion_mnist("train", sample=True), fashion_mnist("test", sample=True)
    points = solutions("beta_vae").aimed_points(few[:400], test[:50], 0.14, targets=(5.0, 30.0), hidden=(30,))
    (low, _), (high, _) = points
    assert 0 < 1.5 * low < high


def test_a_chord_lies_between_its_two_betas() -> None:
    torch.manual_seed(0)
    ppca = PPCA.fit(torch.randn(200, 6, dtype=torch.float64) * torch.arange(1.0, 7.0), 3)
    betas = torch.tensor([0.1, 0.2, 0.5, 1.0, 2.0], dtype=torch.float64)
    curve = ppca.rate_distortion(betas)
    slope = solutions("beta_vae").chord_slope
    for low, high in ((0, 1), (0, 3), (3, 4)):
        assert betas[low] < slope(curve.rate, curve.distortion, low, high) < betas[high]


# Mesurer


@pytest.fixture
def ppca() -> PPCA:
    torch.manual_seed(2)
    return PPCA(torch.randn(6, 2), torch.zeros(6), 0.5)


def test_a_spoilt_encoder_lowers_the_bound_and_raises_the_weighted_mean(ppca: PPCA) -> None:
    module, x = solutions("evaluation"), ppca.sample(200)
    exact = float(ppca.log_prob(x).mean())
    worse = module.blurred(ppca)
    for samples in (4, 16):
        before, after = (module.bound_and_weighted(model, x, samples=samples) for model in (ppca, worse))
        assert [float(value) for value in before] == pytest.approx([exact, exact], abs=1e-8)
        assert after[0] < exact - 0.02
    _, weighted = module.bound_and_weighted(worse, x)
    assert weighted > exact + 0.1


def test_effective_samples_go_from_one_to_all(ppca: PPCA) -> None:
    effective = solutions("evaluation").effective_samples
    assert effective(torch.zeros(7, 2)).tolist() == pytest.approx([7, 7])
    assert effective(torch.tensor([[0.0], [900.0]])).item() == pytest.approx(1)


def test_a_true_draw_costs_the_wider_decoder_more(x: Tensor) -> None:
    module, reference = solutions("evaluation"), 0.5 + 0.02 * x.flatten(1)
    lost = []
    for sigma in (0.1, 0.3, 1.0):
        torch.manual_seed(0)
        model = VAE(2, (8,), SHAPE, Gaussian(sigma=sigma)).double()
        means = frechet_distance(reference, model.sample(len(x)).flatten(1))
        lost.append(module.noisy_distance(model, lambda images: images.flatten(1), reference) - means)
    assert 0 < lost[0] < lost[1] < lost[2]


# Le musée


def test_the_divergence_summed_over_images_grows_with_the_batch(vae: VAE, x: Tensor) -> None:
    module = solutions("pieges")
    for size in (64, 32):
        true = elbo(vae, x[:size]).kl.mean()
        assert module.summed_over_images(vae, x[:size]).item() == pytest.approx(true.item() * size / 2)


def test_the_excess_of_the_mean_vanishes_and_the_elbo_falls() -> None:
    axes = torch.linalg.qr(torch.randn(6, 2, dtype=torch.float64)).Q * torch.tensor([3.0, 2.0])
    model = PPCA(axes, torch.zeros(6), 0.5)  # axes orthogonaux : q diagonal est la loi a posteriori exacte
    x = model.sample(200)
    found = [solutions("pieges").price_of_the_mean(model, x, scale) for scale in (1.0, 0.3, 0.1, 0.01)]
    excess, bound = ([value.item() for value in values] for values in zip(*found, strict=True))
    assert [value / excess[0] for value in excess] == pytest.approx([1, 0.09, 0.01, 0.0001], abs=0.01)
    assert excess[0] > 0.5
    assert bound[0] == pytest.approx(model.log_prob(x).mean().item(), abs=0.02)
    assert bound[0] > bound[1] > bound[2] > bound[3]
    assert bound[2] - bound[3] == pytest.approx(2 * math.log(10), abs=0.02)


def test_the_definition_sees_the_doubled_divergence_and_the_slope_does_not(vae: VAE, x: Tensor) -> None:
    module = solutions("pieges")
    assert abs(module.definition_gap(elbo, vae, x).item()) < 1e-12
    kl = elbo(vae, x).kl.mean().item()
    assert module.definition_gap(module.doubled, vae, x).item() == pytest.approx(kl)
    beta = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    [slope] = torch.autograd.grad(module.doubled(vae, x, beta=beta).value.mean(), beta)
    assert float(slope) == pytest.approx(-kl)


# Au-delà


def test_a_wider_decoder_spends_less_on_its_code() -> None:
    train, test = fashion_mnist("train", sample=True)[:300], fashion_mnist("test", sample=True).images[:50]
    share = solutions("au_dela").share_of_the_top
    sizes = {"hidden": (30,), "between": (10,)}
    wide, sharp = (share(likelihood, train, test, **sizes) for likelihood in ("gaussian", Gaussian(0.1)))
    assert wide[0] < 0.5 * sharp[0]
    assert all(0 < top < total for total, top in (wide, sharp))


def test_a_far_mode_is_left_out() -> None:
    found = solutions("au_dela").sides(Parabola(), 4.0, steps=120)
    assert set(found) == {"FreeGaussian", "Flow"}
    for gap, side in found.values():
        assert min(side, 1 - side) < 0.02
        assert gap > 0.9 * math.log(2)


# Les pages


@pytest.mark.parametrize("chapter", ["cvae", "beta_vae", "evaluation", "pieges", "au_dela"])
def test_the_page_shows_every_solution_and_pastes_none(chapter: str) -> None:
    page = (BOOK / f"{chapter}.md").read_text(encoding="utf-8").split("## Exercices")[1]
    shown = re.findall(
        rf"literalinclude\}} \.\./tests/exercises/solutions/{chapter}\.py\n:pyobject: (\w+)", page
    )
    written = [name for name, value in vars(solutions(chapter)).items() if _is_defined_by(value, chapter)]
    assert sorted(shown) == sorted(written)
    assert "```python" not in page


def _is_defined_by(value: object, chapter: str) -> bool:
    return inspect.isfunction(value) and value.__module__ == f"page_{chapter}"

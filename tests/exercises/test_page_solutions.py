"""Le code des solutions écrit dans les pages tourne, et montre ce que la page en dit."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from prose import Cell, read

from vaebook.data import fashion_mnist
from vaebook.exact import PPCA
from vaebook.likelihoods import SharedGaussian
from vaebook.models import VAE, Autoencoder
from vaebook.objectives import reconstruction
from vaebook.training import fit

BOOK = Path(__file__).resolve().parents[2] / "book"
CHAPTERS = sorted(path.stem for path in BOOK.glob("*.md") if path.stem != "index")
SOLUTION = re.compile(r"^(`{4,})\{solution\} (\S+)\n(.*?)^\1$", re.M | re.S)
FENCE = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)

Names = dict[str, Any]


def text(chapter: str) -> str:
    return (BOOK / f"{chapter}.md").read_text(encoding="utf-8")


def listings(chapter: str) -> dict[str, str]:
    """Le code des solutions d'un chapitre, par étiquette d'exercice."""
    found = {label: FENCE.findall(body) for _, label, body in SOLUTION.findall(text(chapter))}
    return {label: "\n".join(fences) for label, fences in found.items() if fences}


LISTINGS = [(chapter, label) for chapter in CHAPTERS for label in listings(chapter)]


def binds(statement: ast.stmt) -> set[str]:
    """Les noms qu'une instruction définit."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
    return {
        node.id
        for node in ast.walk(statement)
        if isinstance(statement, ast.Assign)
        and isinstance(node, ast.Name)
        and isinstance(node.ctx, ast.Store)
    }


def defined(chapter: str, *names: str, **given: Any) -> Names:
    """Ce que le chapitre définit : ses importations, et les instructions qui lient `names` d'abord."""
    space, wanted = {**given}, set(names)
    for cell in read(BOOK / f"{chapter}.md"):
        for statement in ast.parse(cell.source).body if isinstance(cell, Cell) else ():
            imported = isinstance(statement, (ast.Import, ast.ImportFrom))
            if imported or binds(statement) & wanted:
                wanted -= binds(statement)
                exec(compile(ast.Module([statement], []), chapter, "exec"), space)
    assert not wanted, wanted
    return space


@pytest.fixture(autouse=True)
def calm() -> Iterator[None]:
    """La graine, le type par défaut et les figures ne débordent pas d'un test sur l'autre."""
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)
    plt.close("all")


def clothes(count: int) -> Names:
    train, test = fashion_mnist("train", sample=True)[:count], fashion_mnist("test", sample=True)[:60]
    return {"train": train, "test": test, "x_train": train.images, "x_test": test.images, "device": "cpu"}


def autoencoders() -> Names:
    space = defined("autoencodeurs", "autoencoder", "nearest", **clothes(300))
    space["ae"] = Autoencoder(4, hidden=(16,))
    fit(space["ae"], space["train"], epochs=2, objective=reconstruction, seed=0, progress=False)
    return space


def latent() -> Names:
    space = clothes(200)
    x_train = space["x_train"].flatten(1).double()
    space = defined("variables_latentes", "mixture", "family", **{**space, "x_train": x_train})
    return {**space, "models": {10: PPCA.fit(x_train, 10)}}


def bounds() -> Names:
    torch.set_default_dtype(torch.float64)
    return defined("elbo", "model", "wide", "density", "mean", "std", "choices", "two_causes", "x_one")


def conflict() -> Names:
    torch.set_default_dtype(torch.float64)
    space = defined("elbo", "two_causes", "x_sum", "sigma2", "family")
    x = space["x_sum"]
    elbo = torch.stack([model.elbo(x, model.best_diagonal(x)).mean() for model in space["family"]])
    return {**space, "chosen": int(elbo.argmax())}


def weights() -> Names:
    torch.set_default_dtype(torch.float64)
    W = torch.randn(30, 10)
    rotated = PPCA(W, torch.zeros(30), sigma2=0.5)
    images = rotated.sample(10)
    space = defined("elbo")
    encoder = SimpleNamespace(
        posterior=rotated.best_diagonal, likelihood=rotated.likelihood, prior=rotated.prior
    )
    space["log_w"] = torch.cat([space["log_weights"](encoder, images, samples=256) for _ in range(8)])
    return {**space, "rotated": rotated, "images": images}


def reparameterised() -> Names:
    return defined("reparametrisation", "sinus_variances")


def gaussian() -> Names:
    space = defined("vae_gaussien", **clothes(300))
    space["vae"] = VAE(20, hidden=(16,), likelihood=SharedGaussian())
    fit(space["vae"], space["train"], epochs=2, seed=0, progress=False)
    return space


def of_restoring(space: Names) -> None:
    assert space["error"].shape == (60,)
    assert (space["top_half"](space["x_test"])[..., 14:, :] == 0).all()


def of_components(space: Names) -> None:
    assert space["components"] == 80
    assert space["images"].shape == (2000, 1, 28, 28)


def of_em(space: Names) -> None:
    assert space["fitted"].p == pytest.approx(0.7, abs=0.05)  # les noms 0 et 1 échangés : 1 − 0,3


def of_width(space: Names) -> None:
    assert space["w"].var() == pytest.approx((1.5**2 / (2 * 1.5**2 - 1) ** 0.5) ** 4 - 1, rel=0.1)


def of_two_modes(space: Names) -> None:
    def modes(density: torch.Tensor) -> int:
        return int(((density[1:-1] > density[:-2]) & (density[1:-1] > density[2:])).sum())

    assert (modes(space["two"]), modes(space["minus_one"])) == (2, 1)


def of_rate(space: Names) -> None:
    model = space["model"]
    assert space["kl"].mean() == pytest.approx(
        float(0.5 * (model.eigenvalues[:10] / model.sigma2).log().sum())
    )


def of_sign(space: Names) -> None:
    left = space["example"].posterior_kl(space["x"], space["q"]).item()
    error, kl, log_px = (space[name].item() for name in ("reconstruction", "kl_prior", "log_px"))
    assert left == pytest.approx(-error + kl + log_px)
    assert left != pytest.approx(-error - kl + log_px, abs=0.1)


def of_angle(space: Names) -> None:
    assert space["degrees"] == 180
    assert space["gap"] > 0.1


def of_bias(space: Names) -> None:
    assert space["root"] > 1


def of_weights(space: Names) -> None:
    log_px = space["rotated"].log_prob(space["images"])
    assert (space["limit"] > log_px).all()
    assert space["L"].mean() < log_px.mean()


def of_exponential(space: Names) -> None:
    assert space["by_path"].var() == pytest.approx(80 / 1.5**6, rel=0.1)
    assert space["by_score"].var() == pytest.approx(488 / 1.5**6, rel=0.1)
    assert space["by_path"].mean() == pytest.approx(-4 / 1.5**3, rel=0.02)


def of_reference(space: Names) -> None:
    best, f, score = space["best"], space["f"], space["score"]
    assert best == pytest.approx(7, rel=0.03)
    assert ((f - best) * score).var() == pytest.approx(14, rel=0.05)
    assert ((f - f.mean()) * score).var() == pytest.approx(18, rel=0.05)
    assert (f * score).var() == pytest.approx(63, rel=0.05)


def of_crossing(space: Names) -> None:
    assert space["v"]["reparamétré"].item() == pytest.approx(space["v"]["score"].item())


def of_dimensions(space: Names) -> None:
    q, prior = space["q"], space["vae"].prior
    total = space["kl_divergence"](q, prior).mean().item()
    assert space["kl_by_dimension"].shape == (20,)
    assert space["kl_by_dimension"].sum().item() == pytest.approx(total, rel=1e-4)


def of_samples(space: Names) -> None:
    noise = space["p"].sample() - space["p"].mean
    assert noise.std().item() == pytest.approx(float(space["vae"].observation.sigma), rel=0.05)


def of_bits(space: Names) -> None:
    assert 0 < space["bits"] < 10


def of_bound(space: Names) -> None:
    assert space["k"] == 100
    assert torch.cat(space["parts"]).shape == (60,)


Case = tuple[Callable[[], Names], Callable[[Names], None]]
CASES: dict[str, Case] = {
    "ex-ae-restaurer": (autoencoders, of_restoring),
    "ex-ae-melange": (autoencoders, of_components),
    "ex-latentes-em": (latent, of_em),
    "ex-latentes-largeur": (latent, of_width),
    "ex-latentes-deux-modes": (latent, of_two_modes),
    "ex-latentes-debit": (latent, of_rate),
    "ex-elbo-signe": (bounds, of_sign),
    "ex-elbo-angle": (bounds, of_angle),
    "ex-elbo-biais": (conflict, of_bias),
    "ex-elbo-poids": (weights, of_weights),
    "ex-rep-exponentielle": (reparameterised, of_exponential),
    "ex-rep-reference": (reparameterised, of_reference),
    "ex-rep-croisement": (reparameterised, of_crossing),
    "ex-dimensions": (gaussian, of_dimensions),
    "ex-echantillons": (gaussian, of_samples),
    "ex-vae-bits": (gaussian, of_bits),
    "ex-borne": (gaussian, of_bound),
}


def test_every_listing_has_its_test() -> None:
    assert sorted(label for _, label in LISTINGS) == sorted(CASES)


@pytest.mark.parametrize(("chapter", "label"), LISTINGS, ids=[label for _, label in LISTINGS])
def test_the_listing_runs_and_shows_what_the_page_says(chapter: str, label: str) -> None:
    setting, outcome = CASES[label]
    space = setting()
    exec(compile(listings(chapter)[label], label, "exec"), space)
    outcome(space)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_code_outside_solutions_is_a_cell_or_an_include(chapter: str) -> None:
    """Un bloc de code qui n'est ni une cellule ni une solution n'est exécuté nulle part."""
    outside = SOLUTION.sub("", text(chapter))
    assert not re.findall(r"^`{3,}(?:python|\{code-block\})", outside, re.M)

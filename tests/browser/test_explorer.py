"""Les panneaux, dans un navigateur, depuis un fichier : leurs nombres, et ce qu'un lecteur en fait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from vaebook.data import fashion_mnist
from vaebook.explorer import Panel
from vaebook.explorer.encoder import EncoderPanel
from vaebook.explorer.latent import LatentExplorer
from vaebook.models import VAE, ConditionalVAE
from vaebook.networks import diagonal_gaussian
from vaebook.running_example import RunningExample

PAGE = """<!DOCTYPE html>
<html lang="fr" data-theme="light"><head><meta charset="utf-8"><title>Essai</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
html {{ color: #222832; }} html[data-theme="dark"] {{ color: #ced6dd; background: #14181e; }}
</style></head><body>{body}</body></html>"""

Open = Callable[..., Any]


def contrasted(model: Any) -> Any:
    """Un modèle non appris, dont les poids sont grossis : des images franches, des codes dispersés."""
    for parameter in model.parameters():
        parameter.data *= 2
    return model


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    torch.manual_seed(0)
    return {
        "seul": contrasted(VAE(2, (400,), likelihood="shared_gaussian")),
        "conditionnel": contrasted(ConditionalVAE(2, (64, 32))),
        "liste": [(beta, contrasted(VAE(2, (64,)))) for beta in (0.5, 1, 4)],
    }


@pytest.fixture(scope="module")
def panels(models: dict[str, Any]) -> dict[str, Panel]:
    data = fashion_mnist("test", sample=True)
    return {name: LatentExplorer(model, data, points=300) for name, model in models.items()} | {
        "encodeur": EncoderPanel(RunningExample())
    }


@pytest.fixture
def open_page(chromium: Any, tmp_path: Path) -> Iterator[Open]:
    """Ouvre une page de panneaux ; à la fin, rien n'a échoué et rien n'a été demandé ailleurs."""
    contexts, faults = [], []

    def opened(*panels: Panel, ready: bool = True, **options: Any) -> Any:
        path = tmp_path / f"{len(contexts)}.html"
        path.write_text(PAGE.format(body="".join(panel.html() for panel in panels)), encoding="utf-8")
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on(
            "request",
            lambda asked: None if asked.url.startswith(("file:", "data:")) else faults.append(asked.url),
        )
        page.goto(path.as_uri())
        if ready:
            page.wait_for_function(
                "() => [...document.querySelectorAll('[data-vaebook]')]"
                ".every((host) => host.explorer || host.encoder)"
            )
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


HOST = "document.querySelector('[data-vaebook]')"


def decoded(page: Any, z: torch.Tensor, model: int = 0, label: int = 0) -> torch.Tensor:
    values = page.evaluate(
        f"([codes, model, label]) => codes.map(z => [...{HOST}.explorer.decode(z, model, label)])",
        [z.tolist(), model, label],
    )
    return torch.tensor(values)


def code(page: Any) -> list[float]:
    return list(page.evaluate(f"{HOST}.explorer.state.z"))


def image(page: Any) -> list[int]:
    """Les pixels que montre le canevas."""
    return list(
        page.evaluate(
            f"""() => {{
              const canvas = {HOST}.shadowRoot.querySelector(".image");
              const {{ data }} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
              return [...data].filter((_, i) => i % 4 === 0);
            }}"""
        )
    )


def slider(page: Any, name: str) -> Any:
    return page.get_by_role("slider", name=name, exact=True)


def test_the_page_decodes_like_torch(
    open_page: Open, panels: dict[str, Panel], models: dict[str, Any]
) -> None:
    z = 2 * torch.randn(40, 2, generator=torch.Generator().manual_seed(1))
    page = open_page(panels["seul"])
    with torch.no_grad():
        expected = models["seul"].likelihood(z).mean.flatten(1)
        assert expected.std() > 0.1
        assert (decoded(page, z) - expected).abs().mean() < 1 / 255
        page = open_page(panels["conditionnel"])
        for label in (0, 7):
            given = models["conditionnel"].given(torch.full((40,), label))
            values = decoded(page, z, label=label)
            assert (values - given.likelihood(z).mean.flatten(1)).abs().mean() < 1 / 255
        page = open_page(panels["liste"])
        for rank, (_, model) in enumerate(models["liste"]):
            values = decoded(page, z, model=rank)
            assert (values - model.likelihood(z).mean.flatten(1)).abs().mean() < 1 / 255


@pytest.mark.parametrize(
    "likelihood", ["continuous_bernoulli", "pixel_gaussian", {"name": "laplace", "link": "identity"}]
)
def test_the_page_knows_the_mean_of_the_likelihood(open_page: Open, likelihood: Any) -> None:
    torch.manual_seed(0)
    model = contrasted(VAE(2, (20,), likelihood=likelihood))
    z = torch.randn(10, 2)
    with torch.no_grad():
        expected = model.likelihood(z).mean.flatten(1)
    values = decoded(open_page(LatentExplorer(model)), z)
    assert (values.clamp(0, 1) - expected.clamp(0, 1)).abs().mean() < 1 / 255


def test_the_mouse_the_keyboard_and_the_sliders_move_the_code(
    open_page: Open, panels: dict[str, Panel]
) -> None:
    page = open_page(panels["seul"])
    span = panels["seul"].data()["span"]
    first = image(page)
    box = page.locator(".pad").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.75 * box["height"])
    page.mouse.up()
    page.mouse.move(box["x"], box["y"])  # bouton relâché : le code ne suit plus
    assert code(page) == pytest.approx([span / 2, -span / 2], abs=span / 50)
    assert image(page) != first
    page.keyboard.press("Tab")  # le plan, puis les deux curseurs
    page.locator(".pad").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    assert code(page) == pytest.approx([0.1, 0.5])
    page.keyboard.press("Tab")
    assert page.evaluate(f"{HOST}.shadowRoot.activeElement.type") == "range"
    page.keyboard.press("End")
    assert code(page) == pytest.approx([span, 0.5])
    slider(page, "z₂").fill("-1")
    assert code(page) == pytest.approx([span, -1])
    assert slider(page, "z₂").get_attribute("aria-valuetext") == "−1,00"


def test_a_finger_moves_the_code(open_page: Open, panels: dict[str, Panel]) -> None:
    page = open_page(panels["seul"], has_touch=True, viewport={"width": 375, "height": 700})
    span = panels["seul"].data()["span"]
    box = page.locator(".pad").bounding_box()
    page.touchscreen.tap(box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"])
    assert code(page) == pytest.approx([-span / 2, span / 2], abs=span / 50)
    assert page.evaluate(f"getComputedStyle({HOST}.shadowRoot.querySelector('.pad')).touchAction") == "none"


def test_a_screen_reader_hears_where_it_is(open_page: Open, panels: dict[str, Panel]) -> None:
    page = open_page(panels["seul"])
    page.locator(".pad").focus()
    for _ in range(8):
        page.keyboard.press("ArrowLeft")
    region = page.locator("[aria-live=polite]")
    region.filter(has_text="z₁ = −0,80").wait_for(state="attached")
    assert "Codes voisins" in region.inner_text()
    assert "z₁ = −0,80" in page.locator(".image").get_attribute("aria-label")


def test_the_label_and_beta_change_the_image(open_page: Open, panels: dict[str, Panel]) -> None:
    page = open_page(panels["conditionnel"])
    first = image(page)
    page.get_by_label("Étiquette y").select_option("Sac")
    assert image(page) != first
    assert page.locator(".legend .chosen").inner_text().split()[-1] == "Sac"
    page = open_page(panels["liste"])
    first = image(page)
    slider(page, "β").press("ArrowRight")
    assert image(page) != first
    assert slider(page, "β").get_attribute("aria-valuetext") == "1"


@pytest.mark.parametrize("name", ["seul", "conditionnel", "liste", "encodeur"])
def test_it_fits_a_phone_and_follows_the_theme(open_page: Open, panels: dict[str, Panel], name: str) -> None:
    page = open_page(panels[name], viewport={"width": 320, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    panel = page.locator(".panel")
    assert panel.get_attribute("class") == "panel"
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.locator(".panel.dark").wait_for()
    assert panel.evaluate("node => getComputedStyle(node).colorScheme") == "dark"


def test_elsewhere_it_follows_the_system(open_page: Open, panels: dict[str, Panel]) -> None:
    page = open_page(panels["encodeur"], color_scheme="dark")
    page.add_style_tag(content="html { color-scheme: light dark; color: CanvasText !important }")
    page.evaluate("document.documentElement.removeAttribute('data-theme')")
    page.locator(".panel.dark").wait_for()
    page.emulate_media(color_scheme="light")
    page.locator(".panel:not(.dark)").wait_for()


@pytest.mark.parametrize("name", ["seul", "encodeur"])
def test_without_javascript_the_image_is_there(open_page: Open, panels: dict[str, Panel], name: str) -> None:
    page = open_page(panels[name], ready=False, java_script_enabled=False)
    assert page.locator("img").bounding_box()["height"] > 200
    assert page.locator("input").count() == 0


def test_javascript_replaces_the_image_even_when_shown_twice(
    open_page: Open, panels: dict[str, Panel]
) -> None:
    page = open_page(panels["seul"], panels["seul"], panels["encodeur"])
    assert page.locator(".panel").count() == 3
    assert page.locator("img:visible").count() == 0


# « Soyez l’encodeur »


@pytest.mark.parametrize(
    ("m", "s", "beta"), [(0.3, 0.5, 1.0), (0.8, 0.35, 4.0), (-1.5, 1.2, 0.0), (1.2, 0.1, 0.5)]
)
def test_the_page_integrates_like_the_example(
    open_page: Open, panels: dict[str, Panel], m: float, s: float, beta: float
) -> None:
    found = open_page(panels["encodeur"]).evaluate(
        f"([m, s, beta]) => {HOST}.encoder.terms(m, s, beta)", [m, s, beta]
    )
    example, x = RunningExample(), torch.tensor([[1.5]], dtype=torch.float64)
    parameters = torch.tensor([m, s], dtype=torch.float64, requires_grad=True)
    q = diagonal_gaussian(parameters[:1], parameters[1:])
    value, reconstruction, kl = example.elbo(x, q)
    for name, term in {
        "reconstruction": reconstruction,
        "kl": kl,
        "elbo": value,
        "objective": reconstruction - beta * kl,
    }.items():
        (gradient,) = torch.autograd.grad(term.sum(), parameters, retain_graph=True)
        assert found[name] == pytest.approx([term.item(), *gradient.tolist()], abs=1e-8), name
    assert found["gap"] == pytest.approx(example.posterior_kl(x, q).item(), abs=1e-8)
    assert found["elbo"][0] + found["gap"] == pytest.approx(example.log_prob(x).item(), abs=1e-8)


def test_the_panel_answers_to_sliders_mouse_and_gradient(open_page: Open, panels: dict[str, Panel]) -> None:
    page = open_page(panels["encodeur"])
    state = f"{HOST}.encoder.state"
    slider(page, "moyenne m").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(state)["m"] == pytest.approx(0.31)
    slider(page, "écart-type s").fill("0.4")
    slider(page, "β").fill("2")
    assert page.evaluate(state) == pytest.approx({"m": 0.31, "s": 0.4, "beta": 2})
    assert "ELBO" in page.locator(".plot").get_attribute("aria-label")
    box = page.locator(".plot").bounding_box()
    page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 0.6 * box["height"])
    # Le sommet de q est sous la souris : m = 0, et 1/(s√2π) = 0,8.
    assert page.evaluate(state)["m"] == pytest.approx(0, abs=0.02)
    assert page.evaluate(state)["s"] == pytest.approx(0.5, abs=0.02)
    objective = f"{HOST}.encoder.terms({state}.m, {state}.s, 2)"
    for _ in range(20):
        page.get_by_role("button").click()
    reached = page.evaluate(objective)["objective"]
    best = RunningExample().best_gaussian(torch.tensor([[1.5]], dtype=torch.float64), beta=2)
    assert page.evaluate(state)["m"] == pytest.approx(best.mean.item(), abs=0.01)
    assert reached[1:] == pytest.approx([0, 0], abs=0.05)
    page.locator("[aria-live=polite]").filter(has_text="log p(x)").wait_for(state="attached")


def test_the_bars_add_up(open_page: Open, panels: dict[str, Panel]) -> None:
    page = open_page(panels["encodeur"])
    for m in ("0", "0.8", "1.5"):
        slider(page, "moyenne m").fill(m)
        edges = page.evaluate(
            f"""() => Object.fromEntries(["elbo", "gap", "recon", "kl", "mark"].map((name) => {{
              const bar = {HOST}.shadowRoot.querySelector(`.${{name}}:is(.bar, .mark)`);
              const box = bar.getBoundingClientRect();
              return [name, [box.left, box.right]];
            }}))"""
        )
        assert edges["elbo"][1] == pytest.approx(edges["gap"][0], abs=0.5)
        assert edges["gap"][1] == pytest.approx(edges["mark"][0], abs=0.5)
        assert edges["kl"][0] == pytest.approx(edges["elbo"][1], abs=0.5)  # β = 1
        assert edges["kl"][1] == pytest.approx(edges["recon"][1], abs=0.5)

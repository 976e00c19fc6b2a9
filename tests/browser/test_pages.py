"""Le site dans un navigateur : rien ne sort, tout est français, accessible et trouvable."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from visit import TIMEOUT, visit_all
from walk import READY, pages, served

pytestmark = pytest.mark.slow

# Ce qui n'est pas du français et reste : des noms, des sigles, des touches, des formats.
ALLOWED = {"BY", "CC", "Colab", "Binder", "Ctrl", "GitHub", "ipynb", "MNIST", "PDF", "vaebook", "VAE"}
# Ce que les greffons de Sphinx écrivent en anglais dans un article.
ENGLISH = re.compile(
    r"\b(Proof|Theorem|Lemma|Corollary|Definition|Example|Remark|Proposition [A-Z]|Exercise|Solution to|"
    r"Click|Show|Hide|Copy|Copied|Toggle|Permalink|Link to|Search|Next|Previous|Warning|Hint|See also|"
    r"Contents|Bibliography|Edit|Open|Close|Download|cell|source code|output|input|the|this|and|with)\b"
)


@pytest.fixture(scope="module")
def walked(require, site: Path, axe: str):
    """Une seule visite de chaque page, depuis le disque : tout ce qu'on y a vu, pour tous les essais."""
    pytest.importorskip("playwright.sync_api", reason="playwright n’est pas installé")
    found = [page for page in pages(site) if page != site / "index.html"]  # la redirection
    names = [page.relative_to(site).as_posix() for page in found]
    return dict(zip(names, visit_all(found, require("chromium"), axe), strict=True))


def each(walked, key):
    return {name: seen[key] for name, seen in walked.items() if seen.get(key)}


def test_nothing_comes_from_outside(walked):
    outside = {
        name: [url for url in seen["requests"] if not url.startswith(("file:", "data:", "blob:"))]
        for name, seen in walked.items()
    }
    assert not {name: urls for name, urls in outside.items() if urls}
    assert any("mathjax/core.js" in url for url in walked["book/elbo.html"]["requests"])


def test_nothing_fails_to_load_or_run(walked):
    assert each(walked, "failures") == {}
    assert each(walked, "errors") == {}
    assert each(walked, "mathjax_errors") == {}


def test_the_interface_is_french(walked, require):
    hunspell = require("hunspell")
    interface = {text for seen in walked.values() for inside, text in seen["said"] if not inside}
    words = sorted({word for text in interface for word in re.findall(r"[^\W\d_]{2,}", text)} - ALLOWED)
    done = subprocess.run(
        [hunspell, "-d", "fr", "-l"], input="\n".join(words), capture_output=True, text=True, check=True
    )
    unknown = set(done.stdout.split())
    assert not {text for text in interface if unknown & set(re.findall(r"[^\W\d_]{2,}", text))}


def test_no_extension_speaks_english_in_an_article(walked):
    found = {
        (name, text)
        for name, seen in walked.items()
        for inside, text in seen["said"]
        if inside and ENGLISH.search(text)
    }
    assert not found


def test_axe_finds_nothing(walked):
    problems = {
        (name, setting): violations
        for name, seen in walked.items()
        for setting, violations in seen["axe"].items()
        if violations
    }
    assert not problems, json.dumps([[*map(str, key), value] for key, value in problems.items()], indent=1)


def test_nothing_overflows_a_small_screen(walked):
    assert each(walked, "overflow") == {}


def test_the_dark_theme_has_no_white_slab(walked):
    assert each(walked, "slabs") == {}


QUERIES = {
    "reparametrisation": "book/reparametrisation",
    "reparamétrisation": "book/reparametrisation",
    "regularite": "book/autoencodeurs",
    "autoencodeur": "book/autoencodeurs",
    "auto-encodeurs": "book/autoencodeurs",
    "VAE conditionnel": "book/cvae",
    "etiquettes": "book/cvae",
    "Étiquette": "book/cvae",
    "vraisemblances": "book/vae_gaussien",
    "borne variationnelle": "book/elbo",
}


@pytest.mark.parametrize("local", [False, True], ids=["servi", "fichier"])
def test_the_search_finds_french_without_accents(chromium, site, local):
    page = chromium.new_page()
    page.set_default_timeout(TIMEOUT)
    with served(site) as address:
        start = site.as_uri() if local else address
        for query, expected in QUERIES.items():
            page.goto(f"{start}/search.html?q={query}")
            page.wait_for_selector("#search-results ul.search li a")
            page.wait_for_function("() => /\\d/.test(document.querySelector('.search-summary').innerText)")
            links = page.eval_on_selector_all(
                "#search-results ul.search li a", "links => links.map(link => link.getAttribute('href'))"
            )
            assert any(link.startswith(expected) for link in links), (query, links)
    page.close()


def test_the_keyboard_reaches_the_page_with_a_visible_focus(chromium, site):
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(TIMEOUT)
    page.goto((site / "book/elbo.html").as_uri())
    page.evaluate(READY)
    names = []
    for _ in range(25):
        page.keyboard.press("Tab")
        outline, name = page.evaluate(
            """() => {
              const element = document.activeElement, style = getComputedStyle(element);
              const visible = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
              return [visible, element.outerHTML.slice(0, 90)];
            }"""
        )
        assert outline, name
        names.append(name)
    assert "main-content" in names[0]
    assert len(set(names)) > 20
    page.close()


def test_formulas_are_as_tall_as_the_letters_around(chromium, site):
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(TIMEOUT)
    page.goto((site / "book/vae_gaussien.html").as_uri())
    page.evaluate(READY)
    page.eval_on_selector_all("article *", "all => all.forEach(element => { element.hidden = false; })")
    page.eval_on_selector_all("article details", "boxes => boxes.forEach(box => { box.open = true; })")
    # La hauteur d'un x autour de la formule, et celle que MathJax lui donne.
    heights = page.eval_on_selector_all(
        "article mjx-container",
        """formulas => formulas.map(formula => {
          const around = formula.parentElement.parentElement;
          const probe = around.appendChild(document.createElement('span'));
          probe.style.cssText = 'position: absolute; width: 60ex';
          const wanted = probe.getBoundingClientRect().width / 60;
          probe.remove();
          const math = parseFloat(getComputedStyle(formula).fontSize);
          return [wanted, math * MathJax.startup.output.font.params.x_height];
        })""",
    )
    assert len(heights) > 300
    for wanted, found in heights:
        assert found == pytest.approx(wanted, rel=0.01)
    page.close()


def test_motion_and_paper(chromium, site):
    page = chromium.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page.set_default_timeout(TIMEOUT)
    page.goto((site / "book/elbo.html").as_uri())
    moving = """() => [...document.querySelectorAll('*')].filter(
      element => parseFloat(getComputedStyle(element).transitionDuration) > 0).length"""
    assert page.evaluate(moving) == 0
    page.emulate_media(media="print")
    for selector in ("#pst-primary-sidebar", ".bd-header-article", ".prev-next-footer", ".headerlink"):
        assert not page.locator(selector).first.is_visible(), selector
    assert page.locator("article h1").is_visible()
    page.close()

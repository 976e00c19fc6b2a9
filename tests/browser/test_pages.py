"""Le site dans un navigateur : rien ne sort, tout est français, accessible et trouvable."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from walk import READY, SAID, pages, served

pytestmark = pytest.mark.slow

# Large, pour une machine occupée : rien ici ne mesure un temps.
TIMEOUT = 120_000
# Ce qui n'est pas du français et reste : des noms, des sigles, des touches, des formats.
ALLOWED = {"BY", "CC", "Colab", "Binder", "Ctrl", "GitHub", "ipynb", "MNIST", "PDF", "vaebook", "VAE"}
# Ce que les greffons de Sphinx écrivent en anglais dans un article.
ENGLISH = re.compile(
    r"\b(Proof|Theorem|Lemma|Corollary|Definition|Example|Remark|Proposition [A-Z]|Exercise|Solution to|"
    r"Click|Show|Hide|Copy|Copied|Toggle|Permalink|Link to|Search|Next|Previous|Warning|Hint|See also|"
    r"Contents|Bibliography|Edit|Open|Close|Download|cell|source code|output|input|the|this|and|with)\b"
)
# Quoi que l'on ouvre : blocs repliés, solutions, cellules masquées.
OPEN = "open => document.querySelectorAll('article details').forEach(box => { box.open = open; })"
UNFOLD = "document.querySelectorAll('article .toggle-button').forEach(button => button.click())"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOURS = ["color-contrast", "link-in-text-block"]  # tout ce qui dépend du thème
AXE = """async runOnly => {
  const exclude = [['mjx-assistive-mml'], ['mjx-math']];
  const {violations} = await axe.run({exclude}, {runOnly, resultTypes: ['violations'], preload: false});
  const shown = nodes => nodes.slice(0, 3).map(node => node.html.slice(0, 160)).join(' | ');
  return violations.map(found => `${found.id} : ${shown(found.nodes)}`);
}"""
OVERFLOW = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const wide = [...document.querySelectorAll('article *')].filter(element => {
    const box = element.getBoundingClientRect();
    return box.width && box.right > width + 1;
  });
  return wide.slice(-5).map(element => element.outerHTML.slice(0, 120));
}"""
SLABS = """() => [...document.querySelectorAll('article *')].filter(element => {
  const colour = getComputedStyle(element).backgroundColor;
  const [red, green, blue, opacity = 1] = (colour.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const box = element.getBoundingClientRect();
  return opacity > 0.5 && Math.min(red, green, blue) > 215 && box.width > 40 && box.height > 20;
}).map(element => element.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def walked(chromium, site: Path, axe: str):
    """Une seule visite de chaque page, depuis le disque : tout ce qu'on y a vu, pour tous les essais."""
    found = {}
    for path in pages(site):
        if path.name == "index.html" and path.parent == site:
            continue  # la redirection
        name = path.relative_to(site).as_posix()
        context = chromium.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
        context.set_default_timeout(TIMEOUT)
        page = context.new_page()
        seen = found[name] = {"requests": [], "failures": [], "errors": [], "axe": {}}
        page.on("request", lambda request, seen=seen: seen["requests"].append(request.url))
        page.on("requestfailed", lambda request, seen=seen: seen["failures"].append(request.url))
        page.on("pageerror", lambda error, seen=seen: seen["errors"].append(str(error)))
        page.on(
            "console",
            lambda said, seen=seen: seen["errors"].append(said.text) if said.type == "error" else None,
        )
        page.goto(path.as_uri())
        page.evaluate(READY)
        seen["said"] = page.evaluate(SAID)
        seen["mathjax_errors"] = page.locator("mjx-merror").count()
        page.evaluate(axe)
        seen["axe"]["light, 1280, fermé"] = page.evaluate(AXE, WCAG)
        page.evaluate(OPEN, True)
        page.evaluate(UNFOLD)
        for theme, width, rules in (
            ("light", 1280, WCAG),
            ("dark", 1280, COLOURS),
            ("light", 375, WCAG),
            ("dark", 375, COLOURS),
        ):
            page.set_viewport_size({"width": width, "height": 900})
            page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
            page.wait_for_timeout(350)  # les transitions de couleur
            seen["axe"][f"{theme}, {width}, ouvert"] = page.evaluate(AXE, rules)
            if (theme, width) == ("dark", 1280):
                seen["slabs"] = page.evaluate(SLABS)
        page.set_viewport_size({"width": 320, "height": 900})
        page.wait_for_timeout(100)
        seen["overflow"] = page.evaluate(OVERFLOW)
        context.close()
    return found


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

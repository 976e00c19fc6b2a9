"""La visite d'une page dans un navigateur : tout ce qu'on y voit, y entend et y demande, en une fois.

Les pages se partagent entre plusieurs processus, chacun avec son navigateur.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from walk import ARGUMENTS, READY, SAID

# Large, pour une machine occupée : rien ici ne mesure un temps.
TIMEOUT = 120_000
# Ce qui s'ouvre : blocs repliés, solutions, cellules masquées.
OPEN = "open => document.querySelectorAll('article details').forEach(box => { box.open = open; })"
TOGGLE = "document.querySelectorAll('article .toggle-button').forEach(button => button.click())"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
AXE = """async runOnly => {
  const {violations} = await axe.run({runOnly, resultTypes: ['violations'], preload: false});
  const shown = nodes => nodes.slice(0, 3).map(node => node.html.slice(0, 160)).join(' | ');
  return violations.map(found => `${found.id} : ${shown(found.nodes)}`);
}"""
# Huit éléments sur dix sont dans les formules et le code. Examinés une fois par thème, ils deviennent des
# boîtes vides, de même taille, et un texte sans couleurs : le reste s’examine trois fois plus vite.
HOLLOW = """() => {
  const boxes = [...document.querySelectorAll('mjx-math')].map(math => [math, math.getBoundingClientRect()]);
  for (const [math, box] of boxes) {
    math.replaceChildren();
    math.style.cssText += `; display: inline-block; width: ${box.width}px; height: ${box.height}px`;
  }
  document.querySelectorAll('mjx-assistive-mml').forEach(math => math.replaceChildren());
  document.querySelectorAll('.highlight pre').forEach(code => { code.textContent = code.textContent; });
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
  return opacity > 0.5 && Math.min(red, green, blue) > 150 && box.width > 40 && box.height > 20;
}).map(element => element.outerHTML.slice(0, 120))"""

_browser: Any = None


def visit_all(pages: Iterable[Path], executable: str, axe: str) -> list[dict[str, Any]]:
    """Visite toutes les pages, les plus lourdes d'abord ; rend ce qu'on y a vu, dans le même ordre.

    Paramètres :
        pages : les fichiers à visiter, depuis le disque.
        executable : celui de Chromium.
        axe : le script d'axe-core.
    """
    ordered = list(pages)
    heaviest = sorted(ordered, key=lambda page: -page.stat().st_size)
    with ProcessPoolExecutor(
        min(os.cpu_count() or 1, 4),
        mp_context=get_context("spawn"),
        initializer=_launch,
        initargs=(executable,),
    ) as pool:
        found = {page: pool.submit(_visit, page, axe) for page in heaviest}
        return [found[page].result() for page in ordered]


def _launch(executable: str) -> None:
    global _browser
    from playwright.sync_api import sync_playwright

    _browser = sync_playwright().start().chromium.launch(executable_path=executable, args=list(ARGUMENTS))


def _visit(path: Path, axe: str) -> dict[str, Any]:
    context = _browser.new_context(
        viewport={"width": 1280, "height": 900},
        color_scheme="light",
        reduced_motion="reduce",  # changer de thème n'a pas de transition qu'il faille attendre
    )
    context.set_default_timeout(TIMEOUT)
    page = context.new_page()
    seen: dict[str, Any] = {"requests": [], "failures": [], "errors": [], "axe": {}}
    page.on("request", lambda request: seen["requests"].append(request.url))
    page.on("requestfailed", lambda request: seen["failures"].append(request.url))
    page.on("pageerror", lambda error: seen["errors"].append(str(error)))
    page.on("console", lambda said: seen["errors"].append(said.text) if said.type == "error" else None)
    page.goto(path.as_uri())
    page.evaluate(READY)
    seen["said"] = page.evaluate(SAID)
    seen["mathjax_errors"] = page.locator("mjx-merror").count()
    page.evaluate(axe)

    def examine(theme: str, width: int, state: str) -> None:
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        seen["axe"][f"{theme}, {width}, {state}"] = page.evaluate(AXE, WCAG)

    def unfold(opened: bool) -> None:
        page.evaluate(OPEN, opened)
        page.evaluate(TOGGLE)
        page.evaluate(READY)

    unfold(True)
    examine("light", 1280, "ouvert")
    examine("dark", 1280, "ouvert")
    seen["slabs"] = page.evaluate(SLABS)
    page.set_viewport_size({"width": 320, "height": 900})
    page.wait_for_timeout(100)
    seen["overflow"] = page.evaluate(OVERFLOW)
    page.evaluate(HOLLOW)
    examine("dark", 375, "ouvert")
    examine("light", 375, "ouvert")
    unfold(False)
    # Une page où rien ne se replie est déjà examinée : ouverte ou fermée, c'est la même.
    widths = (375, 1280) if page.locator("article details, article .toggle-button").count() else ()
    for width in widths:
        for theme in ("light", "dark"):
            examine(theme, width, "fermé")
    context.close()
    return seen

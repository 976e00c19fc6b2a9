"""Le site construit, sans navigateur : en-têtes, boutons, fichiers, poids, HTML valide."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import tomllib
from pathlib import Path
from xml.etree import ElementTree
from zipfile import ZipFile

import pytest
from bs4 import BeautifulSoup

pytestmark = pytest.mark.slow

# Ce que html-validate reproche au site et que l'on garde : les seules règles que change html-validate.json.
EXPLAINED = {
    "attribute-boolean-style": 'Sphinx écrit defer="defer", qui est permis',
    "long-title": "le titre du chapitre et celui du livre, séparés, valent mieux qu'un titre tronqué",
    "no-redundant-role": 'la recherche de Sphinx cherche role="main"',
    "no-trailing-whitespace": "mise en page du fichier, invisible",
    "prefer-native-element": "le thème sélectionne ces div par leur nom d'élément",
    "valid-id": "l'ancre d'un objet de la référence est son nom complet, avec des points",
    "void-style": "Sphinx ferme les éléments vides, ce qui est permis",
    "wcag/h32": "la recherche se valide par Entrée, comme partout",
}


def soups(site: Path) -> dict[str, BeautifulSoup]:
    """Les pages du livre, sans la redirection ni la page d'erreur."""
    found = {}
    for page in sorted(site.glob("book/**/*.html")):
        text = page.read_text(encoding="utf-8")
        found[page.relative_to(site).as_posix()] = BeautifulSoup(text, "html.parser")
    return found


@pytest.fixture(scope="module")
def book_pages(site):
    return soups(site)


@pytest.fixture(scope="module")
def addresses(root):
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    url = project["urls"]["Repository"]
    owner, name = url.rsplit("/", 2)[-2:]
    return url, f"https://{owner}.github.io/{name}/"


def test_every_page_is_described(book_pages, addresses):
    _, home = addresses
    described = set()
    for name, soup in book_pages.items():
        tags = soup.select("meta[content]")
        metas = {tag.get("name") or tag.get("property"): tag["content"] for tag in tags}
        assert 50 <= len(metas["description"]) <= 200, (name, metas["description"])
        assert "\\" not in metas["description"], name
        assert metas["og:description"] == metas["description"]
        assert metas["og:url"] == f"{home}{name}" == soup.select_one("link[rel=canonical]")["href"]
        assert metas["og:title"] in soup.title.text
        described.add(metas["description"])
    assert len(described) == len(book_pages)


def test_the_card_the_icon_and_the_logo_are_ours(site, book_pages):
    assert (site / "_static/carte.png").read_bytes()[16:24] == bytes.fromhex("000004b000000276")  # 1200 × 630
    for name, soup in book_pages.items():
        folder = (site / name).parent
        for selector, attribute in (("link[rel=icon]", "href"), (".logo__image", "src")):
            path = folder / soup.select_one(selector)[attribute].partition("?")[0]
            assert path.suffix == ".svg"
            assert path.is_file(), path


def test_every_chapter_has_its_buttons_and_its_time(site, book_pages, root, addresses):
    url, _ = addresses
    for notebook in sorted((root / "book/notebooks").glob("*.ipynb")):
        soup = book_pages.get(f"book/{notebook.stem}.html")
        if soup is None:
            continue
        buttons = soup.select(".article-header-buttons a")
        links = {link.get("title", link.text.strip()): link["href"] for link in buttons}
        assert links["Modifier cette page"].startswith(f"{url}/edit/main/book/{notebook.stem}.md")
        assert links["Signaler une erreur"].startswith(f"{url}/issues/new")
        download = links["Télécharger le carnet de ce chapitre"]
        assert (site / "book" / download).resolve().is_file()
        note = soup.select_one("h1 + .lecture").text
        assert re.fullmatch(r"Temps de lecture\u00a0: \d+\u00a0min environ", note)
        assert soup.select(".prev-next-area a")
        assert soup.select("h2 a.headerlink")
        assert soup.select("figure a.headerlink")
        assert soup.select(".cell_input")


def test_the_changelog_is_linked(book_pages, addresses):
    for soup in book_pages.values():
        assert soup.select(f'.bd-footer-content a[href="{addresses[0]}/blob/main/CHANGELOG.md"]')


def test_the_plan_and_the_error_page(site, book_pages, addresses):
    _, home = addresses
    tree = ElementTree.parse(site / "sitemap.xml")
    found = {element.text for element in tree.iter() if element.tag.endswith("loc")}
    assert found == {home + name for name in book_pages}
    error = BeautifulSoup((site / "404.html").read_text(encoding="utf-8"), "html.parser")
    assert error.html["lang"] == "fr"
    assert error.select_one(f'a[href="{home}"]')
    assert not error.select("script, link, img")  # elle est servie à n'importe quelle profondeur


def test_no_page_asks_anything_outside(site):
    for page in site.rglob("*.html"):
        soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        loading = "script[src], img[src], iframe, source, link[rel~=stylesheet], link[rel~=preload]"
        for tag in soup.select(loading):
            address = tag.get("src") or tag.get("href") or ""
            assert not re.match(r"(https?:)?//", address), (page, address)
    for style in site.glob("_static/**/*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style


def test_every_icon_is_in_the_fonts(site, book_pages, root):
    css = (site / "_static/styles/pydata-sphinx-theme.css").read_text(encoding="utf-8")
    kept = (root / "book/assets/vendor/fontawesome/PROVENANCE.txt").read_text(encoding="utf-8")
    wanted = {
        name
        for soup in book_pages.values()
        for icon in soup.select("i[class*=fa-], span[class*=fa-]")
        for name in icon["class"]
        if name.startswith("fa-")
    }
    codes = {
        name: found[1]
        for name in wanted
        if (found := re.search(rf"\.{name}:before[^{{}}]*\{{content:\"\\(f\w+)\"", css))
    }
    assert len(codes) >= 10
    assert not {name for name, code in codes.items() if code not in kept}


def test_pages_are_light(site, book_pages):
    """Tout ce qu'une page demande, compressé, figures, panneaux et polices compris, mais MathJax à part."""
    fonts = site / "_static" / "vendor" / "fontawesome" / "webfonts"
    icons = {"solid": "fa-solid-900", "brands": "fa-brands-400", "regular": "fa-regular-400"}
    for name, soup in book_pages.items():
        folder = (site / name).parent
        asked = [tag["src"] for tag in soup.select("script[src], img[src]")]
        asked += [tag["href"] for tag in soup.select("link[rel~=stylesheet]")]
        addresses = {address.partition("?")[0] for address in asked if not address.startswith("data:")}
        files = [site / name, *(folder / address for address in addresses if "mathjax" not in address)]
        files += [
            fonts / f"{font}.woff2"
            for family, font in icons.items()
            if soup.select(f".fa-{family}, .fa{family[0]}")
        ]
        weight = sum(len(gzip.compress(path.read_bytes())) for path in files)
        assert weight < 700_000, (name, weight)


def test_figures_keep_their_place_and_wait_their_turn(book_pages):
    figures = {name: soup.select("article img[src*=_images]") for name, soup in book_pages.items()}
    assert sum(map(len, figures.values())) > 100
    for name, images in figures.items():
        assert all(int(image["width"]) > 0 and int(image["height"]) > 0 for image in images), name
        assert [image.get("loading") for image in images[1:]] == ["lazy"] * len(images[1:]), name


def test_no_script_holds_the_page(book_pages):
    for name, soup in book_pages.items():
        scripts = soup.select("script[src]")
        assert len(scripts) > 8, name
        held = [script["src"] for script in scripts if not script.has_attr("defer")]
        assert len(held) == 1, (name, held)
        assert "documentation_options.js" in held[0], name
        assert not soup.select("link[rel=preload][as=script]"), name


def test_the_html_is_valid(site, root, npm, require):
    require("node")
    program = npm("html-validate/bin/html-validate.mjs")
    config = root / "tests/book/html-validate.json"
    pages = [str(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
    command = [require("node"), str(program), "--config", str(config), "--formatter", "text", *pages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_every_rule_changed_is_explained(root):
    rules = json.loads((root / "tests/book/html-validate.json").read_text(encoding="utf-8"))["rules"]
    assert set(rules) == set(EXPLAINED)


def test_dist_makes_an_archive(book, command):
    assert "n'est pas construit" in command("dist")[1]
    assert book.build().returncode == 0
    code, said = command("dist")
    assert (code, "sans le PDF" in said) == (0, True)
    (book.root / "_build/pdf").mkdir()
    (book.root / "_build/pdf/vaebook.pdf").write_bytes(b"%PDF")
    assert "avec le PDF" in command("dist")[1]
    names = ZipFile(book.root / "dist/vaebook.zip").namelist()
    assert {"vaebook/index.html", "vaebook/vaebook.pdf", "vaebook/_static/mathjax/core.js"} <= set(names)
    assert [path.name for path in (book.root / "dist").iterdir()] == ["vaebook.zip"]

"""Le PDF : composé sans avertissement, avec les numéros du site, en français, et rien qui déborde."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup
from docutils.nodes import make_id

from vaebook.publishing import pdf
from vaebook.publishing.chapters import Book

# Ce que Sphinx, ses extensions et LaTeX écriraient en anglais, et des objets que rien n'affiche.
ENGLISH = re.compile(
    r"\b(Proof|Theorem|Definition|Lemma|Listing|Solution to|Chapter \d|Contents|Bibliography|Appendix|Note:|"
    r"continue[sd] (on|from)|PhD thesis|Proceedings of the .* editors?|Hide|Show code)\b"
)
REPR = re.compile(r"<Figure size|<IPython|<vaebook\.|object at 0x|\{(ref|eq|numref|glue:text|cite)\}`")


def compose(root: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vaebook.publishing.pdf"],
        cwd=root,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=900,
    )


@pytest.fixture(scope="module")
def composed(whole, require) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Le dossier du vrai livre, dont le site et le PDF sont construits."""
    for tool in (*pdf.TOOLS, "pdftotext", "pdfinfo"):
        require(tool)
    root, _ = whole
    return root, compose(root, PYTHONPATH=str(root))


@pytest.fixture(scope="module")
def text(composed) -> str:
    command = ["pdftotext", "-layout", str(composed[0] / "_build/pdf/vaebook.pdf"), "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout.decode()


def pages(root: Path) -> dict[str, BeautifulSoup]:
    """Les pages du site, par le nom du fichier source."""
    toc = (root / "_toc.yml").read_text(encoding="utf-8")
    names = re.findall(r"(?:file|root): (\S+)", toc)
    files = {name: root / f"_build/html/{name}.html" for name in names}
    return {
        name: BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser") for name, file in files.items()
    }


def site_numbers(root: Path) -> dict[str, str]:
    """Le numéro, sur le site, de ce qui en a un, sous l'ancre que lui donne LaTeX."""
    found = {}
    for name, page in pages(root).items():
        for node in page.select(".bd-article [id]"):
            anchor = str(node["id"])
            if node.name in ("figure", "table") or "literal-block-wrapper" in node.get("class", []):
                number, key = node.select_one(".caption-number"), f"{name}:{anchor}"
            elif "proof" in node.get("class", []):
                number, key = node.select_one(".admonition-title .caption-number"), f"{name}:{anchor}"
            elif "exercise" in node.get("class", []):
                number, key = node.select_one(".admonition-title .caption-number"), f"exercise:{anchor}"
            elif anchor.startswith("equation-"):
                number, key = node.select_one(".eqno"), f"equation:{name}:{anchor.removeprefix('equation-')}"
            else:
                continue
            if number and (digits := re.search(r"[\d.]*\d", number.text)):
                found[key] = digits[0]
    return found


def pdf_numbers(root: Path) -> dict[str, str]:
    """Le numéro que LaTeX donne à chaque ancre."""
    aux = (root / "_build/latex/vaebook.aux").read_text(encoding="utf-8")
    found = re.findall(r"\\newlabel\{([^}]*:)?([^}:]*)\}\{\{+([\d.]*)\}", aux)
    # Dans une page, l'ancre d'une équation est son nom sans majuscule.
    return {prefix + (make_id(name) if name else ""): number for prefix, name, number in found}


@pytest.mark.slow
def test_the_pdf_is_composed_without_warning(composed):
    root, done = composed
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "WARNING" not in done.stdout + done.stderr
    assert (root / "_build/pdf/vaebook.pdf").read_bytes().startswith(b"%PDF")
    assert "_build/pdf/vaebook.pdf" in done.stdout


@pytest.mark.slow
def test_everything_has_the_number_of_the_site(composed):
    root, _ = composed
    site, paper = site_numbers(root), pdf_numbers(root)
    kinds = {key.partition(":")[0] for key in site}
    assert {"equation", "exercise"} < kinds
    assert len(site) > 20 * len(Book(root).chapters())
    assert {key: paper.get(key) for key in site} == site


@pytest.mark.slow
def test_titles_are_those_of_the_site(composed, text):
    root, _ = composed
    words = re.sub(r"\s+", " ", text)
    numbered = ".proof .caption-number, .exercise .caption-number, figcaption .caption-number"
    for name, page in pages(root).items():
        for title in page.select(numbered):
            assert re.sub(r"\s+", " ", title.text).strip() in words, (name, title.text)
    solutions = sum(len(page.select(".admonition.solution")) for page in pages(root).values())
    assert solutions
    assert words.count("Solution de l’exercice") == solutions


@pytest.mark.slow
def test_the_contents_list_every_page(composed):
    root, _ = composed
    toc = (root / "_build/latex/vaebook.toc").read_text(encoding="utf-8").replace("\\sphinxhyphen {}", "-")
    for name, page in pages(root).items():
        title = page.select_one("h1").find(string=True, recursive=False)
        assert title.strip() in toc, name
    for part in yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))["parts"]:
        assert f"{{part}}{{{part['caption']}}}" in toc


@pytest.mark.slow
def test_no_english_and_no_raw_object(text):
    assert ENGLISH.findall(text) == []
    assert REPR.findall(text) == []
    assert "Bibliographie" in text
    assert "suite sur la page suivante" in text


@pytest.mark.slow
def test_the_file_says_what_it_is(composed):
    root, _ = composed
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    path = root / "_build/pdf/vaebook.pdf"
    said = subprocess.run(["pdfinfo", str(path)], capture_output=True, check=True).stdout.decode()
    lines = (line.partition(":") for line in said.splitlines())
    facts = {name: value.strip() for name, _, value in lines}
    assert facts["Title"].replace("\u00a0", " ") == config["title"].replace("\u00a0", " ")
    assert facts["Author"] == config["author"]
    assert "A4" in facts["Page size"]
    assert b"/Lang(fr" in unpacked(path.read_bytes()).replace(b" ", b"")


def unpacked(data: bytes) -> bytes:
    """Un PDF, dont les flux compressés sont dépliés."""
    parts = [data]
    for found in re.finditer(rb"(?<!end)stream\r?\n(.*?)endstream", data, re.DOTALL):
        try:
            parts.append(zlib.decompressobj().decompress(found[1]))
        except zlib.error:
            continue
    return b"".join(parts)


def test_without_tex_one_message_says_what_to_install(tmp_path):
    (tmp_path / "vide").mkdir()
    done = compose(tmp_path, PATH=str(tmp_path / "vide"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "il manque ici : xelatex, latexmk, kpsewhich" in done.stderr
    assert "apt install latexmk texlive-xetex" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["vide"]


def test_what_the_journal_reveals():
    log = "\n".join(
        [
            "Missing character: There is no ᵀ (U+1D40) in font [texgyrepagella.otf]/OT:script=latn;!",
            "LaTeX Warning: Reference `eq-x' on page 3 undefined on input line 7.",
            "LaTeX Warning: Label `eq-x' multiply defined.",
            "Overfull \\hbox (28.4pt too wide) in paragraph at lines 10--12",
            "Overfull \\hbox (9.9pt too wide) in paragraph at lines 13--14",
            "LaTeX Font Warning: Some font shapes were not available",
        ]
    )
    assert pdf.problems(log) == [
        "le caractère « ᵀ » (U+1D40) manque à texgyrepagella.otf : voir livre.sty",
        "LaTeX Warning: Reference `eq-x' on page 3 undefined on input line 7.",
        "LaTeX Warning: Label `eq-x' multiply defined.",
        "une ligne dépasse la marge de 28 points in paragraph at lines 10--12",
    ]

"""La construction du site : sans noyau ni torch, sans avertissement, et jamais avec des sorties périmées."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from links import broken_links
from tiny import build, git

from vaebook.publishing import stored
from vaebook.publishing.chapters import Book


def page(root: Path, name: str) -> BeautifulSoup:
    return BeautifulSoup((root / f"_build/html/{name}.html").read_text(encoding="utf-8"), "html.parser")


def commit(root: Path) -> None:
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "essai")


@pytest.mark.slow
def test_the_book_builds_without_kernel_torch_or_warning(whole):
    root, done = whole
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "WARNING" not in done.stdout + done.stderr
    assert git(root, "status", "--porcelain") == ""


@pytest.mark.slow
def test_every_page_is_there_and_french(whole):
    root, _ = whole
    toc = (root / "_toc.yml").read_text(encoding="utf-8")
    names = [line.split(":")[1].strip() for line in toc.splitlines() if "file:" in line or "root:" in line]
    assert names
    for name in [*names, "index", "search"]:
        assert page(root, name).html["lang"] == "fr", name
    redirect = page(root, "index").find("meta", {"http-equiv": "refresh"})["content"]
    assert (root / "_build/html" / redirect.partition("url=")[2]).is_file()


@pytest.mark.slow
def test_every_figure_is_there_with_its_words(whole):
    root, _ = whole
    for chapter in Book(root).chapters():
        soup = page(root, f"book/{chapter.name}")
        folder = (root / "_build/html/book" / chapter.name).parent
        images = soup.select(".bd-article img")
        assert images, chapter.name
        for image in images:
            if not image["src"].startswith("data:"):  # un panneau porte la sienne
                assert (folder / image["src"]).is_file(), image["src"]
            assert len(image["alt"]) > 15, image
            assert not image["alt"].endswith(".png"), image
        for figure in soup.select(".bd-article figure"):
            assert figure.figcaption.select_one(".caption-number").text.startswith("Figure"), figure
        wanted = [cell.metadata.get("mystnb", {}).get("figure", {}).get("name") for cell in chapter.code]
        assert all(soup.find(id=name) for name in wanted if name)


@pytest.mark.slow
def test_no_page_shows_an_error(whole):
    root, _ = whole
    for chapter in Book(root).chapters():
        soup = page(root, f"book/{chapter.name}")
        text = soup.select_one(".bd-article").text
        for mark in ("Traceback (most recent call last)", r"^\w*Error:", "{ref}`", "{eq}`", "WARNING"):
            found = re.search(mark if mark.startswith("^") else re.escape(mark), text, re.MULTILINE)
            assert not found, (chapter.name, mark)
        assert not soup.select(".system-message, .problematic, .output.stderr, .output.traceback")


@pytest.mark.slow
def test_every_internal_link_leads_somewhere(whole):
    root, _ = whole
    assert list(broken_links(root / "_build/html")) == []


@pytest.mark.slow
def test_no_notebook_keeps_any_myst(whole):
    root, _ = whole
    for chapter in Book(root).chapters():
        assert stored.prose_problem(chapter, stored.load(chapter)) is None, chapter.name


def test_a_broken_link_is_found(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.html").write_text(
        '<a id="là" href="#l%C3%A0"><a href="../c.html#x"><a href="../c.html#y"><img src="d.png">'
        '<a href="../a"><a href="https://example.org/"><a href="mailto:x@y">',
        encoding="utf-8",
    )
    (tmp_path / "c.html").write_text('<p id="x"><a href="#z">', encoding="utf-8")
    assert list(broken_links(tmp_path)) == [
        "a/b.html : ../c.html#y",
        "a/b.html : d.png",
        "a/b.html : ../a",
        "c.html : #z",
    ]


def test_a_fresh_clone_builds_at_another_path(book, require):
    require("git")
    commit(book.root)
    done = book.build()
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    assert git(book.root, "status", "--porcelain") == ""
    soup = page(book.root, "book/essai")
    [image] = soup.select(".bd-article img")
    assert image["alt"] == "Une droite qui monte."
    assert "3.0" in soup.select_one(".cell_output").text
    assert soup.select_one("a.reference.internal[href='#fig-droite']").text == "Figure 1"
    assert "thebe" not in str(soup)


def test_words_flow_into_the_stored_notebook_and_the_page(book, command):
    book.edit("book/essai.md", "Une légende", "Une autre légende")
    book.edit("book/essai.md", "Du texte", "De la prose")
    book.edit("vaebook/calcul.py", "La moyenne.", "La moyenne arithmétique.")
    done = book.build()
    assert done.returncode == 0, done.stderr
    assert "Une autre légende." in page(book.root, "book/essai").figcaption.text
    assert "Une autre légende." in book.essai.stored.read_text(encoding="utf-8")
    assert command("check")[0] == 0


@pytest.mark.parametrize(
    ("path", "old", "new", "named"),
    [
        ("vaebook/outils.py", "sum(x)", "sum(x, 0.0)", "le module vaebook.outils"),
        ("book/essai.md", "2, 6", "2, 9", "la cellule de code 1"),
    ],
)
def test_a_stale_chapter_is_refused(book, path, old, new, named):
    before = book.essai.stored.read_bytes()
    book.edit(path, old, new)
    done = book.build()
    assert done.returncode == 1
    assert f"essai : périmé : {named}" in done.stderr
    assert "make execute" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (book.root / "_build/html/book/essai.html").exists()
    assert book.essai.stored.read_bytes() == before


@pytest.mark.parametrize(
    ("path", "old", "new", "named"),
    [
        ("vaebook/outils.py", "sum(x)", "sum(x, 0.0)", "le module vaebook.outils"),
        ("book/essai.md", "2, 6", "2, 9", "la cellule de code 1"),
        ("book/notebooks/essai.ipynb", "3.0\\n", "4.0\\n", "modifié à la main"),
    ],
)
def test_a_build_trusts_the_one_before_only_for_what_has_not_changed(book, path, old, new, named):
    assert book.build().returncode == 0
    book.edit(path, old, new)
    for _ in range(2):  # un refus ne se retient pas comme une vérification
        done = book.build()
        assert done.returncode == 1
        assert named in done.stderr
    book.edit(path, new, old)
    assert book.build().returncode == 0


def test_a_build_may_execute_when_asked(book):
    book.edit("vaebook/outils.py", "sum(x)", "sum(x) + 3")
    done = build(book.root, VAEBOOK_EXECUTE="1", poisoned=False)
    assert done.returncode == 0, done.stderr
    assert "4.0" in page(book.root, "book/essai").select_one(".cell_output").text


def test_the_poison_bites(book):
    book.edit("vaebook/outils.py", "sum(x)", "sum(x) + 3")
    with pytest.raises(AssertionError, match="importé pendant la construction : ipykernel"):
        build(book.root, VAEBOOK_EXECUTE="1")


def test_a_new_execution_reaches_a_page_already_built(book, command):
    assert book.build().returncode == 0
    book.edit("vaebook/outils.py", "sum(x)", "sum(x) + 3")
    assert command("execute")[0] == 0
    assert book.build().returncode == 0
    assert "4.0" in page(book.root, "book/essai").select_one(".cell_output").text


def test_a_warning_fails_every_build_until_it_is_mended(book):
    book.edit("book/index.md", "Bonjour", "Bonjour {ref}`nulle-part`")
    assert [book.build().returncode, book.build().returncode] == [1, 1]
    book.edit("book/index.md", " {ref}`nulle-part`", "")
    assert book.build().returncode == 0


def test_the_pdf_gets_the_macros_of_the_site(book):
    book.edit("book/essai.md", "Du texte", r"Du texte $\KL\recon{\x}$")
    done = book.build("--builder", "latex")
    assert done.returncode == 0, done.stderr
    [tex] = (book.root / "_build/latex").glob("*.tex")
    text = tex.read_text(encoding="utf-8")
    assert r"\renewcommand{\recon}[1]{\class{m-recon}{#1}}" in text
    assert r"\definecolor{m-recon}{HTML}{1F66B0}" in text

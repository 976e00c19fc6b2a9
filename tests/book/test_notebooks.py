"""Les carnets : la prose de la page en Markdown, la cellule de Colab, les boutons et l'estampille."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import colab as colab_like
import nbformat
import pytest
from bs4 import BeautifulSoup
from links import broken_links
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook
from tiny import HEADER, PIXEL, ROOT, Tiny, build, git, pretend

from vaebook.publishing import stored
from vaebook.publishing.chapters import Book
from vaebook.publishing.colab import setup_cell
from vaebook.publishing.prose import Expander
from vaebook.publishing.repository import Repository

SITE = "https://vaebook.github.io/vaebook/"
PAGE = f"{SITE}book/essai.html"
ANNEX = """(chap-annexe)=
# Annexe

```{glossary}
code latent
  Ce que rend l’encodeur.
```

```{executions}
```

```{bibliography}
```
"""


@pytest.fixture(scope="session")
def rich(executed, tmp_path_factory) -> Tiny:
    """Un livre dont le chapitre emploie tout ce que les chapitres emploient ; ses sorties sont feintes."""
    book = Tiny(tmp_path_factory.mktemp("riche"))
    for source in executed.root.rglob("*"):
        if source.is_file() and "_build" not in source.parts:
            path = book.root / source.relative_to(executed.root)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.read_bytes())
    chapter = Path(__file__).with_name("riche.md").read_text(encoding="utf-8")
    book.source.write_text(HEADER + chapter, encoding="utf-8")
    (book.sources / "annexe.md").write_text(ANNEX, encoding="utf-8")
    (book.sources / "assets/pixel.png").write_bytes(base64.b64decode(PIXEL))
    book.edit("_toc.yml", "  - file: book/essai\n", "  - file: book/essai\n  - file: book/annexe\n")
    book.edit("_toc.yml", "chapters:\n", "defaults:\n  numbered: true\nchapters:\n")
    pretend(book)
    done = book.build()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "WARNING" not in done.stdout + done.stderr
    return book


@pytest.fixture(scope="session")
def cells(rich) -> list[nbformat.NotebookNode]:
    return stored.load(rich.essai).cells


@pytest.fixture(scope="session")
def text(cells) -> str:
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def page(book: Tiny, name: str) -> BeautifulSoup:
    return BeautifulSoup((book.root / f"_build/html/{name}.html").read_text(encoding="utf-8"), "html.parser")


# La prose


def test_nothing_of_myst_is_left(rich):
    notebook = stored.load(rich.essai)
    assert stored.leftovers(notebook) == []
    assert stored.prose_problem(rich.essai, notebook) is None


def test_cells_keep_their_order_and_start_at_titles(cells):
    assert [cell.source.splitlines()[0] for cell in cells] == [
        "# @title Dans Colab seulement\u00a0: installer vaebook",
        "# 1. Un chapitre riche",
        "import vaebook",
        "assert True",
        r"## 1.1. Une section à $D_{\mathrm{KL}}$",
        "1 + 1",
        r"**Figure 1.1.** Une légende avec $\boldsymbol{z}$ et *de l’italique*.",
        "2 + 2",
        "## 1.2. Exercices",
        "## 1.3. Quiz",
    ]
    folded = [cell.metadata.get("jupyter") for cell in cells if cell.source in ("assert True", "2 + 2")]
    assert folded == [{"source_hidden": True, "outputs_hidden": True}, {"source_hidden": True}]


@pytest.mark.parametrize(
    "wanted",
    [
        # Les encadrés.
        "> **Objectifs**\n>\n> - Lire $\\boldsymbol{x}$ ; écrire *$\\mathbb{E}_{\\boldsymbol{z}}$*.",
        "> **Théorème 1.1 (Divergence $D_{\\mathrm{KL}}$)**\n>\n> Pour toute loi $q$,\n>\n"
        "> $$ D_{\\mathrm{KL}}(q \\Vert p) \\geq 0. \\tag{1.3} $$\n>\n> - un cas,\n> - l’autre.",
        "> *Démonstration.* Par l’inégalité de Jensen.\n>\n> ∎",
        "> **Définition 1.1**\n>\n> Un mot **défini**.",
        "> **Algorithme 1.1 (Montée)**\n>\n> 1. Tirer $\\boldsymbol{z}$.\n>\n> 2. Monter :\n>\n>    - d",
        "> **Astuce**\n>\n> Une astuce.",
        "<details><summary><b>À déplier</b></summary>\n\nCaché.\n\n</details>",
        "> **Exercice 1.1 (Titre de $\\boldsymbol{z}$)**\n>\n> Calculez.",
        "<details><summary><b>Solution</b></summary>\n\nVoici :\n\n"
        '```python\nx = f"{1}`"\n# un commentaire\n```\n\n</details>',
        "<details><summary><b>a. Zéro, $D_{\\mathrm{KL}} = 0$ &amp; rien d’autre</b></summary>\n\nOui.",
        # Les formules.
        r"$$ \log p(\boldsymbol{x}) \geq {\color{#1F66B0}{\mathbb{E}\bigl[\log p(\boldsymbol{x}|"
        r"\boldsymbol{z})\bigr]}} - {\color{#B04A00}{D_{\mathrm{KL}}(q \Vert p)}}, \qquad x \lt 1 "
        r"\tag{1.1} $$",
        r"$$ \begin{aligned} a &= b \\ c &= d \end{aligned} \tag{1.2} $$",
        r"$$ \begin{split}\log p = \begin{cases} a & x \gt 0 \\ b & x \leq 0 \end{cases}\end{split} $$",
        # Les renvois.
        f"[(1.1)]({PAGE}#equation-eq-riche)",
        f"[Figure 1.1]({PAGE}#fig-riche)",
        f"[Tableau 1.1]({PAGE}#tab-riche)",
        f"[Théorème 1.1]({PAGE}#thm-riche)",
        f"[Algorithme 1.1]({PAGE}#alg-riche)",
        f"[Exercice 1.1]({PAGE}#ex-riche)",
        f"[la section]({PAGE}#sec-deux)",
        f"[Annexe]({SITE}book/annexe.html#chap-annexe)",
        f"[code latent]({SITE}book/annexe.html#term-code-latent)",
        "([Kingma et Welling, 2014](https://arxiv.org/abs/1312.6114), [Rezende *et al.*, 2014](https://arxiv",
        "Tipping et Bishop ([1999](https://doi.org/10.1111/1467-9868.00196))",
        # Le reste.
        r"une \* étoile, un [crochet](https://example.org/a_b), un dollar \$ et a &lt; b &amp; c. Il cite",
        "Une note<sup>[1]</sup>. H<sub>2</sub>O.",
        "<sup>[1]</sup> Le texte de la note.",
        "Le nombre est 4,2.",
        "**Tableau 1.1.** Un tableau de $\\boldsymbol{x}$.\n\n"
        "| Loi $p(\\boldsymbol{x}\\vert{\\boldsymbol{z}})$ | Code `a\\|b` | Nombre |\n|---|---|---|\n"
        "| $\\lVert {\\boldsymbol{x}} \\rVert$ | texte | 4,2 |\n"
        f"| [Annexe]({SITE}book/annexe.html#chap-annexe) |  | $a\\vert b$ |",
        "| Un | Deux |\n|---|---|\n| 1 | 2 |",
        "**Code 1.1.** La moyenne.\n\n```python\ndef moyenne(x):",
        f"![Un pixel fixe.]({SITE}_images/pixel.png)\n\n**Figure 1.2.** Une figure fixe.",
        "> Une citation.\n>\n> En deux paragraphes.",
        "- **Terme**\n\n  Sa définition, $\\mathbb{R}^d$.",
        "**Onglet**\n\nContenu.",
    ],
)
def test_the_prose_reads_like_the_page(text, wanted):
    assert wanted in text, text


def test_macros_are_expanded_to_what_every_renderer_knows():
    expand = Expander(
        {"x": r"\boldsymbol{x}", "f": [r"\frac{#1}{#2}", 2], "c": [r"\class{m}{#1}", 1]}, {"m": "AABBCC"}
    )
    assert expand.expand(r"\x_\x \hat\x \xi + \f{\x}{a{b}} \f12 \c{\{\x\}}") == (
        r"\boldsymbol{x}_{\boldsymbol{x}} \hat{\boldsymbol{x}} \xi + \frac{\boldsymbol{x}}{a{b}} \frac{1}{2} "
        r"{\color{#AABBCC}{\{\boldsymbol{x}\}}}"
    )


# La page


def test_the_page_ends_with_its_stamp(rich):
    words = page(rich, "book/essai").select_one(".estampille").text
    for fact in (
        "Processeur d'essai",
        "2.13.0",
        "graine\u00a0: 0",
        "1er mars 2026",
        "1 min 15 s",
        "commit\u00a0: 0123456",
    ):
        assert fact in words
    assert stored.load(rich.essai).metadata.vaebook.digest in words
    assert not page(rich, "book/annexe").select(".estampille")


def test_the_executions_are_tabled(rich):
    head, row = page(rich, "book/annexe").select("table tr")
    assert row.a["href"] == "essai.html"
    assert [cell.text for cell in head.select("th")][:3] == ["chapitre", "appareil", "pilote"]
    assert [cell.text for cell in row.select("td")][:5] == [
        *("Un chapitre riche", "Processeur d'essai", "", "2.13.0", "0"),
    ]


def test_boxes_have_their_own_anchor_and_french_words(rich):
    soup = page(rich, "book/essai")
    anchors = [tag["id"] for tag in soup.select(".bd-article [id]")]
    assert len(anchors) == len(set(anchors))
    assert "Démonstration. Par l’inégalité" in soup.text
    assert "Proof" not in soup.text


def test_buttons_open_the_stored_notebook(rich):
    soup = page(rich, "book/essai")
    links = {link.text.strip(): link["href"] for link in soup.select(".dropdown-launch-buttons a")}
    path = "book/notebooks/essai.ipynb"
    assert links == {
        "Colab": f"https://colab.research.google.com/github/vaebook/vaebook/blob/main/{path}",
        "Binder": f"https://mybinder.org/v2/gh/vaebook/vaebook/main?urlpath=lab/tree/{path}",
        "Carnet .ipynb": "../notebooks/essai.ipynb",
    }
    copy = rich.root / "_build/html/notebooks/essai.ipynb"
    assert copy.read_bytes() == rich.essai.stored.read_bytes()
    for name in ("book/index", "book/annexe", "search"):
        assert not page(rich, name).select(".dropdown-launch-buttons, .dropdown-download-buttons"), name


def test_every_internal_link_of_the_site_leads_somewhere(rich):
    assert list(broken_links(rich.root / "_build/html")) == []


def test_a_missing_notebook_fails_the_build(book):
    book.essai.stored.unlink()
    done = book.build()
    assert (done.returncode, "essai : jamais exécuté" in done.stderr.replace("\u00a0", " ")) == (1, True)


def test_a_second_build_does_nothing(book):
    before = book.essai.stored.stat()
    assert book.build().returncode == 0
    assert "0 added, 0 changed, 0 removed" in book.build().stdout
    assert book.essai.stored.stat().st_mtime_ns == before.st_mtime_ns


def test_a_read_only_checkout_says_so_and_goes_on(book, require):
    book.edit("book/essai.md", "Du texte", "De la prose")
    before = book.essai.stored.read_bytes()
    # Le superutilisateur écrit partout : un dossier à la place du fichier d'à côté l'arrête aussi.
    blocker = "import os\nreal = os.replace\n" + (
        "def replace(a, b):\n"
        "    if 'book/notebooks' in os.fspath(b): raise PermissionError(30, 'Read-only file system')\n"
        "    return real(a, b)\n"
        "os.replace = replace\n"
    )
    (book.root.parent / "lecture").mkdir()
    (book.root.parent / "lecture/sitecustomize.py").write_text(blocker, encoding="utf-8")
    done = build(
        book.root, PYTHONPATH=f"{book.root.parent / 'lecture'}:{Path(__file__).resolve().parents[2]}"
    )
    assert done.returncode == 0, done.stderr
    assert "la prose du carnet reste telle quelle" in done.stdout + done.stderr
    assert book.essai.stored.read_bytes() == before
    assert "De la prose" in page(book, "book/essai").text


def test_an_edited_prose_is_mended_by_the_build(book, command):
    path = book.essai.stored
    before = path.read_bytes()
    path.write_bytes(before.replace(b"Du texte", b"Un texte"))
    assert command("check")[0] == 1
    assert book.build().returncode == 0
    assert path.read_bytes() == before
    assert command("check")[0] == 0


# Le dépôt


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, ("vaebook", "vaebook")),
        ("https://github.com/Marie/mon.livre.git", ("Marie", "mon.livre")),
        ("git@github.com:Marie/livre.git", ("Marie", "livre")),
        ("ssh://git@github.com/Marie/livre", ("Marie", "livre")),
        ("../ailleurs", ("vaebook", "vaebook")),
        ("https://example.org/github.com/a/b", ("vaebook", "vaebook")),
    ],
)
def test_only_an_origin_at_github_overrides_the_address(tmp_path, root, require, origin, expected):
    require("git")
    (tmp_path / "pyproject.toml").write_bytes((root / "pyproject.toml").read_bytes())
    git(tmp_path, "init", "-q")
    if origin:
        git(tmp_path, "remote", "add", "origin", origin)
    found = Repository.of_checkout(tmp_path)
    assert (found.owner, found.name) == expected
    assert Repository.declared(tmp_path) == Repository("vaebook", "vaebook")


def test_the_site_of_a_repository():
    assert Repository("Marie", "livre").site == "https://marie.github.io/livre/"
    assert Repository("Marie", "marie.github.io").site == "https://marie.github.io/"


# La cellule de Colab

COLAB = """
import importlib.util, json, subprocess, sys, types
calls, failing = [], json.loads(sys.argv[2])
def run(command):
    calls.append(command[command.index("install"):])
    return types.SimpleNamespace(returncode=int(any(word in command[-1] for word in failing)))
subprocess.run = run
present = json.loads(sys.argv[3])
importlib.util.find_spec = lambda name: name in present or None
if json.loads(sys.argv[4]):
    sys.modules["google.colab"] = types.ModuleType("google.colab")
exec(sys.argv[1])
print(json.dumps(calls))
"""
PIP = ["install", "--quiet", "--no-deps"]
SOURCE = "vaebook @ git+https://github.com/vaebook/vaebook@"
COMMIT = "0123456789" * 4


def colab(root, commit, failing=(), present=("tqdm",), there=True) -> tuple[str, list[list[str]]]:
    source = setup_cell(root, commit).source
    options = map(json.dumps, (list(failing), list(present), there))
    command = [sys.executable, "-c", COLAB, source, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *said, calls = done.stdout.splitlines()
    return "\n".join(said), json.loads(calls)


def test_colab_installs_the_commit_and_what_is_missing_only(root):
    assert colab(root, COMMIT) == ("", [[*PIP, SOURCE + COMMIT], [*PIP, "platformdirs", "safetensors"]])
    everything = ("platformdirs", "safetensors", "tqdm")
    assert colab(root, COMMIT, present=everything) == ("", [[*PIP, SOURCE + COMMIT]])


@pytest.mark.parametrize(
    ("commit", "first"), [(COMMIT, [[*PIP, SOURCE + COMMIT]]), (COMMIT + "+", []), (None, [])]
)
def test_colab_falls_back_on_main_with_a_notice(root, commit, first):
    said, calls = colab(root, commit, failing=["0123456789"])
    assert calls == [*first, [*PIP, SOURCE + "main"], [*PIP, "platformdirs", "safetensors"]]
    assert "La version exacte de ce chapitre ne peut pas être installée" in said


def test_elsewhere_the_cell_does_nothing(root):
    assert colab(root, COMMIT, there=False) == ("", [])
    with pytest.raises(AssertionError, match="vaebook n'a pas pu être installé"):
        colab(root, COMMIT, failing=["vaebook"])


def test_the_cell_is_first_and_unknown_to_the_page(cells, rich):
    assert cells[0].metadata == {
        "vaebook": "installation",
        "cellView": "form",
        "jupyter": {"source_hidden": True},
    }
    assert COMMIT in cells[0].source
    assert "google.colab" not in page(rich, "book/essai").text


# Ailleurs


@pytest.mark.slow
@pytest.mark.parametrize("chapter", Book(ROOT).chapters(), ids=lambda chapter: chapter.name)
def test_every_notebook_runs_with_only_what_colab_has(chapter, root, tmp_path):
    stored.load(chapter)
    notebook = colab_like.run(chapter.stored, root, tmp_path)
    assert all(cell.execution_count for cell in stored.executed_cells(notebook))


def test_only_what_colab_has_is_really_absent(tmp_path, root):
    notebook = new_notebook(cells=[new_code_cell("import sphinx")])
    path = tmp_path / "essai.ipynb"
    nbformat.write(notebook, path)
    with pytest.raises(CellExecutionError, match="sphinx : Colab ne l’apporte pas"):
        colab_like.run(path, root, tmp_path)
    assert {"sphinx", "jupytext", "myst_nb", "scipy", "jupyter_book"} <= colab_like.outsiders()
    assert not {"torch", "numpy", "vaebook", "safetensors"} & colab_like.outsiders()

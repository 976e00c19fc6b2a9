"""Le français du site : typographie, langue des termes, bibliographie, racines de la recherche."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from pybtex.backends.plaintext import Backend
from pybtex.database import parse_string
from sphinx import package_dir
from sphinx.search.fr import SearchFrench

from vaebook.publishing import french, site


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Oui : non ; quoi ?", "Oui_: non_; quoi_?"),
        ("« Oui »", "«_Oui_»"),
        ("«Oui»", "«_Oui_»"),
        ("Quoi? Non! Ceci: cela", "Quoi_? Non_! Ceci_: cela"),
        ("5 % des cas", "5_% des cas"),
        (" : suite d'une formule", "_: suite d'une formule"),
        ("à 10:30, 3!, a::b, x:y, http://a ", "à 10:30, 3!, a::b, x:y, http://a "),
        ("déjà\u00a0: mis\u00a0!", "déjà_: mis_!"),
        ("fin ;", "fin_;"),
    ],
)
def test_spaces(written, expected):
    assert french.spaced(written).replace("\u00a0", "_") == expected
    assert french.spaced(french.spaced(written)) == french.spaced(written)


@pytest.mark.parametrize("term", ["posterior collapse", "score-function estimator, REINFORCE", "Warm-up"])
def test_english_terms(term):
    assert french.is_english(term)


@pytest.mark.parametrize("term", ["vers le bas", "a priori", "code", "n’importe quelle", "écart-type"])
def test_french_terms(term):
    assert not french.is_english(term)


def test_the_page_has_its_spaces_and_its_languages(book):
    book.edit(
        "book/essai.md",
        "Du texte",
        "Du texte : « oui »! Le *posterior*, *même* ici ; `a ; b`, $x ; y$, <https://example.org/?a=1;b>",
    )
    done = book.build()
    assert done.returncode == 0, done.stderr
    text = (book.root / "_build/html/book/essai.html").read_text(encoding="utf-8")
    paragraph = BeautifulSoup(text, "html.parser").select_one("article section > p:not(.lecture)")
    assert "Du texte\u00a0: «\u00a0oui\u00a0»\u00a0! Le" in paragraph.text
    assert "ici\u00a0; a ; b, \\(x ; y\\), https://example.org/?a=1;b" in paragraph.text
    assert paragraph.select_one("[lang=en] em").text == "posterior"
    assert len(paragraph.select("[lang]")) == 1
    assert paragraph.select_one(".ensemble").text == "\\(x ; y\\),"
    notebook = json.loads(book.essai.stored.read_text(encoding="utf-8"))
    prose = "".join(notebook["cells"][1]["source"])
    assert "texte\u00a0: «\u00a0oui" in prose
    assert "lang=" not in prose
    assert book.build("--builder", "latex").returncode == 0
    [tex] = (book.root / "_build/latex").glob("*.tex")
    assert "Du texte :" in tex.read_text(encoding="utf-8")


def test_the_words_of_the_bibliography_are_french():
    entries = parse_string(
        """
        @inproceedings{a, author={A B and C D and E F}, title={In pages and of}, booktitle={Proc},
          year={2020}, pages={1--2}, volume={3}, editor={G H and I J}}
        @book{b, author={A B and C D}, title={T}, publisher={P}, year={2021}, edition={2}}
        @phdthesis{c, author={A B}, title={T}, school={S}, year={2021}}
        """,
        "bibtex",
    ).entries.values()
    found = [entry.text.render(Backend()) for entry in french.FrenchPlain().format_entries(entries)]
    assert sorted(found) == [
        "A B et C D. T. P, 2ᵉ édition, 2021.",
        "A B, C D et E F. In pages and of. Dans G H et I J, éd., Proc, volume 3, 1–2. 2020.",
        "A B. T. Thèse de doctorat, S, 2021.",
    ]


def test_the_search_folds_accents_and_compounds(tmp_path, require):
    language = french.FrenchSearch({})
    assert language.stem("Reparamétrisation") == language.stem("reparametrisation")
    assert "autoencodeur" in language.split("un auto-encodeur")
    words = ["régularités", "Étiquette", "évaluées", "cœur", "là-bas"]
    node = require("node")
    stemmer = SearchFrench.js_stemmer_rawcode
    scripts = [Path(package_dir, "search/minified-js", name) for name in ("base-stemmer.js", stemmer)]
    program = [script.read_text(encoding="utf-8") for script in scripts]
    stems = f"{json.dumps(words)}.map(word => new Stemmer().stemWord(word.toLowerCase()))"
    program += [french.FrenchSearch.js_splitter_code, f"console.log(JSON.stringify({stems}))"]
    done = subprocess.run([node, "-e", "\n".join(program)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [language.stem(word) for word in words]


def test_the_interface_is_polished():
    page = (
        '<nav aria-label="Main"><button title="Toggle primary sidebar"></button>Titre : suite</nav>'
        '<script src="a/scripts/fontawesome.js"></script><script src="../searchindex.js"></script>'
        '<article class="bd-article"><button type="button">Main : texte</button></article><p>a ;</p>'
    )
    assert site.polish(page, "book/essai") == (
        '<nav aria-label="Chapitres"><button type="button" title="Sommaire du livre" '
        'aria-label="Sommaire du livre"></button>Titre\u00a0: suite</nav>'
        '<article class="bd-article"><button type="button">Main : texte</button></article><p>a\u00a0;</p>'
    )
    assert "searchindex" in site.polish(page, "search")

"""La marque des équations vérifiées, et leur index, dans un site construit."""

import pytest
from bs4 import BeautifulSoup

from vaebook.publishing.equations import digest
from vaebook.publishing.verified import first_line

CODE = "https://github.com/vaebook/vaebook/blob/main"
MEAN = r"m = \frac1n \sum_i x_i ."
EQUATIONS = rf"""

```{{math}}
:label: eq-essai-moyenne
{MEAN}
```

```{{math}}
:label: eq-essai-mot
v = m^2
```
"""
TABLE = f"""[eq-essai-moyenne]
kind = "définition"
digest = "{digest(MEAN)}"
object = "vaebook.calcul.moyenne"

[eq-essai-mot]
kind = "définition"
digest = "{digest("v = m^2")}"
word = "carré"
"""
TEST = """import pytest


@pytest.mark.equation("eq-essai-moyenne")
def test_the_mean(draw):
    pass
"""


@pytest.fixture
def bound(book):
    """Le livre minuscule, avec deux équations liées, et leur index sur la première page."""
    book.edit("book/essai.md", "Du texte", f"Du texte{EQUATIONS}\nDu texte")
    book.edit("book/index.md", "Bonjour.", "Bonjour.\n\n```{equations}\n```")
    for name, text in {"book/equations/essai.toml": TABLE, "tests/equations/test_essai.py": TEST}.items():
        (book.root / name).parent.mkdir(parents=True, exist_ok=True)
        (book.root / name).write_text(text, encoding="utf-8")
    return book


def built(book, name: str) -> BeautifulSoup:
    done = book.build()
    assert done.returncode == 0, done.stdout + done.stderr
    return page(book, name)


def page(book, name: str) -> BeautifulSoup:
    path = book.root / f"_build/html/book/{name}.html"
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def test_a_page_says_what_verifies_its_equations_and_follows_it(bound):
    [mark] = built(bound, "essai").select(".sous-equation")
    assert "verifiee" in mark["class"]
    assert [(link.text, link["href"]) for link in mark.select("a")] == [
        ("Équation (1) vérifiée par test_the_mean", f"{CODE}/tests/equations/test_essai.py#L5"),
        ("Équation (1) définie par vaebook.calcul.moyenne", f"{CODE}/vaebook/calcul.py#L4"),
    ]
    seen = [piece for piece in mark.find_all(string=True) if not piece.find_parent(class_="hors-ecran")]
    assert "".join(seen).strip() == "vérifiée, définie par vaebook.calcul.moyenne"
    assert "vérifiée" not in bound.essai.stored.read_text(encoding="utf-8")

    text = page(bound, "index").select_one("article").text
    assert "étiquetées\u00a0: 2\u00a0; évaluées, membre contre membre, par 1 tests\u00a0: 1\u00a0; " in text
    assert "(1) définition\u00a0:" in text
    assert "vaebook.calcul.moyenne · test_the_mean" in text
    assert "«\u00a0carré\u00a0»" in text

    # Le test se déplace : les deux pages suivent, dans une construction qui a tout gardé.
    bound.edit("tests/equations/test_essai.py", "import pytest\n", "import pytest\n\n# plus bas\n")
    assert built(bound, "essai").select(".sous-equation a")[0]["href"].endswith("#L7")
    assert "test_essai.py#L7" in str(page(bound, "index"))

    # La formule change : plus rien ne la vérifie.
    bound.edit("book/essai.md", r"\sum_i x_i", r"\sum_i x_i^2")
    assert not built(bound, "essai").select(".sous-equation")
    assert "(1) non liée" in page(bound, "index").select_one("article").text


@pytest.mark.parametrize(
    ("latex", "line"),
    [
        (r"a = b \,.", "a = b"),
        (r"a &= b \\ &= c", r"a = b \;\dots"),
        (r"\begin{aligned} a &= b \\[2pt] &= c . \end{aligned}", r"a = b \;\dots"),
        (r"f = \begin{cases} 1 & x \\ 0 & y \end{cases} .", r"f = \begin{cases} 1 & x \\ 0 & y \end{cases}"),
        (r"\sum_{\substack{i \\ j}} x", r"\sum_{\substack{i \\ j}} x"),
        (r"\{ a \& b \}", r"\{ a \& b \}"),
    ],
)
def test_the_index_shows_the_first_line(latex, line):
    assert first_line(latex) == line

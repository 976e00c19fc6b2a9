"""Toute équation du livre est étiquetée, liée et évaluée ; rien n'est lié qui n'existe plus."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vaebook.publishing.chapters import Book, PublishingError
from vaebook.publishing.equations import KINDS, Binding, Equation, Ledger, digest, displayed, locate, read

LEDGER = Ledger(Book(Path(__file__).resolve().parents[2]))
PAGES = [document.removeprefix("book/") for document in LEDGER.book.documents()]


def problems(ledger: Ledger, page: str) -> list[str]:
    """Ce qui ne va pas dans les équations d'une page, une phrase par problème."""
    shown = [equation for equation in displayed(ledger.book) if equation.chapter == page]
    labels = [equation.label for equation in shown if equation.label]
    entries = [binding for binding in ledger.bindings.values() if binding.chapter == page]
    found = [problem for equation in shown for problem in _of_equation(ledger, equation)]
    found += [
        f"{entry.label} : liée, mais la page n'a plus cette équation" for entry in _others(entries, labels)
    ]
    known = [entry.label for entry in entries if entry.label in labels]
    if known != [label for label in labels if label in known]:
        found.append(f"{page}.toml : les entrées ne sont pas dans l'ordre de la page")
    return found


def _others(entries: list[Binding], labels: list[str]) -> list[Binding]:
    return [entry for entry in entries if entry.label not in labels]


def _of_equation(ledger: Ledger, equation: Equation) -> Iterator[str]:
    where = f"book/{equation.chapter}.md, ligne {equation.line}"
    if not equation.label:
        if not equation.in_proof:
            yield f"{where} : une formule centrée hors d'une démonstration n'a pas d'étiquette"
        return
    binding = ledger.bindings.get(equation.label)
    if binding is None or binding.chapter != equation.chapter:
        yield f"{equation.label} ({where}) : absente de book/equations/{equation.chapter}.toml"
        return
    if binding.digest != equation.digest:
        yield (
            f"{equation.label} ({where}) : la formule a changé. Relisez son test, corrigez-le, "
            f'puis écrivez dans {equation.chapter}.toml digest = "{equation.digest}"'
        )
    tests = ledger.tests.get(equation.label)
    if binding.kind not in KINDS:
        yield f"{equation.label} : « {binding.kind} » n'est pas une sorte ({', '.join(KINDS)})"
    elif binding.kind == "définition":
        if bool(binding.object) == bool(binding.word):
            yield f"{equation.label} : une définition a ou un « object », ou un « word »"
    elif binding.word:
        yield f"{equation.label} : seule une définition a un « word »"
    elif not tests:
        yield f'{equation.label} : aucun test n\'est marqué @pytest.mark.equation("{equation.label}")'
    if binding.object and locate(ledger.book.root, binding.object) is None:
        yield f"{equation.label} : « {binding.object} » n'est défini nulle part sous ce nom"


# Le livre.


@pytest.mark.parametrize("page", PAGES)
def test_every_equation_of_the_page_is_bound(page: str) -> None:
    found = problems(LEDGER, page)
    assert not found, "\n".join(found)


def test_every_label_is_written_once() -> None:
    labels = [equation.label for equation in LEDGER.equations]
    assert sorted(labels) == sorted(set(labels))


def test_every_table_of_bindings_is_that_of_a_page() -> None:
    assert not sorted({binding.chapter for binding in LEDGER.bindings.values()} - set(PAGES))


def test_every_mark_names_an_equation() -> None:
    unknown = set(LEDGER.tests) - {equation.label for equation in LEDGER.equations}
    assert not unknown, f"tests marqués d'étiquettes inconnues : {sorted(unknown)}"


def test_every_object_can_be_imported() -> None:
    for binding in LEDGER.bindings.values():
        if binding.object:
            assert pkgutil.resolve_name(binding.object) is not None


# Chaque contrôle mord, sur un livre d'une page.

PAGE = """# Essai

```{math}
:label: eq-a
a = b
```

````{prf:theorem} T
:label: thm
```{math}
:label: eq-b
b < c
```
````

```{prf:proof}
$$
c = d
$$
```
"""

TABLE = f"""[eq-a]
kind = "définition"
digest = "{digest("a = b")}"
object = "vaebook.calcul.Loi.poids"

[eq-b]
kind = "inégalité"
digest = "{digest("b < c")}"
"""

TESTS = """import pytest

@pytest.mark.equation("eq-b")
def test_b(draw):
    pass
"""

CODE = """class Mere:
    def poids(self):
        pass


class Loi(Mere):
    pass
"""

Change = Callable[[str, str, str], list[str]]


@pytest.fixture
def change(tmp_path: Path) -> Change:
    """Remplace un texte dans un des fichiers du livre d'une page, et rend les problèmes trouvés."""
    files = {
        "_toc.yml": "format: jb-book\nroot: book/essai\n",
        "book/essai.md": PAGE,
        "book/equations/essai.toml": TABLE,
        "tests/equations/test_essai.py": TESTS,
        "vaebook/calcul.py": CODE,
    }

    def apply(file: str, before: str, after: str) -> list[str]:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            assert name != file or before in text
            path.write_text(text.replace(before, after) if name == file else text, encoding="utf-8")
        return problems(Ledger(Book(tmp_path)), "essai")

    return apply


def test_a_bound_page_has_no_problem(change: Change) -> None:
    assert change("_toc.yml", "", "") == []


SWAPPED = "\n\n".join(reversed(TABLE.split("\n\n")))


@pytest.mark.parametrize(
    ("file", "before", "after", "said"),
    [
        ("book/essai.md", "a = b", "a = -b", f'changé.*digest = "{digest("a = -b")}"'),
        ("book/essai.md", "{prf:proof}", "{note}", "ligne 17 .* pas d'étiquette"),
        ("book/essai.md", ":label: eq-a\n", "", "ligne 3 .* pas d'étiquette"),
        (
            "book/essai.md",
            "# Essai",
            "# Essai\n$$ x $$ (eq-c)",
            "eq-c .* absente de book/equations/essai.toml",
        ),
        ("book/essai.md", "```{math}\n:label: eq-a\na = b\n```", "", "eq-a .* n'a plus cette équation"),
        ("book/equations/essai.toml", TABLE, SWAPPED, "dans l'ordre"),
        ("book/equations/essai.toml", "[eq-b]", "[eq-z]", "eq-b .* absente"),
        ("book/equations/essai.toml", "inégalité", "théorème", "« théorème » n'est pas une sorte"),
        ("book/equations/essai.toml", "object", 'word = "a"\nobject', "ou un « object », ou un « word »"),
        ("book/equations/essai.toml", "poids", "masse", "défini nulle part"),
        (
            "book/equations/essai.toml",
            'kind = "inégalité"',
            'kind = "identité"\nword = "b"',
            "seule une définition",
        ),
        ("tests/equations/test_essai.py", "eq-b", "eq-a", "aucun test n'est marqué .*eq-b"),
        ("tests/equations/test_essai.py", "@pytest", "# @pytest", "aucun test n'est marqué .*eq-b"),
    ],
)
def test_each_check_bites(change: Change, file: str, before: str, after: str, said: str) -> None:
    found = change(file, before, after)
    assert any(re.search(said, problem) for problem in found), found


def test_an_unknown_field_is_refused(change: Change) -> None:
    with pytest.raises(PublishingError, match=r"essai\.toml"):
        change("book/equations/essai.toml", "object", "objet")


# La lecture d'une page.


def test_displays_are_read_wherever_they_are() -> None:
    page = r"""
$$
a
  = b
$$ (eq-1)

- item

  $$ c $$

```{code-cell}
$$ rien $$
```

`$$` et du code `` $$ x $$ ``.

:::{admonition} Note
````{solution} ex
```{math}
:label: eq-2
:nowrap:

d = e
```
````
:::

\begin{align}
f
\end{align}
"""
    found = list(read(page))
    assert [(one.label, " ".join(one.latex.split()), one.line) for one in found] == [
        ("eq-1", "a = b", 2),
        ("", "c", 9),
        ("eq-2", "d = e", 19),
        ("", r"\begin{align}", 28),
    ]
    assert found[2].inside == ("admonition", "solution")
    assert [one.in_proof for one in found] == [False, False, True, False]


def test_digest_ignores_spaces_only() -> None:
    assert digest(" a  =\n b ") == digest("a = b") != digest("a = c")


def test_an_open_formula_is_refused() -> None:
    with pytest.raises(PublishingError, match="refermé"):
        list(read("$$\na = b\n"))

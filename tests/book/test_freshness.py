"""Ce qui compte, et ce qui ne compte pas, dans la fraîcheur d'un chapitre."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import ROOT

from vaebook.publishing import stored
from vaebook.publishing.chapters import Book, PublishingError
from vaebook.publishing.freshness import fingerprint, serialise


def changes(book: Book) -> list[str]:
    [chapter] = book.chapters()
    return fingerprint(book, chapter).changes_since(stored.load(chapter).metadata.vaebook)


def test_dependencies_are_followed_without_importing(book):
    found = fingerprint(book, book.essai)
    assert list(found.modules) == ["vaebook", "vaebook.calcul", "vaebook.outils"]
    assert list(found.resources) == ["habits/livre.css"]
    assert changes(book) == []


@pytest.mark.parametrize(
    ("path", "old", "new", "expected"),
    [
        ("vaebook/calcul.py", "/ len(x)", "/ (len(x) - 1)", ["le module vaebook.calcul"]),
        ("vaebook/outils.py", "sum(x)", "sum(x, 0.0)", ["le module vaebook.outils"]),
        ("vaebook/__init__.py", '"""\n', '"""\n\nUN = 1\n', ["le module vaebook"]),
        ("vaebook/habits/livre.css", "red", "green", ["le fichier habits/livre.css"]),
        ("book/essai.md", "2, 6", "2, 9", ["la cellule de code 1"]),
        ("book/essai.md", "print(", "# voici\nprint(", ["la cellule de code 1"]),
        (
            "book/essai.md",
            "import vaebook\n",
            "import vaebook.ailleurs\n",
            ["la cellule de code 1", "le module vaebook.ailleurs (nouvel import)"],
        ),
        (
            "vaebook/calcul.py",
            "from .outils import somme",
            "somme = sum",
            [
                "le module vaebook.calcul",
                "le module vaebook.outils (plus importé)",
                "le fichier habits/livre.css (plus importé)",
            ],
        ),
    ],
)
def test_what_counts(book, path, old, new, expected):
    book.edit(path, old, new)
    assert changes(book) == expected


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("vaebook/calcul.py", "La moyenne.", "La moyenne arithmétique."),
        ("vaebook/calcul.py", "# au fond d'une fonction", "# ailleurs"),
        ("vaebook/outils.py", "return sum(x)", "return (\n        sum(x)\n    )"),
        ("vaebook/ailleurs.py", "1", "2"),
        ("vaebook/habits/autre.css", "blue", "green"),
        ("book/essai.md", "Du texte", "De la prose"),
        ("book/essai.md", "Une légende", "Une autre légende"),
        ("book/essai.md", "Une droite qui monte", "Un segment"),
    ],
)
def test_what_does_not_count(book, path, old, new):
    book.edit(path, old, new)
    assert changes(book) == []


def test_removed_and_reordered_cells_are_named(book):
    text = book.source.read_text(encoding="utf-8")
    start, second = text.index("```{code-cell}"), text.rindex("```{code-cell}")
    book.source.write_text(text[:start] + text[second:] + "\n" + text[start:second], encoding="utf-8")
    assert changes(book) == ["l'ordre des cellules de code"]
    book.source.write_text(text[:second], encoding="utf-8")
    assert changes(book) == ["des cellules de code ont été retirées"]


def test_the_author_side_never_counts(book):
    (book.package / "publishing").mkdir()
    (book.package / "publishing" / "__init__.py").write_text("X = 1\n", encoding="utf-8")
    book.edit("vaebook/ailleurs.py", "INUTILE", "from vaebook import publishing\nINUTILE")
    book.edit("book/essai.md", "import vaebook\n", "import vaebook.ailleurs\n")
    assert "vaebook.publishing" not in fingerprint(book, book.essai).modules


def test_magics_do_not_hide_imports(book):
    book.edit(
        "book/essai.md", "import vaebook\n", "%matplotlib inline\nfiles = !ls\nimport vaebook.ailleurs\n"
    )
    assert "vaebook.ailleurs" in fingerprint(book, book.essai).modules
    book.edit("book/essai.md", "%matplotlib inline\n", "%%time\n")
    assert "vaebook.ailleurs" in fingerprint(book, book.essai).modules


def test_invalid_python_is_named(book):
    book.edit("vaebook/outils.py", "def somme(x):", "def somme(x:")
    with pytest.raises(PublishingError, match=r"outils\.py n'est pas du Python valide"):
        fingerprint(book, book.essai)
    book.edit("vaebook/outils.py", "def somme(x:", "def somme(x):")
    book.edit("book/essai.md", "print(", "print((")
    with pytest.raises(PublishingError, match="essai, cellule de code 1"):
        fingerprint(book, book.essai)


DIFFICULT = """
from __future__ import annotations
def f(x, /, *, y=None, **z): return x
class A(list):
    'Une docstring.'
    x: int = 1
async def g():
    async with a as b, c:
        await d
    return [i async for i in j if i]
text = f"a{1!r:>{2}}b" "c" f"{{x}}{3:}{4=}" + b"".decode() + "é\\u2028\\U0001fae8"
match text:
    case {"a": [1, *_], **rest} | A(x=None) if rest: pass
    case _: ...
try: pass
except* ValueError as e: raise
else: pass
numbers = -1e400, 1j, 10**30, 0.1, ..., {**{}, 1: 2}, (lambda *a: a)
"""

DIGESTS = """
import hashlib, importlib.util, sys, types
sys.modules["nbformat"] = types.SimpleNamespace(NotebookNode=dict)
names = dict.fromkeys(("Book", "Chapter", "PublishingError"), Exception)
for name in ("vaebook", "vaebook.publishing", "vaebook.publishing.chapters"):
    sys.modules[name] = types.SimpleNamespace(__path__=[], **names)
spec = importlib.util.spec_from_file_location("freshness", sys.argv[1])
freshness = importlib.util.module_from_spec(spec)
sys.modules["freshness"] = freshness
spec.loader.exec_module(freshness)
import ast
for path in sys.argv[2:]:
    with open(path, encoding="utf-8") as file:
        print(hashlib.sha256("".join(freshness.serialise(ast.parse(file.read()))).encode()).hexdigest())
"""


def test_every_python_gives_the_same_digest(tmp_path):
    candidates = [sys.executable, *(shutil.which(f"python3.{minor}") for minor in range(11, 16))]
    candidates += map(str, Path.home().glob(".pyenv/versions/3.1[1-9]*/bin/python"))
    version = "import sys; assert sys.version_info >= (3, 11); print(sys.version_info[:2])"
    pythons: dict[str, str] = {}
    for python in filter(None, candidates):
        asked = subprocess.run([python, "-c", version], capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            pythons.setdefault(asked.stdout.strip(), python)
    (tmp_path / "difficile.py").write_text(DIFFICULT, encoding="utf-8")
    sources = [tmp_path / "difficile.py", *sorted((ROOT / "vaebook").rglob("*.py"))]
    freshness = ROOT / "vaebook/publishing/freshness.py"
    digests = {
        version: subprocess.run(
            [python, "-c", DIGESTS, freshness, *sources], capture_output=True, text=True, check=True
        ).stdout.split()
        for version, python in pythons.items()
    }
    expected = digests[str(sys.version_info[:2])]
    assert len(expected) == len(set(sources))
    assert all(found == expected for found in digests.values()), list(digests)


def test_the_serialisation_separates_what_differs():
    sources = [
        "f'{a}b'",
        "f'{a}' + 'b'",
        "x = None",
        "x = True",
        "x: int",
        "f(a, b)",
        "f(a)(b)",
        "[a, b]",
        "a, b",
    ]
    assert len({"".join(serialise(ast.parse(source))) for source in sources}) == len(sources)

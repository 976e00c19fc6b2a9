"""Le code montré est le code qui tourne : un listing vient de la source par son nom, jamais d'une copie."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from prose import Cell, Directive, Part, parts, read
from tiny import ROOT

BOOK = ROOT / "book"
PAGES = sorted(path for path in BOOK.rglob("*.md") if "notebooks" not in path.parts)
WINDOW = 6  # lignes identiques de suite : en deçà, deux auteurs ont pu écrire la même chose
_FENCE = re.compile(r"^(?P<ticks>`{3,})python\n(?P<code>.*?)^(?P=ticks)$", re.MULTILINE | re.DOTALL)


class _Bare(ast.NodeTransformer):
    """Retire les docstrings : une copie s'en passe souvent."""

    def visit(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node, ast.JoinedStr):
            return ast.Constant(ast.dump(node))  # unparse ne sait pas écrire toutes les chaînes f
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
        return node


def normalised(source: str) -> list[str]:
    """Les lignes d'un programme, une fois remis en forme : ni commentaire, ni docstring, ni retrait."""
    code = re.sub(r"^[%!].*$", "", source, flags=re.MULTILINE)  # les commandes du carnet
    return [line.strip() for line in ast.unparse(_Bare().visit(ast.parse(code))).splitlines() if line.strip()]


def windows(lines: list[str]) -> Iterator[tuple[str, ...]]:
    for first in range(len(lines) - WINDOW + 1):
        window = tuple(lines[first : first + WINDOW])
        # Des importations se ressemblent sans être copiées.
        if not all(line.startswith(("import ", "from ")) for line in window):
            yield window


@cache
def source() -> dict[tuple[str, ...], str]:
    """Chaque suite de lignes du paquet et des tests, et le fichier où elle est."""
    files = sorted([*(ROOT / "vaebook").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])
    return {
        window: str(path.relative_to(ROOT))
        for path in files
        for window in windows(normalised(path.read_text(encoding="utf-8")))
    }


def listings(page: list[Part] | Iterator[Part], text: str) -> Iterator[tuple[int, str]]:
    """Le code écrit dans une page : sa ligne, et lui. Ce qu'inclut ``literalinclude`` n'y est pas."""
    for part in page:
        if isinstance(part, Cell):
            yield part.line, part.source
        elif isinstance(part, Directive) and part.name in ("code-block", "code", "sourcecode"):
            yield part.line, part.body
    for found in _FENCE.finditer(text):
        yield text.count("\n", 0, found.start()) + 1, found["code"]


def copies(page: list[Part] | Iterator[Part], text: str) -> list[str]:
    """Les copies d'une page : leur ligne, et le fichier copié."""
    return [
        f"ligne {line} : copie de {source()[window]} ; employez literalinclude"
        for line, code in listings(page, text)
        for window in list(windows(normalised(code)))
        if window in source()
    ]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_listing_is_a_pasted_copy(path: Path) -> None:
    assert copies(read(path), path.read_text(encoding="utf-8")) == []


def pasted(name: str, module: str) -> str:
    """Le texte d'une fonction du paquet."""
    text = (ROOT / module).read_text(encoding="utf-8")
    [function] = [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    return ast.get_source_segment(text, function) or ""


ELBO = pasted("elbo", "vaebook/objectives.py")


@pytest.mark.parametrize(
    "code",
    [
        ELBO,
        ast.unparse(_Bare().visit(ast.parse(ELBO))),  # sans la docstring ni la mise en forme
        ELBO.replace("    q =", "    # un commentaire\n\n    q =").replace('"', "'").replace("'''", '"""'),
        "x = 1\n" + "\n".join(ast.unparse(_Bare().visit(ast.parse(ELBO))).splitlines()) + "\ny = 2",
        pasted("linear_error", "tests/exercises/solutions/autoencodeurs.py")
        + "\n\n\n"
        + pasted("denoise", "tests/exercises/solutions/autoencodeurs.py"),
    ],
)
@pytest.mark.parametrize(
    "fence", ["```python\n{}\n```", "```{{code-cell}} ipython3\n{}\n```", "```{{code-block}} python\n{}\n```"]
)
def test_a_pasted_copy_is_found(code: str, fence: str) -> None:
    chapter = f"# Un chapitre\n\n{fence.format(code)}\n"
    assert copies(parts(chapter), chapter)


def test_a_copy_inside_a_solution_is_found() -> None:
    chapter = f"````{{solution}} ex-un\n:class: dropdown\n\n```python\n{ELBO}\n```\n````\n"
    assert copies(parts(chapter), chapter)


def test_an_include_and_a_short_call_are_not_copies() -> None:
    chapter = """# Un chapitre

```{literalinclude} ../vaebook/objectives.py
:pyobject: elbo
:language: python
```

```python
import math
import torch
from torch import Tensor

q = model.posterior(x)
z = draw(q, samples)
print(elbo(model, x).value)
```
"""
    assert copies(parts(chapter), chapter) == []

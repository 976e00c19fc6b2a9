"""Les carnets stockés : les sorties d'une exécution, leur provenance, et la prose du chapitre.

Seule une exécution écrit des sorties et leurs empreintes ; la publication ne rafraîchit que le reste.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from contextlib import suppress
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from vaebook.publishing.chapters import Book, Chapter, PublishingError, code_cells
from vaebook.publishing.colab import is_setup, setup_cell
from vaebook.publishing.freshness import cell_digest, fingerprint, sha256

# La prose qui précède chaque cellule de code, puis celle qui suit la dernière : des cellules de Markdown.
Prose = list[list[str]]

MAX_BYTES = 2_500_000
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "file_extension": ".py", "pygments_lexer": "ipython3"},
}


# Ce qui est du MyST et non du Markdown : une directive, une cible, un rôle.
_MYST = re.compile(
    r"^[> ]*(?:`{3,}|:{3,}|~{3,})\{[\w:-]+\}.*$|^\([\w-]+\)=$|\{[\w:-]+\}`[^`\n]+`", re.MULTILINE
)
# Ces étiquettes cachent du code ou des sorties dans la page ; JupyterLab les replie.
_HIDES_SOURCE = {"remove-cell", "remove-input", "hide-cell", "hide-input"}
_HIDES_OUTPUTS = {"remove-cell", "remove-output", "hide-cell", "hide-output"}


class StoredError(PublishingError):
    """Un carnet stocké absent, abîmé, périmé ou modifié à la main."""


def load(chapter: Chapter) -> NotebookNode:
    """Lit le carnet d'un chapitre et vérifie qu'il est entier, à lui, et tel que l'exécution l'a écrit.

    Lève :
        StoredError : sinon ; le message dit pourquoi.
    """
    try:
        text = chapter.stored.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StoredError("jamais exécuté : son carnet manque") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StoredError(f"carnet illisible ({error})") from error
    if any(line.startswith(("<<<<<<< ", ">>>>>>> ")) for line in text.splitlines()):
        raise StoredError("carnet où reste un conflit de fusion")
    try:
        notebook = deepcopy(_validated(text))
    except Exception as error:  # nbformat a une exception pour chaque défaut
        raise StoredError(f"carnet tronqué ou mal formé ({str(error).splitlines()[0]})") from error
    record = notebook.metadata.get("vaebook")
    if not isinstance(record, dict) or "outputs" not in record:
        raise StoredError("carnet sans provenance : une exécution ne l'a pas écrit")
    if record.get("chapter") != chapter.name:
        raise StoredError(f"carnet d'un autre chapitre, « {record.get('chapter')} »")
    edited = [
        f"la cellule de code {i}"
        for i, (cell, source, outputs) in enumerate(
            zip(executed_cells(notebook), record["cells"], record["outputs"], strict=False), 1
        )
        if cell_digest(cell) != source or outputs_digest(cell.outputs) != outputs
    ]
    if edited or len(executed_cells(notebook)) != len(record["outputs"]):
        raise StoredError(f"carnet modifié à la main : {', '.join(edited) or 'nombre de cellules de code'}")
    return notebook


@lru_cache(maxsize=64)
def _validated(text: str) -> NotebookNode:
    """Une construction lit chaque carnet quatre fois ; la validation est le plus long."""
    notebook: NotebookNode = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    return notebook


def load_fresh(book: Book, chapter: Chapter) -> NotebookNode:
    """Lit le carnet d'un chapitre et vérifie en plus que ses sorties sont celles du code actuel.

    Lève :
        StoredError : sinon ; le message nomme ce qui a changé.
    """
    notebook = load(chapter)
    if changes := fingerprint(book, chapter).changes_since(notebook.metadata.vaebook):
        raise StoredError(f"périmé : {', '.join(changes)}")
    return notebook


def prose_problem(chapter: Chapter, notebook: NotebookNode) -> str | None:
    """Ce qui distingue la prose d'un carnet stocké de celle de la page ; rien si c'est la même."""
    record = notebook.metadata.vaebook
    if record.get("prose") != prose_digest(notebook):
        return "prose du carnet modifiée à la main. Modifiez le chapitre, puis lancez : make book"
    if record.get("source") is None:
        return "prose provisoire, telle que l'exécution l'a laissée. Lancez : make book"
    if record.source != source_digest(chapter):
        return "prose du carnet en retard sur le chapitre. Lancez : make book"
    if found := leftovers(notebook):
        return f"prose où reste du MyST, « {found[0]} ». Corrigez le chapitre, puis lancez : make book"
    return None


def leftovers(notebook: NotebookNode) -> list[str]:
    """Les directives, les cibles et les rôles de MyST que Jupyter montrerait tels quels."""
    texts = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return [found[0].strip() for text in texts for found in _MYST.finditer(text)]


def executed_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Les cellules de code du chapitre : toutes celles du carnet, sauf celle d'installation."""
    return [cell for cell in code_cells(notebook) if not is_setup(cell)]


def compose(
    book: Book,
    chapter: Chapter,
    outputs: list[list[NotebookNode]],
    record: dict[str, Any],
    prose: Prose | None = None,
) -> NotebookNode:
    """Assemble le carnet stocké : prose et code du chapitre, sorties et provenance d'une exécution.

    Paramètres :
        prose : celle de la page ; à défaut, le texte brut du chapitre, provisoire.
    """
    pieces = raw_prose(chapter) if prose is None else prose
    cells = [setup_cell(book.root, record["provenance"].get("commit"))]
    for count, (texts, cell, cell_outputs) in enumerate(
        zip(pieces, deepcopy(chapter.code), outputs, strict=False), 1
    ):
        cell.update(execution_count=count, outputs=cell_outputs)
        if hidden := _hidden(cell):
            cell.metadata["jupyter"] = hidden
        cells += [*map(new_markdown_cell, texts), cell]
    cells += map(new_markdown_cell, pieces[-1])
    # Des identifiants tirés du contenu : ajouter une cellule ne touche pas à ceux des autres.
    seen: Counter[str] = Counter()
    for cell in cells:
        cell.id = sha256(cell.cell_type + cell.source)[:8]
        seen[cell.id] += 1
        cell.id += f"-{seen[cell.id]}" if seen[cell.id] > 1 else ""
    contents = {
        "cells": cells,
        "metadata": {**_METADATA, "vaebook": record},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    notebook: NotebookNode = nbformat.from_dict(contents)
    notebook.metadata.vaebook["source"] = None if prose is None else source_digest(chapter)
    notebook.metadata.vaebook["prose"] = prose_digest(notebook)
    return notebook


def refresh(book: Book, chapter: Chapter, notebook: NotebookNode, prose: Prose) -> NotebookNode:
    """Le même carnet avec la prose et les légendes actuelles : rien de ce qui a été calculé ne change."""
    outputs = [cell.outputs for cell in executed_cells(notebook)]
    return compose(book, chapter, outputs, dict(notebook.metadata.vaebook), prose)


def raw_prose(chapter: Chapter) -> Prose:
    """Le texte du chapitre entre ses cellules de code, en MyST."""
    pieces: Prose = [[]]
    for cell in chapter.notebook.cells:
        if cell.cell_type == "code":
            pieces.append([])
        else:
            pieces[-1].append(cell.source)
    return pieces


def _hidden(cell: NotebookNode) -> dict[str, bool]:
    tags = set(cell.metadata.get("tags", []))
    found = {"source_hidden": bool(tags & _HIDES_SOURCE), "outputs_hidden": bool(tags & _HIDES_OUTPUTS)}
    return {name: True for name, hides in found.items() if hides}


def dumps(notebook: NotebookNode) -> str:
    """Le texte d'un carnet, le même pour un même contenu."""
    return str(nbformat.writes(notebook)) + "\n"


def write_if_changed(path: Path, text: str) -> bool:
    """Écrit un carnet, sauf s'il contient déjà ce texte ; vrai s'il a changé."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    write(path, text)
    return True


def write(path: Path, text: str) -> None:
    """Écrit à côté, puis renomme : on ne voit jamais un fichier à moitié écrit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        os.replace(beside, path)
    finally:
        with suppress(OSError):
            beside.unlink()


def outputs_digest(outputs: list[NotebookNode]) -> str:
    """L'empreinte des sorties d'une cellule."""
    return sha256(json.dumps(outputs, sort_keys=True))


def prose_digest(notebook: NotebookNode) -> str:
    """L'empreinte de tout ce qui entoure les sorties."""
    return sha256(json.dumps([{**cell, "outputs": []} for cell in notebook.cells], sort_keys=True))


def source_digest(chapter: Chapter) -> str:
    """L'empreinte du fichier d'un chapitre, que la prose du carnet doit suivre."""
    return sha256(chapter.source.read_bytes())

"""Les chapitres : des fichiers MyST que ``_toc.yml`` énumère et qui se lisent comme des carnets."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jupytext  # type: ignore[import-untyped]
import yaml  # type: ignore[import-untyped]
from nbformat import NotebookNode


class PublishingError(Exception):
    """Ce qui empêche d'exécuter, de vérifier ou de publier ; le message dit quoi, et que faire."""


@dataclass(frozen=True)
class Chapter:
    """Un chapitre qui contient du code.

    Paramètres :
        name : son chemin sous ``book/``, sans extension ; aussi celui de son carnet sous ``book/notebooks/``.
        source : le fichier MyST.
        stored : le carnet qui garde ses sorties.
        notebook : le chapitre lu comme un carnet, sans sorties.
    """

    name: str
    source: Path
    stored: Path
    notebook: NotebookNode

    @property
    def title(self) -> str:
        """Le titre du chapitre, ou son nom s'il n'en a pas."""
        lines = (line for cell in self.notebook.cells for line in cell.source.splitlines())
        return next((line[2:].strip() for line in lines if line.startswith("# ")), self.name)

    @property
    def code(self) -> list[NotebookNode]:
        """Les cellules de code, dans l'ordre."""
        return code_cells(self.notebook)


@dataclass(frozen=True)
class Book:
    """Le livre dont la racine contient ``_toc.yml``, ``book/`` et le paquet ``vaebook/``."""

    root: Path

    @property
    def sources(self) -> Path:
        return self.root / "book"

    @property
    def notebooks(self) -> Path:
        return self.sources / "notebooks"

    @property
    def experiments(self) -> Path:
        return self.sources / "experiments"

    @property
    def results(self) -> Path:
        return self.sources / "results"

    @property
    def equations(self) -> Path:
        return self.sources / "equations"

    @property
    def package(self) -> Path:
        return self.root / "vaebook"

    @property
    def lock(self) -> Path:
        return self.root / "_build" / "execution.lock"

    def documents(self) -> list[str]:
        """Toutes les pages de ``_toc.yml``, dans l'ordre, sans extension.

        Lève :
            PublishingError : si ``_toc.yml`` est absent ou illisible.
        """
        toc = self.root / "_toc.yml"
        try:
            documents = list(_documents(yaml.safe_load(toc.read_text(encoding="utf-8"))))
        except (OSError, yaml.YAMLError) as error:
            raise PublishingError(f"{toc} est absent ou illisible : {error}") from error
        return [document.removesuffix(".md") for document in documents]

    def chapters(self) -> list[Chapter]:
        """Les chapitres qui contiennent du code, dans l'ordre de ``_toc.yml``.

        Lève :
            PublishingError : si ``_toc.yml`` ou un chapitre est absent ou illisible.
        """
        chapters = (self.chapter(document) for document in self.documents())
        return [chapter for chapter in chapters if chapter is not None]

    def orphans(self) -> list[Path]:
        """Les carnets stockés qui ne sont ceux d'aucun chapitre."""
        return sorted(set(self.notebooks.rglob("*.ipynb")) - {chapter.stored for chapter in self.chapters()})

    def chapter(self, document: str) -> Chapter | None:
        """Le chapitre d'un document nommé comme dans ``_toc.yml`` ; rien s'il ne contient pas de code.

        Lève :
            PublishingError : s'il est absent ou illisible.
        """
        source = self.root / f"{document}.md"
        if not source.is_relative_to(self.sources):
            return None
        try:
            text = source.read_text(encoding="utf-8")
            if not _is_notebook(text):
                return None
            notebook = deepcopy(_notebook(text))
        except Exception as error:  # jupytext et yaml lèvent des exceptions de toutes sortes
            raise PublishingError(f"Le chapitre {source} est absent ou illisible : {error}") from error
        if not code_cells(notebook):
            return None
        name = source.relative_to(self.sources).with_suffix("").as_posix()
        return Chapter(name, source, self.notebooks / f"{name}.ipynb", notebook)


@lru_cache(maxsize=64)
def _notebook(text: str) -> NotebookNode:
    return jupytext.reads(text, fmt="md:myst")


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Les cellules de code d'un carnet, dans l'ordre."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _documents(toc: Any) -> Iterator[str]:
    """Les fichiers nommés par ``_toc.yml``, quelle que soit la profondeur des parties et des sections."""
    if isinstance(toc, list):
        for entry in toc:
            yield from _documents(entry)
    elif isinstance(toc, dict):
        yield from (toc[key] for key in ("root", "file") if key in toc)
        yield from _documents([value for value in toc.values() if isinstance(value, list)])


def _is_notebook(text: str) -> bool:
    """Vrai si l'en-tête du fichier est celui d'un carnet MyST : sans lui, Jupyter Book n'exécute rien."""
    if not text.startswith("---"):
        return False
    header = yaml.safe_load(text.split("\n---", 1)[0])
    representation = (header or {}).get("jupytext", {}).get("text_representation", {})
    return bool(representation.get("format_name") == "myst")

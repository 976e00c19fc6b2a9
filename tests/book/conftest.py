"""Un livre minuscule, exécuté et construit une fois par session, et copié pour chaque test."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import CHAPTER, HEADER, MODULES, Tiny

from vaebook.publishing import execution


@pytest.fixture(scope="session")
def executed(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Tiny:
    book = Tiny(tmp_path_factory.mktemp("modele") / "livre")
    for name, text in MODULES.items():
        path = book.package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    book.sources.mkdir()
    book.source.write_text(HEADER + CHAPTER, encoding="utf-8")
    (book.sources / "index.md").write_text("# Accueil\n\nBonjour.\n", encoding="utf-8")
    (book.root / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n  - file: book/essai\n", encoding="utf-8"
    )
    for name in ("_config.yml", "pyproject.toml", ".gitignore", "book/references.bib"):
        shutil.copy(root / name, book.root / name)
    shutil.copytree(root / "book/assets", book.sources / "assets")
    execution.execute(book, book.chapters(), timeout=60)
    done = book.build()  # porte dans le carnet la prose de la page
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return book


@pytest.fixture
def book(executed: Tiny, tmp_path: Path) -> Tiny:
    """Une copie, à jour, du livre minuscule."""
    shutil.copytree(executed.root, tmp_path / "livre", ignore=shutil.ignore_patterns("_build"))
    return Tiny(tmp_path / "livre")


@pytest.fixture
def command(book: Tiny, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """La commande de l'auteur, sur le livre minuscule : son code de sortie et tout ce qu'elle a dit."""
    from vaebook.publishing.__main__ import main

    def run(*arguments: str) -> tuple[int, str]:
        code = main(["--root", str(book.root), *arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run

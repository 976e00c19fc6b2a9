"""La première cellule des carnets stockés : dans Colab seulement, elle installe ``vaebook``."""

from __future__ import annotations

import re
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from vaebook.publishing.repository import BRANCH, Repository, project

# Ce que Colab apporte, et que rien ne doit remplacer.
BROUGHT = {"matplotlib", "numpy", "torch", "torchvision"}
# La marque de la cellule : elle n'est pas dans le chapitre, et n'a pas de sortie à garder.
MARK = "installation"

_SOURCE = """# @title Dans Colab seulement : installer vaebook
import sys

if "google.colab" in sys.modules:
    import importlib.util
    import subprocess

    def install(*packages):
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", *packages]
        return subprocess.run(command).returncode == 0

    source = "vaebook @ git+{url}@"
    if not {pinned}:
        print("La version exacte de ce chapitre ne peut pas être installée : on prend celle de {branch}.")
        if not install(source + "{branch}"):
            raise RuntimeError("vaebook n'a pas pu être installé. Vérifiez la connexion, puis relancez.")
    missing = [name for name in {light} if importlib.util.find_spec(name) is None]
    if missing:
        install(*missing)"""


def setup_cell(root: Path, commit: str | None) -> NotebookNode:
    """La cellule qui installe le paquet au commit de l'exécution, ou à la branche principale avec un avis.

    Paramètres :
        root : la racine du livre.
        commit : celui de la provenance ; rien, ou terminé par « + », il ne contient pas ce qui a tourné.
    """
    names = [re.split(r"[^\w-]", requirement)[0] for requirement in project(root).get("dependencies", [])]
    source = _SOURCE.format(
        url=Repository.declared(root).url,
        branch=BRANCH,
        light=tuple(sorted(set(names) - BROUGHT)),
        pinned=f'install(source + "{commit}")' if commit and not commit.endswith("+") else "False",
    )
    metadata = {"vaebook": MARK, "cellView": "form", "jupyter": {"source_hidden": True}}
    cell: NotebookNode = new_code_cell(source, metadata=metadata)
    return cell


def is_setup(cell: NotebookNode) -> bool:
    """Vrai pour la cellule d'installation."""
    return bool(cell.metadata.get("vaebook") == MARK)

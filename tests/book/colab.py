"""Ce que Colab apporte, et rien d'autre : de quoi exécuter un carnet comme un lecteur."""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from packaging.requirements import Requirement
from traitlets.config import Config

BROUGHT = ("torch", "torchvision", "matplotlib", "numpy", "tqdm", "ipykernel")
LIGHT = ("platformdirs", "safetensors")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(names: tuple[str, ...]) -> set[str]:
    """Ces distributions et tout ce dont elles dépendent."""
    found: set[str] = set()
    pending = [normal(name) for name in names]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found.add(name)
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue
        wanted = map(Requirement, lines)
        pending += [
            normal(one.name) for one in wanted if not one.marker or one.marker.evaluate({"extra": ""})
        ]
    return found


def outsiders() -> set[str]:
    """Les modules installés ici que Colab n'apporte pas forcément."""
    allowed = closure((*BROUGHT, *LIGHT)) | {"pip", "setuptools", "vaebook"}
    return {
        module
        for module, owners in packages_distributions().items()
        if module.isidentifier() and not allowed & set(map(normal, owners))
    }


def run(path: Path, root: Path, folder: Path) -> nbformat.NotebookNode:
    """Exécute un carnet du début à la fin, en mode rapide, sans rien de ce que Colab n'apporte pas."""
    traps = folder / "absents"
    traps.mkdir()
    for module in outsiders():
        text = f"raise ModuleNotFoundError({f'{module} : Colab ne l’apporte pas'!r})\n"
        (traps / f"{module}.py").write_text(text, encoding="utf-8")
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=300,
        resources={"metadata": {"path": str(folder)}},
        config=Config(KernelSpecManager={"kernel_dirs": []}),
    )
    paths = os.pathsep.join([str(traps), str(root)])
    environment = {**os.environ, "PYTHONPATH": paths, "VAEBOOK_QUICK": "1", "TQDM_DISABLE": "1"}
    with client.setup_kernel(env=environment):
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
    return notebook

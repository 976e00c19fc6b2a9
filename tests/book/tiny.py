"""Le livre minuscule des tests, et la façon de construire un livre sans noyau ni torch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_output

from vaebook.publishing import stored
from vaebook.publishing.chapters import Book, Chapter
from vaebook.publishing.freshness import fingerprint

ROOT = Path(__file__).resolve().parents[2]

HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

"""

CHAPTER = """# Essai

Du texte, et la {numref}`fig-droite`.

```{code-cell} python
import vaebook
from vaebook.calcul import moyenne
print(moyenne([1, 2, 6]))
```

```{code-cell} python
---
mystnb:
  figure:
    caption: Une légende.
    name: fig-droite
  image:
    alt: Une droite qui monte.
---
import matplotlib.pyplot as plt
plt.plot([1, 2])
plt.show()
```
"""

# Une image d'un pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

MODULES = {
    "__init__.py": '"""Un paquet minuscule."""\n',
    "calcul.py": '"""Des calculs."""\n\n\ndef moyenne(x):\n    """La moyenne."""\n'
    "    from .outils import somme\n\n    return somme(x) / len(x)  # au fond d'une fonction\n",
    "outils.py": 'STYLE = "habits/livre.css"\n\n\ndef somme(x):\n    return sum(x)\n',
    "ailleurs.py": "INUTILE = 1\n",
    "habits/livre.css": "p { color: red }\n",
    "habits/autre.css": "p { color: blue }\n",
}


class Tiny(Book):
    """Un livre d'essai, que l'on peut réécrire."""

    @property
    def source(self) -> Path:
        return self.sources / "essai.md"

    @property
    def essai(self) -> Chapter:
        [chapter] = self.chapters()
        return chapter

    def edit(self, path: str, old: str, new: str) -> None:
        """Remplace un passage, qui doit être là."""
        file = self.root / path
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")

    def build(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Construit le livre là où ni torch ni le noyau ne peuvent être importés."""
        return build(self.root, *arguments)


def build(
    root: Path, *arguments: str, poisoned: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Construit un livre ; importer torch ou le noyau y laisse une trace et échoue."""
    poison = root.parent / "poison"
    poison.mkdir(exist_ok=True)
    for name in ("torch", "torchvision", "ipykernel", "ipykernel_launcher"):
        trap = f"open({str(poison / 'trace')!r}, 'a').write({name!r})\nraise ImportError({name!r})\n"
        (poison / f"{name}.py").write_text(trap, encoding="utf-8")
    command = [
        str(Path(sys.executable).with_name("jupyter-book")),
        "build",
        ".",
        "-W",
        "-n",
        "--keep-going",
        *arguments,
    ]
    paths = [str(poison)] if poisoned else []
    paths.append(environment.pop("PYTHONPATH", str(ROOT)))
    done = subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    assert not (poison / "trace").exists(), (
        f"importé pendant la construction : {(poison / 'trace').read_text()}"
    )
    return done


def pretend(book: Book, **provenance: object) -> None:
    """Range des sorties feintes : une figure où une légende l'attend, et les nombres que cite la prose."""
    done = {
        "device": "Processeur d'essai",
        "driver": None,
        "torch": "2.13.0",
        "seed": 0,
        "python": "3.12.1",
        "date": "2026-03-01T10:00:00+00:00",
        "duration": 75.2,
        "commit": "0123456789" * 4,
        **provenance,
    }
    for chapter in book.chapters():
        names = sorted(set(re.findall(r"\{glue:text\}`([^`]+)`", chapter.source.read_text(encoding="utf-8"))))
        outputs: list[list[NotebookNode]] = [[] for _ in chapter.code]
        outputs[0] = [_glued(name) for name in names]
        for cell, found in zip(chapter.code, outputs, strict=True):
            if "figure" in cell.metadata.get("mystnb", {}):
                found.append(new_output("display_data", {"image/png": PIXEL, "text/plain": "<Figure>"}))
        record = {
            "chapter": chapter.name,
            **fingerprint(book, chapter).record(),
            "outputs": [stored.outputs_digest(found) for found in outputs],
            "provenance": done,
        }
        stored.write(chapter.stored, stored.dumps(stored.compose(book, chapter, outputs, record)))


def _glued(name: str) -> NotebookNode:
    prefix = "application/papermill.record/"
    scrapbook = {"name": name, "mime_prefix": prefix, "has_data": True}
    return new_output("display_data", {f"{prefix}text/plain": "'4,2'"}, metadata={"scrapbook": scrapbook})


def git(root: Path, *arguments: str) -> str:
    """Appelle git dans un dossier, avec une identité d'essai."""
    identity = ["-c", "user.name=essai", "-c", "user.email=essai@localhost"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout

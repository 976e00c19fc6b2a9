"""La construction du livre depuis ses sorties stockées : durées, mémoire, pages, croissance.

Tout se passe dans une copie du dernier enregistrement. Trois cas, à tour de rôle : sans rien de construit,
sans rien de changé, après une phrase de plus dans un chapitre. Puis le temps de chaque page, et celui de
livres faits de copies d'un même chapitre.

Usage : python tests/benchmarks/build.py
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from common import alternate, french, summary, table

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 3
CHAPTER = "elbo"  # celui qu'on retouche, et qu'on recopie
COPIES = (2, 4, 8, 16)
IMPORTS = {"vaebook": "import vaebook", "models": "import vaebook.models", "torch": "import torch"}


def run() -> dict[str, Any]:
    """Les durées en secondes, la mémoire en octets : celle de tous les processus de la construction."""
    with tempfile.TemporaryDirectory() as folder:
        book = copy(Path(folder) / "livre")

        def clean() -> int:
            shutil.rmtree(book / "_build", ignore_errors=True)
            build(book)
            return 1

        def unchanged() -> int:
            build(book)
            return 1

        def edited() -> int:
            with (book / "book" / f"{CHAPTER}.md").open("a", encoding="utf-8") as file:
                file.write("\nUne phrase de plus.\n")
            build(book)
            return 1

        seconds = alternate({"clean": clean, "unchanged": unchanged, "edited": edited}, ROUNDS)
        return {
            "seconds": {name: summary(values) for name, values in seconds.items()},
            "memory": peak_memory(book),
            "pages": pages(book, Path(folder) / "horloge"),
            "chapters": growth(Path(folder)),
            "imports": imports(),
        }


def copy(target: Path) -> Path:
    """Une copie du dernier enregistrement du dépôt, toujours bon à construire."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(target)], check=True)
    return target


def build(book: Path, *options: str, **environment: str) -> None:
    """Construit le site.

    Paramètres :
        options : celles de Jupyter Book ; à défaut, celles de `make book`.
        environment : des variables d'environnement en plus.
    """
    done = subprocess.run(
        _command(book, *options), env=_environment(book, **environment), capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"La construction a échoué :\n{(done.stdout + done.stderr)[-2000:]}")


def _command(book: Path, *options: str) -> list[str]:
    program = Path(sys.executable).with_name("jupyter-book")
    return [str(program), "build", str(book), *(options or ("-W", "-n"))]


def _environment(book: Path, **others: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(book), **others}


def peak_memory(book: Path) -> int:
    """La mémoire de pointe d'une construction, en octets ; à part, car la lire ralentit ce qu'on mesure."""
    shutil.rmtree(book / "_build", ignore_errors=True)
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(_command(book), env=_environment(book), stdout=nothing, stderr=nothing)
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        time.sleep(0.1)
    if process.returncode:
        sys.exit("La construction dont on lisait la mémoire a échoué.")
    return peak


def memory(pid: int) -> int:
    """La mémoire d'un processus et de ses enfants, pages partagées réparties entre eux."""
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in [parent, *parent.children(recursive=True)]:
            total += process.memory_full_info().pss
    except psutil.Error:  # un processus qui vient de finir
        pass
    return total


def pages(book: Path, file: Path) -> dict[str, dict[str, float]]:
    """Les secondes de chaque page, étape par étape, sans rien de construit."""
    shutil.rmtree(book / "_build", ignore_errors=True)
    settings = book / "_config.yml"
    known = settings.read_text(encoding="utf-8")
    last = "      - vaebook.publishing.quizzes\n"
    settings.write_text(known.replace(last, f"{last}      - build_clock\n"), encoding="utf-8")
    build(book, PYTHONPATH=os.pathsep.join([str(book), str(Path(__file__).parent)]), BUILD_CLOCK=str(file))
    settings.write_text(known, encoding="utf-8")
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for line in file.read_text(encoding="utf-8").splitlines():
        page, stage, seconds = json.loads(line)
        found[page][stage] = found[page].get(stage, 0.0) + seconds
    return dict(found)


def growth(folder: Path) -> dict[str, Any]:
    """Le temps d'un livre fait de copies d'un chapitre, sans rien de construit."""
    books = {}
    for count in COPIES:
        books[str(count)] = book = copy(folder / f"livre-{count}")
        names = [f"book/copie_{rank}" for rank in range(1, count + 1)]
        text = (book / "book" / f"{CHAPTER}.md").read_text(encoding="utf-8")
        notebook = json.loads((book / "book" / "notebooks" / f"{CHAPTER}.ipynb").read_text(encoding="utf-8"))
        for name in names:
            (book / f"{name}.md").write_text(text, encoding="utf-8")
            notebook["metadata"]["vaebook"]["chapter"] = Path(name).name
            target = book / "book" / "notebooks" / f"{Path(name).name}.ipynb"
            target.write_text(json.dumps(notebook), encoding="utf-8")
        lines = [
            "format: jb-book",
            f"root: {names[0]}",
            "chapters:",
            *(f"- file: {name}" for name in names[1:]),
        ]
        (book / "_toc.yml").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def one(book: Path) -> int:
        shutil.rmtree(book / "_build", ignore_errors=True)
        build(book, "--quiet")  # sans -W : les renvois aux autres chapitres manquent
        return 1

    seconds = alternate({count: lambda book=book: one(book) for count, book in books.items()}, 1)
    return {"x": list(COPIES), "seconds": [summary(seconds[str(count)]) for count in COPIES]}


def imports() -> dict[str, dict[str, float]]:
    """Le temps d'importer, dans un processus neuf, de plus que celui de démarrer Python."""

    def started(statement: str) -> int:
        subprocess.run([sys.executable, "-c", statement], check=True, cwd=ROOT)
        return 1

    seconds = alternate(
        {name: lambda code=code: started(code) for name, code in {"rien": "", **IMPORTS}.items()}, 9
    )
    empty = summary(seconds["rien"])["median"]
    return {name: summary([value - empty for value in seconds[name]]) for name in IMPORTS}


def report(results: dict[str, Any]) -> None:
    """Les tableaux."""
    rows = [["construction", "s"]]
    for name, label in (
        ("clean", "sans rien de construit"),
        ("unchanged", "rien de changé"),
        ("edited", "une phrase"),
    ):
        rows.append([label, french(results["seconds"][name]["median"], 1)])
    table(rows)
    print(f"mémoire de pointe : {results['memory'] / 2**20:.0f} Mio")
    stages = ("lecture", "résolution", "écriture")
    rows = [["page", *stages]]
    for page, found in sorted(results["pages"].items(), key=lambda item: -sum(item[1].values())):
        rows.append([page, *(french(found.get(stage, 0.0)) for stage in stages)])
    table(rows)
    found = results["chapters"]
    rows = [["chapitres", "s"]]
    rows += [
        [str(x), french(second["median"], 1)] for x, second in zip(found["x"], found["seconds"], strict=True)
    ]
    table(rows)
    table(
        [
            ["importer", "ms"],
            *([name, f"{1e3 * found['median']:.0f}"] for name, found in results["imports"].items()),
        ]
    )


if __name__ == "__main__":
    report(run())

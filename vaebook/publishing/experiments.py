"""Les longues expériences : un script de ``book/experiments/``, ce qu'il a mesuré dans ``book/results/``.

Un script définit ``run() -> dict`` et ne fait rien quand on l'importe. Ses résultats portent la même
estampille que les sorties d'un chapitre, et vieillissent comme elles.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaebook.publishing import stored
from vaebook.publishing.chapters import Book, PublishingError
from vaebook.publishing.freshness import Fingerprint, dependencies, results_digest, serialise, sha256
from vaebook.publishing.stored import StoredError

# Le processus neuf : le script à son adresse, les résultats puis la provenance dans le dossier courant.
_RUNNER = """
import json, runpy, sys
_data = runpy.run_path(sys.argv[1], run_name="experience")["run"]()
try:
    _text = json.dumps(_data, allow_nan=False)
except (TypeError, ValueError) as error:
    sys.exit(f"run() doit renvoyer des dictionnaires, des listes, des textes et des nombres finis : {error}.")
with open("resultats.json", "w", encoding="utf-8") as file:
    file.write(_text)
sys.stdout = open("provenance.json", "w", encoding="utf-8")
"""


@dataclass(frozen=True)
class Experiment:
    """Une longue expérience.

    Paramètres :
        name : le nom de son script, sans extension.
        source : le script.
        stored : ses résultats.
    """

    name: str
    source: Path
    stored: Path

    @property
    def title(self) -> str:
        """La première ligne de la docstring du script, ou son nom."""
        lines = (ast.get_docstring(self._tree()) or self.name).splitlines()
        return lines[0].rstrip(".")

    def fingerprint(self, book: Book) -> Fingerprint:
        """Ce dont dépendent les résultats : le script, les modules qu'il importe, les fichiers qu'il nomme.

        Lève :
            PublishingError : si le script ou un module n'est pas du Python valide.
        """
        tree = self._tree()
        script = {self.source.relative_to(book.root).as_posix(): sha256("".join(serialise(tree)))}
        return dependencies(book, [tree], script=script)

    def _tree(self) -> ast.Module:
        try:
            return ast.parse(self.source.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, UnicodeDecodeError) as error:
            raise PublishingError(f"{self.source} n'est pas du Python valide : {error}") from error


def experiments(book: Book) -> list[Experiment]:
    """Les expériences du livre, par ordre alphabétique."""
    return [
        Experiment(source.stem, source, book.results / f"{source.stem}.json")
        for source in sorted(book.experiments.glob("*.py"))
    ]


def orphans(book: Book) -> list[Path]:
    """Les résultats qu'aucun script n'a mesurés."""
    return sorted(set(book.results.glob("*.json")) - {experiment.stored for experiment in experiments(book)})


def load(experiment: Experiment) -> dict[str, Any]:
    """Lit les résultats d'une expérience et vérifie qu'ils sont entiers, à elle, et non modifiés.

    Lève :
        StoredError : sinon ; le message dit pourquoi.
    """
    try:
        record = json.loads(experiment.stored.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoredError("jamais faite : ses résultats manquent") from None
    except (OSError, ValueError) as error:
        raise StoredError(f"résultats tronqués ou illisibles ({error})") from error
    if not isinstance(record, dict) or not {"data", "outputs", "provenance"} <= set(record):
        raise StoredError("résultats sans provenance : une exécution ne les a pas écrits")
    if record.get("experiment") != experiment.name:
        raise StoredError(f"résultats d'une autre expérience, « {record.get('experiment')} »")
    if record["outputs"] != results_digest(experiment.stored):
        raise StoredError("résultats modifiés à la main")
    return record


def problem(book: Book, experiment: Experiment) -> str | None:
    """Ce qui empêche de se fier aux résultats d'une expérience ; rien s'ils sont ceux du code actuel."""
    try:
        changes = experiment.fingerprint(book).changes_since(load(experiment))
    except StoredError as error:
        return str(error)
    return f"périmée : {', '.join(changes)}" if changes else None


def execute(book: Book, selected: list[Experiment], *, device: str = "auto") -> None:
    """Fait des expériences et range leurs résultats ; rien n'est écrit de celle qui échoue.

    Paramètres :
        device : "auto", ou "cpu" pour cacher le GPU.

    Lève :
        PublishingError : si le script échoue, si une autre exécution est en cours, si les résultats ne
            peuvent pas être publiés, ou si le mode rapide est demandé.
    """
    from vaebook.publishing import execution  # tire nbclient, dont `check` n'a pas besoin

    execution.refuse_quick_mode()
    with execution.exclusive(book.lock):
        for rank, experiment in enumerate(selected, 1):
            print(f"[{rank}/{len(selected)}] expérience {experiment.name}", flush=True)
            text = run(book, experiment, device=device)
            try:
                stored.write(experiment.stored, text)
            except OSError as error:
                raise PublishingError(
                    f"{experiment.name} : impossible d'écrire {experiment.stored} ({error.strerror}). "
                    "Les résultats précédents sont intacts."
                ) from error
            print(f"  rangée dans {experiment.stored.relative_to(book.root)} ({len(text) / 1e3:.0f} ko)")


def run(book: Book, experiment: Experiment, *, device: str = "auto") -> str:
    """Fait une expérience dans un processus neuf ; renvoie le texte à ranger, sans rien écrire.

    Lève :
        PublishingError : si le script échoue, change pendant ce temps, ou dit quelque chose de cette machine.
    """
    from vaebook.publishing import execution

    before = experiment.fingerprint(book)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        done = subprocess.run(
            [sys.executable, "-c", _RUNNER + execution.PROVENANCE, str(experiment.source)],
            cwd=folder,
            env=execution.environment(book, device),
            check=False,
        )
        if done.returncode:
            raise PublishingError(
                f"{experiment.name} : le script a échoué (code {done.returncode}). "
                "Rien n'a été écrit : les résultats précédents sont intacts."
            )
        data = json.loads(Path(folder, "resultats.json").read_text(encoding="utf-8"))
        known = json.loads(Path(folder, "provenance.json").read_text(encoding="utf-8"))
    duration = time.monotonic() - started
    if experiment.fingerprint(book) != before:
        raise PublishingError(f"{experiment.name} : le code a changé pendant l'expérience. Relancez-la.")
    where = ("vaebook", experiment.source.relative_to(book.root).as_posix())
    record = before.record()
    del record["cells"]
    record = {
        "experiment": experiment.name,
        **record,
        "outputs": sha256(json.dumps(data, sort_keys=True)),
        "provenance": execution.provenance(book, known, duration, *where),
        "data": data,
    }
    text = json.dumps(record, ensure_ascii=False, indent=1) + "\n"
    if len(text.encode()) > stored.MAX_BYTES:
        raise PublishingError(
            f"{experiment.name} : les résultats pèseraient {len(text.encode())} octets, au-delà de "
            f"{stored.MAX_BYTES}. Ne gardez que ce que le chapitre montre."
        )
    return execution.refuse_private(text, experiment.name)

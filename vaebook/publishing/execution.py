"""Exécuter un chapitre, nettoyer ses sorties, et les ranger avec leur provenance."""

from __future__ import annotations

import json
import logging
import os
import platform
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbclient.exceptions
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from traitlets.config import Config

from vaebook import quick
from vaebook.publishing import stored
from vaebook.publishing.chapters import Book, Chapter, PublishingError, code_cells
from vaebook.publishing.freshness import fingerprint
from vaebook.publishing.images import compress

# Exécuté à la fin par le processus qui a calculé : ce que lui seul sait.
PROVENANCE = """
import json, platform, subprocess, sys
_torch = sys.modules.get("torch")
_found = {"python": platform.python_version(), "torch": getattr(_torch, "__version__", None), "driver": None}
_found["seed"] = _torch.initial_seed() if _torch is not None else None
if _torch is not None and _torch.cuda.is_available() and _torch.cuda.is_initialized():
    _found["device"] = _torch.cuda.get_device_name()
    try:
        _query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        _found["driver"] = subprocess.check_output(_query, text=True).split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        pass
print(json.dumps(_found))
"""

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_ADDRESS = re.compile(r"(?<= at )0x[0-9a-fA-F]{6,}")
# Bornée : sans cela, une longue sortie sans espace coûterait un temps quadratique.
_CELL_FILE = re.compile(r"(?:[A-Z]:)?[/\\][\w./\\~-]{0,100}ipykernel_\d+[/\\]\d+\.py")
_ROOTS = "home|root|Users|tmp|var|opt|usr|mnt|work|private"
# Les poids d'un panneau, en base 64 : un nom court, comme « vm », s'y lit par hasard.
_BINARY = re.compile(r"[A-Za-z0-9+/=]{200,}")
_ABSOLUTE = re.compile(rf"(?<![\w.:/<])/(?:{_ROOTS})/[\w.-]+|\b[A-Z]:\\Users")


def execute(book: Book, chapters: list[Chapter], *, timeout: int | None = None, device: str = "auto") -> None:
    """Exécute des chapitres et range leurs sorties ; rien n'est écrit de celui qui échoue.

    Paramètres :
        timeout : durée maximale d'une cellule, en secondes ; aucune limite par défaut.
        device : "auto", ou "cpu" pour cacher le GPU au noyau.

    Lève :
        PublishingError : si une cellule échoue, si le noyau meurt, si une autre exécution est en cours, si
            les sorties ne peuvent pas être publiées, ou si le mode rapide est demandé.
    """
    refuse_quick_mode()
    with exclusive(book.lock):
        for rank, chapter in enumerate(chapters, 1):
            print(f"[{rank}/{len(chapters)}] {chapter.name}", flush=True)
            notebook = run(book, chapter, timeout=timeout, device=device)
            text = stored.dumps(notebook)
            if (size := len(text.encode())) > stored.MAX_BYTES:
                raise PublishingError(
                    f"{chapter.name} : le carnet pèserait {size} octets, au-delà de {stored.MAX_BYTES}. "
                    "Réduisez ses figures."
                )
            try:
                stored.write(chapter.stored, text)
            except OSError as error:
                raise PublishingError(
                    f"{chapter.name} : impossible d'écrire {chapter.stored} ({error.strerror}). "
                    "Le carnet précédent est intact."
                ) from error
            duration = notebook.metadata.vaebook.provenance.duration
            where = chapter.stored.relative_to(book.root)
            print(f"  rangé dans {where} ({duration:.0f} s, {size / 1e3:.0f} ko)", flush=True)


def run(book: Book, chapter: Chapter, *, timeout: int | None = None, device: str = "auto") -> NotebookNode:
    """Exécute un chapitre dans un noyau neuf de cet interpréteur ; renvoie le carnet, sans rien écrire.

    Lève :
        PublishingError : si une cellule échoue ou dépasse `timeout`, si le noyau meurt, si l'on interrompt.
    """
    before = fingerprint(book, chapter)
    notebook = deepcopy(chapter.notebook)
    notebook.cells.append(new_code_cell(PROVENANCE))
    started = time.monotonic()
    # Un dossier temporaire : une cellule ne salit pas le dépôt, et n'y lit rien que l'empreinte ignore.
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        # Ce que dit le noyau lui-même, et non ses cellules : utile s'il meurt, bruit sinon.
        noise = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
        client = _client(notebook, folder, timeout, len(chapter.code))
        try:
            # Cellule par cellule : `client.execute` prend Ctrl-C pour lui et finit par une erreur interne.
            with client.setup_kernel(env=environment(book, device), stderr=noise):
                for index, cell in enumerate(notebook.cells):
                    client.execute_cell(cell, index)
        except nbclient.exceptions.CellExecutionError as error:
            raise _stopped(client, chapter, f"une erreur, {error.ename}.") from None
        except nbclient.exceptions.CellTimeoutError:
            raise _stopped(client, chapter, f"le délai de {timeout} s dépassé.") from None
        except nbclient.exceptions.DeadKernelError:
            noise.seek(0)
            last_words = "".join(noise.readlines()[-5:])
            why = f"la mort du noyau (mémoire épuisée, ou interruption).\n{last_words}".rstrip()
            raise _stopped(client, chapter, why) from None
        except KeyboardInterrupt:
            # La tâche abandonnée finit par la mort du noyau qu'on arrête, et asyncio en ferait une trace.
            logging.getLogger("asyncio").disabled = True
            raise _stopped(client, chapter, "une interruption au clavier.") from None
        except RuntimeError as error:
            raise PublishingError(
                f"{chapter.name} : le noyau n'a pas démarré ou s'est arrêté ({error})."
            ) from None
    duration = time.monotonic() - started
    if fingerprint(book, chapter) != before:
        raise PublishingError(f"{chapter.name} : le code a changé pendant l'exécution. Relancez-la.")

    *cells, last = code_cells(notebook)
    name = chapter.name
    known = json.loads("".join(output.text for output in last.outputs if output.get("name") == "stdout"))
    outputs = [clean(cell.outputs, book, f"{name}, cellule de code {i}") for i, cell in enumerate(cells, 1)]
    record = {
        "chapter": name,
        **before.record(),
        "outputs": [stored.outputs_digest(cell_outputs) for cell_outputs in outputs],
        # Des résultats que le commit ne contient pas manqueraient à qui l'installe.
        "provenance": provenance(book, known, duration, "vaebook", "book/results"),
    }
    return stored.compose(book, chapter, outputs, record)


def clean(outputs: list[NotebookNode], book: Book, where: str) -> list[NotebookNode]:
    """Ne garde des sorties que ce qui peut être publié : ni chemin absolu, ni nom de machine.

    Ce qui est écrit sur la sortie d'erreur (avertissements) est montré à l'auteur et n'est pas rangé. Les
    figures sont allégées.

    Lève :
        PublishingError : si un chemin absolu ou le nom de la machine reste dans une sortie, ou si des polices
            manquent à une figure.
    """
    kept: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and output.name == "stderr":
            if lost := re.search(r"findfont: .*not found", output.text):
                raise PublishingError(
                    f"{where} : une figure n'a pas ses polices ({lost.group()}). Supprimez le cache de "
                    "polices, dans le dossier que donne matplotlib.get_cachedir(), puis recommencez."
                )
            print(f"  {where}, sortie d'erreur, non rangée :\n{output.text.rstrip()}", file=sys.stderr)
            continue
        if output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None) and not output.data:
            continue
        output.pop("transient", None)
        _map_text(output, lambda text: _without_paths(text, book))
        _map_text(output, lambda text: refuse_private(text, where))
        if "image/png" in output.get("data", {}):
            output.data["image/png"] = compress(output.data["image/png"])
        if kept and output.output_type == kept[-1].output_type == "stream":
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def refuse_quick_mode() -> None:
    """Le mode rapide ne sert qu'aux essais.

    Lève :
        PublishingError : s'il est demandé.
    """
    if quick.enabled():
        raise PublishingError(
            "Le mode rapide (VAEBOOK_QUICK) ne donne pas les nombres du livre : rien n'est rangé. "
            "Retirez cette variable, puis relancez."
        )


def provenance(book: Book, known: dict[str, Any], duration: float, *paths: str) -> dict[str, Any]:
    """Sur quoi, quand et avec quel code on a calculé.

    Paramètres :
        known : ce qu'a dit le processus qui a calculé.
        duration : en secondes.
        paths : les chemins du dépôt dont on retient le dernier commit.
    """
    return {
        "device": _processor(),
        **known,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "duration": round(duration, 1),
        "commit": _last_commit(book, *paths),
    }


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Interdit deux exécutions à la fois ; le verrou tombe de lui-même avec le processus qui le tient.

    Lève :
        PublishingError : si une autre exécution est en cours.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise PublishingError(
                "Une autre exécution est en cours dans ce dépôt : attendez sa fin."
            ) from None
        yield


def _client(notebook: NotebookNode, folder: str, timeout: int | None, total: int) -> NotebookClient:
    ranks = {id(cell): rank for rank, cell in enumerate(code_cells(notebook), 1)}

    def announce(cell: NotebookNode, cell_index: int) -> None:
        if (rank := ranks.get(id(cell), total + 1)) <= total:
            print(f"  cellule {rank}/{total}", flush=True)

    return NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=timeout,
        record_timing=False,
        store_widget_state=False,
        on_cell_start=announce,
        resources={"metadata": {"path": folder}},
        # Aucun dossier de noyaux : « python3 » est alors toujours celui de l'interpréteur courant.
        config=Config(KernelSpecManager={"kernel_dirs": []}),
    )


def environment(book: Book, device: str) -> dict[str, str]:
    """L'environnement du processus qui calcule : le paquet de ce livre, et le GPU s'il est permis."""
    paths = [str(book.root), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONHASHSEED": "0",
        "TQDM_DISABLE": "1",
        **({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}),
    }


def _stopped(client: NotebookClient, chapter: Chapter, why: str) -> PublishingError:
    cells = code_cells(client.nb)[:-1]
    rank = min(max(client.code_cells_executed, 1), len(cells))
    cell = cells[rank - 1]
    errors = (output for output in cell.outputs if output.output_type == "error")
    traces = (error.traceback for error in errors if error.ename != "KeyboardInterrupt")
    said = _ANSI.sub("", "\n".join(line for trace in traces for line in trace))
    source = "\n".join(f"    {line}" for line in cell.source.splitlines())
    return PublishingError(
        f"{chapter.name} : arrêt à la cellule de code {rank}/{len(cells)} par {why}\n"
        f"La cellule :\n{source}\n{said}\n"
        "Rien n'a été écrit : le carnet précédent est intact."
    )


def _map_text(output: NotebookNode, change: Any) -> None:
    """Applique une fonction à tous les textes d'une sortie, sans toucher aux images."""
    if "text" in output:
        output.text = change(output.text)
    if "traceback" in output:
        output.traceback = [change(line) for line in output.traceback]
    for mime, content in output.get("data", {}).items():
        if isinstance(content, str) and not mime.startswith(("image/png", "image/jpeg")):
            output.data[mime] = change(content)


def _without_paths(text: str, book: Book) -> str:
    text = _CELL_FILE.sub("<cellule>", text)
    names = {sys.prefix: "<python>", sys.base_prefix: "<python>", str(book.root): ".", str(Path.home()): "~"}
    for folder, name in names.items():
        text = text.replace(f"{folder}{os.sep}", f"{name}/")
    return _ADDRESS.sub("0x…", text)


def refuse_private(text: str, where: str) -> str:
    """Le même texte, s'il ne dit rien de cette machine.

    Lève :
        PublishingError : s'il contient un chemin absolu ou le nom de la machine.
    """
    host = re.escape(socket.gethostname())
    written = _BINARY.sub("", text)
    if found := _ABSOLUTE.search(written) or re.search(rf"\b(?!localhost\b){host}\b", written):
        raise PublishingError(
            f"{where} : la sortie contient « {found.group()} », propre à cette machine. "
            "Affichez un chemin relatif, ou rien."
        )
    return text


def _processor() -> str:
    """Le nom du processeur."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _last_commit(book: Book, *paths: str) -> str | None:
    """Le dernier commit qui a touché ces chemins, et « + » s'ils ont changé depuis ; rien hors de git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(book.root), *arguments, "--", *paths]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit = git("log", "-1", "--format=%H")
        return f"{commit}{'+' if git('status', '--porcelain') else ''}" if commit else None
    except (OSError, subprocess.CalledProcessError):
        return None

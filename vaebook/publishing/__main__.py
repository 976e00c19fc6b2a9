"""La commande de l'auteur : ``python -m vaebook.publishing execute|experiment|dist|check|status``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

from vaebook.publishing import experiments, stored
from vaebook.publishing.chapters import Book, Chapter, PublishingError


def main(arguments: list[str] | None = None) -> int:
    """Exécute la commande et renvoie son code de sortie."""
    parser = argparse.ArgumentParser(prog="python -m vaebook.publishing", description="Les sorties du livre.")
    parser.add_argument("--root", type=Path, default=Path.cwd(), help="la racine du livre (ce dossier)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="commande")
    execute = commands.add_parser("execute", help="exécuter les chapitres périmés et ranger leurs sorties")
    execute.add_argument("chapters", nargs="*", metavar="chapitre", help="seulement ceux-là")
    execute.add_argument("--all", action="store_true", help="même ceux qui sont à jour")
    execute.add_argument("--timeout", type=int, metavar="S", help="durée maximale d'une cellule, en secondes")
    execute.add_argument("--device", choices=("auto", "cpu"), default="auto", help="cpu : cacher le GPU")
    experiment = commands.add_parser("experiment", help="faire les longues expériences périmées")
    experiment.add_argument("experiments", nargs="*", metavar="expérience", help="seulement celles-là")
    experiment.add_argument("--all", action="store_true", help="même celles qui sont à jour")
    experiment.add_argument("--device", choices=("auto", "cpu"), default="auto", help="cpu : cacher le GPU")
    commands.add_parser("dist", help="ranger dans dist/ une archive du site construit et du PDF")
    commands.add_parser("check", help="sortir avec 1, et dire pourquoi, si une sortie n'est plus valable")
    commands.add_parser("status", help="l'état de chaque chapitre et de chaque expérience")
    options = parser.parse_args(arguments)
    book = Book(options.root.resolve())
    try:
        if options.command == "execute":
            return _execute(book, options)
        if options.command == "experiment":
            return _experiment(book, options)
        if options.command == "dist":
            return _dist(book)
        return _check(book) if options.command == "check" else _status(book)
    except PublishingError as error:
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        print("Interrompu : ce qui était rangé est intact.", file=sys.stderr)
    return 1


def problem(book: Book, chapter: Chapter) -> str | None:
    """Ce qui interdit de publier les sorties stockées d'un chapitre ; rien si elles sont valables."""
    try:
        stored.load_fresh(book, chapter)
    except stored.StoredError as error:
        return str(error)
    return None


def _execute(book: Book, options: argparse.Namespace) -> int:
    from vaebook.publishing import execution  # tire nbclient, dont `check` n'a pas besoin

    chapters = book.chapters()
    wanted = {name.removeprefix("book/").removesuffix(".md") for name in options.chapters}
    if unknown := wanted - {chapter.name for chapter in chapters}:
        known = ", ".join(chapter.name for chapter in chapters)
        raise PublishingError(f"Chapitre inconnu : {', '.join(sorted(unknown))}. Les chapitres : {known}.")
    selected = [chapter for chapter in chapters if not wanted or chapter.name in wanted]
    stale = [chapter for chapter in selected if options.all or problem(book, chapter)]
    if not stale:
        print("Rien à exécuter : tout est à jour.")
    execution.execute(book, stale, timeout=options.timeout, device=options.device)
    return 0


def _experiment(book: Book, options: argparse.Namespace) -> int:
    known = {experiment.name: experiment for experiment in experiments.experiments(book)}
    wanted = [Path(name).stem for name in options.experiments]
    if unknown := set(wanted) - set(known):
        names = ", ".join(sorted(unknown))
        raise PublishingError(f"Expérience inconnue : {names}. Il y a : {', '.join(known) or 'rien'}.")
    selected = [known[name] for name in wanted or known]
    stale = [one for one in selected if options.all or experiments.problem(book, one)]
    if not stale:
        print("Aucune expérience à faire : tout est à jour.")
    experiments.execute(book, stale, device=options.device)
    return 0


def _dist(book: Book) -> int:
    site = book.root / "_build" / "html"
    if not (site / "index.html").is_file():
        raise PublishingError("Le site n'est pas construit. Lancez : make book")
    pdf = book.root / "_build" / "pdf" / "vaebook.pdf"
    archive = book.root / "dist" / "vaebook.zip"
    archive.parent.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=archive.parent) as folder:
        beside = Path(folder, archive.name)
        with ZipFile(beside, "w", ZIP_DEFLATED) as file:
            for path in sorted(path for path in site.rglob("*") if path.is_file()):
                file.write(path, Path("vaebook", path.relative_to(site)))
            if pdf.is_file():
                file.write(pdf, Path("vaebook", pdf.name))
        beside.replace(archive)
    size = f"{archive.stat().st_size / 1e6:.1f} Mo".replace(".", ",")
    print(f"{archive.relative_to(book.root)} ({size}), {'avec' if pdf.is_file() else 'sans'} le PDF.")
    return 0


def _check(book: Book) -> int:
    problems = []
    for chapter in book.chapters():
        if found := problem(book, chapter):
            problems.append(f"{chapter.name} : {found}. Lancez : make execute")
        elif found := stored.prose_problem(chapter, stored.load(chapter)):
            problems.append(f"{chapter.name} : {found}")
    problems += [
        f"{path.relative_to(book.root)} : carnet d'aucun chapitre de _toc.yml. Supprimez-le."
        for path in book.orphans()
    ]
    for experiment in experiments.experiments(book):
        if found := experiments.problem(book, experiment):
            name = experiment.name
            problems.append(f"expérience {name} : {found}. Lancez : make experiment ARGS={name}")
    problems += [
        f"{path.relative_to(book.root)} : résultats d'aucun script de book/experiments. Supprimez-les."
        for path in experiments.orphans(book)
    ]
    print("\n".join(problems) or "Toutes les sorties stockées sont valables.")
    return 1 if problems else 0


def _status(book: Book) -> int:
    rows = [("chapitre", "état", "appareil", "date", "durée", "taille")]
    reasons = []

    def add(name: str, path: Path, found: str | None, load: Callable[[], Mapping[str, Any]]) -> None:
        try:
            done = load()["provenance"]
            size = f"{path.stat().st_size / 1e3:.0f} ko"
            facts = (done["device"], done["date"][:10], f"{done['duration']:.0f} s", size)
        except stored.StoredError:
            facts = ("", "", "", "")
        state, _, reason = (found or "à jour").partition("\u00a0: ")
        rows.append((name, state, *facts))
        if reason:
            reasons.append(f"{name} : {reason}")

    for chapter in book.chapters():
        add(chapter.name, chapter.stored, problem(book, chapter), partial(_record, chapter))
    for one in experiments.experiments(book):
        found = experiments.problem(book, one)
        add(f"expérience {one.name}", one.stored, found, partial(experiments.load, one))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())
    print(*(["", *reasons] if reasons else []), sep="\n", end="\n" if reasons else "")
    return 0


def _record(chapter: Chapter) -> Mapping[str, Any]:
    record: Mapping[str, Any] = stored.load(chapter).metadata.vaebook
    return record


if __name__ == "__main__":
    sys.exit(main())

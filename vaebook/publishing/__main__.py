"""La commande de l'auteur : ``python -m vaebook.publishing execute|check|status``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vaebook.publishing import stored
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
    commands.add_parser("check", help="sortir avec 1, et dire pourquoi, si une sortie n'est plus valable")
    commands.add_parser("status", help="l'état de chaque chapitre")
    options = parser.parse_args(arguments)
    book = Book(options.root.resolve())
    try:
        if options.command == "execute":
            return _execute(book, options)
        return _check(book) if options.command == "check" else _status(book)
    except PublishingError as error:
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        print("Interrompu : les carnets précédents sont intacts.", file=sys.stderr)
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
    print("\n".join(problems) or "Toutes les sorties stockées sont valables.")
    return 1 if problems else 0


def _status(book: Book) -> int:
    rows = [("chapitre", "état", "appareil", "date", "durée", "taille")]
    reasons = []
    for chapter in book.chapters():
        found = problem(book, chapter)
        try:
            done = stored.load(chapter).metadata.vaebook.provenance
            size = f"{chapter.stored.stat().st_size / 1e3:.0f} ko"
            facts = (done.device, done.date[:10], f"{done.duration:.0f} s", size)
        except stored.StoredError:
            facts = ("", "", "", "")
        state, _, reason = (found or "à jour").partition("\u00a0: ")
        rows.append((chapter.name, state, *facts))
        if reason:
            reasons.append(f"{chapter.name} : {reason}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip())
    print(*(["", *reasons] if reasons else []), sep="\n", end="\n" if reasons else "")
    return 0


if __name__ == "__main__":
    sys.exit(main())

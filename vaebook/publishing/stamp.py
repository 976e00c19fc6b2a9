"""L'estampille : sur quoi, quand et avec quel code les sorties d'une page ont été produites."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

from vaebook.publishing import experiments, stored
from vaebook.publishing.chapters import Book

_MONTHS = (
    *("janvier", "février", "mars", "avril", "mai", "juin"),
    *("juillet", "août", "septembre", "octobre", "novembre", "décembre"),
)


def facts(record: dict[str, Any]) -> dict[str, str]:
    """Ce que l'on dit d'une exécution, en français ; une valeur inconnue est vide."""
    done = record["provenance"]
    commit = str(done.get("commit") or "")
    found = {
        "appareil": done.get("device"),
        "pilote": done.get("driver"),
        "torch": done.get("torch"),
        "graine": done.get("seed"),
        "date": _date(done["date"]),
        "durée": _duration(done["duration"]),
        "commit": commit[:7] + commit[40:],
        "empreinte": record["digest"],
    }
    return {name: "" if value is None else str(value) for name, value in found.items()}


def stamp(record: dict[str, Any]) -> nodes.container:
    """Le bloc au bas d'une page."""
    known = {name: value for name, value in facts(record).items() if value}
    text = " ; ".join(f"{name} : {value}" for name, value in known.items())
    title = nodes.strong("", "Exécution.")
    return nodes.container(
        "", nodes.paragraph("", "", title, nodes.Text(f" {text}.")), classes=["estampille"]
    )


class Executions(SphinxDirective):
    """``{executions}`` : le tableau des exécutions de tous les chapitres et des longues expériences."""

    def run(self) -> list[nodes.Node]:
        book = Book(Path(self.env.app.srcdir))
        rows: list[list[nodes.Node]] = []
        names = ["chapitre"]
        for chapter in book.chapters():
            self.env.note_dependency(str(chapter.stored))
            found = facts(stored.load(chapter).metadata.vaebook)
            names = ["chapitre", *found]
            page = chapter.source.relative_to(book.root).with_suffix("").as_posix()
            link = addnodes.pending_xref(
                "", nodes.inline("", chapter.title), reftype="doc", refdomain="std", reftarget=f"/{page}"
            )
            link["refexplicit"] = True
            rows.append([link, *map(nodes.Text, found.values())])
        for experiment in experiments.experiments(book):
            self.env.note_dependency(str(experiment.source))
            self.env.note_dependency(str(experiment.stored))
            # `check` signale celle qui manque ; un chapitre qui la nomme est lui-même périmé.
            if experiment.stored.is_file():
                found = facts(experiments.load(experiment))
                title = f"Expérience : {experiment.title}"
                rows.append([nodes.Text(title), *map(nodes.Text, found.values())])
        head = _row([nodes.Text(name) for name in names])
        columns = [nodes.colspec(colwidth=1) for _ in names]
        body = nodes.tbody("", *map(_row, rows))
        group = nodes.tgroup("", *columns, nodes.thead("", head), body, cols=len(names))
        return [nodes.table("", group, classes=["colwidths-auto", "executions"])]


def _row(cells: list[nodes.Node]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells))


def _date(iso: str) -> str:
    day = datetime.fromisoformat(iso)
    return f"{day.day}{'er' if day.day == 1 else ''} {_MONTHS[day.month - 1]} {day.year}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"

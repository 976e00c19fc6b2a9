"""L'extension Sphinx du livre : elle publie les sorties stockées et refuse celles qui sont périmées.

Avant de laisser lire une page, elle en range les sorties dans jupyter-cache : aucun noyau ne démarre. Une
fois la page résolue, elle en porte la prose dans le carnet stocké, qu'ouvrent les boutons de la page.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pybtex.plugin  # type: ignore[import-untyped]
from docutils import nodes  # type: ignore[import-untyped]
from jupyter_cache import get_cache  # type: ignore[import-untyped]
from jupyter_cache.base import CacheBundleIn  # type: ignore[import-untyped]
from myst_nb.core.read import (  # type: ignore[import-untyped]
    is_myst_markdown_notebook,
    read_myst_markdown_notebook,
)
from nbformat import NotebookNode
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinxcontrib.bibtex.plugin import register_plugin
from sphinxcontrib.bibtex.style.referencing import BracketStyle, PersonStyle
from sphinxcontrib.bibtex.style.referencing.author_year import (
    AuthorYearReferenceStyle,
)

from vaebook.publishing import french, reference, site, stored
from vaebook.publishing.chapters import Book, Chapter, PublishingError, code_cells
from vaebook.publishing.freshness import (
    inputs_digest,
    notebooks_digest,
    outputs_key,
    package_digest,
    sha256,
)
from vaebook.publishing.prose import Markdown
from vaebook.publishing.repository import BRANCH, Repository
from vaebook.publishing.stamp import Executions, stamp

LOGGER = logging.getLogger(__name__)
BUILT = "vaebook-built"  # un fichier, à côté de ce que Sphinx garde d'une construction à l'autre


class Refused(SystemExit):
    """Arrête la construction par un message, code de sortie 1.

    Jupyter Book ferait suivre une exception ordinaire de deux traces, où le message se perd.
    """


_REDIRECT = """<!DOCTYPE html>
<html lang="{language}">
<head><meta charset="utf-8"><title>{title}</title><meta http-equiv="refresh" content="0; url={target}"></head>
<body><p><a href="{target}">{title}</a></p></body>
</html>
"""


def _round() -> BracketStyle:
    return BracketStyle(left="(", right=")")


@dataclass
class FrenchAuthorYear(AuthorYearReferenceStyle):
    """Les citations par auteur et année, entre parenthèses, avec « et » entre deux auteurs."""

    bracket_parenthetical: BracketStyle = field(default_factory=_round)
    bracket_textual: BracketStyle = field(default_factory=_round)
    person: PersonStyle = field(default_factory=lambda: PersonStyle(sep2=" et ", last_sep=" et "))


def setup(app: Sphinx) -> dict[str, Any]:
    """Point d'entrée de Sphinx."""
    register_plugin("sphinxcontrib.bibtex.style.referencing", "auteur_annee", FrenchAuthorYear)
    app.setup_extension("vaebook.publishing.latex")
    app.setup_extension("vaebook.publishing.reference")
    app.setup_extension("vaebook.publishing.speed")
    app.setup_extension("vaebook.publishing.verified")
    pybtex.plugin.register_plugin("pybtex.style.formatting", "francais", french.FrenchPlain)
    app.add_search_language(french.FrenchSearch)
    app.add_directive("executions", Executions)
    app.connect("config-inited", set_repository)
    app.connect("builder-inited", check_outputs)
    app.connect("env-get-outdated", outdated_pages)
    app.connect("env-before-read-docs", seed_cache)
    app.connect("doctree-read", mend_boxes, priority=900)
    # Après tous les autres : l'arbre est alors celui de la page.
    app.connect("doctree-resolved", set_spaces, priority=800)
    app.connect("doctree-resolved", finish_chapter, priority=900)
    app.connect("doctree-resolved", mark_english, priority=950)
    app.connect("html-page-context", set_buttons, priority=900)
    app.connect("html-page-context", site.describe, priority=900)
    # Avant sphinx-external-toc, dont la redirection n'a ni langue ni titre.
    app.connect("build-finished", write_redirect, priority=100)
    app.connect("build-finished", site.write_extras)
    app.connect("build-finished", forget_warnings)
    app.connect("build-finished", remember)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def set_repository(app: Sphinx, config: Config) -> None:
    """Donne au thème l'adresse du dépôt : celui d'où vient cette copie, ou celui de ``pyproject.toml``."""
    options = config.html_theme_options
    try:
        options["repository_url"] = url = Repository.of_checkout(Path(app.srcdir)).url
        options["repository_branch"] = BRANCH
        config.html_baseurl = Repository.declared(Path(app.srcdir)).site
        options["extra_footer"] = f'<a href="{url}/blob/{BRANCH}/CHANGELOG.md">Journal des changements</a>'
    except PublishingError as error:
        raise Refused(str(error)) from error


def check_outputs(app: Sphinx) -> None:
    """Vérifie que les sorties stockées sont valables, et les exécute si on le demande.

    Lève :
        Refused : si un chapitre est périmé et que ``VAEBOOK_EXECUTE=1`` ne demande pas de l'exécuter.
    """
    book = Book(Path(app.srcdir))
    app.vaebook_inputs = inputs_digest(book)  # type: ignore[attr-defined]
    if unchanged(app, book):
        return
    try:
        chapters = book.chapters()
        problems = _problems(book, unverified(app, book))
        if problems and os.environ.get("VAEBOOK_EXECUTE") == "1":
            from vaebook.publishing.execution import execute

            execute(book, [chapter for chapter in chapters if chapter.name in problems])
            problems = _problems(book, chapters)
    except PublishingError as error:
        raise Refused(str(error)) from error
    if problems:
        listed = "\n".join(f"  - {name} : {problem}" for name, problem in problems.items())
        raise Refused(
            "Des chapitres n'ont pas de sorties valables :\n"
            f"{listed}\n"
            "Pour les exécuter : make execute (ou : python -m vaebook.publishing execute), "
            "ou VAEBOOK_EXECUTE=1 make book."
        )


def unchanged(app: Sphinx, book: Book) -> bool:
    """Vrai si rien n'a changé depuis la dernière construction : tout y a été vérifié."""
    current = f"{app.vaebook_inputs} {notebooks_digest(book)}"  # type: ignore[attr-defined]
    return _remembered(app)[:1] == [current]


def unverified(app: Sphinx, book: Book) -> list[Chapter]:
    """Les chapitres dont le code, le carnet ou les imports ont changé depuis la dernière construction."""
    verified, package = set(_remembered(app)[1:]), package_digest(book)
    return [chapter for chapter in book.chapters() if outputs_key(package, chapter) not in verified]


def remember(app: Sphinx, exception: Exception | None) -> None:
    """Retient ce qui a été construit et vérifié, si rien n'y manque et n'a changé pendant ce temps."""
    book = Book(Path(app.srcdir))
    known, inputs = Path(app.doctreedir) / BUILT, inputs_digest(book)
    if exception or app._warncount or inputs != app.vaebook_inputs:  # type: ignore[attr-defined]
        known.unlink(missing_ok=True)
    else:
        package = package_digest(book)
        keys = [outputs_key(package, chapter) for chapter in book.chapters()]
        known.write_text("\n".join([f"{inputs} {notebooks_digest(book)}", *keys]), encoding="ascii")


def _remembered(app: Sphinx) -> list[str]:
    known = Path(app.doctreedir) / BUILT
    return known.read_text(encoding="ascii").splitlines() if known.is_file() else []


def outdated_pages(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> Iterable[str]:
    """Fait relire les chapitres réexécutés, et ceux dont le carnet n'a pas la prose de la page."""
    book = Book(Path(app.srcdir))
    if unchanged(app, book):
        return []
    known: dict[str, str] = getattr(env, "vaebook_executions", {})
    current = dict(known)
    pages = []
    for chapter in unverified(app, book):
        page = chapter.source.relative_to(book.root).with_suffix("").as_posix()
        notebook = stored.load(chapter)
        record = {**notebook.metadata.vaebook, "prose": None, "source": None}
        current[page] = sha256(json.dumps(record, sort_keys=True))
        if current[page] != known.get(page) or stored.prose_problem(chapter, notebook):
            pages.append(page)
    setattr(env, "vaebook_executions", current)  # noqa: B010  Sphinx ne déclare pas cet attribut
    return pages


def seed_cache(app: Sphinx, env: Any, docnames: list[str]) -> None:
    """Range les sorties des pages à lire sous la clé que MyST-NB va chercher : rien ne s'exécutera."""
    book = Book(Path(app.srcdir))
    cache = get_cache(env.mystnb_config.execution_cache_path)
    for docname in docnames:
        path = Path(env.doc2path(docname))
        text = path.read_text(encoding="utf-8")
        if not is_myst_markdown_notebook(text):
            continue
        chapter = book.chapter(docname)
        executed: list[NotebookNode] = []
        if chapter is not None:
            executed = stored.executed_cells(stored.load(chapter))
        page = read_myst_markdown_notebook(text, config=env.myst_config, path=str(path))
        cells = code_cells(page)
        if [cell.source for cell in cells] != [cell.source for cell in executed]:
            raise Refused(f"{docname} : jupytext et MyST-NB n'y lisent pas les mêmes cellules de code.")
        for cell, done in zip(cells, executed, strict=True):
            cell.update(outputs=done.outputs, execution_count=done.execution_count)
        page.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
        cache.cache_notebook_bundle(
            CacheBundleIn(page, docname, data={}), check_validity=False, overwrite=True
        )


def mend_boxes(app: Sphinx, doctree: nodes.document) -> None:
    """Donne à chaque encadré une ancre à lui, et aux preuves leur mot français.

    sphinx-proof et sphinx-exercise donnent à tous la même ancre ; « Proof. » y est écrit en dur.
    """
    shared = ("proof", "proof-content", "exercise-content", "solution-content")
    for rank, node in enumerate(doctree.findall(nodes.Element), 1):
        if any(anchor in shared for anchor in node["ids"]):
            node["ids"] = [f"{anchor}-{rank}" if anchor in shared else anchor for anchor in node["ids"]]
    for text in list(doctree.findall(nodes.Text)):
        if text.startswith("Proof. ") and text.parent.index(text) == 0:
            text.parent.replace(text, [nodes.emphasis("", "Démonstration."), nodes.Text(text[6:])])


def set_spaces(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Met les espaces insécables oubliées ; dans le PDF, c'est l'affaire de babel."""
    if app.builder.name == "html":
        french.set_spaces(doctree)


def mark_english(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Dit au navigateur la langue des termes anglais, et où ne pas couper les lignes."""
    if app.builder.name == "html":
        french.mark_english(doctree)
        french.keep_together(doctree)


def finish_chapter(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Porte la prose de la page dans son carnet, puis met au bas de la page l'estampille de l'exécution."""
    book = Book(Path(app.srcdir))
    chapter = book.chapter(docname)
    if chapter is None or app.builder.format == "latex":  # le PDF est d'un seul tenant : voir latex.py
        return
    notebook = stored.load(chapter)
    if app.builder.name == "html":
        prose = Markdown(app, docname, Repository.declared(book.root).site).prose(doctree, chapter.code)
        notebook = stored.refresh(book, chapter, notebook, prose)
        if found := stored.leftovers(notebook):
            LOGGER.warning("%s : il reste du MyST dans le carnet, « %s »", chapter.name, found[0])
        text = stored.dumps(notebook)
        # Le bouton de téléchargement donne cette copie, même hors ligne.
        stored.write_if_changed(Path(app.outdir, "notebooks", f"{chapter.name}.ipynb"), text)
        try:
            if stored.write_if_changed(chapter.stored, text):
                LOGGER.info("%s : la prose de son carnet a été mise à jour", chapter.name)
        except OSError as error:
            LOGGER.info(
                "%s : dossier non modifiable, la prose du carnet reste telle quelle (%s)", chapter.name, error
            )
    doctree.children[-1].extend(reference.uses(app, docname, chapter))
    doctree.children[-1].append(stamp(notebook.metadata.vaebook))


def set_buttons(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Fait ouvrir aux boutons d'un chapitre son carnet stocké ; une page sans carnet n'a pas ces boutons."""
    labels = ("launch-buttons", "download-buttons")
    buttons = [button for button in context.get("header_buttons", []) if button.get("label") not in labels]
    context["header_buttons"] = buttons
    book = Book(Path(app.srcdir))
    chapter = book.chapter(pagename) if pagename in app.env.all_docs else None
    if chapter is None:
        return
    repository = Repository.of_checkout(book.root)
    path = chapter.stored.relative_to(book.root).as_posix()
    download = context["pathto"](f"notebooks/{chapter.name}.ipynb", resource=True)
    links = [
        ("Colab", "Ouvrir ce chapitre dans Colab", repository.colab(path), "_static/images/logo_colab.png"),
        (
            "Binder",
            "Ouvrir ce chapitre dans Binder",
            repository.binder(path),
            "_static/images/logo_binder.svg",
        ),
        ("Carnet .ipynb", "Télécharger le carnet de ce chapitre", download, "fas fa-download"),
    ]
    group = {
        "type": "group",
        "label": "launch-buttons",
        "tooltip": "Ouvrir ce chapitre ailleurs",
        "icon": "fas fa-rocket",
        "buttons": [
            {"type": "link", "text": text, "tooltip": tooltip, "url": url, "icon": icon}
            for text, tooltip, url, icon in links
        ],
    }
    buttons.insert(0, group)


def write_redirect(app: Sphinx, exception: Exception | None) -> None:
    """Fait mener ``index.html`` à la première page."""
    index = Path(app.outdir) / "index.html"
    if exception is None and app.builder.name == "html" and app.config.root_doc != "index":
        target = f"{app.config.root_doc}.html"
        page = _REDIRECT.format(language=app.config.language, title=app.config.html_title, target=target)
        index.write_text(page, encoding="utf-8")


def _problems(book: Book, chapters: list[Chapter]) -> dict[str, str]:
    problems: dict[str, str] = {}
    for chapter in chapters:
        try:
            stored.load_fresh(book, chapter)
        except stored.StoredError as error:
            problems[chapter.name] = str(error)
    return problems


def forget_warnings(app: Sphinx, exception: Exception | None) -> None:
    """Fait tout relire à la prochaine construction s'il y a eu des avertissements.

    Sinon, une seconde construction sauterait les pages fautives et réussirait.
    """
    if app._warncount:
        (Path(app.doctreedir) / "environment.pickle").unlink(missing_ok=True)

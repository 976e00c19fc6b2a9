"""Dans la page : la marque des équations vérifiées, et leur index (``{equations}``)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

from vaebook.publishing.chapters import Book, PublishingError
from vaebook.publishing.equations import Binding, Equation, Ledger, Place, locate
from vaebook.publishing.french import NBSP
from vaebook.publishing.freshness import sha256
from vaebook.publishing.repository import BRANCH, Repository

_TOKEN = re.compile(r"\\\\(?:\[[^]]*\])?|\\(?:begin|end)\{[^}]*\}|\\.|[{}&]", re.DOTALL)
_OUTER = re.compile(r"\\begin\{(aligned|gathered|split)\}(.*)\\end\{\1\}", re.DOTALL)


def setup(app: Sphinx) -> dict[str, Any]:
    """Point d'entrée de Sphinx."""
    app.add_directive("equations", Index)
    app.connect("env-get-outdated", outdated_pages)
    # Après le carnet : la marque n'est que dans la page.
    app.connect("doctree-resolved", mark_equations, priority=910)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Links:
    """Les liens d'une équation vers ce qui la calcule et ce qui la vérifie."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.ledger = Ledger(book)
        self.code = f"{Repository.of_checkout(book.root).url}/blob/{BRANCH}"

    def test(self, place: Place) -> str:
        """L'adresse d'un test dans le dépôt."""
        return f"{self.code}/{place.path}#L{place.line}"

    def object(self, binding: Binding) -> str:
        """L'adresse de l'objet qui calcule une équation ; vide s'il n'y en a pas, ou plus."""
        place = locate(self.book.root, binding.object) if binding.object else None
        return self.test(place) if place else ""

    def digests(self) -> dict[str, str]:
        """Une empreinte par page : ce que montrent ses marques. Celle de l'index, sous le nom vide."""
        shown: dict[str, list[Any]] = {"": []}
        for equation in self.ledger.equations:
            binding = self.ledger.bound(equation)
            tests = [self.test(place) for place in self.ledger.tests.get(equation.label, [])]
            facts = [equation.label, binding and [*vars(binding).values(), self.object(binding)], tests]
            shown.setdefault(f"book/{equation.chapter}", []).append(facts)
            shown[""].append([*facts, equation.latex])
        return {page: sha256(json.dumps(facts)) for page, facts in shown.items()}


@lru_cache(maxsize=1)
def _links(root: Path) -> Links:
    return Links(Book(root))


def outdated_pages(
    app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]
) -> Iterable[str]:
    """Fait relire les pages dont une équation a été liée, déliée ou vérifiée autrement, et l'index."""
    known: dict[str, str] = getattr(env, "vaebook_equations", {})
    _links.cache_clear()  # ce qui suit se relit, une fois pour toute la construction
    current = _links(Path(app.srcdir)).digests()
    moved = {page for page in current | known if current.get(page) != known.get(page)}
    setattr(env, "vaebook_equations", current)  # noqa: B010  Sphinx ne déclare pas cet attribut
    indexes = [page for page, found in env.metadata.items() if moved and "equations" in found]
    return [page for page in moved if page in env.found_docs] + indexes


def mark_equations(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Met sous chaque équation étiquetée ce qui la vérifie et ce qui la calcule."""
    if app.builder.name != "html":
        return
    links = _links(Path(app.srcdir))
    equations = {equation.label: equation for equation in links.ledger.equations}
    numbers = app.env.toc_fignumbers.get(docname, {}).get("displaymath", {})
    for block in list(doctree.findall(nodes.math_block)):
        equation = equations.get(block.get("label") or "")
        binding = links.ledger.bound(equation) if equation else None
        if equation is None or binding is None:
            continue
        number = ".".join(map(str, numbers.get((block["ids"] or [""])[0], ()))) or str(
            block.get("number", "")
        )
        if parts := list(_mark(links, equation, binding, number)):
            verified = ["verifiee"] if links.ledger.verified(equation) else []
            mark = nodes.container("", nodes.inline("", "", *parts), classes=["sous-equation", *verified])
            block.parent.insert(block.parent.index(block) + 1, mark)


def _mark(links: Links, equation: Equation, binding: Binding, number: str) -> Iterator[nodes.Node]:
    """« ✓ vérifiée, calculée par vaebook.… » ; le nom d'un lien dit l'équation, et où il mène."""
    told = f"Équation ({number}) "
    tests = links.ledger.tests.get(equation.label, [])
    for rank, place in enumerate(tests, 1):
        if rank == 1:
            yield _link("vérifiée", links.test(place), before=told, after=f" par {place.name}")
        else:
            yield nodes.Text(", ")
            yield _link(f"test {rank}", links.test(place), before=told, after=f" : {place.name}")
    if address := links.object(binding):
        verb = "définie" if binding.kind == "définition" else "calculée"
        yield nodes.inline("", f"{', ' if tests else ''}{verb} par ")
        yield _link(binding.object, address, before=f"{told}{verb} par ")


def _link(text: str, address: str, *, before: str = "", after: str = "") -> nodes.reference:
    """Un lien dont le nom complet est lu, et dont on ne voit que `text`."""
    seen = nodes.literal("", text) if text.startswith("vaebook.") else nodes.Text(text)
    around = [nodes.inline("", part, classes=["hors-ecran"]) for part in (before, after)]
    return nodes.reference("", "", around[0], seen, around[1], refuri=address, internal=False)


class Index(SphinxDirective):
    """``{equations}`` : le compte des équations du livre, puis une section par page."""

    def run(self) -> list[nodes.Node]:
        links = _links(Path(self.env.app.srcdir))
        self.env.metadata[self.env.docname]["equations"] = "index"
        pages: dict[str, list[Equation]] = {}
        for equation in links.ledger.equations:
            pages.setdefault(equation.chapter, []).append(equation)
        sections = [self._section(links, page, equations) for page, equations in pages.items()]
        # Imprimé, l'index ne serait que des liens.
        page = f"{Repository.declared(links.book.root).site}{self.env.docname}.html"
        elsewhere = nodes.paragraph("", "L’index lui-même est dans le site : ")
        elsewhere += [nodes.reference("", page, refuri=page), nodes.Text(".")]
        shown = [addnodes.only("", *sections, expr="html"), addnodes.only("", elsewhere, expr="latex")]
        return [self._count(links), *shown]

    def _count(self, links: Links) -> nodes.paragraph:
        """La couverture, en une phrase."""
        equations = links.ledger.equations
        bound = [equation for equation in equations if links.ledger.bound(equation)]
        verified = [equation for equation in bound if links.ledger.verified(equation)]
        tests = {place for equation in verified for place in links.ledger.tests[equation.label]}
        counts = {
            "étiquetées": len(equations),
            f"évaluées, membre contre membre, par {len(tests)} tests": len(verified),
            "définitions d’un mot ou d’un objet, sans rien à évaluer": len(bound) - len(verified),
            "non liées": len(equations) - len(bound),
        }
        text = f"{NBSP}; ".join(f"{what}{NBSP}: {count}" for what, count in counts.items() if count)
        return nodes.paragraph("", f"Équations {text}.")

    def _section(self, links: Links, page: str, equations: list[Equation]) -> nodes.section:
        source = (links.book.sources / f"{page}.md").read_text(encoding="utf-8")
        title = re.search(r"^# (.+)$", source, re.MULTILINE)
        items = [nodes.list_item("", *self._item(links, equation)) for equation in equations]
        return nodes.section(
            "",
            nodes.title("", title[1] if title else page),
            nodes.bullet_list("", *items, classes=["index-equations"]),
            ids=[f"equations-{page.replace('/', '-')}"],
            names=[],
        )

    def _item(self, links: Links, equation: Equation) -> Iterator[nodes.Node]:
        """Le numéro, qui mène à la page, la sorte et la formule ; dessous, l'objet et les tests."""
        number = addnodes.pending_xref(
            "", nodes.literal("", equation.label), refdomain="math", reftype="eq", reftarget=equation.label
        )
        number["refdoc"], number["refexplicit"], number["refwarn"] = self.env.docname, False, True
        binding = links.ledger.bound(equation)
        kind = f" {binding.kind if binding else 'non liée'}{NBSP}: "
        line = first_line(equation.latex)
        yield nodes.paragraph("", "", number, nodes.Text(kind), nodes.math(line, line))
        if binding is None:
            return
        found: list[nodes.Node] = [nodes.inline("", f"«{NBSP}{binding.word}{NBSP}»")] if binding.word else []
        if address := links.object(binding):
            found.append(_link(binding.object, address))
        for place in links.ledger.tests.get(equation.label, []):
            name = nodes.literal("", place.name)
            found.append(nodes.reference("", "", name, refuri=links.test(place), internal=False))
        dots = [part for node in found for part in (nodes.Text(" · "), node)][1:]
        yield nodes.paragraph("", "", *dots, classes=["liens"])


def first_line(latex: str) -> str:
    """La première ligne d'une formule, sans alignement ni ponctuation finale ; et « … » si elle continue.

    Lève :
        PublishingError : si ses accolades ne se ferment pas.
    """
    outer = _OUTER.fullmatch(latex.strip())
    text = outer[2] if outer else latex
    kept, depth, start, cut = [], 0, 0, False
    for token in _TOKEN.finditer(text):
        if token[0] == "{" or token[0].startswith(r"\begin"):
            depth += 1
        elif token[0] == "}" or token[0].startswith(r"\end"):
            depth -= 1
        elif depth == 0 and (token[0] == "&" or token[0].startswith("\\\\")):
            kept.append(text[start : token.start()])
            start = token.end()
            if cut := token[0] != "&":
                break
    if depth:
        raise PublishingError(f"Accolades mal fermées dans la formule « {latex} ».")
    line = "".join(kept if cut else [*kept, text[start:]]).strip()
    line = re.sub(r"(?:\\[ ,;:!]|\s|(?<!\\)[.,;])+$", "", line)
    return rf"{line} \;\dots" if cut else line

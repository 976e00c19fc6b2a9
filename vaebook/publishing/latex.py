"""Le PDF : ce que Sphinx écrit en LaTeX pour que le livre soit, sur papier, celui du site.

Mêmes numéros que le site, titres en français, solutions rassemblées à la fin de chaque chapitre. La mise en
page est dans ``livre.sty``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders.latex.nodes import thebibliography
from sphinx.config import Config
from sphinx.locale import get_translation
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.writers.latex import LaTeXTranslator
from sphinx_exercise.nodes import exercise_enumerable_node, solution_node  # type: ignore[import-untyped]
from sphinx_proof.nodes import NODE_TYPES, proof_node, unenumerable_node  # type: ignore[import-untyped]

from vaebook.publishing import stored
from vaebook.publishing.chapters import Book
from vaebook.publishing.stamp import stamp

STYLE = Path(__file__).with_name("livre.sty")

# Ce que LaTeX compte lui-même, et le nom de son compteur.
_COUNTERS = {"figure": "figure", "table": "table", "code-block": "literalblock"}
_INNER = re.compile(r"(?<=«)[ \u00a0\u202f]|[ \u00a0\u202f](?=»)")
# Au-delà de ce nombre de lignes, un tableau se coupe d'une page à l'autre.
_LONG = 15
_VERBATIM = (nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.raw)
_FONTS = r"""
\usepackage{unicode-math}
\setmainfont{texgyrepagella}[Extension=.otf, UprightFont=*-regular, ItalicFont=*-italic, BoldFont=*-bold,
  BoldItalicFont=*-bolditalic]
\setsansfont{texgyreheros}[Extension=.otf, UprightFont=*-regular, ItalicFont=*-italic, BoldFont=*-bold,
  BoldItalicFont=*-bolditalic]
\setmonofont{DejaVuSansMono}[Extension=.ttf, UprightFont=*, ItalicFont=*-Oblique, BoldFont=*-Bold,
  BoldItalicFont=*-BoldOblique, Scale=.84]
\setmathfont{texgyrepagella-math.otf}
\renewcommand{\boldsymbol}[1]{{\symbfit{#1}}}
"""


def setup(app: Sphinx) -> dict[str, Any]:
    """Point d'entrée de Sphinx."""
    # Les couleurs des termes ; celles du site, une par thème, sont dans la feuille de style.
    app.add_config_value("vaebook_colours", {}, "env", dict)
    app.connect("config-inited", set_layout)
    app.connect("config-inited", share_macros)
    app.add_post_transform(Assemble)
    for kind in (*NODE_TYPES.values(), unenumerable_node):
        app.add_node(kind, override=True, latex=(visit_statement, depart_statement))
    app.add_node(proof_node, override=True, latex=(visit_proof, depart_proof))
    for kind in (exercise_enumerable_node, solution_node):
        app.add_node(kind, override=True, latex=(visit_exercise, depart_exercise))
    app.add_node(nodes.math_block, override=True, latex=(visit_formula, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def set_layout(app: Sphinx, config: Config) -> None:
    """Règle la page, les polices et les métadonnées du PDF."""
    config.latex_additional_files = [*config.latex_additional_files, str(STYLE)]
    config.today_fmt = config.today_fmt or "%-d %B %Y"
    legal = str(config.copyright).replace("&", r"\&")
    config.latex_elements = {
        "papersize": "a4paper",
        "pointsize": "11pt",
        "extraclassoptions": "oneside,openany",
        "figure_align": "!htb",
        "fncychap": "",
        "fontpkg": _FONTS,
        "makeindex": "",
        "printindex": "",
        "preamble": "\n".join(
            [
                rf"\hypersetup{{pdflang={config.language}-FR, pdfdisplaydoctitle, colorlinks}}",
                rf"\newcommand{{\vaelegal}}{{{legal}}}",
                r"\usepackage{livre}",
            ]
        ),
        **config.latex_elements,
    }


def share_macros(app: Sphinx, config: Config) -> None:
    """Donne au PDF les macros de MathJax, pour qu'elles ne soient écrites que dans ``_config.yml``."""
    macros = (config.mathjax3_config or {}).get("tex", {}).get("macros", {})
    lines = [
        f"\\definecolor{{{name}}}{{HTML}}{{{colour}}}" for name, colour in config.vaebook_colours.items()
    ]
    # MathJax colore par classe ; LaTeX, par le nom de la couleur.
    lines.append(r"\providecommand{\class}[2]{{\color{#1}#2}}")
    for name, macro in macros.items():
        body, arguments = macro if isinstance(macro, list) else (macro, 0)
        count = f"[{arguments}]" if arguments else ""
        lines.append(f"\\providecommand{{\\{name}}}{{}}\\renewcommand{{\\{name}}}{count}{{{body}}}")
    config.latex_elements["preamble"] = "\n".join([config.latex_elements.get("preamble", ""), *lines])


class Assemble(SphinxPostTransform):
    """Met en ordre le livre entier : parties, solutions, estampilles, bibliographie."""

    # Après Sphinx, qui met la bibliographie à la fin.
    default_priority = 800
    formats = ("latex",)

    def run(self, **kwargs: Any) -> None:
        """Transforme le livre assemblé ; laisse une page seule telle quelle."""
        if self.document.get("docname") != self.config.root_doc:
            return
        pages = {page["docname"]: page for page in self.document.findall(addnodes.start_of_file)}
        for page in pages.values():
            for child in page.children:
                child.parent = page  # Sphinx y laisse le document d'où vient la page
        for text in list(self.document.findall(nodes.Text)):
            # babel met lui-même l'espace des guillemets : celle de l'auteur serait de trop.
            if _INNER.search(text) and not isinstance(text.parent, _VERBATIM):
                text.parent.replace(text, nodes.Text(_INNER.sub("", text)))
        for table in self.document.findall(nodes.table):
            if len(list(table.findall(nodes.row))) > _LONG:
                _break_across_pages(table)
        self._place_bibliography(pages)
        self._split_parts(self.document.next_node(nodes.section))
        for name, page in pages.items():
            self._finish(name, page.next_node(nodes.section))

    def _split_parts(self, root: nodes.section) -> None:
        """Met la page d'accueil dans un chapitre sans numéro, et ouvre chaque partie."""
        name = self.config.root_doc
        parts = [node for node in root.findall(nodes.compound) if "toctree-wrapper" in node["classes"]]
        parts = [node for node in parts if _page(node) == name]
        captions = list(self.env.get_doctree(name).findall(addnodes.toctree))
        welcome = nodes.section("", *(node for node in root.children if node not in parts), ids=root["ids"])
        root.children, root["ids"] = [], []
        root += nodes.title("", welcome.next_node(nodes.title).astext())
        root += _raw(r"\setcounter{secnumdepth}{-1}")
        root += welcome
        self._finish(name, welcome)
        for part, toctree in zip(parts, captions, strict=True):
            depth = 3 if toctree.get("numbered") else -1
            opening = rf"\vaepart{{{toctree['caption']}}}" if toctree.get("caption") else ""
            root += _raw(rf"{opening}\setcounter{{secnumdepth}}{{{depth}}}")
            if not toctree.get("numbered"):
                root += _raw(self._counters(part))
            root += part

    def _counters(self, part: nodes.compound) -> str:
        """Rend les compteurs d'une partie sans numéros tels qu'ils reprennent ceux de la page d'accueil."""
        names = [page["docname"] for page in part.findall(addnodes.start_of_file)]
        pages = [self.env.toc_fignumbers.get(name, {}) for name in names]
        code = r"\setcounter{chapter}{0}"
        for kind, counter in _COUNTERS.items():
            first = min((number[0] for page in pages for number in page.get(kind, {}).values()), default=1)
            code += rf"\setcounter{{{counter}}}{{{first - 1}}}"
        return code

    def _place_bibliography(self, pages: dict[str, addnodes.start_of_file]) -> None:
        for bibliography in list(self.document.findall(thebibliography)):
            page = pages.get(bibliography.next_node(nodes.citation)["docname"])
            if page is not None:
                bibliography.parent.remove(bibliography)
                page.next_node(nodes.section).append(bibliography)

    def _finish(self, name: str, chapter: nodes.section) -> None:
        """Finit un chapitre par ses solutions et par son estampille."""
        solutions = [node for node in chapter.findall(solution_node) if _page(node) == name]
        exercises = {node["label"]: node for node in chapter.findall(exercise_enumerable_node)}
        for solution in solutions:
            solution.parent.remove(solution)
            if exercise := exercises.get(solution["target_label"]):
                exercise["solution"] = f"{name}:{solution['label']}"
                title = [child.deepcopy() for child in exercise.next_node(nodes.title).children]
                solution[0].children = []
                solution[0].extend([nodes.Text("Solution de l’"), *_lowered(title)])
        if solutions:
            chapter += _raw(r"\vaeanswers{Solutions des exercices}")
            chapter.extend(solutions)
        for table in [node for node in chapter.findall(nodes.table) if "executions" in node["classes"]]:
            table.replace_self(_as_list(table))
        book = Book(Path(self.app.srcdir))
        if source := book.chapter(name):
            chapter += stamp(stored.load(source).metadata.vaebook)


def _break_across_pages(table: nodes.table) -> None:
    """Laisse un long tableau se couper ; chaque colonne est aussi large que le demande son contenu."""
    table["classes"] += ["longtable", "colwidths-given"]
    columns = zip(*(row.children for row in table.findall(nodes.row)), strict=True)
    for column, cells in zip(table.findall(nodes.colspec), columns, strict=True):
        lengths = [len(cell.astext()) for cell in cells]
        column["colwidth"] = max(max(lengths) // 4, sum(lengths) // len(lengths), 12)


def _as_list(table: nodes.table) -> nodes.bullet_list:
    """Un tableau trop large pour une page, en liste : chaque valeur y suit le nom de sa colonne."""
    head, *rows = ([cell.astext() for cell in row] for row in table.findall(nodes.row))
    found = nodes.bullet_list()
    for row in rows:
        known = (f"{name} : {value}" for name, value in zip(head[1:], row[1:], strict=True) if value)
        facts = nodes.Text(". " + " ; ".join(known) + ".")
        found += nodes.list_item("", nodes.paragraph("", "", nodes.strong("", row[0]), facts))
    return found


def visit_statement(writer: LaTeXTranslator, node: nodes.Element) -> None:
    """Ouvre un théorème, une définition… sous le titre et le numéro du site."""
    numbers = writer.builder.env.toc_fignumbers.get(writer.curfilestack[-1], {})
    number = ".".join(map(str, numbers.get(node["countertype"], {}).get(node["label"], ())))
    kind = get_translation("proof")(node["realtype"].title())
    node[0].insert(0, nodes.Text(f"{kind} {number}".strip()))
    anchor = writer.idescape(f"{writer.curfilestack[-1]}:{node['label']}")
    writer.body.append(f"\n\\begin{{vaestatement}}{{{number}}}{{{anchor}}}")
    writer.no_latex_floats += 1


def depart_statement(writer: LaTeXTranslator, node: nodes.Element) -> None:
    """Ferme ce que `visit_statement` a ouvert."""
    writer.body.append("\\end{vaestatement}\n")
    writer.no_latex_floats -= 1


def visit_proof(writer: LaTeXTranslator, node: nodes.Element) -> None:
    """Ouvre une démonstration, sans l'encadré que docutils y met."""
    for box in list(node.findall(nodes.admonition)):
        box.replace_self(box.children)
    writer.body.append("\n\\begin{vaeproof}\n")


def depart_proof(writer: LaTeXTranslator, node: nodes.Element) -> None:
    """Ferme ce que `visit_proof` a ouvert."""
    writer.body.append("\\end{vaeproof}\n")


def visit_exercise(writer: LaTeXTranslator, node: nodes.Element) -> None:
    """Ouvre un exercice, ou sa solution, dont il dit la page."""
    title = node[0]
    if isinstance(node, exercise_enumerable_node):
        anchor = f"exercise:{node['label']}"
        number = title.astext().partition(" (")[0].rpartition(" ")[2]
        if "solution" in node:
            title += nodes.raw("", rf"\vaepage{{{writer.idescape(node['solution'])}}}", format="latex")
    else:
        anchor, number = writer.idescape(f"{writer.curfilestack[-1]}:{node['label']}"), ""
    writer.body.append(f"\n\\vaeheading{{{number}}}{{{anchor}}}")


def depart_exercise(writer: LaTeXTranslator, node: nodes.Element) -> None:
    """Ferme ce que `visit_exercise` a ouvert."""
    writer.body.append("\n\\par\n")


def visit_formula(writer: LaTeXTranslator, node: nodes.math_block) -> None:
    """Écrit une formule, sous le numéro du site et sans dépasser la ligne."""
    if node.get("nowrap"):
        LaTeXTranslator.visit_math_block(writer, node)
    lines = "\\\\\n".join(part.strip() for part in node.astext().split("\n\n") if part.strip())
    content = rf"\begin{{aligned}}{lines}\end{{aligned}}"
    if not node.get("label"):
        writer.body.append(f"\n\\begin{{equation*}}\\vaefit{{0pt}}{{{content}}}\\end{{equation*}}")
        raise nodes.SkipNode
    numbers = writer.builder.env.toc_fignumbers.get(node["docname"], {}).get("displaymath", {})
    number = ".".join(map(str, numbers.get(node["ids"][0], ())))
    label = rf"\tag{{{number}}}\label{{equation:{node['docname']}:{node['label']}}}"
    writer.body.append(f"\n\\begin{{equation}}{label}\\vaefit{{4em}}{{{content}}}\\end{{equation}}")
    raise nodes.SkipNode


def _page(node: nodes.Node) -> str:
    """Le nom de la page d'où vient un nœud du livre assemblé."""
    while node.parent is not None:
        node = node.parent
        if isinstance(node, (addnodes.start_of_file, nodes.document)):
            return str(node["docname"])
    return ""


def _lowered(title: list[nodes.Node]) -> list[nodes.Node]:
    """Le même titre, sans majuscule au début."""
    text = title[0].astext()
    return [nodes.Text(text[:1].lower() + text[1:]), *title[1:]]


def _raw(code: str) -> nodes.raw:
    return nodes.raw("", code, format="latex")

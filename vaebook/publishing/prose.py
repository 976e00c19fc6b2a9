"""La prose d'un chapitre en Markdown de Jupyter, telle que la page la montre.

Elle est tirée de l'arbre que Sphinx a résolu : les numéros, les renvois, les citations et les valeurs sont
ceux de la page. Sphinx n'est importé qu'ici et dans l'extension : `execute` et `check` s'en passent.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

from docutils import nodes  # type: ignore[import-untyped]
from docutils.nodes import Element, Node  # type: ignore[import-untyped]
from nbformat import NotebookNode
from sphinx.application import Sphinx
from sphinx.locale import admonitionlabels, get_translation
from sphinx.util import logging

from vaebook.publishing.stored import Prose

LOGGER = logging.getLogger(__name__)
_ = get_translation("proof")

_SPECIAL = re.compile(r"([\\`*_$])|(\](?=\())")
_LINE_START = re.compile(r"^(\d+)(?=[.)] )|^(?=[-+#>] )")
_NEWLINES = re.compile(r"[ \t]*\n[ \t]*")
_COMMENT = re.compile(r"(?<!\\)%.*$", re.MULTILINE)
_ENVIRONMENT = re.compile(r"\\(begin|end)\{(align|gather)(?:ed|at)?\*?\}")
_EQUATION = re.compile(r"\\(?:begin|end)\{(?:equation|multline)\*?\}")


class Markdown:
    """Traduit l'arbre résolu d'une page. Une méthode par sorte de nœud ; chacune renvoie du texte.

    Paramètres :
        app : l'application Sphinx qui construit le site.
        docname : la page.
        site : l'adresse du site publié, où mènent les renvois.
    """

    def __init__(self, app: Sphinx, docname: str, site: str) -> None:
        self.app = app
        self.page = site + app.builder.get_target_uri(docname)
        self.site = site
        self.numbers = app.env.toc_fignumbers.get(docname, {})
        self.sections = app.env.toc_secnumbers.get(docname, {})
        self.in_table = False
        tex = (app.config.mathjax3_config or {}).get("tex", {})
        self.tex = Expander(tex.get("macros", {}), app.config.vaebook_colours)
        self.publications = dict(self._publications())

    def prose(self, document: nodes.document, code: list[NotebookNode]) -> Prose:
        """La prose qui précède chaque cellule de code et celle qui suit la dernière, coupée aux titres.

        Paramètres :
            code : les cellules de code du chapitre. Celles que la page ne montre pas suivent aussitôt la
                dernière qu'elle montre : elles en vérifient le résultat.
        """
        pieces: list[list[list[str]]] = [[[]] for _ in range(len(code) + 1)]
        rank = 0

        def walk(parent: Element, depth: int) -> None:
            nonlocal rank
            for node in parent.children:
                if isinstance(node, nodes.section) and isinstance(node[0], nodes.title):
                    pieces[rank].append([self._heading(node, depth + 1)])
                    walk(node, depth + 1)
                elif isinstance(node, nodes.container) and node.get("nb_element") == "cell_code":
                    rank = int(node["exec_count"])
                    pieces[rank][-1] += map(self.render, node.findall(nodes.caption))
                    while rank < len(code) and "remove-cell" in code[rank].metadata.get("tags", []):
                        rank += 1
                elif not (isinstance(node, nodes.title) and isinstance(parent, nodes.section)):
                    pieces[rank][-1].append(self.render(node))

        walk(document, 0)
        texts = [["\n\n".join(filter(None, blocks)) for blocks in piece] for piece in pieces]
        return [[text for text in piece if text] for piece in texts]

    def render(self, node: Node) -> str:
        """Le Markdown d'un nœud, par la méthode qui porte le nom de sa classe ou d'une classe mère."""
        for kind in type(node).__mro__:
            if method := getattr(self, f"_{kind.__name__}", None):
                return str(method(node))
        name = type(node).__name__
        LOGGER.warning("le nœud « %s » n'a pas d'équivalent dans le carnet", name, location=node)
        return ""

    def blocks(self, children: list[Node]) -> str:
        return "\n\n".join(filter(None, map(self.render, children)))

    def inline(self, node: Element) -> str:
        return "".join(map(self.render, node.children))

    # --- Les blocs ---

    def _inner(self, node: Element) -> str:
        return self.blocks(node.children)

    # Ce qui ne fait que contenir ; une section sans titre est le corps d'un théorème ou d'un exercice.
    _container = _compound = _section = _proof_node = _legend = _definition = _inner

    def _nothing(self, node: Node) -> str:
        return ""

    _target = _comment = _substitution_definition = _index = _toctree = _system_message = _nothing
    _tabular_col_spec = _sd_tab_input = _nothing

    def _heading(self, section: Element, depth: int) -> str:
        # Le titre de la page a pour ancre la chaîne vide.
        anchor = f"#{section['ids'][0]}" if depth > 1 else ""
        number = _dotted(self.sections.get(anchor))
        return f"{'#' * min(depth, 6)} {number}{'. ' if number else ''}{_one_line(self.inline(section[0]))}"

    def _paragraph(self, node: Element) -> str:
        return _LINE_START.sub(r"\1\\", _one_line(self.inline(node)))

    def _rubric(self, node: Element) -> str:
        return f"**{_one_line(self.inline(node))}**"

    _sd_tab_label = _rubric

    def _transition(self, node: Element) -> str:
        return "---"

    def _math_block(self, node: Element) -> str:
        tex = _EQUATION.sub("", _COMMENT.sub("", node.astext()))
        tex = _ENVIRONMENT.sub(r"\\\1{\2ed}", tex).strip()
        if "\\\\" in tex and not tex.startswith("\\begin{"):
            tex = rf"\begin{{split}}{tex}\end{{split}}"
        number = _dotted(self.numbers.get("displaymath", {}).get((node["ids"] or [""])[0]))
        tag = rf" \tag{{{number}}}" if number else ""
        # Sur une ligne : dans une citation, les « > » entreraient dans la formule.
        return f"$$ {self._tex(tex)}{tag} $$"

    def _literal_block(self, node: Element) -> str:
        text = node.astext().rstrip("\n")
        longest = max((len(ticks) for ticks in re.findall("`+", text)), default=0)
        fence = "`" * max(3, longest + 1)
        language = str(node.get("language", "")).replace("ipython3", "python")
        return f"{fence}{'' if language in ('none', 'default') else language}\n{text}\n{fence}"

    def _block_quote(self, node: Element) -> str:
        return _quote(self._inner(node))

    def _attribution(self, node: Element) -> str:
        return f"— {self.inline(node)}"

    def _Admonition(self, node: Element) -> str:
        has_title = bool(node.children) and isinstance(node[0], nodes.title)
        folded = "dropdown" in node["classes"]
        written = (self._summary if folded else self.inline)(node[0]) if has_title else ""
        title = self._box_title(node, written)
        body = self.blocks(node.children[has_title:])
        if folded:
            return _details(f"<b>{title}</b>", body)
        return _quote(f"**{title}**\n\n{body}" if title else f"{body}\n\n∎")

    _topic = _sidebar = _Admonition

    def _box_title(self, node: Element, title: str) -> str:
        """« Théorème 2 (Nom) », « Exercice 1 (Nom) », « Astuce », ou le titre écrit par l'auteur."""
        if kind := node.get("countertype"):
            number = _dotted(self.numbers.get(kind, {}).get(node["ids"][0]))
            return f"{_(node['realtype'].title())} {number}{title}"
        if node.get("realtype"):
            return f"{_(node['realtype'].title())}{title}"
        if node.get("type") == "exercise":
            number = _dotted(self.numbers.get("exercise", {}).get(node["ids"][0]))
            return " ".join(filter(None, [node["title"], number])) + title
        if not title and "proof" not in node["classes"]:
            return str(admonitionlabels.get(node.tagname, ""))
        return _one_line(title)

    def _dropdown_main(self, node: Element) -> str:
        return _details(f"<b>{self._summary(node[0])}</b>", self.blocks(node.children[1:]))

    def _summary(self, node: Any) -> str:
        """Le titre d'un bloc replié : du HTML, car Markdown n'y est pas lu ; les formules le sont."""
        if isinstance(node, nodes.math):
            return self._math(node)
        if isinstance(node, nodes.raw):
            return ""
        if isinstance(node, nodes.Text):
            return html.escape(_one_line(node.astext()), quote=False)
        return "".join(map(self._summary, node.children))

    # --- Les listes et les tableaux ---

    def _bullet_list(self, node: Element) -> str:
        return self._items(node, lambda rank: "- ")

    def _enumerated_list(self, node: Element) -> str:
        return self._items(node, lambda rank: f"{node.get('start', 1) + rank}. ")

    def _items(self, node: Element, marker: Any) -> str:
        items = []
        for rank, item in enumerate(node.children):
            text = self._inner(item) if isinstance(item, Element) else ""
            mark = marker(rank)
            items.append(mark + re.sub(r"\n(?=[^\n])", "\n" + " " * len(mark), text))
        return ("\n\n" if any("\n\n" in item for item in items) else "\n").join(items)

    def _definition_list(self, node: Element) -> str:
        return self._items(node, lambda rank: "- ")

    _glossary = _field_list = _inner

    def _term(self, node: Element) -> str:
        return f"**{_one_line(self.inline(node))}**"

    def _definition_list_item(self, node: Element) -> str:
        return self._inner(node)

    def _table(self, node: Element) -> str:
        caption = "".join(
            self._numbered("table", node, child) for child in node.children if isinstance(child, nodes.title)
        )
        rows = ["| " + " | ".join(map(self._cell, row.children)) + " |" for row in node.findall(nodes.row)]
        width = len(next(node.findall(nodes.row)).children)
        if not any(node.findall(nodes.thead)):
            rows.insert(0, "| " * width + "|")
        rows.insert(1, "|---" * width + "|")
        return "\n\n".join(filter(None, [caption, "\n".join(rows)]))

    def _cell(self, entry: Node) -> str:
        self.in_table = True
        blocks = map(self.render, entry.children)
        text = "<br>".join(block.replace("\n", "<br>") for block in blocks if block)
        self.in_table = False
        return text

    # --- Les figures ---

    def _figure(self, node: Element) -> str:
        return self._inner(node)

    def _caption(self, node: Element) -> str:
        parent = node.parent
        return self._numbered("figure" if isinstance(parent, nodes.figure) else "code-block", parent, node)

    def _numbered(self, kind: str, owner: Element, caption: Element) -> str:
        number = _dotted(self.numbers.get(kind, {}).get((owner["ids"] or [""])[0]))
        label = f"**{self.app.config.numfig_format[kind] % number}.** " if number else ""
        return label + _one_line(self.inline(caption))

    def _image(self, node: Element) -> str:
        uri = node["uri"]
        if "://" not in uri:
            uri = f"{self.site}_images/{self.app.env.images[uri][1]}"
        return f"![{node.get('alt', '')}]({uri})"

    # --- Dans la ligne ---

    def _Text(self, node: nodes.Text) -> str:
        text = html.escape(_SPECIAL.sub(r"\\\1\2", node.astext()), quote=False)
        return text.replace("|", "\\|") if self.in_table else text

    def _inside(self, node: Element) -> str:
        return self.inline(node)

    # Un renvoi que Sphinx n'a pas pu résoudre est déjà signalé par lui.
    _inline = _pending_xref = _abbreviation = _generated = _problematic = _inside

    def _emphasis(self, node: Element) -> str:
        return f"*{self.inline(node)}*"

    _title_reference = _emphasis

    def _strong(self, node: Element) -> str:
        return f"**{self.inline(node)}**"

    def _literal(self, node: Element) -> str:
        text = _one_line(node.astext())
        text = text.replace("|", "\\|") if self.in_table else text
        return f"`` {text} ``" if "`" in text else f"`{text}`"

    def _superscript(self, node: Element) -> str:
        return f"<sup>{self.inline(node)}</sup>"

    def _subscript(self, node: Element) -> str:
        return f"<sub>{self.inline(node)}</sub>"

    def _footnote_reference(self, node: Element) -> str:
        return f"<sup>[{self.inline(node)}]</sup>"

    def _footnote(self, node: Element) -> str:
        return f"{self.render(node[0])} {self.blocks(node.children[1:])}"

    def _label(self, node: Element) -> str:
        return f"<sup>[{self.inline(node)}]</sup>"

    def _raw(self, node: Element) -> str:
        return node.astext() if "html" in node["format"].split() else ""

    def _math(self, node: Element) -> str:
        return f"${self._tex(node.astext())}$"

    def _reference(self, node: Element) -> str:
        target = urljoin(self.page, node.get("refuri") or f"#{node.get('refid', '')}")
        return f"[{self.inline(node)}]({self.publications.get(target, target)})"

    def _tex(self, tex: str) -> str:
        tex = _one_line(self.tex.expand(tex).strip())
        # Une barre couperait la case d'un tableau ; « < » ouvrirait une balise.
        tex = re.sub("< *", r"\\lt ", re.sub("> *", r"\\gt ", tex))
        return tex.replace(r"\|", r"\Vert ").replace("|", r"\vert ") if self.in_table else tex

    def _publications(self) -> Iterator[tuple[str, str]]:
        """Pour chaque entrée de la bibliographie du site, l'adresse de la publication elle-même."""
        domain: Any = self.app.env.get_domain("cite")
        for citation in domain.citations:
            page = self.app.builder.get_target_uri(citation.bibliography_key.docname)
            fields = citation.entry.fields
            if "doi" in fields:
                address = f"https://doi.org/{fields['doi']}"
            elif "eprint" in fields:
                address = f"https://arxiv.org/abs/{fields['eprint']}"
            elif "url" in fields:
                address = fields["url"]
            else:
                continue
            yield f"{self.site}{page}#{citation.citation_id}", address


class Expander:
    r"""Remplace les macros du livre par ce qu'elles abrègent.

    Les définir dans le carnet ne suffirait pas : Colab, GitHub et VS Code composent chaque cellule à part.

    Paramètres :
        macros : celles de MathJax : un texte, ou un texte et un nombre d'arguments.
        colours : la couleur de chaque classe, pour ``\class{nom}{…}``, que seul MathJax connaît.
    """

    def __init__(self, macros: dict[str, Any], colours: dict[str, str]) -> None:
        self.macros = {
            name: (macro, 0) if isinstance(macro, str) else (macro[0], macro[1])
            for name, macro in macros.items()
        }
        self.macros["class"] = (r"{\color{@#1@}{#2}}", 2)
        self.colours = colours
        names = "|".join(sorted(map(re.escape, self.macros), key=len, reverse=True))
        self.pattern = re.compile(rf"((?:[_^]|\\[A-Za-z]+)\s*)?\\({names})(?![A-Za-z])")

    def expand(self, tex: str) -> str:
        """La formule sans macro."""
        while found := self.pattern.search(tex):
            body, count = self.macros[found[2]]
            end = found.end()
            for rank in range(1, count + 1):
                argument, end = _argument(tex, end)
                body = body.replace(f"#{rank}", argument)
            # En indice, ou sous un accent, la macro est un argument : il faut des accolades.
            if found[1] and not body.startswith(("{", r"\class", r"\mathop")):
                body = f"{{{body}}}"
            tex = tex[: found.start()] + (found[1] or "") + body + tex[end:]
        return re.sub(r"@([\w-]+)@", lambda name: f"#{self.colours.get(name[1], '808080')}", tex)


def _argument(tex: str, start: int) -> tuple[str, int]:
    """L'argument qui commence là, sans ses accolades, et la position qui le suit."""
    start += len(tex[start:]) - len(tex[start:].lstrip())
    if tex[start : start + 1] != "{":
        token = re.compile(r"\\[A-Za-z]+|\\.|.|$", re.DOTALL).match(tex, start)
        assert token
        return token[0], token.end()
    depth = 0
    for brace in re.compile(r"(?<!\\)[{}]").finditer(tex, start):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return tex[start + 1 : brace.start()], brace.end()
    return tex[start + 1 :], len(tex)


def _one_line(text: str) -> str:
    return _NEWLINES.sub(" ", text.strip("\n"))


def _quote(text: str) -> str:
    return "\n".join(f"> {line}".rstrip(" ") for line in text.split("\n"))


def _details(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def _dotted(number: tuple[int, ...] | None) -> str:
    return ".".join(map(str, number or ()))

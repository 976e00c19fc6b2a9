"""La page de la référence : les noms publics du paquet (``api``) par le domaine Python de Sphinx.

Les outils qui font cela d'ordinaire ne conviennent pas : autodoc importe le paquet, donc torch ; les lecteurs
statiques attendent des sections en anglais et des docstrings en RST ou en Markdown, où nos formules en texte
seraient du balisage, et mettent « class », « property »… dans la page.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from docutils.statemachine import StringList  # type: ignore[import-untyped]
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.directives.code import LiteralInclude
from sphinx.domains.python import PythonDomain
from sphinx.util.docutils import SphinxDirective

from vaebook.publishing.api import Docstring, Entry, Reference
from vaebook.publishing.chapters import Chapter
from vaebook.publishing.french import NBSP, is_english
from vaebook.publishing.repository import BRANCH, Repository

PAGE = "book/annexes/api"
_CODE = re.compile(r"(`+)(.+?)\1")
_NAMED = re.compile(r"(vaebook(?:\.\w+)+)(?:\(.*\))?$", re.DOTALL)
_APOSTROPHE = re.compile(r"(?<=\w)'(?=\w)")
_WORD = re.compile(r'<span class="pre">([^<]*)</span>')
_TITLE = re.compile(r"(?<=« )[^»]+(?= »)")
_ENGLISH = ["language-en"]  # docutils en fait l'attribut « lang »
_KINDS = {"class": "classe", "property": "propriété", "method": "méthode"}
_TRAITS = {"classmethod": " de classe", "staticmethod": " statique", "abstractmethod": " abstraite"}


def setup(app: Sphinx) -> dict[str, Any]:
    """Point d'entrée de Sphinx."""
    app.add_directive("reference", Modules)
    app.add_directive("literalinclude", Listing, override=True)
    app.connect("html-page-context", lighten)
    # Avant que la prose de la page ne passe dans son carnet.
    app.connect("doctree-resolved", link_names, priority=700)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Modules(SphinxDirective):
    """``{reference}`` : les modules nommés, un par ligne, chacun suivi de ses sous-modules."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.app.srcdir)
        self.reference = Reference.of(root)
        self.code = f"{Repository.of_checkout(root).url}/blob/{BRANCH}"
        for path in self.reference.files():
            self.env.note_dependency(str(path))
        named = [line.strip() for line in self.content if line.strip()]
        return [
            self._section(*entries)
            for name in named
            for module, entries in self.reference.modules.items()
            if module == name or (module.startswith(f"{name}.") and name != "vaebook")
        ]

    def _section(self, module: Entry, *entries: Entry) -> nodes.section:
        domain = self.env.domains["py"]
        assert isinstance(domain, PythonDomain)
        domain.note_module(module.full, module.full, "", "", False)
        section = nodes.section(ids=[module.full], names=[], classes=["api"])
        section += nodes.title("", "", nodes.literal("", module.full))
        section += self._description(module)
        section[-1] += [nodes.Text(" "), self._source(module)]
        self.env.ref_context["py:module"] = module.full
        for entry in entries:
            section += self._object(entry)
        for key in ("py:module", "py:class"):
            self.env.ref_context.pop(key, None)
        return section

    def _object(self, entry: Entry) -> nodes.Node:
        """Un objet : sa signature, que lit le domaine Python de Sphinx, puis sa docstring."""
        owner, _, name = entry.name.rpartition(".")
        options: dict[str, Any] = {"no-index-entry": None, "no-contents-entry": None}
        signature = f"{name}{entry.signature}"
        if entry.kind == "property":
            signature, options["type"] = name, entry.signature
        elif entry.kind == "data":
            kind, _, value = entry.signature.partition(" = ")
            signature = name
            options |= {"type": kind.removeprefix(": ")} if kind else {}
            options |= {"value": value} if value else {}
        self.env.ref_context["py:class"] = owner or None
        directive = self.env.get_domain("py").directive(entry.kind)
        assert directive is not None
        content = StringList()
        place = (self.lineno, self.content_offset, "", self.state, self.state_machine)
        description = directive(entry.kind, [signature], options, content, *place).run()[-1]
        line, body = description.children
        for xref in list(line.findall(addnodes.pending_xref)):
            # Sphinx chercherait le nom dans tout le paquet : le module dit ce qu'il a importé.
            target = self.reference.resolve(xref["reftarget"], entry.home)
            link = nodes.reference("", "", *xref.children, refid=target, internal=True)
            xref.replace_self(link if target else xref.children)
        # Le premier mot est « class » ou « property » ; le nôtre est en français.
        code = [
            node for node in line if node is not line[0] or not isinstance(node, addnodes.desc_annotation)
        ]
        line.children = []
        if entry.kind in ("class", "property") or entry.traits:
            kind = _KINDS[entry.kind] + "".join(text for key, text in _TRAITS.items() if key in entry.traits)
            line += nodes.inline("", f"{kind} ", classes=["sorte"])
        line += [nodes.inline("", "", *code, classes=_ENGLISH), nodes.Text(" "), self._source(entry)]
        if entry.bases:
            names = [self._inline(f"`{base}`", entry)[0] for base in entry.bases]
            commas = [part for name in names for part in (nodes.Text(", "), name)][1:]
            body += nodes.paragraph("", "Hérite de ", *commas, nodes.Text("."))
        body += self._description(entry)
        body += [self._object(member) for member in entry.members]
        return description

    def _source(self, entry: Entry) -> nodes.reference:
        place = f"{entry.path}, ligne {entry.line}" if entry.name else entry.path
        link = f"{self.code}/{entry.path}" + (f"#L{entry.line}" if entry.name else "")
        return nodes.reference("", "source", refuri=link, reftitle=place, classes=["source"])

    def _description(self, entry: Entry) -> Iterator[nodes.Node]:
        """La docstring : des paragraphes, puis une liste de champs."""
        doc = Docstring.parse(entry.doc)
        for block in doc.prose:
            yield self._block(block, entry)
        fields = nodes.field_list()
        for title, blocks in doc.sections.items():
            if title in ("Renvoie", "Source"):
                body = [self._block(block, entry) for block in blocks]
            else:
                items = [nodes.list_item("", self._item(block, entry)) for block in blocks]
                body = [nodes.bullet_list("", *items)]
            name = nodes.field_name("", f"{title}{NBSP}")  # Sphinx met les deux-points
            fields += nodes.field("", name, nodes.field_body("", *body))
        if doc.sections:
            yield fields

    def _block(self, block: str, entry: Entry) -> nodes.Node:
        if block.startswith(">>> "):
            return nodes.literal_block(block, block, language="pycon")
        if block.startswith("- "):
            items = re.split(r"\n- ", block.removeprefix("- "))
            blocks = (nodes.paragraph("", "", *self._inline(item, entry)) for item in items)
            return nodes.bullet_list("", *(nodes.list_item("", item) for item in blocks))
        return nodes.paragraph("", "", *self._inline(block, entry))

    def _item(self, block: str, entry: Entry) -> nodes.paragraph:
        """« nom : ce que c'est »."""
        names, _, text = block.partition(" : ")
        label: list[nodes.Node] = []
        for name in names.split(", "):
            label += [nodes.Text(", "), *self._inline(f"`{name.strip('`')}`", entry)]
        return nodes.paragraph("", "", *label[1:], nodes.Text(" : "), *self._inline(text, entry))

    def _inline(self, text: str, entry: Entry) -> list[nodes.Node]:
        """Le texte, où le code est du code ; `nom` mène à ce qu'il désigne, sauf un paramètre."""
        found: list[nodes.Node] = []
        start = 0
        scope = entry.name if entry.kind == "class" else entry.name.rpartition(".")[0]
        for span in _CODE.finditer(text := " ".join(text.split())):
            found += _prose(text[start : span.start()])
            code = nodes.literal("", span[2])
            if len(span[1]) == 1 and span[2] not in entry.parameters:
                target = self.reference.resolve(span[2], entry.home, scope)
                if target not in (None, entry.full):
                    code["object"] = target
            found.append(code)
            start = span.end()
        return [*found, *_prose(text[start:])]


class Listing(LiteralInclude):
    """``{literalinclude}``, suivi d'un renvoi à la référence quand elle décrit ce qui est montré."""

    def run(self) -> list[nodes.Node]:
        found = super().run()
        root = Path(self.env.app.srcdir)
        path = Path(self.env.relfn2path(self.arguments[0])[1])
        name = ".".join([*path.relative_to(root).with_suffix("").parts, self.options.get("pyobject", "")])
        if name in Reference.of(root).entries and PAGE in self.env.found_docs:
            code = nodes.literal("", name, object=name)
            found.append(nodes.paragraph("", "Référence : ", code, classes=["renvoi"]))
        return found


def link_names(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Mène à la référence les noms complets de la page ; dans le PDF, où elle n'est pas, à celle du site."""
    if PAGE not in app.env.found_docs:
        return
    for code in list(doctree.findall(nodes.literal)):
        named = _NAMED.match(code.astext())
        target = code.get("object") or (named and named[1])
        inside = (nodes.reference, nodes.title)
        if target in Reference.of(Path(app.srcdir)).entries and not _is_within(code, inside):
            link = nodes.reference("", "", refuri=address(app, docname, target), internal=True)
            code.replace_self(link)
            link += code
    if app.builder.format == "latex":
        leave_out(app, doctree)


def lighten(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Ôte de la référence les balises dont Sphinx entoure chaque mot de code : un tiers de ses éléments."""
    if pagename == PAGE:
        context["body"] = _WORD.sub(r"\1", context["body"])


def leave_out(app: Sphinx, doctree: nodes.document) -> None:
    """Remplace la référence par l'adresse du site : imprimée, elle ferait soixante pages."""
    pages = [node for node in doctree.findall(nodes.section) if "chap-api" in node["ids"]]
    for page in pages:
        link = address(app, PAGE, "")
        text = nodes.paragraph("", "Tirée des sources, la référence n’est pas imprimée. Elle est ici : ")
        text += [nodes.reference("", link, refuri=link), nodes.Text(".")]
        del page.children[1:]
        page += text


def uses(app: Sphinx, docname: str, chapter: Chapter) -> Iterator[nodes.container]:
    """Ce que les cellules d'un chapitre prennent dans le paquet, avec des liens ; rien si ce n'est rien."""
    entries = Reference.of(Path(app.srcdir)).entries
    found = [entries[name] for name in used(chapter) if name in entries]
    names = sorted({entry.alias or entry.full for entry in found if entry.kind in ("class", "function")})
    if not names or PAGE not in app.env.found_docs:
        return
    text = nodes.paragraph("", "", nodes.strong("", "Référence."), nodes.Text(" Ce chapitre emploie "))
    for rank, name in enumerate(names):
        link = nodes.reference("", "", refuri=address(app, docname, name), internal=True)
        link += nodes.literal("", name.removeprefix("vaebook."))
        text += [nodes.Text(", "), link][rank == 0 :]
    text += nodes.Text(".")
    yield nodes.container("", text, classes=["estampille"])


def used(chapter: Chapter) -> set[str]:
    """Les noms complets qu'un chapitre importe, ou qu'il prend dans ce qu'il importe."""
    code = "\n".join(re.sub(r"^\s*[%!].*$", "", cell.source, flags=re.MULTILINE) for cell in chapter.code)
    full: dict[str, str] = {}
    for node in (tree := list(ast.walk(ast.parse(code)))):
        if isinstance(node, ast.ImportFrom):
            full |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            full |= {alias.asname: alias.name for alias in node.names if alias.asname}
    found = set(full.values())
    for node in tree:
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            found.add(f"{full.get(first, first)}.{rest}")
    return found


def address(app: Sphinx, docname: str, name: str) -> str:
    """L'adresse d'un objet dans la référence, depuis une page."""
    if app.builder.format == "html":
        return f"{app.builder.get_relative_uri(docname, PAGE)}#{name}"
    return f"{Repository.declared(Path(app.srcdir)).site}{PAGE}.html#{name}".rstrip("#")


def _prose(text: str) -> Iterator[nodes.Node]:
    """Du texte, où les titres d'articles en anglais sont marqués."""
    start = 0
    for title in _TITLE.finditer(text := _APOSTROPHE.sub("’", text)):
        if is_english(title[0]):
            yield nodes.Text(text[start : title.start()])
            yield nodes.inline("", title[0], classes=_ENGLISH)
            start = title.end()
    if text[start:]:
        yield nodes.Text(text[start:])


def _is_within(node: Any, kinds: tuple[type, ...]) -> bool:
    while node := node.parent:
        if isinstance(node, kinds):
            return True
    return False

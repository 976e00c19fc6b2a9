"""Les noms publics du paquet, lus dans sa source : rien n'est importé, donc ni torch ni données.

Publics : les modules, fonctions, classes, méthodes, propriétés et constantes dont aucun nom, du paquet à
l'objet, ne commence par « _ ». Un module qui a ``__all__`` publie ce qu'il énumère, où que ce soit défini ;
ce qu'un autre module public définit y renvoie.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Self

_SECTION = re.compile(r"^(Paramètres|Attributs|Renvoie|Lève|Source) :$")
_LONGEST_VALUE = 60
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Entry:
    """Un objet de la référence.

    Paramètres :
        module : le module qui le publie.
        name : son nom dans le module, ``VAE.sample`` par exemple ; vide pour le module lui-même.
        kind : « module », « class », « function », « method », « property » ou « data ».
        doc : sa docstring.
        home : le module où il est défini.
        path, line : le fichier de ce module, depuis la racine du dépôt, et la ligne.
        signature : ce qui suit son nom, types et valeurs par défaut compris ; le type d'une propriété.
        traits : « classmethod », « staticmethod », « abstractmethod ».
        bases : les classes dont il hérite, telles qu'elles sont écrites.
        members : ses méthodes et ses propriétés.
        alias : le nom complet sous lequel un autre module public le décrit.
    """

    module: str
    name: str
    kind: str
    doc: str
    home: str
    path: str
    line: int
    signature: str = ""
    traits: frozenset[str] = frozenset()
    bases: tuple[str, ...] = ()
    members: tuple[Entry, ...] = ()
    alias: str = ""

    @property
    def full(self) -> str:
        """Son nom complet, qui est aussi son ancre."""
        return f"{self.module}.{self.name}".rstrip(".")

    @property
    def parameters(self) -> set[str]:
        """Les noms de ses paramètres : dans sa docstring, ils ne désignent rien d'autre."""
        if not self.signature.startswith("("):
            return set()
        arguments = ast.parse(f"def f{self.signature}: ...").body[0]
        return {node.arg for node in ast.walk(arguments) if isinstance(node, ast.arg)}


@dataclass(frozen=True)
class Docstring:
    """Une docstring découpée : la prose, puis chaque section sous son titre."""

    prose: list[str] = field(default_factory=list)
    sections: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Découpe aux titres de sections ; les blocs d'une section sont ses paragraphes ou ses éléments."""
        found = cls()
        lines: list[str] = []
        title = ""

        def close() -> None:
            if title in ("", "Renvoie", "Source"):
                blocks = re.split(r"\n\s*\n", "\n".join(lines).strip("\n"))
            else:  # un élément par ligne non décalée
                blocks = re.split(r"\n(?=\S)", "\n".join(lines).strip("\n"))
            blocks = [block for block in blocks if block.strip()]
            found.sections.setdefault(title, []).extend(blocks) if title else found.prose.extend(blocks)
            lines.clear()

        for line in text.splitlines():
            if header := _SECTION.match(line):
                close()
                title = header[1]
            elif title and line and not line.startswith(" "):
                close()
                title = ""
                lines.append(line)
            else:
                lines.append(line.removeprefix("    ") if title else line)
        close()
        return found


class Reference:
    """La référence d'un paquet.

    Paramètres :
        folder : le dossier du paquet ; vide de modules s'il n'existe pas.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._modules: dict[str, _Module] = {}
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if "publishing" not in parts:
                self._modules[name] = _Module(name, path)
        public = [name for name, module in self._modules.items() if module.is_public]
        self.modules: dict[str, list[Entry]] = {name: list(self._entries(name)) for name in public}
        self.entries: dict[str, Entry] = {}
        for entries in self.modules.values():
            for entry in entries:
                self.entries |= {entry.full: entry, **{member.full: member for member in entry.members}}

    @classmethod
    @cache
    def of(cls, root: Path) -> Self:
        """La référence du paquet d'un dépôt, lue une fois."""
        return cls(root / "vaebook")

    def files(self) -> Iterator[Path]:
        """Les fichiers lus."""
        return (module.path for module in self._modules.values())

    def resolve(self, written: str, module: str, scope: str = "") -> str | None:
        """Le nom complet de ce que désigne un nom écrit dans un module, ou rien.

        Paramètres :
            written : le nom, ``elbo``, ``VAE.sample``, ``vaebook.exact.PPCA``…
            scope : la classe où il est écrit, s'il y en a une.
        """
        home = self._modules[module]
        candidates = [f"{module}.{scope}.{written}" if scope else "", home.full(written), written]
        found = next((self.entries[name] for name in candidates if name in self.entries), None)
        return (found.alias or found.full) if found else None

    def _entries(self, name: str) -> Iterator[Entry]:
        """Le module, puis ce qu'il publie, dans l'ordre de sa source."""
        module = self._modules[name]
        path = self._path(module)
        yield Entry(name, "", "module", ast.get_docstring(module.tree) or "", name, path, 1)
        if module.exported is None:
            defined: Iterator[tuple[str, ast.stmt, str, _Module]] = (
                (*found, module) for found in module.definitions()
            )
        else:
            defined = self._exported(module, module.exported)
        for label, node, doc, home in defined:
            if not label.startswith("_"):
                yield self._entry(name, label, node, doc, home)

    def _exported(self, module: _Module, names: list[str]) -> Iterator[tuple[str, ast.stmt, str, _Module]]:
        for name in names:
            home, label = module, name
            while label not in home.names and label in home.imports:
                source, _, label = home.imports[label].rpartition(".")
                if source not in self._modules:
                    break
                home = self._modules[source]
            if label in home.names:
                node, doc = home.names[label]
                yield name, node, doc, home

    def _entry(self, module: str, name: str, node: ast.stmt, doc: str, home: _Module) -> Entry:
        path = self._path(home)
        if home.name != module and home.is_public:
            full = f"{home.name}.{name}"
            return Entry(module, name, "data", f"Voir `{full}`.", home.name, path, node.lineno, alias=full)
        if isinstance(node, ast.ClassDef):
            return Entry(
                module,
                name,
                "class",
                doc,
                home.name,
                path,
                node.lineno,
                signature=self._constructor(node, home),
                bases=tuple(self._bases(node, home)),
                members=tuple(self._members(module, name, node, home)),
            )
        if isinstance(node, _Function):
            return Entry(
                module, name, "function", doc, home.name, path, node.lineno, signature=_signature(node)
            )
        assert isinstance(node, ast.Assign | ast.AnnAssign)
        value = _value(node, name)
        shown = f" = {value}" if 0 < len(value) <= _LONGEST_VALUE else ""
        kind = f": {ast.unparse(node.annotation)}" if isinstance(node, ast.AnnAssign) else ""
        return Entry(module, name, "data", doc, home.name, path, node.lineno, signature=kind + shown)

    def _members(self, module: str, owner: str, node: ast.ClassDef, home: _Module) -> Iterator[Entry]:
        """Les méthodes publiques d'une classe et celles de ses bases privées.

        Une méthode sans docstring qui en redéfinit une autre est décrite comme elle, là où elle l'est.
        """
        seen: set[str] = set()
        for kind, place in self._lineage(node, home, private=True):
            for method in kind.body:
                if not isinstance(method, _Function) or method.name.startswith("_") or method.name in seen:
                    continue
                doc = ast.get_docstring(method) or ""
                if not doc and self._is_described_above(method.name, kind, place):
                    continue
                seen.add(method.name)
                traits = frozenset(ast.unparse(item) for item in method.decorator_list)
                is_property = bool(traits & {"property", "cached_property", "functools.cached_property"})
                returned = _annotation(method.returns)
                yield Entry(
                    module,
                    f"{owner}.{method.name}",
                    "property" if is_property else "method",
                    doc,
                    place.name,
                    self._path(place),
                    method.lineno,
                    signature=returned if is_property else _signature(method, "staticmethod" not in traits),
                    traits=traits & {"classmethod", "staticmethod", "abstractmethod"},
                )

    def _is_described_above(self, name: str, node: ast.ClassDef, home: _Module) -> bool:
        above = (kind for kind, _ in self._lineage(node, home) if kind is not node)
        methods = (item for kind in above for item in kind.body if isinstance(item, _Function))
        return any(method.name == name and ast.get_docstring(method) for method in methods)

    def _lineage(
        self, node: ast.ClassDef, home: _Module, private: bool = False
    ) -> Iterator[tuple[ast.ClassDef, _Module]]:
        """La classe, puis celles du paquet dont elle hérite ; si `private`, sans passer par une publique."""
        yield node, home
        for base in node.bases:
            found = self._class(ast.unparse(base), home)
            if found and not (private and not found[0].name.startswith("_")):
                yield from self._lineage(*found, private)

    def _bases(self, node: ast.ClassDef, home: _Module) -> Iterator[str]:
        """Les bases publiques, telles qu'elles sont écrites ; celles d'une base privée à sa place."""
        for base in map(ast.unparse, node.bases):
            found = self._class(base, home)
            if not base.rpartition(".")[2].startswith("_"):
                yield base
            elif found:
                yield from self._bases(*found)

    def _class(self, written: str, home: _Module) -> tuple[ast.ClassDef, _Module] | None:
        """La classe du paquet que désigne ce nom dans ce module."""
        module, _, label = home.full(written).rpartition(".")
        place = self._modules.get(module)
        found, _ = place.names.get(label, (None, "")) if place else (None, "")
        return (found, place) if place and isinstance(found, ast.ClassDef) else None

    def _constructor(self, node: ast.ClassDef, home: _Module) -> str:
        """Les arguments du constructeur, écrit, engendré par les champs, ou hérité."""
        fields: list[str] = []
        for kind, _ in self._lineage(node, home):
            written = [item for item in kind.body if isinstance(item, _Function) and item.name == "__init__"]
            if written:
                written[0].returns = None
                return _signature(written[0])
            marks = [ast.unparse(item) for item in (*kind.bases, *kind.decorator_list)]
            if any(mark == "NamedTuple" or mark.startswith("dataclass") for mark in marks):
                fields = [*_fields(kind), *fields]
        return f"({', '.join(fields)})" if fields else ""

    def _path(self, module: _Module) -> str:
        return module.path.relative_to(self.folder.parent).as_posix()


class _Module:
    """Un module lu : ses définitions et ses imports."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        text = path.read_text(encoding="utf-8")
        self.tree, self._lines = ast.parse(text), text.splitlines()
        self.names = {label: (node, doc) for label, node, doc in self.definitions()}
        self.imports = dict(self._imports())
        exported = self.names.get("__all__", (None, ""))[0]
        self.exported: list[str] | None = None
        if isinstance(exported, ast.Assign):
            self.exported = list(ast.literal_eval(exported.value))

    @property
    def is_public(self) -> bool:
        return not any(part.startswith("_") for part in self.name.split("."))

    def full(self, written: str) -> str:
        """Le nom complet de ce qu'un nom désigne dans ce module."""
        first, _, rest = written.partition(".")
        if first in self.imports:
            return f"{self.imports[first]}.{rest}".rstrip(".")
        return f"{self.name}.{written}"

    def definitions(self) -> Iterator[tuple[str, ast.stmt, str]]:
        """Ce que définit le module, avec sa docstring ; celle d'une constante est un commentaire."""
        for node in self.tree.body:
            if isinstance(node, _Function | ast.ClassDef):
                yield node.name, node, ast.get_docstring(node) or ""
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    for leaf in target.elts if isinstance(target, ast.Tuple) else [target]:
                        if isinstance(leaf, ast.Name):
                            yield leaf.id, node, self._comment(node)

    def _comment(self, node: ast.stmt) -> str:
        """Le commentaire au bout de la ligne, sinon celui au-dessus du groupe de constantes."""
        if found := re.search(r"\s# (?!noqa|type:)(.+)$", self._lines[node.lineno - 1]):
            return _sentence(found[1])
        above: list[str] = []
        for line in reversed(self._lines[: node.lineno - 1]):
            if not line.strip() or (above and not line.startswith("#")):
                break
            if line.startswith("#"):
                above.insert(0, line.removeprefix("#").strip())
        return _sentence(" ".join(above))

    def _imports(self) -> Iterator[tuple[str, str]]:
        package = self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                base = ".".join([*above, *filter(None, [node.module])])
                yield from ((alias.asname or alias.name, f"{base}.{alias.name}") for alias in node.names)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    first = alias.name.partition(".")[0]
                    yield alias.asname or first, alias.name if alias.asname else first


def _sentence(comment: str) -> str:
    """Un commentaire, écrit comme une phrase."""
    end = "" if comment.endswith((".", "…", ":")) or not comment else "."
    return comment[:1].upper() + comment[1:] + end


class _Unquote(ast.NodeTransformer):
    """Ôte les guillemets des types écrits d'avance : ``"VAE"`` devient ``VAE``."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        return node if ast.unparse(node.value).endswith("Literal") else self.generic_visit(node)  # type: ignore[return-value]

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return ast.parse(node.value, mode="eval").body if isinstance(node.value, str) else node


def _annotation(node: ast.expr | None) -> str:
    return "" if node is None else ast.unparse(_Unquote().visit(copy.deepcopy(node)))


def _signature(function: _Function, bound: bool = True) -> str:
    """Les arguments et le type du résultat, sans ``self`` si `bound` et que la fonction est une méthode."""
    arguments = copy.deepcopy(function.args)
    positional = arguments.posonlyargs or arguments.args
    if bound and positional and positional[0].arg in ("self", "cls"):
        del positional[0]
    for node in ast.walk(arguments):
        if isinstance(node, ast.arg) and node.annotation:
            node.annotation = _Unquote().visit(node.annotation)
    returned = _annotation(function.returns)
    return f"({ast.unparse(arguments)})" + (f" -> {returned}" if returned else "")


def _fields(node: ast.ClassDef) -> Iterator[str]:
    """Les champs d'une classe de données, écrits comme des arguments."""
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or ast.unparse(item.annotation).startswith("ClassVar"):
            continue
        name = ast.unparse(item.target)
        if not name.startswith("_"):
            default = ast.unparse(item.value) if item.value else ""
            default = "..." if default.startswith("field(") else default
            yield f"{name}: {_annotation(item.annotation)}" + (default and f" = {default}")


def _value(node: ast.Assign | ast.AnnAssign, name: str) -> str:
    """La valeur d'une constante, même donnée avec d'autres par un n-uplet."""
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    value = node.value
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        names = [ast.unparse(leaf) for leaf in target.elts]
        value = value.elts[names.index(name)]
    return ast.unparse(value) if value else ""

"""La fraîcheur : ce dont dépendent les sorties d'un chapitre, sans rien importer ni exécuter.

Une empreinte couvre le texte exact des cellules de code, le code des modules de ``vaebook`` qu'elles
importent, directement ou non, les fichiers du paquet (scripts, styles…) que ces modules nomment, et les
résultats d'expériences que nomment les cellules.
Commentaires, docstrings et mise en forme des modules n'y entrent pas, et elle est la même pour toutes les
versions de Python.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from vaebook.publishing.chapters import Book, Chapter, PublishingError

# Les champs de l'arbre syntaxique qui ne disent rien du programme, ou que toutes les versions n'écrivent pas.
_SILENT = {"ctx", "kind", "type_comment", "type_ignores"}
# Ces étiquettes changent l'exécution ; les autres métadonnées d'une cellule ne sont que présentation.
_EXECUTION_TAGS = {"raises-exception", "skip-execution"}
_MAGIC = re.compile(r"^(\s*)(?:[%!?].*|[\w, ]+=\s*[%!].*)$", re.MULTILINE)


@dataclass(frozen=True)
class Fingerprint:
    """Ce dont dépendent les sorties : une empreinte par cellule, par module, par fichier."""

    cells: list[str]
    modules: dict[str, str]
    resources: dict[str, str]

    @property
    def digest(self) -> str:
        """Une seule empreinte pour le tout."""
        return sha256(repr((self.cells, sorted(self.modules.items()), sorted(self.resources.items()))))

    def record(self) -> dict[str, Any]:
        """La forme stockée dans les métadonnées du carnet."""
        return {"digest": self.digest, **asdict(self)}

    def changes_since(self, recorded: Mapping[str, Any]) -> list[str]:
        """Ce qui a changé depuis une empreinte stockée, en français ; vide si rien n'a changé."""
        return [
            *_cell_changes(recorded.get("cells", []), self.cells),
            *_named_changes("le module", "les modules", recorded.get("modules", {}), self.modules),
            *_named_changes("le fichier", "les fichiers", recorded.get("resources", {}), self.resources),
        ]


def fingerprint(book: Book, chapter: Chapter) -> Fingerprint:
    """Calcule l'empreinte d'un chapitre.

    Lève :
        PublishingError : si une cellule ou un module n'est pas du Python valide.
    """
    trees = [_parse_cell(chapter, i) for i in range(len(chapter.code))]
    return dependencies(book, trees, cells=[cell_digest(cell) for cell in chapter.code])


def dependencies(
    book: Book,
    trees: list[ast.Module],
    *,
    cells: list[str] | None = None,
    script: dict[str, str] | None = None,
) -> Fingerprint:
    """L'empreinte de ce qu'un programme importe et nomme.

    Paramètres :
        trees : les arbres syntaxiques du programme.
        cells : les empreintes de ses cellules, s'il en a.
        script : l'empreinte de son fichier, s'il en a un, parmi celles des modules.
    """
    package = Package(book.package)
    written = [read(tree) for tree in trees]
    modules = package.closure(written)
    files = {path for module in modules.values() for path in package.resources(module)}
    named = frozenset().union(*(source.strings for source in written))
    results = [path for path in sorted(book.results.glob("*.json")) if path.name in named]
    return Fingerprint(
        cells=cells or [],
        modules=(script or {}) | {name: modules[name].digest for name in sorted(modules)},
        resources={path: sha256((book.package / path).read_bytes()) for path in sorted(files)}
        | {f"{path.parent.name}/{path.name}": results_digest(path) for path in results},
    )


def inputs_digest(book: Book) -> str:
    """L'empreinte, octet par octet, de tout ce que lit la construction, hormis les carnets."""
    files = [path for folder in (book.sources, book.package) for path in folder.rglob("*") if path.is_file()]
    kept = (path for path in files if path.suffix != ".pyc" and not path.is_relative_to(book.notebooks))
    return _contents([book.root / "_toc.yml", *sorted(kept)])


def package_digest(book: Book) -> str:
    """L'empreinte, octet par octet, de tout ce dont les sorties peuvent dépendre hors de leur chapitre."""
    files = [path for folder in (book.package, book.results) for path in folder.rglob("*")]
    return _contents(sorted(path for path in files if path.is_file() and path.suffix != ".pyc"))


def outputs_key(package: str, chapter: Chapter) -> str:
    """Ce qui suffit à dire si le carnet d'un chapitre a déjà été vérifié, et contre quoi."""
    cells = [cell_digest(cell) for cell in chapter.code]
    notebook = chapter.stored.read_bytes() if chapter.stored.exists() else b""
    return sha256(repr((package, cells, sha256(notebook))))


def notebooks_digest(book: Book) -> str:
    """L'empreinte, octet par octet, des carnets stockés."""
    return _contents(sorted(book.notebooks.rglob("*.ipynb")))


def _contents(paths: Iterable[Path]) -> str:
    return sha256(repr([(str(path), sha256(path.read_bytes())) for path in paths if path.exists()]))


def results_digest(path: Path) -> str:
    """L'empreinte de ce qu'une expérience a mesuré ; sa date et sa durée n'y entrent pas."""
    content = path.read_bytes()
    try:
        return sha256(json.dumps(json.loads(content)["data"], sort_keys=True))
    except (ValueError, KeyError, TypeError):
        return sha256(content)


def cell_digest(cell: NotebookNode) -> str:
    """L'empreinte d'une cellule : son texte exact, que le lecteur voit, et ses étiquettes d'exécution."""
    tags = _EXECUTION_TAGS.intersection(cell.metadata.get("tags", []))
    return sha256(repr((cell.source, sorted(tags))) if tags else cell.source)


def sha256(content: str | bytes) -> str:
    """SHA-256, abrégé à 64 bits pour que les différences entre carnets restent lisibles."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:16]


@dataclass(frozen=True)
class Source:
    """Ce qu'il faut savoir d'un programme.

    Attributs :
        imports : les noms complets de ce qu'il importe, modules ou non, même au fond d'une fonction.
        strings : les chaînes qu'il écrit.
    """

    imports: tuple[str, ...]
    strings: frozenset[str]
    digest: str = ""  # l'empreinte de son code, si c'est un module


def read(tree: ast.Module, home: tuple[str, ...] = ()) -> Source:
    """Lit un programme.

    Paramètres :
        home : les noms du paquet où il est, d'où partent ses imports relatifs.
    """
    imports: dict[str, None] = {}
    strings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports |= dict.fromkeys(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = home[: len(home) - node.level + 1] if node.level else ()
            base = ".".join([*parents, *filter(None, [node.module])])
            # Dans `from a import b`, b est un module ou non : on essaie.
            imports |= dict.fromkeys([base, *(f"{base}.{alias.name}" for alias in node.names)])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            strings.add(node.value)
    return Source(tuple(imports), frozenset(strings))


@lru_cache(maxsize=512)
def _read_module(text: str, home: tuple[str, ...]) -> Source:
    """Un module se lit une fois pour tous les chapitres : c'est le plus long de la construction."""
    tree = ast.parse(text)
    return replace(read(tree, home), digest=sha256("".join(serialise(tree))))


class Package:
    """Les modules et les fichiers d'un paquet, lus sans l'importer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths: dict[str, Path | None] = {}
        self._files = [
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.is_file() and path.suffix not in {".py", ".pyc"} and not self._is_author_side(path)
        ]

    def closure(self, programs: Iterable[Source]) -> dict[str, Source]:
        """Les modules du paquet qu'importent ces programmes, directement ou non.

        Lève :
            PublishingError : si l'un d'eux n'est pas du Python valide.
        """
        found: dict[str, Source] = {}
        pending = [name for program in programs for name in self._modules(program)]
        while pending:
            name = pending.pop()
            if name not in found:
                found[name] = self._read(name)
                pending += self._modules(found[name])
        return found

    def resources(self, module: Source) -> Iterator[str]:
        """Les fichiers du paquet dont ce module nomme la fin du chemin dans une chaîne."""
        names = tuple(f"/{value}" for value in module.strings if value)
        return (file for file in self._files if f"/{file}".endswith(names))

    def _read(self, name: str) -> Source:
        path = self._path(name)
        assert path is not None
        parts = tuple(name.split("."))
        try:
            return _read_module(
                path.read_text(encoding="utf-8"), parts if path.name == "__init__.py" else parts[:-1]
            )
        except (SyntaxError, UnicodeDecodeError) as error:
            raise PublishingError(f"{path} n'est pas du Python valide : {error}") from error

    def _modules(self, program: Source) -> Iterator[str]:
        for name in program.imports:
            parts = name.split(".")
            # Importer a.b.c exécute aussi a et a.b.
            for end in range(1, len(parts) + 1):
                if self._path(module := ".".join(parts[:end])):
                    yield module

    def _is_author_side(self, path: Path) -> bool:
        return path.is_relative_to(self.folder / "publishing")

    def _path(self, module: str) -> Path | None:
        """Le fichier d'un module du paquet ; rien s'il n'existe pas, ou s'il est du côté de l'auteur."""
        if module not in self._paths:
            top, *rest = module.split(".")
            base = self.folder.joinpath(*rest)
            candidates = [base / "__init__.py", *([base.with_suffix(".py")] if rest else [])]
            inside = top == self.folder.name and not self._is_author_side(base)
            self._paths[module] = next((path for path in candidates if inside and path.is_file()), None)
        return self._paths[module]


def serialise(node: Any) -> Iterator[str]:
    """Écrit un arbre syntaxique de la même façon sous toutes les versions de Python.

    ``ast.dump`` ne convient pas : chaque version ajoute des champs et change ceux qu'elle omet.
    """
    if isinstance(node, ast.AST):
        yield f"{type(node).__name__}("
        for field, value in ast.iter_fields(node):
            value = _merged_text(value) if isinstance(node, ast.JoinedStr) else value
            if field not in _SILENT and value is not None and value != []:
                yield f"{field}="
                yield from serialise(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for item in node:
            if not _is_bare_string(item):
                yield from serialise(item)
        yield "]"
    else:
        yield f"{node!a},"  # `repr` suit la version d'Unicode de l'interpréteur


def _is_bare_string(node: Any) -> bool:
    """Vrai pour une docstring, ou une autre chaîne seule et sans effet."""
    value = getattr(node, "value", None)
    return isinstance(node, ast.Expr) and isinstance(value, ast.Constant) and isinstance(value.value, str)


def _merged_text(values: list[ast.expr]) -> list[ast.expr]:
    """Réunit les morceaux de texte d'une f-chaîne, que les versions découpent différemment."""
    merged: list[ast.expr] = []
    for value in values:
        if isinstance(value, ast.Constant) and merged and isinstance(previous := merged[-1], ast.Constant):
            merged[-1] = ast.Constant(str(previous.value) + str(value.value))
        elif not (isinstance(value, ast.Constant) and value.value == ""):
            merged.append(value)
    return merged


def _parse_cell(chapter: Chapter, index: int) -> ast.Module:
    source = chapter.code[index].source.lstrip()
    if source.startswith("%%"):
        source = source.partition("\n")[2] if re.match(r"%%(time|timeit|capture|prun)\b", source) else ""
    try:
        return ast.parse(_MAGIC.sub(r"\1pass", source))
    except SyntaxError as error:
        where = f"{chapter.name}, cellule de code {index + 1}"
        raise PublishingError(f"{where} : ce n'est pas du Python valide ({error.msg}).") from error


def _cell_changes(old: list[str], new: list[str]) -> list[str]:
    if old == new:
        return []
    ranks = [str(i) for i, digest in enumerate(new, 1) if digest not in old]
    changed = _listed("la cellule de code", "les cellules de code", ranks)
    if len(new) < len(old):
        changed.append("des cellules de code ont été retirées")
    return changed or ["l'ordre des cellules de code"]


def _named_changes(one: str, several: str, old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return [
        *_listed(one, several, [name for name in new if name in old and new[name] != old[name]]),
        *_listed(one, several, [name for name in new if name not in old], " (nouvel import)"),
        *_listed(one, several, [name for name in old if name not in new], " (plus importé)"),
    ]


def _listed(one: str, several: str, names: list[str], note: str = "") -> list[str]:
    return [f"{several if len(names) > 1 else one} {', '.join(names)}{note}"] if names else []

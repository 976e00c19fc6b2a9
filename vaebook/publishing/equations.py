"""Les équations du livre, et ce qui les vérifie.

Chaque équation étiquetée a une entrée dans ``book/equations/<page>.toml`` : sa sorte, l'empreinte de sa
formule, l'objet de `vaebook` qui la calcule ou le mot qu'elle définit. Les tests qui l'évaluent portent
``@pytest.mark.equation("eq-…")``. Tout se lit ici sans rien importer : ni torch, ni pytest, ni les tests.
"""

from __future__ import annotations

import ast
import hashlib
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from vaebook.publishing.chapters import Book, PublishingError

KINDS = ("définition", "identité", "inégalité", "approximation")

_FENCE = re.compile(r"^\s*(`{3,}|:{3,}|~{3,})\s*(?:\{([^}]+)\}(.*)|([^`{]*))$")
_OPTION = re.compile(r"^\s*:([\w-]+):(.*)$")
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
_DOLLARS = re.compile(r"(?<!\\)\$\$")
_AMSMATH = re.compile(r"^\s*\\begin\{(equation|multline|gather|align|alignat|flalign|eqnarray)\*?\}")
# Ce dont le contenu n'est pas du MyST.
_VERBATIM = ("code-cell", "code", "code-block", "raw", "eval-rst", "literalinclude")
# Où une formule centrée est un pas de calcul, et non un énoncé.
_PROOFS = ("prf:proof", "solution")


@dataclass(frozen=True)
class Equation:
    """Une formule centrée.

    Paramètres :
        label : son étiquette ; vide si elle n'en a pas.
        latex : ce qui est entre les barrières, options enlevées.
        chapter : le chemin de la page sous ``book/``, sans extension.
        line : la ligne où elle commence.
        inside : les directives qui la contiennent, de l'extérieur vers l'intérieur.
    """

    label: str
    latex: str
    chapter: str
    line: int
    inside: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """L'empreinte de la formule, que ne changent ni les espaces ni les coupures de lignes."""
        return digest(self.latex)

    @property
    def in_proof(self) -> bool:
        """Vrai dans une démonstration ou dans une solution."""
        return any(name in _PROOFS for name in self.inside)


@dataclass(frozen=True)
class Binding:
    """Ce que ``book/equations/`` dit d'une équation."""

    label: str
    chapter: str
    kind: str
    digest: str
    object: str = ""
    word: str = ""


@dataclass(frozen=True)
class Place:
    """Un endroit du dépôt : un fichier, une ligne, et ce qui s'y trouve."""

    name: str
    path: str
    line: int


@dataclass(frozen=True)
class Mark:
    """Un test marqué d'une étiquette."""

    label: str
    place: Place


def digest(latex: str) -> str:
    """Les douze premiers chiffres hexadécimaux de l'empreinte SHA-256 d'une formule, espaces réduits."""
    return hashlib.sha256(" ".join(latex.split()).encode()).hexdigest()[:12]


def displayed(book: Book) -> list[Equation]:
    """Les formules centrées de toutes les pages de ``_toc.yml``, dans l'ordre du livre."""
    found: list[Equation] = []
    for document in book.documents():
        source = book.root / f"{document}.md"
        if source.is_relative_to(book.sources):
            chapter = source.relative_to(book.sources).with_suffix("").as_posix()
            try:
                found += read(source.read_text(encoding="utf-8"), chapter)
            except OSError as error:
                raise PublishingError(f"La page {source} est absente ou illisible : {error}") from error
    return found


def labelled(book: Book) -> list[Equation]:
    """Les équations étiquetées de toutes les pages, dans l'ordre du livre."""
    return [equation for equation in displayed(book) if equation.label]


def read(text: str, chapter: str = "") -> Iterator[Equation]:
    """Les formules centrées d'une page MyST, qu'elles soient écrites par une directive ou par des dollars."""
    fences: list[tuple[str, str]] = []  # les directives ouvertes : leur barrière et leur nom
    lines = enumerate(text.splitlines(), 1)
    for number, line in lines:
        if fences and re.match(_closing(fences[-1][0]), line):
            fences.pop()
            continue
        if fences and fences[-1][1] in _VERBATIM:
            continue
        inside = tuple(name for _, name in fences)
        if opened := _FENCE.match(line):
            fence, name, rest = opened[1], opened[2] or "code", opened[3] or ""
            if name == "math":
                label, body = "", [rest]
                for _, line in lines:
                    if re.match(_closing(fence), line):
                        break
                    if option := _OPTION.match(line):
                        label = option[2].strip() if option[1] == "label" else label
                    else:
                        body.append(line)
                yield Equation(label, "\n".join(body).strip(), chapter, number, inside)
            else:
                fences.append((fence, name))
            continue
        pieces = _DOLLARS.split(_CODE.sub("", line))
        # Un nombre pair de morceaux : une formule s'ouvre sur cette ligne, et se ferme plus bas.
        if len(pieces) % 2 == 0:
            body = [pieces.pop()]
            for _, line in lines:
                last, end, after = line.partition("$$")
                body.append(last)
                if end:
                    pieces += ["\n".join(body), after]
                    break
            else:
                raise PublishingError(f"{chapter}, ligne {number} : « $$ » n'est pas refermé.")
        for latex, after in zip(pieces[1::2], pieces[2::2], strict=True):
            found = re.match(r"\s*\(([^)\s]+)\)\s*$", after)
            yield Equation(found[1] if found else "", latex.strip(), chapter, number, inside)
        if _AMSMATH.match(line):
            yield Equation("", line.strip(), chapter, number, inside)


def bindings(book: Book) -> list[Binding]:
    """Toutes les entrées de ``book/equations/``, dans l'ordre des fichiers.

    Lève :
        PublishingError : si un fichier est illisible, ou si une entrée a un champ inconnu ou absent.
    """
    found = []
    for path in tables(book):
        chapter = path.relative_to(book.equations).with_suffix("").as_posix()
        try:
            entries = tomllib.loads(path.read_text(encoding="utf-8"))
            found += [Binding(label, chapter, **entry) for label, entry in entries.items()]
        except (OSError, tomllib.TOMLDecodeError, TypeError) as error:
            raise PublishingError(f"{path} est illisible : {error}") from error
    return found


def marks(root: Path) -> list[Mark]:
    """Les tests de ``tests/equations/`` qui évaluent une équation, par fichier puis par ligne."""
    found = []
    for path in tests(root):
        for node in _parse(path).body:
            if isinstance(node, ast.FunctionDef):
                place = Place(node.name, path.relative_to(root).as_posix(), node.lineno)
                found += [Mark(label, place) for label in _labels(node)]
    return found


def tables(book: Book) -> list[Path]:
    """Les fichiers qui lient les équations."""
    return sorted(book.equations.rglob("*.toml"))


def tests(root: Path) -> list[Path]:
    """Les fichiers où sont les tests marqués."""
    return sorted((root / "tests" / "equations").glob("test_*.py"))


def locate(root: Path, name: str) -> Place | None:
    """L'endroit du paquet où est défini un objet nommé comme pour l'importer ; rien s'il n'y est pas.

    Un membre hérité est cherché dans les classes mères du même module.
    """
    parts = name.split(".")
    for depth in range(len(parts) - 1, 0, -1):
        base = root.joinpath(*parts[:depth])
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                line = _find(_parse(path), parts[depth:])
                return Place(name, path.relative_to(root).as_posix(), line) if line else None
    return None


@dataclass(frozen=True)
class Ledger:
    """Tout ce que l'on sait des équations d'un livre, lu une fois."""

    book: Book

    @cached_property
    def equations(self) -> list[Equation]:
        return labelled(self.book)

    @cached_property
    def bindings(self) -> dict[str, Binding]:
        return {binding.label: binding for binding in bindings(self.book)}

    @cached_property
    def tests(self) -> dict[str, list[Place]]:
        found: dict[str, list[Place]] = {}
        for mark in marks(self.book.root):
            found.setdefault(mark.label, []).append(mark.place)
        return found

    def bound(self, equation: Equation) -> Binding | None:
        """L'entrée d'une équation, si c'est bien cette formule-là qui a été liée."""
        binding = self.bindings.get(equation.label)
        return binding if binding and binding.digest == equation.digest else None

    def verified(self, equation: Equation) -> bool:
        """Vrai si la formule est liée et qu'au moins un test l'évalue."""
        return self.bound(equation) is not None and bool(self.tests.get(equation.label))


def _closing(fence: str) -> str:
    return rf"^\s*{fence[0]}{{{len(fence)},}}\s*$"


def _parse(path: Path) -> ast.Module:
    try:
        return _tree(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError) as error:
        raise PublishingError(f"{path} est illisible : {error}") from error


@lru_cache(maxsize=128)
def _tree(text: str) -> ast.Module:
    return ast.parse(text)


def _labels(function: ast.FunctionDef) -> Iterator[str]:
    """Les étiquettes que donnent à un test ses décorateurs ``@pytest.mark.equation(…)``."""
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("mark.equation"):
            yield from (str(value.value) for value in decorator.args if isinstance(value, ast.Constant))


def _find(module: ast.Module, parts: list[str]) -> int | None:
    """La ligne où un module définit un nom, ou un membre d'une classe."""
    body: list[ast.stmt] = module.body
    line = None
    for rank, part in enumerate(parts):
        node = next((node for node in body if part in _defined(node)), None)
        if node is None:
            return None
        line = node.lineno
        rest = parts[rank + 1 :]
        if not isinstance(node, ast.ClassDef) or not rest:
            return None if rest else line
        if not any(rest[0] in _defined(member) for member in node.body):
            mothers = [base.id for base in node.bases if isinstance(base, ast.Name)]
            return next(filter(None, (_find(module, [mother, *rest]) for mother in mothers)), None)
        body = node.body
    return line


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        return [ast.unparse(node.target)]
    if isinstance(node, ast.Assign):
        return [ast.unparse(target) for target in node.targets]
    return []

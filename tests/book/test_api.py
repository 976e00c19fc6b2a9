"""La référence du paquet : complète, en français, sans torch, et liée aux chapitres."""

from __future__ import annotations

import ast
import gzip
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from prose import Cell, read
from tiny import ROOT

from vaebook.publishing.api import Docstring, Entry, Reference

SOURCES = {
    "__init__.py": '"""Un paquet."""\n',
    "base.py": '''"""Des bases."""

import abc
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol

# deux nombres,
# et leur commentaire
ONE, TWO = 1, 2
Alone = tuple[int, ...]  # seul sur sa ligne
HIDDEN: dict[str, str] = {"une longue": "valeur", "qui ne se": "montre pas", "elle est trop": "longue"}


class Pair(NamedTuple):
    """Deux nombres."""

    left: "float"
    right: float = 1.0


@dataclass(frozen=True)
class Parent:
    """Un parent."""

    size: int
    names: list[str] = field(default_factory=list)
    kinds: ClassVar[int] = 3
    _cache: int = 0


@dataclass(frozen=True)
class Child(Parent):
    """Un enfant."""

    age: int = 0


class _Hidden(abc.ABC):
    @abc.abstractmethod
    def shared(self, x: "Parent") -> "Pair":
        """Ce que partagent les filles."""

    @property
    def size(self) -> int:
        """La taille."""
        return 1
''',
    "shown.py": '''"""Ce qui se montre."""

from abc import abstractmethod
from .base import Pair, _Hidden
from toy import base as other


class Daughter(_Hidden):
    """Une fille."""

    def __init__(self, *, sigma: float = 1e-3) -> None:
        pass

    def shared(self, x):
        return x

    def own(self, y: other.Parent, mode: str = "a") -> None:
        """La sienne."""

    @classmethod
    def made(cls, y: int = 2) -> "Daughter":
        """Une fabrique."""

    @abstractmethod
    def still(self) -> None:
        """À écrire."""

    def _no(self) -> None:
        """Cachée."""


class Grand(Daughter):
    """Une petite-fille."""
''',
    "_private.py": '"""Caché."""\n\n\ndef work(x: int) -> int:\n    """Travaille."""\n    return x\n',
    "front.py": '''"""La façade."""

from toy._private import work
from toy.base import Pair

__all__ = ["Pair", "work"]


def unlisted() -> None:
    """Pas publiée."""
''',
}


@pytest.fixture(scope="module")
def real() -> Reference:
    return Reference.of(ROOT)


@pytest.fixture
def toy(tmp_path: Path) -> Reference:
    for name, text in SOURCES.items():
        (tmp_path / "toy").mkdir(exist_ok=True)
        (tmp_path / "toy" / name).write_text(text, encoding="utf-8")
    return Reference(tmp_path / "toy")


def written(body: list[ast.stmt]) -> set[str]:
    """Les noms publics que définit une suite d'instructions."""
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {
                leaf.id for target in targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)
            }
    return {name for name in names if not name.startswith("_")}


def public_modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted((ROOT / "vaebook").rglob("*.py")):
        parts = [part for part in path.relative_to(ROOT).with_suffix("").parts if part != "__init__"]
        if "publishing" not in parts and not any(part.startswith("_") for part in parts):
            found[".".join(parts)] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def test_the_reference_has_every_public_name_and_no_other(real):
    modules = public_modules()
    assert set(real.modules) == set(modules)
    for name, tree in modules.items():
        [module, *entries] = real.modules[name]
        assert (module.kind, module.full) == ("module", name)
        listed = {entry.name for entry in entries if not entry.alias}
        assert listed == written(tree.body), name
        for entry in entries:
            assert entry.full in real.entries


def test_every_public_method_is_there_or_described_in_a_base(real):
    for name, tree in public_modules().items():
        for kind in tree.body:
            if not isinstance(kind, ast.ClassDef) or kind.name.startswith("_"):
                continue
            for method in written([item for item in kind.body if isinstance(item, ast.FunctionDef)]):
                full = f"{name}.{kind.name}.{method}"
                if full not in real.entries:
                    bases = real.entries[f"{name}.{kind.name}"].bases
                    above = [real.resolve(base, name) for base in bases]
                    assert any(f"{base}.{method}" in real.entries for base in above), full


def test_every_name_says_in_french_what_it_is(real):
    english = re.compile(r"\b(the|of|and|with|this|is|are|from|for|to|by)\s", re.I)
    for full, entry in real.entries.items():
        doc = Docstring.parse(entry.doc)
        assert doc.prose, full
        assert re.search(r"[.…:]$", doc.prose[0]), full
        quoted = re.sub(r"« .*? »|(`+).*?\1", "", entry.doc.replace("\n", " "))
        assert not english.search(quoted), full
        assert not re.search(
            r"^(Args|Parameters|Returns?|Raises|Attributes|Yields|Examples?)\b", entry.doc, re.M
        )
        names = [name.strip(" `*") for item in doc.sections.get("Paramètres", [])
                 for name in item.partition(" : ")[0].split(",")]  # fmt: skip
        assert not names or set(names) <= entry.parameters, full


def test_the_page_names_every_module_once(real):
    text = (ROOT / "book/annexes/api.md").read_text(encoding="utf-8")
    named = re.findall(r"^vaebook[\w.]*$", text, re.M)
    found = [
        module
        for name in named
        for module in real.modules
        if module == name or (module.startswith(f"{name}.") and name != "vaebook")
    ]
    assert sorted(found) == sorted(real.modules)


def test_nothing_is_imported_to_read_the_package():
    code = (
        "import sys; sys.modules['torch'] = sys.modules['matplotlib'] = None\n"
        "from pathlib import Path\n"
        "from vaebook.publishing.reference import Reference\n"
        "found = Reference(Path('vaebook'))\n"
        "assert 'vaebook.models.VAE' in found.entries\n"
        "print(sorted(name for name in sys.modules if name.startswith('vaebook')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imported = ast.literal_eval(done.stdout)
    assert [name for name in imported if not name.startswith("vaebook.publishing")] == ["vaebook"]


def test_what_is_public(toy):
    assert set(toy.modules) == {"toy", "toy.base", "toy.shown", "toy.front"}
    assert {entry.name for entry in toy.modules["toy.base"]} == {
        *("", "ONE", "TWO", "Alone", "HIDDEN", "Pair", "Parent", "Child")
    }
    assert [entry.name for entry in toy.modules["toy.front"]] == ["", "Pair", "work"]
    assert toy.entries["toy.front.Pair"].alias == "toy.base.Pair"
    assert toy.entries["toy.front.work"].path == "toy/_private.py"
    assert toy.entries["toy.front.work"].signature == "(x: int) -> int"


def test_signatures(toy):
    shown = {full.removeprefix("toy."): entry.signature for full, entry in toy.entries.items()}
    assert shown["base.Pair"] == "(left: float, right: float = 1.0)"
    assert shown["base.Child"] == "(size: int, names: list[str] = ..., age: int = 0)"
    assert shown["base.TWO"] == " = 2"
    assert shown["base.HIDDEN"] == ": dict[str, str]"
    assert shown["shown.Daughter"] == shown["shown.Grand"] == "(*, sigma: float=0.001)"
    assert shown["shown.Daughter.own"] == "(y: other.Parent, mode: str='a') -> None"
    assert shown["shown.Daughter.made"] == "(y: int=2) -> Daughter"
    assert shown["shown.Daughter.size"] == "int"
    assert toy.entries["toy.shown.Daughter.own"].parameters == {"y", "mode"}


def test_constants_are_described_by_their_comment(toy):
    assert toy.entries["toy.base.ONE"].doc == "Deux nombres, et leur commentaire."
    assert toy.entries["toy.base.Alone"].doc == "Seul sur sa ligne."


def test_classes(toy):
    daughter, grand = toy.entries["toy.shown.Daughter"], toy.entries["toy.shown.Grand"]
    # `shared` est décrite dans une base privée : la page montre cette description.
    assert [member.name for member in daughter.members] == [
        *("Daughter.own", "Daughter.made", "Daughter.still", "Daughter.shared", "Daughter.size")
    ]
    assert daughter.bases == ("abc.ABC",)
    assert (grand.bases, grand.members) == (("Daughter",), ())
    kinds = {member.name: (member.kind, set(member.traits)) for member in daughter.members}
    assert kinds["Daughter.made"] == ("method", {"classmethod"})
    assert kinds["Daughter.still"] == ("method", {"abstractmethod"})
    assert kinds["Daughter.size"] == ("property", set())


def test_names_are_those_of_their_module(toy):
    assert toy.resolve("Pair", "toy.shown") == "toy.base.Pair"
    assert toy.resolve("other.Parent", "toy.shown") == "toy.base.Parent"
    assert toy.resolve("own", "toy.shown", "Daughter") == "toy.shown.Daughter.own"
    assert toy.resolve("toy.shown.Grand", "toy.base") == "toy.shown.Grand"
    assert toy.resolve("Pair", "toy.front") == "toy.base.Pair"  # l'alias mène à ce qu'il désigne
    assert toy.resolve("Daughter", "toy.base") is None
    assert toy.resolve("float", "toy.base") is None


def test_docstrings_are_cut_at_their_sections():
    doc = Docstring.parse(
        "Une phrase.\n\nEncore :\n- un ;\n- deux.\n\n"
        "Paramètres :\n    a, b : des nombres,\n        positifs.\n    c : un autre.\n\n"
        "Renvoie :\n    (B,), en nats.\n\n    Et encore.\n\n"
        "Le mot de la fin."
    )
    assert doc.prose == ["Une phrase.", "Encore :\n- un ;\n- deux.", "Le mot de la fin."]
    assert doc.sections == {
        "Paramètres": ["a, b : des nombres,\n    positifs.", "c : un autre."],
        "Renvoie": ["(B,), en nats.", "Et encore."],
    }


def test_a_book_without_torch_builds_its_reference(book):
    """Le livre minuscule, où torch ne s'importe pas : la page, ses ancres, et les liens d'un chapitre."""
    (book.sources / "annexes").mkdir()
    page = "(chap-api)=\n# Référence\n\nTout.\n\n```{reference}\nvaebook.calcul\nvaebook.outils\n```\n"
    (book.sources / "annexes/api.md").write_text(page, encoding="utf-8")
    book.edit("_toc.yml", "  - file: book/essai\n", "  - file: book/essai\n  - file: book/annexes/api\n")
    listing = "```{literalinclude} ../vaebook/calcul.py\n:pyobject: moyenne\n```\n"
    mentions = "`vaebook.calcul.moyenne([1, 2])`, `vaebook.calcul.rien` et `moyenne`"
    book.edit("book/essai.md", "Du texte,", f"{mentions} :\n\n{listing}\nDu texte,")
    doc = '"""La moyenne d\'une liste ; voir `somme`, `x` et `calcul.moyenne`."""'
    book.edit("vaebook/calcul.py", '"""La moyenne."""', doc)
    done = book.build()
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    soup = parsed(book.root / "_build/html/book/annexes/api.html").article
    entry = soup.find(id="vaebook.calcul.moyenne")
    assert soup.find(id="vaebook.outils").h2.get_text().startswith("vaebook.outils")
    assert entry.select_one(".source")["href"].endswith("/blob/main/vaebook/calcul.py#L4")
    assert "d’une liste" in entry.find_next("dd").get_text()
    chapter = parsed(book.root / "_build/html/book/essai.html").article
    links = [link.get_text() for link in chapter.select('a[href="annexes/api.html#vaebook.calcul.moyenne"]')]
    assert links == ["vaebook.calcul.moyenne([1, 2])", "vaebook.calcul.moyenne", "calcul.moyenne"]


def parsed(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


@pytest.fixture(scope="module")
def page(site) -> Path:
    return site / "book/annexes/api.html"


@pytest.mark.slow
def test_every_object_has_its_anchor_and_its_line(page, real):
    soup = parsed(page)
    lines = {path: (ROOT / path).read_text(encoding="utf-8").splitlines() for path in paths(real)}
    for full, entry in real.entries.items():
        node = soup.find(id=full)
        assert node is not None, full
        link = node.select_one("a.source")["href"]
        if entry.kind == "module":
            assert link.endswith(f"/blob/main/{entry.path}")
            assert node.h3 is not None
        else:
            path, _, line = link.partition("/blob/main/")[2].partition("#L")
            assert re.search(rf"\b{entry.name.rpartition('.')[2]}\b", lines[path][int(line) - 1]), full


def paths(reference: Reference) -> set[str]:
    return {entry.path for entry in reference.entries.values()}


@pytest.mark.slow
def test_every_link_to_the_reference_leads_somewhere(site, page):
    anchors = {str(node["id"]) for node in parsed(page).select("[id]")}
    pages = {path: parsed(path) for path in (site / "book").rglob("*.html")}
    found = 0
    for path, soup in pages.items():
        for link in soup.select("article a.internal[href]"):
            target, _, anchor = str(link["href"]).partition("#")
            if (path.parent / target).resolve() == page.resolve() or (path == page and not target):
                assert anchor in anchors, (path.name, anchor)
                found += 1
    assert found > 300


@pytest.mark.slow
def test_every_chapter_leads_to_what_it_shows_and_uses(site, real):
    for source in sorted((ROOT / "book").glob("*.md")):
        text = source.read_text(encoding="utf-8")
        shown = re.findall(r"\{literalinclude\} \.\./vaebook/(\S+)\.py\n(?:---\n)?:?pyobject: (\S+)", text)
        code = "\n".join(part.source for part in read(source) if isinstance(part, Cell))
        used = re.findall(r"^from (vaebook[\w.]*) import (\w+)", code, re.M)
        names = {f"vaebook.{path.replace('/', '.')}.{name}" for path, name in shown}
        names |= {f"{module}.{name}" for module, name in used}
        links = parsed(site / "book" / f"{source.stem}.html").select('article a[href*="annexes/api.html#"]')
        linked = {link["href"].partition("#")[2] for link in links}
        known = {name for name in names if isinstance(entry := real.entries.get(name), Entry)
                 and entry.kind in ("class", "function", "method", "property")}  # fmt: skip
        assert known <= linked, (source.name, known - linked)
        assert known or not names


@pytest.mark.slow
def test_the_reference_is_light_and_has_no_english(page):
    assert len(gzip.compress(page.read_bytes())) < 200_000
    article = parsed(page).article
    assert not article.select(".pre")
    for code in article.select("code, pre, .sig-name, .sig-param, .sig-return, .property"):
        code.extract()
    text = re.sub(r"«.*?»", "", article.get_text(" "))  # les titres d'articles
    english = r"\b(class|property|abstract|static|classmethod|Parameters?|Returns?|Raises|Bases|Type|the)\b"
    assert not re.search(english, text)

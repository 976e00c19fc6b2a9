"""Lire une page MyST comme un lecteur : ses phrases, ses directives, ses cellules, dans l'ordre.

L'analyse est celle du livre (myst-parser) : le code, les formules et les citations ne sont pas de la prose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from tiny import ROOT

# Ce qui tient la place d'une formule, d'un nombre calculé, d'un bout de code ou d'un renvoi.
HOLE = "\ufffc"

_CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
_PARSER = create_md_parser(
    MdParserConfig(enable_extensions=set(_CONFIG["parse"]["myst_enable_extensions"])), RendererHTML
)
_DIRECTIVE = re.compile(r"\{([\w:-]+)\}\s*(.*)")
_OPTION = re.compile(r":([\w-]+):\s*(.*)")
_ARGUMENT_IS_PROSE = re.compile(r"prf:|admonition|dropdown|exercise|table|list-table")
_BODY_IS_NOT = re.compile(r"literalinclude|reference|bibliography|code|raw|toctree|image|mermaid")


@dataclass(frozen=True)
class Passage:
    """Un paragraphe, un titre, une cellule de tableau, une légende ou un texte alternatif.

    `roman` et `italic` se partagent les mots de `text` : un mot anglais n'a sa place que dans le second.
    """

    line: int
    text: str
    roman: str = ""
    italic: str = ""
    heading: int = 0


@dataclass(frozen=True)
class Math:
    line: int
    text: str


@dataclass(frozen=True)
class Directive:
    name: str
    argument: str
    options: dict[str, str]
    body: str
    line: int


@dataclass(frozen=True)
class Cell:
    """Une cellule de code : ses lignes, et sa configuration MyST-NB."""

    line: int
    source: str
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    line: int
    label: str


Part = Passage | Math | Directive | Cell | Target


@cache
def read(path: Path) -> list[Part]:
    """Tout ce que contient une page, dans l'ordre ; le contenu d'une directive la suit."""
    return list(parts(path.read_text(encoding="utf-8")))


def parts(text: str, first: int = 1) -> Iterator[Part]:
    """Découpe un texte MyST dont la première ligne porte le numéro `first`."""
    heading = 0
    for token in _PARSER.parse(text):
        line = first + (token.map[0] if token.map else 0)
        if token.type == "heading_open":
            heading = int(token.tag[1])
        elif token.type == "inline":
            yield from _inline(token, line, heading)
            heading = 0
        elif token.type in ("math_block", "math_block_label", "amsmath"):
            yield Math(line, token.content)
            if token.type == "math_block_label":
                yield Target(line, token.info)
        elif token.type == "myst_target":
            yield Target(line, token.content)
        elif token.type in ("fence", "colon_fence") and (found := _DIRECTIVE.match(token.info)):
            yield from _directive(found[1], found[2].strip(), token.content, line)


def _inline(token: Token, line: int, heading: int) -> Iterator[Part]:
    text, roman, italic = "", "", ""
    depth = 0
    for child in token.children or []:
        depth += {"em_open": 1, "em_close": -1}.get(child.type, 0)
        if child.type == "text":
            piece = child.content
        elif child.type in ("softbreak", "hardbreak"):
            piece = "\n"
        elif child.type == "myst_role":
            piece = _role(child)
        elif child.type in ("math_inline", "math_single"):
            yield Math(line + text.count("\n"), child.content)
            piece = HOLE
        elif child.type in ("code_inline", "image", "html_inline"):
            piece = HOLE
        else:
            piece = " " if child.type == "footnote_ref" else ""
        text += piece
        blank = "\n" if piece == "\n" else " "
        roman, italic = roman + (blank if depth else piece), italic + (piece if depth else blank)
    yield Passage(line, text, roman, italic, heading)


def _role(token: Token) -> str:
    """Ce que le lecteur voit d'un rôle, quand c'est l'auteur qui l'a écrit."""
    if token.meta["name"] == "term":
        return re.sub(r"\s*<.*>$", "", token.content)
    found = re.fullmatch(r"(.*?)\s*<.*>", token.content)
    return found[1] if found and token.meta["name"] in ("ref", "doc") else HOLE


def _plain(text: str, line: int) -> Passage:
    return Passage(line, text, text)


def _directive(name: str, argument: str, content: str, line: int) -> Iterator[Part]:
    options, body, skipped = _options(content)
    if name == "code-cell":
        config = options.get("mystnb", {})
        yield Cell(line, body, config)
        if label := config.get("figure", {}).get("name"):
            yield Target(line, label)
        if alt := config.get("image", {}).get("alt"):
            yield _plain(alt, line)
        yield from parts(config.get("figure", {}).get("caption", ""), line)
        return
    yield Directive(name, argument, options, body, line)
    for key in ("label", "name"):
        if key in options:
            yield Target(line, options[key])
    if _ARGUMENT_IS_PROSE.match(name):
        yield from parts(argument, line)
    if "alt" in options:
        yield _plain(options["alt"], line)
    if name == "math":
        yield Math(line, body)
    elif not _BODY_IS_NOT.match(name):
        yield from parts(body, line + 1 + skipped)


def _options(content: str) -> tuple[dict[str, Any], str, int]:
    """Les options d'une directive, son corps, et le nombre de lignes qui le précèdent."""
    lines = content.split("\n")
    if lines[0].strip() == "---":
        end = lines.index("---", 1)
        return yaml.safe_load("\n".join(lines[1:end])) or {}, "\n".join(lines[end + 1 :]), end + 1
    options: dict[str, Any] = {}
    for count, line in enumerate(lines):
        if not (found := _OPTION.match(line)):
            return options, "\n".join(lines[count:]), count
        options[found[1]] = found[2]
    return options, "", len(lines)

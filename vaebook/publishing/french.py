"""Le français du site : l'interface, la typographie, les termes anglais, la bibliographie et la recherche."""

from __future__ import annotations

import re
import unicodedata
from functools import cached_property
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from pybtex.style.formatting.plain import Style  # type: ignore[import-untyped]
from pybtex.style.template import Node, field, join, optional  # type: ignore[import-untyped]
from sphinx import addnodes
from sphinx.search.fr import SearchFrench

NBSP = "\u00a0"

# Ce que le thème et ses greffons écrivent en anglais, sans passer par une traduction.
INTERFACE = {
    'aria-label="Main"': 'aria-label="Chapitres"',
    'aria-label="Page"': 'aria-label="Sommaire de la page"',
    "Toggle primary sidebar": "Sommaire du livre",
    "Toggle secondary sidebar": "Sommaire de la page",
    'alt="Colab logo"': 'alt=""',
    'alt="Binder logo"': 'alt=""',
    'aria-label="Source repositories"': 'aria-label="Dépôt du livre"',
    "Suggest edit": "Modifier cette page",
    "Ouvrez un problème": "Signaler une erreur",
    "</i> Contenu\n": "</i> Sur cette page\n",
    "Open an issue": "Signaler une erreur",
    "Open issue": "Signaler une erreur",
    ">Repository<": ">Dépôt du livre<",
    "Issue%20on%20page%20%2F": "Erreur%20dans%20la%20page%20",
    "Your%20issue%20content%20here.": "",
    "© Copyright 2026": "© 2026",
    "Par Les auteurs": "Par les auteurs",
}
# Les mêmes, dans les scripts.
SCRIPTS = {
    "togglebutton.js": {"Toggle hidden content": "Afficher ou masquer"},
}

# Un terme en italique qui contient l'un de ces mots est de l'anglais : les lecteurs d'écran le diront ainsi.
_ENGLISH = """
adversarial aggregate analysis ancestral and autoencoder autoencoders baseline batch bottleneck bound box
chain codebook collapse completeness component conditional continuity continuous covering cross decoder
denoising dequantisation disentanglement dropout effective embedding embeddings encoder energy entropy epoch
error evidence explanatory family field flow flows free gap generative gradient ground hierarchical hold
importance information inference jump landing latent learning likelihood logits loss lower marginal mass
matching maximisation maximum mean meta model models mutual network networks normalizing of offset one
overfitting pathwise posterior principal prior probabilistic product proposal quantized rate
reparameterisation reparameterization sample sampling score-function search seeking shortcut size space
squared stick sticking stop straight-through supervised the through tied trick truth underfitting units
variational warm-up weight weighted weights
"""
ENGLISH = frozenset(_ENGLISH.split())

_SPACE = re.compile(r"(?<=\S)[ \n]+(?=[;:!?»%](?![\w/=]))|^[ \n]+(?=[;:!?»%](?!\w))|(?<=«)[ \n]+")
_CLOSING = re.compile(rf"{NBSP}?[;:!?»,.)]+")
_MISSING = re.compile(r"(?:(?<=[^\W\d_])|(?<=[»)]))(?=[;:!?](?:\s|$))|(?<=«)(?=\w)|(?<=[\w.…!?)])(?=»)")


def spaced(text: str) -> str:
    """Le texte, ses espaces insécables mises là où l'auteur les a oubliées.

    >>> spaced("« Oui » : non!").replace(NBSP, "_")
    '«_Oui_»_: non_!'
    """
    return _MISSING.sub(NBSP, _SPACE.sub(NBSP, text))


def set_spaces(document: nodes.document) -> None:
    """Met les espaces insécables d'une page, hors des formules, du code, des adresses et de l'anglais."""
    for text in list(document.findall(nodes.Text)):
        if not _is_apart(text):
            changed = spaced(text.astext())
            if changed != text.astext():
                _replace(text, [nodes.Text(changed)])


def mark_english(document: nodes.document) -> None:
    """Dit la langue des termes anglais mis en italique."""
    for node in list(document.findall(nodes.emphasis)):
        if not _is_apart(node) and is_english(node.astext()):
            opening, closing = _tag('<span lang="en">')
            _replace(node, [opening, node, closing])


def keep_together(document: nodes.document) -> None:
    """Empêche que la ponctuation qui suit une formule passe seule à la ligne."""
    for math in list(document.findall(nodes.math)):
        after = math.next_node(descend=False, siblings=True)
        if not (isinstance(after, nodes.Text) and (found := _CLOSING.match(after))):
            continue
        opening, closing = _tag('<span class="ensemble">')
        _replace(after, [nodes.Text(found[0]), closing, nodes.Text(after[found.end() :])])
        _replace(math, [opening, math])


def is_english(term: str) -> bool:
    """Vrai si un terme en italique contient un mot qui n'est qu'anglais."""
    words = re.split(r"[\s,]+", term.lower())
    return any(word in ENGLISH or set(word.split("-")) & ENGLISH for word in words)


def _replace(old: nodes.Node, new: list[nodes.Node]) -> None:
    """Remplace ce nœud-là ; docutils remplacerait le premier qui lui est égal, un autre « , » par exemple."""
    siblings = old.parent
    rank = next(rank for rank, child in enumerate(siblings.children) if child is old)
    siblings[rank : rank + 1] = new


def _tag(opening: str) -> tuple[nodes.raw, nodes.raw]:
    return nodes.raw("", opening, format="html"), nodes.raw("", "</span>", format="html")


def _is_apart(node: Any) -> bool:
    apart = (nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.raw, nodes.citation)
    while node := node.parent:
        if isinstance(
            node, (*apart, addnodes.literal_emphasis, addnodes.desc_signature)
        ) or "bibtex-entry" in node.get("classes", []):
            return True
        if isinstance(node, nodes.reference) and node.astext() == node.get("refuri"):
            return True
    return False


class FrenchSearch(SearchFrench):
    """La recherche : des racines françaises, sans accents, et les mots composés aussi en un seul mot."""

    lang = "fr"
    js_splitter_code = """
var fold = (word) => word.normalize("NFD").replace(/\\p{Mn}/gu, "");
Stemmer = function () {
  const stemmer = new FrenchStemmer();
  this.stemWord = (word) => stemmer.stemWord(fold(word));
};
"""

    def split(self, input: str) -> list[str]:
        compounds = re.findall(r"\w+(?:-\w+)+", input)
        return [*super().split(input), *(word.replace("-", "") for word in compounds)]

    def stem(self, word: str) -> str:
        # Les mots reviennent sans cesse, et leur racine coûtait un dixième de la construction.
        if (root := self._roots.get(word)) is None:
            root = self._roots[word] = super().stem(fold(word.lower()))
        return root

    @cached_property
    def _roots(self) -> dict[str, str]:
        return {}


def fold(word: str) -> str:
    """Le mot sans ses accents."""
    letters = unicodedata.normalize("NFD", word)
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


_BIBLIOGRAPHY = {
    "In": "Dans",
    "in": "dans",
    "of": "de",
    "pages": "p.",
    "chapter": "chap.",
    "editor": "éd.",
    "editors": "éd.",
    "Volume": "Volume",
    "Number": "Numéro",
    "number": "numéro",
    "PhD thesis": "Thèse de doctorat",
    "Master's thesis": "Mémoire de master",
    "Technical Report": "Rapport technique",
    "URL:": "Adresse :",
    " and ": " et ",
    ", and ": " et ",
}


class FrenchPlain(Style):  # type: ignore[misc]
    """Le style « plain » de BibTeX, dont les mots fixes sont français ; les titres gardent leur langue."""

    def format_edition(self, e: Any) -> Any:
        return optional[join[field("edition"), "ᵉ édition"]]

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if not re.fullmatch(r"get_\w+_template", name):
            return found

        def template(entry: Any) -> Any:
            return _translated(found(entry))

        return template


def _translated(part: Any) -> Any:
    """Un gabarit de pybtex, ses mots fixes traduits."""
    if isinstance(part, str):
        return _BIBLIOGRAPHY.get(part, part)
    if isinstance(part, Node) and part.name != "field" and part.name != "tag":
        part.children = [_translated(child) for child in part.children]
        part.kwargs = {key: _translated(value) for key, value in part.kwargs.items()}
    return part

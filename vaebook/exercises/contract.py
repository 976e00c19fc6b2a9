"""Ce qu'est un exercice, une faute et un verdict. Aucun d'eux ne charge torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# Trois indices, du plus vague au plus précis.
Hints = tuple[str, str, str]


@dataclass(frozen=True)
class Mistake:
    """Une réponse fausse, mais plausible, que l'on reconnaît à ce qu'elle rend.

    Paramètres :
        answer : la fonction fautive, appelée comme celle du lecteur.
        hints : trois indices, du plus vague à presque la réponse.
        key : ce qui la distingue d'un essai à l'autre ; le premier indice, s'il n'est pas donné.
    """

    answer: Callable[..., Any]
    hints: Hints
    key: str = ""


@dataclass(frozen=True)
class Exercise:
    """Un exercice que `check` sait corriger.

    Paramètres :
        name : son nom pour `check`, unique dans le livre.
        label : l'étiquette de l'énoncé dans la page.
        signature : ce que le lecteur écrit, par exemple ``kl(mu, logvar)`` ; vide, la réponse est un nombre.
        cases : d'un générateur de torch à une liste de tuples d'arguments, petits, en double précision, et
            de tailles diverses : une somme prise pour une moyenne ou sur le mauvais axe doit se voir.
        expected : la référence, appelée sur les mêmes arguments ; sans argument, si la réponse est un nombre.
        mistakes : les fautes reconnues, outre celles qui le sont pour tout exercice (signe, facteur 2…).
        tol : l'écart admis, relatif et absolu.
        gradient : comparer aussi les gradients de la réponse en chaque argument réel.
    """

    name: str
    label: str
    signature: str
    expected: Callable[..., Any]
    mistakes: tuple[Mistake, ...]
    cases: Callable[[torch.Generator], Sequence[tuple[Any, ...]]] = lambda generator: [()]
    tol: float = 1e-6
    gradient: bool = False

    @property
    def is_number(self) -> bool:
        """La réponse est un nombre, et non une fonction."""
        return not self.signature

    @property
    def arguments(self) -> tuple[str, ...]:
        """Les noms des arguments, d'après la signature."""
        inside = self.signature.partition("(")[2].rstrip(")")
        return tuple(part.strip() for part in inside.split(",") if part.strip())


@dataclass
class Verdict:
    """Ce que `check` répond : vrai si la réponse est juste, et le texte qui l'explique.

    Un carnet l'affiche en Markdown ; ailleurs, ``print`` suffit. Le verdict est dit en toutes lettres, sans
    couleur ni pictogramme : un lecteur d'écran le lit comme les autres.

    Paramètres :
        right : la réponse est juste.
        text : les paragraphes, en Markdown ; le premier dit le verdict.
        mistake : la faute reconnue, ou rien.
        hint : l'indice donné, ou rien.
        rank : le rang de l'indice, de 1 à 3 ; 0 s'il n'est pas gradué.
    """

    right: bool
    text: tuple[str, ...]
    mistake: Mistake | None = None
    hint: str = ""
    rank: int = 0
    _cell: object = field(default=None, repr=False, compare=False)

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"<Verdict : {'juste' if self.right else 'pas encore'}>"

    def __str__(self) -> str:
        return re.sub(r"\*\*(.+?)\*\*|`([^`]+)`", r"\1\2", "\n".join(self._paragraphs()))

    def _repr_markdown_(self) -> str:
        return "\n\n".join(self._paragraphs())

    def _paragraphs(self) -> list[str]:
        parts = list(self.text)
        if self.hint:
            parts.append(f"**Indice{f' {self.rank} sur 3' if self.rank else ''} :** {self.hint}")
        return [typeset(part) for part in parts]

    def _ipython_display_(self) -> None:
        # Déjà montré par `check` : la dernière ligne d'une cellule ne le montre pas deux fois.
        if self._cell is None or self._cell != _cell_number():
            self._show()

    def show(self) -> None:
        """Affiche le verdict, dans un carnet ou dans un terminal."""
        self._cell = _cell_number()
        self._show()

    def _show(self) -> None:
        if _cell_number() is None:
            print(self)
            return
        from IPython.display import display

        display({"text/markdown": self._repr_markdown_(), "text/plain": str(self)}, raw=True)


def typeset(text: str) -> str:
    """Le texte avec les espaces insécables et les apostrophes du français, hors du code."""
    pieces = re.split(r"(`[^`]*`)", text)
    for rank in range(0, len(pieces), 2):
        pieces[rank] = re.sub(r" (?=[:;!?%»])|(?<=«) ", "\u00a0", pieces[rank].replace("'", "’"))
    return "".join(pieces)


def _cell_number() -> int | None:
    """Le numéro de la cellule qui s'exécute ; rien hors d'un carnet."""
    import sys

    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell.execution_count if shell is not None and hasattr(shell, "kernel") else None

"""Les nombres que la prose cite : calculés par une cellule, affichés dans le texte par MyST-NB."""

from __future__ import annotations

from typing import SupportsFloat

_FRENCH = str.maketrans({".": ",", ",": "\u202f", "-": "−"})
_EXPONENT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def french(value: SupportsFloat, spec: str = ".1f") -> str:
    """Écrit un nombre à la française : virgule décimale, espace fine entre les milliers, puissances de dix.

    Paramètres :
        value : un nombre, ou un tenseur d’un seul élément.
        spec : le format de Python, `".1f"`, `",.0f"`, `"+.2f"`…

    >>> french(-1234.56, ",.1f")
    '−1\u202f234,6'
    """
    mantissa, _, exponent = format(float(value), spec).partition("e")
    power = f"\u00a0×\u00a010{str(int(exponent)).translate(_EXPONENT)}" if exponent else ""
    return mantissa.translate(_FRENCH) + power


def glue(name: str, value: SupportsFloat | str, spec: str = ".1f") -> None:
    """Range une valeur sous un nom, pour le rôle `glue:text` de la prose ; n’affiche rien.

    Écrit elle-même la métadonnée que MyST-NB relit dans les sorties : un noyau sans `myst_nb` suffit.

    Paramètres :
        name : le nom cité dans la prose, unique dans le chapitre.
        value : un nombre, mis en forme par `french`, ou un texte laissé tel quel.
        spec : le format d’un nombre.
    """
    from IPython.display import display

    prefix = "application/papermill.record/"
    text = value if isinstance(value, str) else french(value, spec)
    scrapbook = {"name": name, "mime_prefix": prefix, "has_data": True}
    # MyST-NB relit ce texte comme un littéral Python : sans guillemets, « 1,0 » y serait un couple.
    display({f"{prefix}text/plain": repr(text)}, raw=True, metadata={"scrapbook": scrapbook})

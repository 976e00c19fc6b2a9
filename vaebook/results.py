"""Les résultats des longues expériences, mesurés une fois par un script et conservés.

Ils accompagnent le paquet : dans ``book/results/`` d'une copie du dépôt, ou dans le paquet installé.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# Une copie du dépôt d'abord ; installé par pip, le paquet les contient (voir pyproject.toml).
_PACKAGE = Path(__file__).parent
_FOLDERS = (_PACKAGE.parent / "book" / "results", _PACKAGE / "_results")


def load(name: str) -> dict[str, Any]:
    """Lit les résultats d'une longue expérience.

    Paramètres :
        name : le nom du fichier, `"balayage.json"` ; écrit en toutes lettres dans une cellule, il fait
            dépendre le chapitre de ces résultats.

    Renvoie :
        Ce que l'expérience a mesuré : un dictionnaire de nombres, de textes et de listes.

    Lève :
        FileNotFoundError : si aucun résultat ne porte ce nom.
        ValueError : si le fichier est tronqué, ou n'est pas celui d'une expérience.
    """
    folder = next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])
    path = folder / name
    if not path.is_file():
        known = ", ".join(f"« {found.name} »" for found in sorted(folder.glob("*.json"))) or "aucun"
        raise FileNotFoundError(
            f"Pas de résultats « {name} ». Ceux qui existent : {known}. Pour les mesurer, dans une copie du "
            f"dépôt : python -m vaebook.publishing experiment {Path(name).stem}"
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"Les résultats « {name} » sont tronqués ou ne viennent pas d'une expérience ({error}). "
            "Reprenez le fichier du dépôt, ou refaites l'expérience."
        ) from error
    if not isinstance(data, dict):
        raise ValueError(f"Les résultats « {name} » ne sont pas un dictionnaire : refaites l'expérience.")
    return data

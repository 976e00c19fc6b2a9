"""Le mode rapide : ``VAEBOOK_QUICK=1`` fait tourner un chapitre en une minute, sur l'échantillon livré.

Il sert aux essais. Ses nombres ne sont pas ceux du livre ; jamais il ne réduit quelque chose sans le dire.
"""

import os


def enabled() -> bool:
    """Vrai si la variable d'environnement ``VAEBOOK_QUICK`` le demande."""
    return os.environ.get("VAEBOOK_QUICK", "0") not in ("", "0")


def notice(what: str) -> None:
    """Dit ce que le mode rapide réduit."""
    print(f"Mode rapide (VAEBOOK_QUICK) : {what}.")

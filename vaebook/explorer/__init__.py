"""Les panneaux que l'on manie dans la page : ce qu'ils ont en commun.

Une cellule les affiche : ils sont donc stockés avec les sorties, et marchent dans le livre, dans Colab et
dans JupyterLab, sans serveur ni bibliothèque. Du HTML, du JavaScript et des nombres, dans une racine d'ombre
où les styles de la page n'entrent pas. Sans JavaScript, et dans le PDF, il reste une image.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from abc import ABC, abstractmethod
from functools import cache
from importlib import resources
from typing import Any


class Panel(ABC):
    """Un objet qu'une cellule affiche : du HTML qui se manie, et une image qui le remplace.

    Une classe fille donne `script`, le fichier JavaScript dont la fonction `build` remplit le panneau, et les
    trois méthodes.
    """

    script: str

    @abstractmethod
    def data(self) -> dict[str, Any]:
        """Ce que reçoit le script, prêt pour du JSON."""

    @abstractmethod
    def png(self) -> bytes:
        """L'image qui remplace le panneau là où aucun script ne tourne."""

    @abstractmethod
    def alternative(self) -> str:
        """Ce que montre cette image, en une phrase."""

    def html(self) -> str:
        """Le panneau entier, sans aucune adresse extérieure ; le même à chaque appel."""
        # « </ » fermerait l'élément script.
        data = json.dumps(self.data(), ensure_ascii=False, sort_keys=True).replace("</", r"<\/")
        program = f"{_read('common.js')}\n{_read(self.script)}"
        identity = hashlib.sha256(f"{program}{data}".encode()).hexdigest()[:12]
        source = f"data:image/png;base64,{_base64(self.png())}"
        # Le second attribut demande à JupyterLab de laisser au panneau les touches qu'on y frappe.
        return (
            f'<div data-vaebook="{identity}" data-lm-suppress-shortcuts="true">'
            f'<img src="{source}" alt="{html.escape(self.alternative())}"></div>\n'
            f'<script>\n(() => {{\n"use strict";\n{program}\n'
            f'mount("{identity}", {json.dumps(_read("panel.css"))}, {data}, build);\n}})();\n</script>'
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {
            "text/html": self.html(),
            "image/png": _base64(self.png()),
            "text/plain": self.alternative(),
        }


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


@cache
def _read(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")

"""L'adresse du dépôt, écrite dans ``pyproject.toml`` seulement, et les adresses qui en découlent."""

from __future__ import annotations

import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from vaebook.publishing.chapters import PublishingError

BRANCH = "main"
_GITHUB = re.compile(
    r"(?:https?://(?:[^@/]+@)?github\.com/|(?:ssh://)?git@github\.com[:/])([\w.-]+)/([\w.-]+?)(?:\.git)?/?$"
)


@dataclass(frozen=True)
class Repository:
    """Un dépôt GitHub."""

    owner: str
    name: str

    @classmethod
    def declared(cls, root: Path) -> Self:
        """Le dépôt que nomme ``pyproject.toml``.

        Lève :
            PublishingError : si ce n'est pas une adresse de GitHub.
        """
        address = project(root)["urls"]["Repository"]
        if not (found := _GITHUB.match(address)):
            raise PublishingError(f"pyproject.toml : « {address} » n'est pas l'adresse d'un dépôt de GitHub.")
        return cls(*found.groups())

    @classmethod
    def of_checkout(cls, root: Path) -> Self:
        """Le dépôt d'où vient cette copie, si c'est GitHub (un « fork », par exemple) ; sinon, le déclaré."""
        command = ["git", "-C", str(root), "config", "--local", "remote.origin.url"]
        try:
            origin = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return cls.declared(root)
        found = _GITHUB.match(origin)
        return cls(*found.groups()) if found else cls.declared(root)

    @property
    def url(self) -> str:
        return f"https://github.com/{self.owner}/{self.name}"

    @property
    def site(self) -> str:
        """L'adresse du livre publié, terminée par une barre oblique."""
        home = f"{self.owner.lower()}.github.io"
        return f"https://{home}/" if self.name.lower() == home else f"https://{home}/{self.name}/"

    def colab(self, path: str) -> str:
        """L'adresse qui ouvre dans Colab un carnet du dépôt."""
        return f"https://colab.research.google.com/github/{self.owner}/{self.name}/blob/{BRANCH}/{path}"

    def binder(self, path: str) -> str:
        """L'adresse qui ouvre dans JupyterLab, sur Binder, un carnet du dépôt."""
        return f"https://mybinder.org/v2/gh/{self.owner}/{self.name}/{BRANCH}?urlpath=lab/tree/{path}"


def project(root: Path) -> dict[str, Any]:
    """La table ``[project]`` de ``pyproject.toml``.

    Lève :
        PublishingError : si le fichier est absent ou illisible.
    """
    path = root / "pyproject.toml"
    try:
        found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise PublishingError(f"{path} est absent ou illisible : {error}") from error
    return found

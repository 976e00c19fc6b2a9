"""Ce que partagent tous les tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: construit le livre entier ou entraîne un modèle")


@pytest.fixture(scope="session")
def root() -> Path:
    """La racine du dépôt."""
    return ROOT


@pytest.fixture(scope="session")
def require() -> Callable[[str], str]:
    """Renvoie le chemin d'un outil ; absent, il fait échouer le test sous CI et le fait passer ailleurs."""

    def find(tool: str) -> str:
        if path := shutil.which(tool):
            return path
        message = f"l'outil « {tool} » manque sur cette machine"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)

    return find

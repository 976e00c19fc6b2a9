"""Un navigateur sans fenêtre, le même pour tous les essais."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from walk import ARGUMENTS


@pytest.fixture(scope="session")
def chromium(require: Callable[[str], str]) -> Iterator[Any]:
    """Chromium, conduit par playwright ; sans lui, les tests sont sautés, et échouent sous CI."""
    executable = require("chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright n’est pas installé")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe(npm: Callable[[str], Path]) -> str:
    """Le script d'axe-core, qui examine l'accessibilité d'une page."""
    return npm("axe-core/axe.min.js").read_text(encoding="utf-8")

"""Ce que partagent tous les tests."""

from __future__ import annotations

import os
import shutil
import subprocess
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
def whole(
    tmp_path_factory: pytest.TempPathFactory, require: Callable[[str], str]
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Le vrai livre, construit dans un clone : son dossier, et ce qu'a dit la construction."""
    from tiny import build, git

    require("git")
    clone = tmp_path_factory.mktemp("entier") / "clone"
    for name in git(ROOT, "ls-files", "-co", "--exclude-standard").splitlines():
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    git(clone, "init", "-q")
    git(clone, "add", ".")
    git(clone, "commit", "-qm", "essai")
    return clone, build(clone, PYTHONPATH=str(clone))


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest) -> Path:
    """Le site construit ; `VAEBOOK_SITE` donne un site déjà construit."""
    if built := os.environ.get("VAEBOOK_SITE"):
        return Path(built).resolve()
    clone, done = request.getfixturevalue("whole")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return Path(clone) / "_build" / "html"


@pytest.fixture(scope="session")
def npm() -> Callable[[str], Path]:
    """Renvoie un fichier d'un paquet npm que `.ci/run` installe ; absent, comme pour un outil."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "vaebook" / "npm"

    def find(path: str) -> Path:
        found = cache / "node_modules" / path
        if found.exists():
            return found
        return Path(missing(f"« {path} » manque : installez-le par npm, comme .ci/run"))

    return find


def missing(message: str) -> str:
    """Fait échouer le test sous CI ; ailleurs, le fait passer, avec la raison."""
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def require() -> Callable[[str], str]:
    """Renvoie le chemin d'un outil ; absent, il fait échouer le test sous CI et le fait passer ailleurs."""

    def find(tool: str) -> str:
        if path := shutil.which(tool):
            return path
        return missing(f"l'outil « {tool} » manque sur cette machine")

    return find

"""Binder : ce que repo2docker lira, et les dépendances qu'il installera."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

# Le nom que conda-forge donne à un paquet, quand ce n'est pas celui de pyproject.toml.
CONDA = {"matplotlib-base": "matplotlib", "pytorch-cpu": "torch"}


def environment(root) -> dict[str, Requirement]:
    content = yaml.safe_load((root / ".binder/environment.yml").read_text(encoding="utf-8"))
    assert content["channels"] == ["conda-forge"]
    found = [Requirement(line.replace("python=", "python==")) for line in content["dependencies"]]
    return {CONDA.get(one.name, one.name): one for one in found}


def test_the_environment_is_that_of_the_package(root):
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {one.name: one.specifier for one in map(Requirement, project["dependencies"])}
    found = {name: one.specifier for name, one in environment(root).items()}
    [python] = found.pop("python")
    assert python.version in Requirement(f"python{project['requires-python']}").specifier
    assert found.pop("ipykernel")
    assert found == wanted


def test_the_lock_fits_the_environment(root):
    lines = (root / "requirements.lock").read_text(encoding="utf-8").splitlines()
    locked = {one.name: one for one in map(Requirement, lines)}
    for name, wanted in environment(root).items():
        if name != "python":
            [version] = locked[name].specifier
            assert version.version in wanted.specifier, name


def test_the_package_is_installed_after_it(root):
    script = root / ".binder/postBuild"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    assert re.search(
        r"pip install --no-deps --editable \.$", script.read_text(encoding="utf-8"), re.MULTILINE
    )


@pytest.mark.slow
@pytest.mark.skipif("CI" not in os.environ, reason="demande le réseau ; la vérification continue le fait")
def test_the_locked_set_resolves_from_nothing(root):
    wanted = [f"{name}{one.specifier}" for name, one in environment(root).items() if name != "python"]
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    done = subprocess.run(
        [*pip, "--constraint", root / "requirements.lock", *wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

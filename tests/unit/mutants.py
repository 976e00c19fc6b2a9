"""Lance, pour chaque faute plantée, les tests qui doivent la voir.

Programme à part : il charge torch une fois, puis se dédouble (fork) pour chaque faute, avec une copie fautive
du paquet. Il écrit en JSON le code de retour de pytest pour chacune : 1 veut dire que des tests ont échoué.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import hypothesis  # noqa: F401
import pytest
import scipy.integrate
import scipy.stats  # noqa: F401
import torch

ROOT = Path(__file__).resolve().parents[2]


def run_tests_on_mutant(file: str, before: str, after: str, tests: list[str]) -> int:
    """Le code de retour de pytest, le paquet étant copié avec `before` remplacé par `after` dans `file`."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "vaebook", Path(folder) / "vaebook")
        mutated = Path(folder) / "vaebook" / file
        source = mutated.read_text()
        if source.count(before) != 1:
            raise SystemExit(f"{file} contient {source.count(before)} fois : {before}")
        mutated.write_text(source.replace(before, after))
        child = os.fork()
        if child == 0:
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            sys.path.insert(0, folder)
            import vaebook

            if not vaebook.__file__.startswith(folder):
                os._exit(99)
            arguments = ["-x", "-q", "-p", "no:cacheprovider", "--no-cov", *(str(ROOT / t) for t in tests)]
            os._exit(int(pytest.main(arguments)))
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.chdir(ROOT)
    print(json.dumps([run_tests_on_mutant(*mutant) for mutant in json.load(sys.stdin)]))

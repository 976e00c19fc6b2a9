"""Lance, pour chaque faute plantée, les tests qui doivent la voir ; et ces mêmes tests, sans faute.

Programme à part : il charge torch et les bibliothèques des tests une fois, puis se dédouble (fork) pour
chaque faute, un processus par cœur, devant un paquet où une seule ligne change. Il lit les fautes en JSON, et
écrit en JSON, pour chacune, le code de retour de pytest (1 : des tests ont échoué), puis la liste des tests
qui passent sans faute.
"""

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import hypothesis  # noqa: F401
import pytest
import pytest_cov.plugin  # noqa: F401
import safetensors.torch  # noqa: F401
import scipy.integrate
import scipy.stats  # noqa: F401
import torch
import tqdm.auto  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "vaebook"


class Outcomes:
    """Retient, au fil de pytest, quels tests passent : un test paramétré passe si tous ses cas passent."""

    def __init__(self) -> None:
        self.passed: dict[str, bool] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or not report.passed:
            name = report.nodeid.partition("[")[0]
            self.passed[name] = self.passed.get(name, True) and report.passed


@contextlib.contextmanager
def package(file: str = "", before: str = "", after: str = "") -> Iterator[str]:
    """Un dossier qui contient le paquet, `before` remplacé par `after` dans `file` ; le reste en liens."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "vaebook"
        copy.mkdir()
        for entry in PACKAGE.iterdir():
            if entry.name not in (file, "__pycache__"):
                (copy / entry.name).symlink_to(entry)
        if file:
            source = (PACKAGE / file).read_text(encoding="utf-8")
            if source.count(before) != 1:
                raise SystemExit(f"{file} contient {source.count(before)} fois : {before}")
            (copy / file).write_text(source.replace(before, after), encoding="utf-8")
        yield folder


def run(folder: str, tests: Sequence[str], *options: str, plugin: object = None) -> int:
    """Dans un processus enfant : le code de retour de pytest, le paquet étant celui du dossier."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    sys.path.insert(0, folder)
    import vaebook

    if not vaebook.__file__.startswith(folder):
        return 99
    named = [str(ROOT / test) for test in tests]
    plugins = [] if plugin is None else [plugin]
    return int(pytest.main([*options, "-q", "-p", "no:cacheprovider", "--no-cov", *named], plugins))


def in_children(jobs: Sequence[Callable[[], int]]) -> list[int]:
    """Les codes de retour de tâches lancées chacune dans un processus enfant, un par cœur à la fois."""
    codes = [-1] * len(jobs)
    running: dict[int, int] = {}

    def wait() -> None:
        child, status = os.wait()
        codes[running.pop(child)] = os.waitstatus_to_exitcode(status)

    for number, job in enumerate(jobs):
        if len(running) >= (os.cpu_count() or 1):
            wait()
        child = os.fork()
        if child == 0:
            try:
                os._exit(job())
            finally:
                os._exit(98)
        running[child] = number
    while running:
        wait()
    return codes


def main() -> None:
    torch.set_num_threads(1)
    torch.testing.assert_close(torch.zeros(1), torch.zeros(1))  # le premier appel charge sympy
    os.chdir(ROOT)
    mutants = json.load(sys.stdin)
    tests = sorted({test for *_, named in mutants for test in named})
    with contextlib.ExitStack() as stack:
        report = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "outcomes.json"
        sound = stack.enter_context(package())

        def control() -> int:
            outcomes = Outcomes()
            code = run(sound, tests, plugin=outcomes)
            report.write_text(json.dumps(outcomes.passed), encoding="utf-8")
            return code

        def planted(file: str, before: str, after: str, named: list[str]) -> Callable[[], int]:
            folder = stack.enter_context(package(file, before, after))
            return lambda: run(folder, named, "-x")

        codes = in_children([control, *(planted(*mutant) for mutant in mutants)])
        passed = json.loads(report.read_text(encoding="utf-8"))
    print(json.dumps({"codes": codes[1:], "passed": [test for test in tests if passed.get(test)]}))


if __name__ == "__main__":
    main()

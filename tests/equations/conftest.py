"""Le marqueur ``equation``, les tirages, et le compte que pytest donne à la fin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sides import SEEDS, Draw, float64

from vaebook.publishing.chapters import Book
from vaebook.publishing.equations import Ledger

# Pour chaque étiquette : le nombre de ses mutants, et de ceux que son test a vus.
COUNTS = pytest.StashKey[dict[str, tuple[int, int]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "equation(label, ..., equivalent={}): évalue les deux membres d'une équation du livre"
    )
    config.stash[COUNTS] = {}


@pytest.fixture(params=SEEDS)
def draw(request: pytest.FixtureRequest) -> Iterator[Draw]:
    """Des entrées au hasard ; le test passe une fois par graine, en float64."""
    with float64(request.param):
        yield Draw(request.param)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ledger = Ledger(Book(Path(__file__).resolve().parents[2]))
    bound = sum(ledger.bound(equation) is not None for equation in ledger.equations)
    line = f"équations : {len(ledger.equations)} étiquetées, {bound} liées"
    if counts := config.stash[COUNTS]:
        caught = sum(mutants > 0 and mutants == seen for mutants, seen in counts.values())
        mutants, seen = map(sum, zip(*counts.values(), strict=True))
        line += f", {caught} dont le test a vu toutes les fautes plantées ({seen} sur {mutants})"
    terminalreporter.write_line(line)

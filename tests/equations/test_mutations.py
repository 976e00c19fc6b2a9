"""Les tests d'équations voient les fautes : un signe, un facteur, un indice changés à droite.

`pytest tests/equations/test_mutations.py -k <fichier ou fonction> -s` montre les mutants d'un test.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
from mutate import error, try_all
from sides import SEEDS, Draw, at_most, same

from vaebook.publishing.chapters import Book
from vaebook.publishing.equations import Ledger, Place

from .conftest import COUNTS

LEDGER = Ledger(Book(Path(__file__).resolve().parents[2]))
LABELS: dict[Place, list[str]] = {}
for _label, _places in LEDGER.tests.items():
    for _place in _places:
        LABELS.setdefault(_place, []).append(_label)


def load(place: Place) -> tuple[Callable[[Draw], None], dict[str, str]]:
    """Le test, et les mutants qu'il déclare équivalents."""
    test = getattr(importlib.import_module(f"{__package__}.{Path(place.path).stem}"), place.name)
    marks = [mark for mark in test.pytestmark if mark.name == "equation"]
    return test, {name: why for mark in marks for name, why in mark.kwargs.get("equivalent", {}).items()}


@pytest.mark.parametrize("place", LABELS, ids=lambda place: f"{Path(place.path).stem}::{place.name}")
def test_every_mutant_is_caught(place: Place, request: pytest.FixtureRequest) -> None:
    test, equivalent = load(place)
    for seed in SEEDS:
        assert error(test, seed) is None, f"le test lui-même échoue, graine {seed} : {error(test, seed)}"
    report = try_all(test, equivalent)
    counts = request.config.stash[COUNTS]
    for label in LABELS[place]:
        mutants, caught = counts.get(label, (0, 0))
        counts[label] = mutants + len(report.mutants), caught + report.caught
        print(f"{label} : {len(report.mutants)} mutants, {report.caught} vus")
    print(*report.mutants, sep="\n")
    assert not report.survivors, "non vus :\n" + "\n".join(report.survivors)
    assert not report.idle, "déclarés équivalents sans l'être :\n" + "\n".join(report.idle)
    assert all(why.strip() for why in equivalent.values()), "un équivalent est sans raison"
    kinds = {binding.kind for label in LABELS[place] if (binding := LEDGER.bindings.get(label))}
    assert report.mutants or kinds == {"définition"}, "rien à changer : ni « right », ni « at_most »"


# Ce que le changement automatique sait faire, et ce qu'il refuse.


def good(draw: Draw) -> None:
    a, b, c = draw.positive(3), draw.positive(3), draw.normal(3, 4)
    left = a.square() + a * b - c.sum(1) / 2
    right = a * (a + b) - 0.5 * c.sum(-1)
    same(left, right)
    at_most(a, a + b)


def weak(draw: Draw) -> None:
    a, b = draw.positive(3), draw.positive(3)
    left = (a + b) * 0
    right = (a - b) * 0
    same(left, right)


def kl_like(p: float, q: float) -> float:
    return p / q


def swapped(draw: Draw) -> None:
    a, b = draw.positive(3), draw.positive(3)
    right_2 = kl_like(a, b)
    same(a / b, right_2)


def pair(draw: Draw) -> None:
    right, left = draw.normal(3), draw.normal(3)
    same(left, right)


def test_every_kind_of_mistake_is_planted() -> None:
    report = try_all(good)
    assert not report.survivors
    assert report.mutants == [
        "right: a * (a + b) - 0.5 * c.sum(-1) → a * (a + b) + 0.5 * c.sum(-1)",
        "right: a * (a + b) → a / (a + b)",
        "right: 0.5 * c.sum(-1) → 0.5 / c.sum(-1)",
        "right: a + b → a - b",
        "right: 0.5 → 1.0",
        "right: -1 → -2",
        "right: opposé",
        "right: doublé",
        "at_most(a, a + b) → at_most(a + b, a)",
    ]


def test_the_arguments_of_a_divergence_are_swapped() -> None:
    report = try_all(swapped)
    assert report.mutants[0] == "right_2: kl_like(a, b) → kl_like(b, a)"
    assert not report.survivors


def test_a_test_that_sees_nothing_is_denounced() -> None:
    survivors = ["right: (a - b) * 0 → (a - b) / 0", "right: a - b → a + b", "right: opposé", "right: doublé"]
    report = try_all(weak)
    assert report.survivors == survivors[1:]
    assert report.caught == 2


def test_an_equivalent_mutant_is_declared_and_an_idle_declaration_refused() -> None:
    report = try_all(
        weak, {"right: opposé": "zéro", "right: a - b → b - a": "n'existe pas", "right: 0 → 1": "vu"}
    )
    assert "right: opposé" not in report.mutants
    assert report.idle == ["right: a - b → b - a", "right: 0 → 1"]


def test_a_right_side_is_assigned_alone() -> None:
    with pytest.raises(AssertionError, match="séparément"):
        try_all(pair)


@pytest.mark.parametrize(
    ("left", "right"),
    [(1.0, 1.0 + 1e-8), ([1.0], 1.0), (float("nan"), float("nan")), (float("inf"), float("inf"))],
)
def test_same_refuses(left: object, right: object) -> None:
    with pytest.raises(AssertionError):
        same(left, right)


@pytest.mark.parametrize(("smaller", "larger"), [([1.0, 3.0], [2.0, 2.0]), ([1.0, 2.0], [1.0, 2.0])])
def test_at_most_refuses(smaller: object, larger: object) -> None:
    with pytest.raises(AssertionError):
        at_most(smaller, larger)


def test_inequality_may_be_an_equality_somewhere() -> None:
    at_most([1.0, 2.0], [1.0, 3.0])

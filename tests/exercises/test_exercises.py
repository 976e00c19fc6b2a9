"""Les exercices qui se corrigent : chaque solution est acceptée, chaque faute reconnue, rien ne lève."""

from __future__ import annotations

import importlib.util
import math
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy
import pytest
import torch

from vaebook import exercises as package
from vaebook.exercises import Exercise, Mistake, Verdict, causes, check, exercises, judging
from vaebook.exercises.contract import typeset

ROOT = Path(__file__).resolve().parents[2]
SOLUTIONS = Path(__file__).with_name("solutions")
CHAPTERS = sorted(
    path.stem
    for path in (ROOT / "book").glob("*.md")
    if path.stem != "index" and "{exercise}" in path.read_text(encoding="utf-8")
)
EXERCISES = list(exercises().values())
FUNCTIONS = [exercise for exercise in EXERCISES if not exercise.is_number]
NUMBERS = [exercise for exercise in EXERCISES if exercise.is_number]
MISTAKES = [
    pytest.param(exercise, mistake, id=f"{exercise.name}-{rank}")
    for exercise in EXERCISES
    for rank, mistake in enumerate(exercise.mistakes)
]

every = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
functions = pytest.mark.parametrize("exercise", FUNCTIONS, ids=lambda exercise: exercise.name)
numbers = pytest.mark.parametrize("exercise", NUMBERS, ids=lambda exercise: exercise.name)


@pytest.fixture(autouse=True)
def no_memory() -> Iterator[None]:
    """Aucune faute n'a encore été faite."""
    package._made.clear()
    yield
    package._made.clear()


def chapter_of(exercise: Exercise) -> str:
    """Le chapitre d'un exercice : celui dont le module le définit."""
    [chapter] = [
        chapter
        for chapter in CHAPTERS
        if exercise in getattr(sys.modules.get(f"vaebook.exercises._{chapter}"), "EXERCISES", ())
    ]
    return chapter


def solutions(chapter: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"solutions_{chapter}", SOLUTIONS / f"{chapter}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def solution(exercise: Exercise) -> Callable[..., Any]:
    return getattr(solutions(chapter_of(exercise)), exercise.signature.partition("(")[0])


def answer_of(exercise: Exercise, function: Callable[..., Any]) -> Any:
    """La réponse qu'un lecteur donnerait : la fonction, ou le nombre qu'elle rend."""
    return function() if exercise.is_number else function


# Chaque exercice du livre


@functions
def test_the_solution_is_accepted(exercise: Exercise) -> None:
    for _ in range(3):  # d'autres cas à chaque fois
        assert check(exercise.name, solution(exercise))


@numbers
def test_the_number_is_accepted(exercise: Exercise) -> None:
    assert check(exercise.name, float(exercise.expected()))
    assert not check(exercise.name, float(exercise.expected()) + 10 * max(1.0, exercise.tol))


@pytest.mark.parametrize(("exercise", "mistake"), MISTAKES)
def test_a_mistake_gets_its_own_hints_one_after_the_other(exercise: Exercise, mistake: Mistake) -> None:
    answer = answer_of(exercise, mistake.answer)
    for rank, hint in enumerate((*mistake.hints, mistake.hints[-1]), 1):
        verdict = check(exercise.name, answer)
        assert not verdict
        assert verdict.mistake is mistake, verdict
        assert (verdict.rank, verdict.hint) == (min(rank, 3), hint)
        assert typeset(hint) in verdict._repr_markdown_()


@every
def test_hints_are_distinct_and_graded(exercise: Exercise) -> None:
    hints = [hint for mistake in exercise.mistakes for hint in mistake.hints]
    assert all(len(mistake.hints) == 3 for mistake in exercise.mistakes)
    assert len(set(hints)) == len(hints)
    assert all(len(hint) > 15 for hint in hints)
    assert len(exercise.mistakes) >= (2 if exercise.is_number else 4)


@functions
def test_the_opposite_and_the_double_are_recognised(exercise: Exercise) -> None:
    """Un signe et un facteur se reconnaissent partout, par une faute de l'exercice ou par une générale."""
    own = {mistake.key or mistake.hints[0] for mistake in exercise.mistakes}
    general = {mistake.key for mistake in vars(causes).values() if isinstance(mistake, Mistake)}
    for factor in (-1, 2, 0.5):
        verdict = check(exercise.name, lambda *a, f=factor: f * exercise.expected(*a))
        assert not verdict
        assert verdict.mistake is not None, (factor, verdict)
        assert (verdict.mistake.key or verdict.mistake.hints[0]) in own | general


@functions
def test_arguments_are_small_and_in_double_precision(exercise: Exercise) -> None:
    cases = exercise.cases(torch.Generator().manual_seed(0))
    assert len(cases) >= 3
    for case in cases:
        assert len(case) == len(exercise.arguments)
        for value in case:
            if isinstance(value, torch.Tensor):
                assert value.numel() <= 10_000
                assert value.dtype == torch.float64 or not value.is_floating_point()
    shapes = [tuple(getattr(value, "shape", ()) for value in case) for case in cases]
    assert len(set(shapes)) > 1 or all(shape == () for shape in shapes[0]), "des tailles diverses"


@functions
def test_an_error_or_a_wrong_type_is_answered(exercise: Exercise) -> None:
    def crash(*arguments: Any) -> Any:
        raise KeyError("z")

    for answer in (
        lambda *a: torch.empty(0, dtype=torch.float64),
        lambda *a: torch.ones(1, 2, 3, 4, 5),
        lambda *a: torch.eye(3).to_sparse(),
        lambda *a: torch.ones(2, device="meta"),
        lambda *a: numpy.array([None]),
        lambda *a: 10**400,
        print,
        torch.exp,
        torch.nn.Linear(2, 2),
        None,
        ...,
        crash,
        lambda *a: None,
        lambda *a: [exercise.expected(*a)],
        lambda *a: "0,5",
        lambda *a: exercise.expected(*a) * torch.nan,
        lambda *a: exercise.expected(*a)[None, None, None],
        lambda: 0.0,
        "0,5",
    ):
        verdict = check(exercise.name, answer)
        assert not verdict
        assert len(verdict.hint) > 15


# Les pages


def exercise_blocks(chapter: str) -> dict[str, str]:
    """Les énoncés d'un chapitre, par étiquette."""
    text = (ROOT / "book" / f"{chapter}.md").read_text(encoding="utf-8")
    found = re.findall(
        r"^(`{3,})\{exercise\}[^\n]*\n:label: (\S+)\n(.*?)^\1$", text, re.MULTILINE | re.DOTALL
    )
    return {label: body for _, label, body in found}


@every
def test_the_page_states_the_exercise(exercise: Exercise) -> None:
    body = exercise_blocks(chapter_of(exercise))[exercise.label]
    assert f'vaebook.exercises.check("{exercise.name}", ' in body
    assert exercise.is_number or f"`{exercise.signature}`" in body


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_each_call_of_the_page_is_an_exercise(chapter: str) -> None:
    called = {
        (label, name)
        for label, body in exercise_blocks(chapter).items()
        for name in re.findall(r'vaebook\.exercises\.check\("([^"]+)"', body)
    }
    known = {(exercise.label, exercise.name) for exercise in EXERCISES if chapter_of(exercise) == chapter}
    assert called == known
    text = (ROOT / "book" / f"{chapter}.md").read_text(encoding="utf-8")
    assert text.count("exercises.check(") == len(called)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_has_two_coded_exercises(chapter: str) -> None:
    assert sum(chapter_of(exercise) == chapter for exercise in FUNCTIONS) >= 2


@functions
def test_the_page_shows_the_solution_from_its_file(exercise: Exercise) -> None:
    chapter = chapter_of(exercise)
    text = (ROOT / "book" / f"{chapter}.md").read_text(encoding="utf-8")
    [body] = re.findall(
        rf"^(?:`{{4,}})\{{solution\}} {exercise.label}\n(.*?)^`{{4,}}$", text, re.MULTILINE | re.DOTALL
    )
    name = exercise.signature.partition("(")[0]
    assert f"```{{literalinclude}} ../tests/exercises/solutions/{chapter}.py\n:pyobject: {name}\n" in body
    assert ":class: dropdown" in body


def test_names_and_labels_are_unique() -> None:
    loaded = [
        e
        for name, module in sys.modules.items()
        if name.startswith("vaebook.exercises._")
        for e in module.EXERCISES
    ]
    assert len({exercise.name for exercise in loaded}) == len(loaded) == len(EXERCISES)
    assert len({(exercise.label, exercise.is_number) for exercise in loaded}) == len(loaded)


# Le correcteur, sur un exercice d'essai


def some_cases(generator: torch.Generator) -> list[tuple[torch.Tensor, float]]:
    sizes = ((2, 5), (3, 4), (7, 2))
    return [
        (torch.rand(size, generator=generator, dtype=torch.float64) + 0.5, 0.25 * rank + 2)
        for rank, size in enumerate(sizes)
    ]


def total(x: torch.Tensor, a: float) -> torch.Tensor:
    return a * x.log().sum(1)


PLAIN = Exercise(
    "essai",
    "ex-essai",
    "total(x, a)",
    total,
    (
        Mistake(
            lambda x, a: x.log().sum(1), ("oubli d'un facteur", "oubli de l'argument a", "multipliez par a")
        ),
    ),
    cases=some_cases,
)
GRADIENT = Exercise("pente", "ex-pente", "total(x, a)", total, (), cases=some_cases, gradient=True)
NUMBER = Exercise(
    "nombre", "ex-nombre", "", lambda: 0.8067, (Mistake(lambda: 0.3219, ("un", "deux", "trois")),), tol=1e-2
)


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {exercise.name: exercise for exercise in (PLAIN, GRADIENT, NUMBER)}
    monkeypatch.setattr(package, "exercises", lambda: known)


pytestmark = pytest.mark.filterwarnings("error")


def once(answer: Any, name: str = "essai", **options: Any) -> Verdict:
    return check(name, answer, **options)


@pytest.mark.usefixtures("trial")
@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (lambda x, a: -total(x, a), causes.SIGN),
        (lambda x, a: 2 * total(x, a), causes.TWICE),
        (lambda x, a: total(x, a) / 2, causes.HALF),
        (lambda x, a: total(x, a) / math.log(2), causes.BITS),
        (lambda x, a: total(x, a) / x.shape[1], causes.MEAN),
        (lambda x, a: total(x, a) * x.shape[0], causes.SUM),
        (lambda x, a: total(x, a) * x.numel(), causes.ALL_SUM),
        (lambda x, a: total(x, a) / x.numel(), causes.ALL_MEAN),
        (lambda x, a: 0.3 * total(x, a), causes.FACTOR),
        (lambda x, a: total(x, a) + 0.5, causes.SHIFT),
        (lambda x, a: total(x, a) - 0.9 * x.shape[1], causes.SIZED_SHIFT),
        (lambda x, a: total(x, a) + math.log(len(x)), causes.LOG_SHIFT),
        (lambda x, a: total(x, a).square(), causes.SQUARE),
        (lambda x, a: total(x, a).exp(), causes.EXP),
        (lambda x, a: total(x, a).sum(), causes.REDUCED),
        (lambda x, a: total(x, a).mean(), causes.REDUCED),
        (lambda x, a: (a * x.log()).mean(), causes.AVERAGED),
        (lambda x, a: a * x.log(), causes.UNREDUCED),
        (lambda x, a: total(x, a)[:, None], causes.KEEPDIM),
    ],
)
def test_a_common_mistake_is_recognised(answer: Any, cause: Mistake) -> None:
    ranks = []
    for _ in range(3):
        verdict = once(answer)
        assert not verdict
        assert verdict.mistake is not None
        assert verdict.mistake.key == cause.key
        assert "{" not in verdict.hint
        ranks.append(verdict.rank)
    assert ranks == [1, 2, 3]


@pytest.mark.usefixtures("trial")
def test_the_remaining_common_mistakes() -> None:
    values = [torch.tensor([[1.0, 2.0, 5.0], [3.0, 0.5, 4.0]]), torch.tensor([[2.0, 7.0]])]
    for relation, cause in (
        (torch.sqrt, causes.ROOT),
        (torch.log, causes.LOG),
        (lambda w: w.mT, causes.TRANSPOSED),
    ):
        found = causes.general(PLAIN, [], [relation(w) for w in values], values, 1e-6)
        assert found is cause
    square = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert causes.general(PLAIN, [], [square.mT], [square], 1e-6) is causes.TRANSPOSED


@pytest.mark.usefixtures("trial")
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x, a: None, "return"),
        (lambda x, a: [1.0], "torch.stack"),
        (lambda x, a: {"a": 1}, "tenseur de nombres"),
        (lambda x, a: torch.distributions.Normal(0.0, 1.0), "log_prob"),
        (lambda x, a: x.mean, "parenthèses"),
        (lambda x, a: (yield x), "yield"),
        (lambda x, a: x.log().sum(1) * 1j, "réels"),
        (lambda x, a: x.numpy().astype(str), "nombres"),
        (lambda x, a: total(x, a) * torch.nan, "NaN"),
        (lambda x, a: total(x, a) / 0, "infinis"),
        (lambda x, a: total(x, a).T + x, "unsqueeze"),
        (lambda x, a: x @ x, "transposée"),
        (lambda x, a: x.sum(7), "axe 0"),
        (lambda x, a: x.float() @ x.T, "dtype=x.dtype"),
        (lambda x, a: math.log(x), "torch.log"),
        (lambda x, a: 1 if x > 1 else 2, "torch.where"),
        (lambda x, a: torch.log(a), "math.log"),
        (lambda x, a: x.logg(), "attribut"),
        (lambda x, a: unknown_name, "faute de frappe"),  # noqa: F821
        (lambda x, a: 1 / 0, "dénominateur"),
        (lambda x, a: [][0], "indice"),
        (lambda x, a: sys.exit(), "return"),
        (lambda x, a: once.__wrapped__(x), "attribut"),
        (lambda x, a: x.log().sum(0), "la forme"),
        (lambda x, a: total(x, a) * torch.arange(len(x)), "numéro 0"),
        (lambda x, a: 17.0, "la forme ()"),
        (lambda x: x, "2"),
        (lambda: 0, "2"),
        (3.0, "sans l’appeler"),
        (total(torch.ones(2, 2), 2.0), "sans l’appeler"),
    ],
)
def test_what_is_not_a_value_is_answered(answer: Any, said: str) -> None:
    verdict = once(answer)
    assert not verdict
    assert said in str(verdict)


@pytest.mark.usefixtures("trial")
def test_an_error_quotes_the_line_of_the_reader() -> None:
    def wrong(x: torch.Tensor, a: float) -> torch.Tensor:
        y = x.log()
        return y.no_such_method()

    assert "return y.no_such_method()" in str(once(wrong))
    assert not once(lambda x, a: wrong)


@pytest.mark.usefixtures("trial")
def test_endless_recursion_and_the_exception_to_write_are_answered() -> None:
    def again(x: torch.Tensor, a: float) -> torch.Tensor:
        return again(x, a)

    def later(x: torch.Tensor, a: float) -> torch.Tensor:
        raise NotImplementedError

    class Odd(Exception):
        pass

    def odd(x: torch.Tensor, a: float) -> torch.Tensor:
        raise Odd

    class Mute(BaseException):
        def __str__(self) -> str:
            raise ValueError

    def mute(x: torch.Tensor, a: float) -> torch.Tensor:
        raise Mute

    assert "Mute" in str(once(mute))
    assert "cas d’arrêt" in str(once(again))
    assert "à écrire" in str(once(later))
    assert "total(x, a)" in str(once(odd))


@pytest.mark.usefixtures("trial")
def test_near_answers_are_accepted() -> None:
    assert once(lambda x, a: total(x, a).numpy())
    single = once(lambda x, a: total(x.float(), a))
    assert single
    assert "double précision" in str(single)
    assert not once(lambda x, a: total(x.float(), a) + 0.01)
    assert once(partial(total))


@pytest.mark.usefixtures("trial")
def test_the_values_shown_differ_and_are_where_it_is_wrong() -> None:
    close = str(once(lambda x, a: total(x, a) + torch.linspace(0, 2e-5, len(x))))
    got, wanted = re.search(r"rendu (.*), attendu (.*)\.", close).groups()  # type: ignore[union-attr]
    assert got.split(" à l’indice")[0] != wanted
    many = Exercise("essai", "", "f(x, a)", lambda x, a: a * x.log(), (), cases=some_cases)
    case = some_cases(torch.Generator().manual_seed(0))[0]
    outcomes = [judging.observe(many, f, case) for f in (lambda x, a: (a * x.log()).triu(), many.expected)]
    assert "à l'indice `[1, 0]`" in judging._difference(many, case, *outcomes)[0]


@pytest.mark.usefixtures("trial")
def test_the_hint_goes_back_to_the_first_after_a_right_answer() -> None:
    wrong = PLAIN.mistakes[0].answer
    assert [once(wrong).rank, once(wrong).rank] == [1, 2]
    assert once(total)
    assert once(wrong).rank == 1


@pytest.mark.usefixtures("trial")
def test_a_random_answer_is_recognised() -> None:
    verdict = once(lambda x, a: torch.randn(len(x)))
    assert verdict.mistake is causes.RANDOM


@pytest.mark.usefixtures("trial")
@pytest.mark.parametrize(
    "change", [lambda x: x.log_(), lambda x: x.add_(1).sub_(1).fill_(2.0), lambda x: x.unsqueeze_(0)[0]]
)
def test_an_argument_changed_in_place_is_answered(change: Any) -> None:
    verdict = once(lambda x, a: (total(x, a), change(x))[0])
    assert not verdict
    assert "modifie son argument x" in str(verdict)


@pytest.mark.usefixtures("trial")
def test_gradients_are_compared() -> None:
    assert "gradients compris" in str(once(total, "pente"))
    stopped = once(lambda x, a: total(x, a).detach(), "pente")
    assert stopped.mistake is causes.GRADIENT
    assert "La valeur est juste" in str(stopped)
    assert "pour le gradient en x" in str(stopped)
    assert once(lambda x, a: (total(x, a) - total(x.detach(), a)) * 2 + total(x.detach(), a), "pente").mistake
    assert "sur place" in str(once(lambda x, a: x.log_(), "pente"))


@pytest.mark.usefixtures("trial")
@pytest.mark.parametrize(
    "answer", [0.8067, Fraction(81, 100), torch.tensor([0.8067]), torch.tensor(0.81).numpy(), 0.81]
)
def test_a_number_is_accepted_in_any_dress(answer: Any) -> None:
    assert check("nombre", answer)


@pytest.mark.usefixtures("trial")
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (-0.8067, "signe"),
        (1.6134, "facteur"),
        (0.3219, "un"),
        (12.0, "terme par terme"),
        ("0,81", "point"),
        (lambda: 0.8, "fonction"),
        (torch.ones(3), "un seul nombre"),
        (math.nan, "NaN"),
        ([0.8], "liste"),
    ],
)
def test_a_wrong_number_is_answered(answer: Any, said: str) -> None:
    verdict = check("nombre", answer)
    assert not verdict
    assert said in str(verdict)
    assert "0.8067" not in str(verdict).replace("-0.8067", "")


@pytest.mark.usefixtures("trial")
def test_a_decimal_comma_is_answered() -> None:
    assert "0.81" in check("nombre", 0, 81).hint
    assert "sans ses arguments" in check("essai", total, 3).hint


@pytest.mark.usefixtures("trial")
def test_an_unknown_name_gets_the_nearest() -> None:
    assert "`nombre`" in check("nombres", 1.0).hint
    assert all(f"`{name}`" in check("qqq", 1.0).hint for name in ("essai", "pente", "nombre"))
    assert not check(3, total)  # type: ignore[arg-type]
    assert "total(x, a)" in str(check("essai"))
    assert "un nombre" in str(check("nombre"))


# Le noyau du lecteur


def endless(x: torch.Tensor, a: float) -> torch.Tensor:
    while True:
        pass


def stubborn(x: torch.Tensor, a: float) -> torch.Tensor:
    while True:
        try:  # noqa: SIM105 (c'est la faute)
            a += 1
        except:  # noqa: E722
            pass


def asleep(x: torch.Tensor, a: float) -> torch.Tensor:
    while True:
        try:
            time.sleep(60)
        except BaseException:
            continue


@pytest.mark.usefixtures("trial")
@pytest.mark.parametrize("answer", [endless, stubborn, asleep])
def test_an_endless_loop_is_stopped(answer: Any) -> None:
    handler, trace = signal.getsignal(signal.SIGALRM), sys.gettrace()
    verdict = once(answer, limit=0.3)
    assert "n’a pas fini" in str(verdict)
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert sys.gettrace() is trace
    assert once(total), "le noyau reste utilisable"


@pytest.mark.usefixtures("trial")
def test_an_endless_loop_is_stopped_outside_the_main_thread() -> None:
    found: list[Verdict] = []
    alive = threading.active_count()
    thread = threading.Thread(target=lambda: found.extend([once(endless, limit=0.3), once(total)]))
    thread.start()
    thread.join()
    assert [bool(verdict) for verdict in found] == [False, True]
    assert "n’a pas fini" in str(found[0])
    assert threading.active_count() == alive


@pytest.mark.usefixtures("trial")
def test_an_alarm_of_the_reader_still_rings() -> None:
    rung: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 60.0)
        assert once(total)
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert rung == []


@pytest.mark.usefixtures("trial")
def test_an_interruption_by_the_reader_goes_through() -> None:
    def interrupted(x: torch.Tensor, a: float) -> torch.Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        once(interrupted)


@pytest.mark.usefixtures("trial")
def test_the_state_of_torch_is_kept() -> None:
    def careless(x: torch.Tensor, a: float) -> torch.Tensor:
        torch.manual_seed(3)
        torch.rand(5)
        torch.set_default_dtype(torch.float16)
        torch.set_grad_enabled(False)
        return total(x, a)

    torch.manual_seed(0)
    expected = torch.get_rng_state()
    assert once(careless)
    assert torch.equal(torch.get_rng_state(), expected)
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    with torch.no_grad():
        assert once(total, "pente")
        assert not torch.is_grad_enabled()


def test_importing_the_package_does_not_load_torch() -> None:
    program = "import sys, vaebook.exercises; print(sorted({'torch', 'numpy', 'IPython'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Ce qui s'affiche


@pytest.mark.usefixtures("trial")
def test_a_terminal_prints_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = once(PLAIN.mistakes[0].answer)
    printed = capsys.readouterr().out
    assert printed == f"{verdict}\n"
    assert "**" not in printed
    assert "`" not in printed
    assert "Indice 1 sur 3\u00a0: oubli d’un facteur" in printed
    assert repr(verdict) == "<Verdict : pas encore>"
    assert repr(once(total)) == "<Verdict : juste>"


@pytest.mark.usefixtures("trial")
def test_a_notebook_shows_it_once_in_markdown(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython
    import IPython.display

    class Shell:
        kernel = object()
        execution_count = 1

    shown: list[dict[str, str]] = []
    shell = Shell()
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    monkeypatch.setattr(IPython.display, "display", lambda data, raw: shown.append(data))
    verdict = once(total)
    verdict._ipython_display_()  # la dernière ligne de la même cellule
    assert len(shown) == 1
    assert shown[0]["text/markdown"].startswith("**Juste.**")
    assert shown[0]["text/plain"].startswith("Juste.")
    shell.execution_count = 2
    verdict._ipython_display_()
    assert len(shown) == 2


def test_typography_leaves_code_alone() -> None:
    assert typeset("l'axe : `x: 'a' ?` « oui »") == "l’axe\u00a0: `x: 'a' ?` «\u00a0oui\u00a0»"


@every
def test_no_hint_shows_the_solution(exercise: Exercise) -> None:
    if exercise.is_number:
        return
    lines = [line.strip() for line in (SOLUTIONS / f"{chapter_of(exercise)}.py").read_text().splitlines()]
    returned = [line.removeprefix("return ") for line in lines if line.startswith("return ")]
    for mistake in exercise.mistakes:
        for hint in mistake.hints:
            assert not [line for line in returned if line in hint]

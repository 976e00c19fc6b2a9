"""Juger une réponse : l'essayer, la comparer, et reconnaître la faute."""

from __future__ import annotations

import difflib
import inspect
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from vaebook.exercises import causes
from vaebook.exercises.contract import Exercise, Mistake, Verdict
from vaebook.exercises.running import TimeUp, state_kept, time_limit

# Les premiers mots d'un verdict.
RIGHT, WRONG = "**Juste.**", "**Pas encore.**"
SINGLE, HALF = 2e-4, 2e-2  # l'écart admis d'une réponse en simple précision, en demi-précision


@dataclass
class Refusal(Exception):
    """La réponse n'est pas comparable : pourquoi, et l'indice."""

    why: str
    hint: str


@dataclass(frozen=True)
class Outcome:
    """Ce qu'une fonction rend sur un cas : sa valeur, et ses gradients si l'exercice les compare."""

    value: Tensor
    gradients: tuple[Tensor, ...] = ()
    tol: float = 0.0

    def same_value(self, other: Outcome, tol: float) -> bool:
        """La même valeur, quels que soient les gradients."""
        return same(self.value, other.value, max(tol, self.tol))

    def close(self, other: Outcome, tol: float) -> bool:
        """Les mêmes formes et les mêmes nombres."""
        pairs = zip(self.gradients, other.gradients, strict=True)
        return self.same_value(other, tol) and all(same(g, h, max(tol, self.tol)) for g, h in pairs)


def same(left: Tensor, right: Tensor, tol: float) -> bool:
    """La même forme et, à `tol` près, les mêmes valeurs, NaN et infinis compris."""
    return left.shape == right.shape and torch.allclose(left, right, rtol=tol, atol=tol, equal_nan=True)


def judge(exercise: Exercise, answer: Any, limit: float, made: Counter[tuple[str, str]]) -> Verdict:
    """Le verdict sur une réponse ; `made` compte les fautes déjà faites, et s'en souvient."""
    attempt = made[exercise.name, "essais"]
    made[exercise.name, "essais"] += 1
    try:
        with state_kept():
            verdict = _judge(exercise, answer, limit, attempt)
    except Refusal as refusal:
        return Verdict(False, (f"{WRONG} {refusal.why}",), hint=refusal.hint)
    if verdict.right:
        for key in [key for key in made if key[0] == exercise.name]:
            del made[key]
    elif verdict.mistake is not None:
        hints = verdict.mistake.hints
        key = (exercise.name, verdict.mistake.key or hints[0])
        made[key] += 1
        verdict.rank = min(made[key], len(hints))
        verdict.hint = hints[verdict.rank - 1]
    return verdict


def _judge(exercise: Exercise, answer: Any, limit: float, attempt: int) -> Verdict:
    generator = torch.Generator().manual_seed(zlib.crc32(f"{exercise.name}/{attempt}".encode()))
    cases = exercise.cases(generator)
    wanted = [observe(exercise, exercise.expected, case) for case in cases]
    if exercise.is_number:
        answer = _number(answer)
    else:
        _check_callable(exercise, answer)
    try:
        with time_limit(limit):
            got = [_try(exercise, answer, case) for case in cases]
    except TimeUp:
        raise Refusal(
            f"Votre fonction n'a pas fini en {limit:g} s, et elle a été interrompue.",
            "cherchez une boucle sans fin (un `while` dont la condition ne change jamais, une récursion sans "
            "arrêt) ; remplacez les boucles sur les éléments par des opérations sur des tenseurs entiers.",
        ) from None
    # `got` d'abord : sa précision fixe l'écart admis.
    good = [g.close(w, exercise.tol) for g, w in zip(got, wanted, strict=True)]
    if all(good):
        return Verdict(True, (RIGHT, *_praise(exercise, got)))
    first = good.index(False)
    text = (
        f"{WRONG} {_summary(exercise, good, got, wanted)}",
        *_difference(exercise, cases[first], got[first], wanted[first]),
    )
    mistake = recognise(exercise, cases, got, wanted)
    if mistake is not None:
        return Verdict(False, text, mistake)
    if not exercise.is_number and not _repeats(exercise, answer, cases[first], got[first], limit):
        return Verdict(False, text, causes.RANDOM)
    return Verdict(False, text, hint=causes.unrecognised(got[first].value, wanted[first].value))


def recognise(
    exercise: Exercise, cases: Iterable[tuple[Any, ...]], got: list[Outcome], wanted: list[Outcome]
) -> Mistake | None:
    """La faute qui rend la même chose sur tous les cas : de l'exercice d'abord, puis de toutes."""
    cases = list(cases)
    for mistake in exercise.mistakes:
        if all(
            g.close(observe(exercise, mistake.answer, case), exercise.tol)
            for g, case in zip(got, cases, strict=True)
        ):
            return mistake
    values = [outcome.value for outcome in got], [outcome.value for outcome in wanted]
    tol = max(exercise.tol, *(outcome.tol for outcome in got))
    if exercise.gradient and all(g.same_value(w, tol) for g, w in zip(got, wanted, strict=True)):
        return causes.GRADIENT
    return causes.general(exercise, cases, *values, tol)


def observe(exercise: Exercise, function: Callable[..., Any], case: tuple[Any, ...]) -> Outcome:
    """Ce que rend une fonction des auteurs, en double précision."""
    arguments = _fresh(case, exercise.gradient)
    return _outcome(exercise, function(*arguments), arguments)


def _try(exercise: Exercise, answer: Callable[..., Any], case: tuple[Any, ...]) -> Outcome:
    """Ce que rend la fonction du lecteur ; tout ce qui n'est pas une valeur comparable est un refus."""
    arguments = _fresh(case, exercise.gradient)
    try:
        result = answer(*arguments)
        outcome = _outcome(exercise, result, arguments)
    except (Refusal, TimeUp, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise Refusal(*causes.of_error(error, _where(error, answer), exercise)) from None
    for name, before, after in zip(exercise.arguments, case, arguments, strict=True):
        if isinstance(before, Tensor) and not same(before.detach(), after.detach(), 0.0):
            raise Refusal(
                f"Votre fonction modifie son argument `{name}` : l'appelant retrouverait ses données "
                f"changées.",
                f"évitez `{name} += …`, `{name} *= …`, `{name}[…] = …` et les méthodes qui finissent par `_` "
                "(`exp_`, `add_`) ; écrivez plutôt `a = a + b`.",
            )
    return outcome


def _fresh(case: tuple[Any, ...], gradient: bool) -> tuple[Any, ...]:
    def copy(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.detach().clone().requires_grad_(gradient and value.is_floating_point())

    return tuple(map(copy, case))


def _outcome(exercise: Exercise, result: Any, arguments: tuple[Any, ...]) -> Outcome:
    value = _tensor(result)
    precision = {torch.float32: SINGLE, torch.float16: HALF, torch.bfloat16: HALF}.get(value.dtype, 0.0)
    gradients: tuple[Tensor, ...] = ()
    if exercise.gradient:
        leaves = [a for a in arguments if isinstance(a, Tensor) and a.requires_grad]
        gradients = tuple(torch.zeros_like(leaf) for leaf in leaves)
        if value.requires_grad:
            # Des poids différents : un gradient juste en somme seulement se verrait.
            weights = torch.linspace(1, 2, value.numel(), dtype=value.dtype).reshape(value.shape)
            found = torch.autograd.grad((weights * value).sum(), leaves, allow_unused=True)
            gradients = tuple(z if g is None else g for z, g in zip(gradients, found, strict=True))
    return Outcome(value.detach().to("cpu", torch.float64), gradients, precision)


def _tensor(result: Any) -> Tensor:
    """La réponse en tenseur réel ; lève `Refusal` si elle n'en est pas un."""
    if isinstance(result, Tensor):
        if result.layout != torch.strided or result.is_nested or result.is_meta or result.is_quantized:
            raise Refusal(
                "Votre fonction rend un tenseur creux, imbriqué ou sans données.", "rendez un tenseur dense."
            )
        if result.is_complex():
            raise Refusal(
                "Votre fonction rend des nombres complexes.", "l'exercice attend des nombres réels."
            )
        return result
    if isinstance(result, Real):
        try:
            return torch.tensor(float(result), dtype=torch.float64)
        except OverflowError:
            return torch.tensor(torch.inf, dtype=torch.float64)
    if type(result).__module__ == "numpy" and getattr(result, "dtype", None) is not None:
        if result.dtype.kind in "biuf":
            return torch.as_tensor(result.copy())
        raise Refusal(
            f"Votre fonction rend un tableau de `{result.dtype}`.", "l'exercice attend des nombres."
        )
    raise Refusal(*causes.of_type(result))


def _number(answer: Any) -> Callable[[], Any]:
    if callable(answer):
        raise Refusal(
            "L'exercice attend un nombre, pas une fonction.", "donnez la valeur : par exemple `0.5`."
        )
    if isinstance(answer, str):
        raise Refusal(
            "L'exercice attend un nombre, pas un texte.", "écrivez `0.5`, avec un point, sans guillemets."
        )
    value = _tensor(answer)
    if value.numel() != 1:
        raise Refusal(
            f"L'exercice attend un seul nombre ; vous en donnez {value.numel()}.",
            "faut-il une moyenne, une somme, ou un seul des éléments ?",
        )
    return lambda: value.reshape(())


def _check_callable(exercise: Exercise, answer: Any) -> None:
    name = exercise.signature.partition("(")[0]
    if not callable(answer):
        called = f'`check("{exercise.name}", {name})`'
        raise Refusal(
            f"L'exercice attend une fonction `{exercise.signature}` ; vous donnez {causes.kind(answer)}.",
            f"passez la fonction sans l'appeler : {called}, et non `{name}(…)`.",
        )
    try:
        inspect.signature(answer).bind(*exercise.arguments)
    except TypeError:
        raise Refusal(
            f"Votre fonction a pour arguments `{inspect.signature(answer)}`.",
            f"l'exercice l'appelle par `{exercise.signature}`, dans cet ordre : il lui en faut "
            f"{len(exercise.arguments)} (le nom que vous leur donnez est libre).",
        ) from None
    except ValueError:  # certaines fonctions écrites en C n'ont pas de signature
        return


def _repeats(
    exercise: Exercise, answer: Callable[..., Any], case: tuple[Any, ...], before: Outcome, limit: float
) -> bool:
    """La fonction rend deux fois la même chose."""
    try:
        with time_limit(limit):
            return _try(exercise, answer, case).close(before, exercise.tol)
    except (Refusal, TimeUp):
        return True


def _where(error: BaseException, answer: Any) -> str:
    """L'endroit de l'erreur dans le code du lecteur, s'il est lisible."""
    code = getattr(inspect.unwrap(answer), "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    mine = [frame for frame in frames if code is not None and frame.filename == code.co_filename]
    if not mine or not mine[-1].line:
        return ""
    return f", à la ligne `{mine[-1].line.replace('`', '')}`"


# Ce qui est dit


def _praise(exercise: Exercise, got: list[Outcome]) -> tuple[str, ...]:
    if any(outcome.tol for outcome in got):
        return (
            "Votre réponse n'est pas en double précision : elle a été comparée avec moins d'exigence. "
            "Gardez le "
            "type des arguments (`dtype=x.dtype`).",
        )
    if exercise.is_number:
        return ()
    also = ", gradients compris" if exercise.gradient else ""
    return (f"Votre fonction rend la bonne valeur sur {len(got)} essais{also}.",)


def _summary(exercise: Exercise, good: list[bool], got: list[Outcome], want: list[Outcome]) -> str:
    if exercise.is_number:
        return "Ce n'est pas le nombre attendu."
    if all(g.same_value(w, exercise.tol) for g, w in zip(got, want, strict=True)):
        return "La valeur est juste ; son gradient ne l'est pas."
    if any(good):
        return (
            f"Votre fonction est juste sur {sum(good)} essai{'s' * (sum(good) > 1)} et fausse sur "
            f"{len(good) - sum(good)}."
        )
    return "Votre fonction ne rend pas la bonne valeur."


def _difference(exercise: Exercise, case: tuple[Any, ...], got: Outcome, want: Outcome) -> tuple[str, ...]:
    """Ce qui a été rendu, et ce qui était attendu ; pour un nombre, ce serait donner la réponse."""
    if exercise.is_number:
        return (f"Vous donnez `{show(got.value)}`.",)
    inputs = ", ".join(f"`{n}` {_argument(v)}" for n, v in zip(exercise.arguments, case, strict=True))
    left, right, what = got.value, want.value, ""
    if got.same_value(want, exercise.tol):
        pairs = list(zip(got.gradients, want.gradients, strict=True))
        names = [n for n, v in zip(exercise.arguments, case, strict=True) if causes.is_real(v)]
        rank = next(r for r, (g, w) in enumerate(pairs) if not same(g, w, max(exercise.tol, got.tol)))
        (left, right), what = pairs[rank], f", pour le gradient en `{names[rank]}` d'une somme pondérée"
    place = ""
    if left.shape == right.shape and left.numel() > 6:
        wrong = ~torch.isclose(left, right, rtol=exercise.tol, atol=exercise.tol, equal_nan=True)
        index = wrong.nonzero()[0].tolist() if wrong.any() else [0] * left.ndim
        left, right, place = left[tuple(index)], right[tuple(index)], f" à l'indice `{index}`"
    return (f"Avec {inputs} : rendu `{show(left, right)}`, attendu `{show(right, left)}`{place}{what}.",)


def _argument(value: Any) -> str:
    if callable(value):
        return "donnée"
    if isinstance(value, Tensor):
        return f"de forme {causes.shape(value)}" if value.numel() > 6 else f"= `{show(value)}`"
    return f"= `{value:.5g}`" if isinstance(value, float) else f"= `{value}`"


def show(value: Tensor, other: Tensor | None = None) -> str:
    """Les premiers nombres d'un tenseur, avec assez de chiffres pour le distinguer d'un autre."""

    def written(tensor: Tensor, digits: int) -> str:
        numbers = [f"{number:.{digits}g}" for number in tensor.flatten()[:6].tolist()]
        if tensor.ndim == 0:
            return numbers[0]
        inside = ", ".join(numbers + ["…"] * (tensor.numel() > 6))
        return f"[{inside}]" if tensor.ndim == 1 else f"[{inside}], forme {causes.shape(tensor)}"

    digits = 5
    while other is not None and digits < 15 and written(value, digits) == written(other, digits):
        digits += 5
    return written(value, digits)


def unknown(name: Any, known: Iterable[str]) -> Verdict:
    """Le verdict sur un nom d'exercice qui n'existe pas."""
    names = sorted(known)
    if not isinstance(name, str):
        return Verdict(
            False,
            ("**Quel exercice ?** Le premier argument est son nom, entre guillemets.",),
            hint='écrivez `check("nom-de-l-exercice", ma_fonction)`.',
        )
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names
    hint = "le nom est dans l'énoncé ; " + ("les plus proches : " if near is not names else "il y a : ")
    return Verdict(
        False,
        (f"**Exercice inconnu.** Aucun ne s'appelle `{name}`.",),
        hint=hint + ", ".join(f"`{known_name}`" for known_name in near) + ".",
    )


def reminder(exercise: Exercise) -> Verdict:
    """Ce que l'exercice attend, quand aucune réponse n'est donnée."""
    wanted = "un nombre" if exercise.is_number else f"une fonction `{exercise.signature}`"
    return Verdict(
        False,
        (f"**Et la réponse ?** L'exercice attend {wanted}.",),
        hint=f'écrivez `check("{exercise.name}", …)`, la réponse à la place des points.',
    )


def too_many(exercise: Exercise, answer: Any, others: tuple[Any, ...]) -> Verdict:
    """Une réponse coupée en deux par une virgule."""
    written, hint = ",".join(map(str, (answer, *others))), "passez la fonction seule, sans ses arguments."
    if exercise.is_number:
        hint = f"un nombre s'écrit avec un point : `{written.replace(',', '.', 1)}`, et non `{written}`."
    said = f"**Une seule réponse à la fois.** Il y a {1 + len(others)} valeurs après le nom."
    return Verdict(False, (said,), hint=hint)

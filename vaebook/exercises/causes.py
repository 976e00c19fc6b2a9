"""Ce que l'on reconnaît dans tout exercice : un signe, un facteur, un axe, un type, une erreur de Python."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from vaebook.exercises.contract import Exercise, Mistake


def _never(*arguments: Any) -> None:
    """Une faute reconnue à son rapport avec la bonne valeur n'a pas de fonction à elle."""


def _cause(first: str, second: str, third: str) -> Mistake:
    return Mistake(_never, (first, second, third), key=second)


# Une cause, et ses trois indices, du plus vague au plus précis.
RANDOM = _cause(
    "deux appels sur les mêmes arguments ne rendent pas la même valeur.",
    "votre fonction tire au hasard ; tout le hasard dont elle a besoin est dans ses arguments.",
    "remplacez `torch.randn`, `torch.rand` ou `sample` par l'argument qui porte les tirages.",
)
GRADIENT = _cause(
    "quel argument ne reçoit pas le bon gradient ?",
    "une opération arrête le gradient, ou en laisse passer trop.",
    "cherchez `detach`, `.item()`, `.data`, `torch.tensor(…)`, `torch.no_grad` et `sample` : lesquels "
    "sont de trop, "
    "et lequel manque ?",
)
SIGN = _cause(
    "regardez le signe.",
    "votre valeur est partout l'opposée de la bonne.",
    "chaque terme est à changer de signe : minimise-t-on ou maximise-t-on ? Qui est au numérateur du "
    "rapport, dans le "
    "logarithme ?",
)
TWICE = _cause(
    "un facteur constant est de trop.",
    "votre valeur est partout le double de la bonne.",
    "un ½ manque : celui de la densité gaussienne, de sa divergence, ou du passage de la variance à "
    "l'écart-type dans un "
    "logarithme.",
)
HALF = _cause(
    "un facteur constant manque.",
    "votre valeur est partout la moitié de la bonne.",
    "un ½ est de trop : log σ² = 2 log σ ; l'un des deux porte déjà le facteur.",
)
SUM = _cause(
    "l'ordre de grandeur change avec la taille des données.",
    "le rapport de votre valeur à la bonne est la taille d'un axe : vous sommez là où il faut une moyenne.",
    "remplacez la somme par la moyenne le long de l'axe {axis} de `{name}`, de taille {size} au premier "
    "essai.",
)
MEAN = _cause(
    "l'ordre de grandeur change avec la taille des données.",
    "votre valeur est la bonne, divisée par la taille d'un axe : vous moyennez là où il faut une somme.",
    "remplacez la moyenne par la somme le long de l'axe {axis} de `{name}`, de taille {size} au premier "
    "essai.",
)
ALL_SUM = _cause(
    "l'ordre de grandeur change avec la taille des données.",
    "le rapport de votre valeur à la bonne est le nombre d'éléments d'un argument : une somme de trop.",
    "remplacez la somme par la moyenne sur tous les éléments de `{name}`, au nombre de {size} au premier "
    "essai.",
)
ALL_MEAN = _cause(
    "l'ordre de grandeur change avec la taille des données.",
    "votre valeur est la bonne, divisée par le nombre d'éléments d'un argument : une moyenne de trop.",
    "remplacez la moyenne par la somme sur tous les éléments de `{name}`, au nombre de {size} au premier "
    "essai.",
)
FACTOR = _cause(
    "la forme de la réponse est bonne ; son échelle, non.",
    "le rapport de votre valeur à la bonne est le même partout : cherchez un facteur.",
    "ce rapport est {ratio:.6g}.",
)
BITS = _cause(
    "regardez l'unité.",
    "le rapport de votre valeur à la bonne est celui des nats aux bits.",
    "un nat vaut 1/log 2 ≈ 1,4427 bit : `torch.log` compte en nats, `torch.log2` en bits.",
)
SHIFT = _cause(
    "une constante s'est perdue, ou ajoutée.",
    "votre valeur diffère de la bonne d'une constante, la même partout.",
    "vous rendez la bonne valeur plus {shift:.6g} : quel terme de la formule est-ce, au signe près ?",
)
SIZED_SHIFT = _cause(
    "un terme qui dépend de la taille des données s'est perdu, ou ajouté.",
    "l'écart à la bonne valeur est proportionnel à la taille d'un axe : une constante par coordonnée.",
    "vous rendez la bonne valeur plus {shift:.6g} fois la taille de l'axe {axis} de `{name}`.",
)
LOG_SHIFT = _cause(
    "un terme qui dépend de la taille des données s'est perdu, ou ajouté.",
    "l'écart à la bonne valeur est le logarithme de la taille d'un axe : celui d'une moyenne dans un "
    "logarithme.",
    "vous rendez la bonne valeur plus {sign} log {size} au premier essai : la taille de l'axe {axis} de "
    "`{name}`. "
    "`logsumexp` est le logarithme d'une somme, pas d'une moyenne.",
)
SQUARE = _cause(
    "comparez quelques valeurs à la bonne : laquelle est le carré de l'autre ?",
    "vous rendez le carré de la bonne valeur.",
    "une variance est le carré d'un écart-type : lequel l'exercice demande-t-il ?",
)
ROOT = _cause(
    "comparez quelques valeurs à la bonne : laquelle est la racine de l'autre ?",
    "vous rendez la racine carrée de la bonne valeur.",
    "un écart-type est la racine d'une variance : lequel l'exercice demande-t-il ?",
)
EXP = _cause(
    "échelle logarithmique, ou non ?",
    "vous rendez l'exponentielle de la bonne valeur.",
    "l'exercice demande le logarithme : restez en échelle logarithmique jusqu'au bout.",
)
LOG = _cause(
    "échelle logarithmique, ou non ?",
    "vous rendez le logarithme de la bonne valeur.",
    "il reste une exponentielle à prendre.",
)
TRANSPOSED = _cause(
    "les nombres y sont, mais pas à leur place.",
    "lignes et colonnes sont échangées.",
    "rendez la transposée (`.T`, ou `.mT` pour les deux derniers axes).",
)
REDUCED = _cause(
    "regardez la forme : vous rendez {got}, l'exercice demande {want}.",
    "il faut un nombre pour chaque élément ; vous en rendez {what}.",
    "retirez l'opération qui réduit {along} : l'exercice garde la forme {want}.",
)
UNREDUCED = _cause(
    "regardez la forme : vous rendez {got}, l'exercice demande {want}.",
    "vos nombres sont justes, mais il reste à les réduire le long d'un axe.",
    "prenez {what} sur {along}.",
)
AVERAGED = _cause(
    "regardez la forme : vous rendez {got}, l'exercice demande {want}.",
    "vous prenez une moyenne sur tous les axes à la fois, là où l'un se somme et l'autre se garde.",
    "`mean()` sans axe moyenne aussi sur l'axe {axis} de `{name}` : sommez celui-ci seulement.",
)
KEEPDIM = _cause(
    "regardez la forme : vous rendez {got}, l'exercice demande {want}.",
    "les nombres y sont ; seul un axe de taille 1 est de trop, ou manque.",
    "c'est l'affaire de `keepdim=True`, de `unsqueeze` ou de `squeeze`.",
)


def general(
    exercise: Exercise, cases: list[tuple[Any, ...]], got: list[Tensor], want: list[Tensor], tol: float
) -> Mistake | None:
    """La faute que le rapport des valeurs rendues aux bonnes fait reconnaître, si c'en est une."""

    def everywhere(relation: Callable[[Tensor], Tensor]) -> bool:
        return all(_same(g, relation(w), tol) for g, w in zip(got, want, strict=True))

    sizes = list(_sizes(exercise, cases))
    if any(g.shape != w.shape for g, w in zip(got, want, strict=True)):
        return _of_shape(got, want, sizes, tol)
    if not all(bool(g.isfinite().all() & w.isfinite().all()) for g, w in zip(got, want, strict=True)):
        return None
    for relation, mistake in (
        (torch.neg, SIGN),
        (lambda w: 2 * w, TWICE),
        (lambda w: w / 2, HALF),
        (lambda w: w / math.log(2), BITS),
        (lambda w: w * math.log(2), BITS),
    ):
        if everywhere(relation):
            return mistake
    for name, axis, size in sizes:
        words = {"name": name, "axis": axis, "size": size[0]}
        for power, along, of_all in ((1, SUM, ALL_SUM), (-1, MEAN, ALL_MEAN)):
            scaled = (w * float(n) ** power for w, n in zip(want, size, strict=True))
            if all(_same(g, w, tol) for g, w in zip(got, scaled, strict=True)):
                return _filled(of_all if axis is None else along, **words)
    differences = torch.cat([(g - w).flatten() for g, w in zip(got, want, strict=True)])
    spread = torch.cat([w.flatten() for w in want])
    if len(spread) > 1 and not _constant(spread, tol):
        if _constant(differences, tol):
            return _filled(SHIFT, shift=float(differences.mean()))
        for name, axis, size in sizes:
            words = {"name": name, "axis": axis, "size": size[0]}
            counts = torch.cat(
                [torch.full((w.numel(),), float(n), dtype=w.dtype) for w, n in zip(want, size, strict=True)]
            )
            if axis is not None and _constant(differences / counts, tol):
                return _filled(SIZED_SHIFT, shift=float((differences / counts).mean()), **words)
            for sign in (1, -1):
                if axis is not None and _same(differences, sign * counts.log(), tol):
                    return _filled(LOG_SHIFT, sign="" if sign > 0 else "−", **words)
        ratios = torch.cat([g.flatten() for g in got]) / spread
        if ratios.isfinite().all() and ratios.abs().min() > tol and _constant(ratios, tol):
            return _filled(FACTOR, ratio=float(ratios.mean()))
    for relation, mistake in ((torch.square, SQUARE), (torch.sqrt, ROOT), (torch.exp, EXP), (torch.log, LOG)):
        if everywhere(relation):
            return mistake
    if all(w.ndim >= 2 for w in want) and everywhere(lambda w: w.mT):
        return TRANSPOSED
    return None


def _of_shape(
    got: list[Tensor], want: list[Tensor], sizes: list[tuple[str, int | None, list[int]]], tol: float
) -> Mistake | None:
    """La faute d'une réponse dont la forme n'est pas la bonne."""
    words = {"got": shape(got[0]), "want": shape(want[0])}
    pairs = list(zip(got, want, strict=True))
    if all(w.ndim >= 2 and _same(g, w.mT, tol) for g, w in pairs):
        return TRANSPOSED
    squeezed = [(g.squeeze(), w.squeeze()) for g, w in pairs]
    if all(_same(g, w, tol) for g, w in squeezed):
        return _filled(KEEPDIM, **words)
    for what, reduce in (("la somme", torch.sum), ("la moyenne", torch.mean)):
        for along, reduced in _reductions(reduce):
            named = {**words, "what": what, "along": along}
            if all(_same(g.squeeze(), reduced(w), tol) for g, w in pairs):
                return _filled(REDUCED, **named)
            if all(_same(w.squeeze(), reduced(g), tol) for g, w in pairs):
                return _filled(UNREDUCED, **named)
    for name, axis, size in sizes:
        means = [w.mean() / n for w, n in zip(want, size, strict=True)]
        if axis is not None and all(_same(g.squeeze(), m, tol) for g, m in zip(got, means, strict=True)):
            return _filled(AVERAGED, name=name, axis=axis, **words)
    return None


def _reductions(reduce: Callable[..., Tensor]) -> list[tuple[str, Callable[[Tensor], Tensor | None]]]:
    """Les façons de réduire un tenseur, et leur nom ; rien, là où l'axe n'existe pas."""

    def along(axis: int) -> Callable[[Tensor], Tensor | None]:
        return lambda whole: reduce(whole, dim=axis).squeeze() if -whole.ndim <= axis < whole.ndim else None

    axes = [(f"l'axe {axis}".replace("-", "−"), along(axis)) for axis in (0, 1, 2, -1, -2, -3)]
    by_item = (
        "tous les axes, sauf le premier",
        lambda w: reduce(w.flatten(1), dim=1) if w.ndim > 1 else None,
    )
    return [*axes, by_item, ("tous les axes", lambda whole: reduce(whole))]


def _sizes(exercise: Exercise, cases: list[tuple[Any, ...]]) -> Iterator[tuple[str, int | None, list[int]]]:
    """Les tailles dont une somme ou une moyenne peut dépendre : (argument, axe, taille à chaque essai)."""
    for rank, name in enumerate(exercise.arguments):
        values = [case[rank] for case in cases]
        if not values or not all(isinstance(value, Tensor) for value in values):
            continue
        for axis in range(min(value.ndim for value in values)):
            yield name, axis, [value.shape[axis] for value in values]
        yield name, None, [value.numel() for value in values]


def _same(left: Tensor, right: Tensor | None, tol: float) -> bool:
    if right is None:
        return False
    return left.shape == right.shape and torch.allclose(left, right, rtol=tol, atol=tol, equal_nan=True)


def _constant(values: Tensor, tol: float) -> bool:
    return _same(values, values[:1].expand(values.shape), tol)


def _filled(mistake: Mistake, **words: Any) -> Mistake:
    first, second, third = (hint.format(**words) for hint in mistake.hints)
    return Mistake(mistake.answer, (first, second, third), mistake.key)


def unrecognised(got: Tensor, want: Tensor) -> str:
    """Ce que l'on peut dire d'une réponse dont la faute n'est pas reconnue."""
    if got.shape != want.shape:
        return (
            f"vous rendez la forme {shape(got)}, l'exercice demande {shape(want)} : une somme ou une "
            f"moyenne sur le "
            "mauvais axe, un `keepdim` oublié, ou une diffusion (`broadcasting`) de trop."
        )
    if got.isnan().any() and not want.isnan().any():
        return (
            "des NaN : le logarithme d'un nombre négatif, 0/0 ou ∞ − ∞. Restez en échelle logarithmique "
            "(`logsumexp`, `logsigmoid`, `softplus`)."
        )
    if got.isinf().any() and not want.isinf().any():
        return (
            "des infinis : l'exponentielle d'un grand nombre, ou le logarithme de 0. Restez en échelle "
            "logarithmique "
            "(`logsumexp`, `logsigmoid`, `softplus`)."
        )
    right = torch.isclose(got, want, rtol=1e-4, atol=1e-6)
    if right.all():
        return (
            "c'est presque la bonne valeur : une constante arrondie (`3.14` pour `math.pi`), un petit nombre "
            "ajouté dans un logarithme ou un dénominateur, ou un calcul en simple précision ?"
        )
    if right.any():
        rank = int((~right).flatten().nonzero()[0])
        return (
            f"une partie des éléments est juste ; le premier qui ne l'est pas est le numéro {rank}, depuis 0."
        )
    return "relisez la formule terme par terme, en calculant chacun à part sur un exemple à une dimension."


# Les types et les erreurs


def shape(value: Tensor) -> str:
    """La forme d'un tenseur, écrite."""
    return f"({', '.join(map(str, value.shape))}{',' * (value.ndim == 1)})"


def is_real(value: Any) -> bool:
    """Un tenseur de nombres réels."""
    return isinstance(value, Tensor) and value.is_floating_point()


def kind(value: Any) -> str:
    """Ce qu'est un objet, dit simplement."""
    names = {
        "NoneType": "`None`",
        "list": "une liste",
        "tuple": "un tuple",
        "dict": "un dictionnaire",
        "set": "un ensemble",
        "str": "un texte",
        "float": "un nombre",
        "int": "un nombre",
        "bool": "un booléen",
        "Tensor": "un tenseur",
        "function": "une fonction",
        "generator": "un générateur",
        "coroutine": "une coroutine",
    }
    return names.get(type(value).__name__, f"un objet `{type(value).__name__}`")


def of_type(result: Any) -> tuple[str, str]:
    """Ce qui ne va pas dans une réponse qui n'est pas un nombre, et l'indice."""
    why = f"Votre fonction rend {kind(result)}."
    if result is None:
        return "Votre fonction ne rend rien (`None`).", "il manque sans doute un `return`."
    if isinstance(result, (list, tuple)):
        return (
            why,
            "rendez un seul tenseur : `torch.stack(…)` en réunit plusieurs, `torch.tensor(…)` des nombres.",
        )
    if isinstance(result, torch.distributions.Distribution):
        return (
            why,
            "c'est une loi ; l'exercice attend un nombre, ce que rendent `log_prob`, `mean` ou `rsample`.",
        )
    if inspectable(result):
        return why, "un `yield` ou un `async` à la place d'un `return` ?"
    if callable(result):
        return (
            why,
            "une paire de parenthèses a été oubliée : `x.mean` est une fonction, `x.mean()` un tenseur.",
        )
    return why, "l'exercice attend un tenseur de nombres, ou un nombre."


def inspectable(result: Any) -> bool:
    """Un générateur ou une coroutine : une fonction qui n'a pas encore tourné."""
    return hasattr(result, "send")


_PATTERNS: tuple[tuple[str, str], ...] = (
    (
        r"size of tensor a \((\d+)\) must match the size of tensor b \((\d+)\)",
        "deux tenseurs de tailles {0} et {1} sur un même axe ne se combinent pas : affichez leurs formes "
        "; il manque "
        "peut-être un `unsqueeze`, un `keepdim=True`, ou une transposée.",
    ),
    (
        r"shapes? cannot be multiplied \((\d+x\d+) and (\d+x\d+)\)",
        "un produit de matrices {0} par {1} : le nombre de colonnes de la première doit être le nombre de "
        "lignes de "
        "la seconde. Une transposée (`.T`) manque.",
    ),
    (
        r"to satisfy the constraint (?:GreaterThan|Positive)",
        "une loi de torch a reçu un paramètre nul, négatif ou NaN : un écart-type est strictement positif. "
        "Est-ce bien un écart-type, et non son logarithme ?",
    ),
    (
        r"not broadcastable with batch_shape",
        "la loi et le point où l'on évalue sa densité n'ont pas des formes compatibles : affichez-les ; il "
        "manque peut-être un `unsqueeze`.",
    ),
    (
        r"Dimension out of range",
        "cet axe n'existe pas : un vecteur n'a que l'axe 0, et un scalaire n'en a aucun.",
    ),
    (
        r"same dtype|expected scalar type|but found",
        "deux types de nombres se mêlent : les arguments sont en double précision. Créez vos tenseurs avec "
        "`dtype=x.dtype`.",
    ),
    (
        r"leaf [Vv]ariable|modified by an inplace",
        "une opération sur place (`+=`, `exp_`, `x[…] = …`) change un argument : écrivez `a = a + b`.",
    ),
    (
        r"converted to (?:Python )?[Ss]calar|truth value of|Boolean value of Tensor",
        "un tenseur de plusieurs nombres est pris pour un seul : les fonctions de `math` et le `if` ne "
        "prennent qu'un nombre. Employez `torch.log`, `torch.where`…",
    ),
    (
        r"must be Tensor, not",
        "les fonctions de torch prennent des tenseurs ; pour un nombre, `math.log` ou `torch.tensor`.",
    ),
)

_ERRORS: dict[type[BaseException], str] = {
    NotImplementedError: "la fonction est encore à écrire : remplacez `raise NotImplementedError`.",
    NameError: "ce nom n'existe pas là où il est lu : une faute de frappe, une variable d'une cellule qui "
    "n'a pas tourné, ou un `import torch` oublié.",
    AttributeError: "cet objet n'a pas cet attribut : une faute de frappe, ou un objet d'un autre type que "
    "prévu ; affichez `type(…)`.",
    RecursionError: "la fonction s'appelle elle-même sans fin : il manque le cas d'arrêt.",
    MemoryError: "la mémoire ne suffit pas : la diffusion crée sans doute un tenseur énorme.",
    ZeroDivisionError: "une division par zéro : quel dénominateur peut être nul ?",
    IndexError: "un indice dépasse la taille de l'axe : les indices vont de 0 à la taille moins un.",
    KeyError: "cette clé n'existe pas dans le dictionnaire.",
    ImportError: "ce module n'est pas installé, ou son nom est mal écrit.",
    AssertionError: "un `assert` n'est pas vérifié, dans votre code ou dans une fonction que vous appelez.",
    SystemExit: "la fonction quitte Python (`exit`, `sys.exit`) : remplacez par `return`.",
    TypeError: "une fonction reçoit un argument d'un type qu'elle ne prend pas, ou trop d'arguments.",
    ValueError: "une fonction reçoit une valeur qu'elle refuse : lisez le message, qui dit laquelle.",
}


def of_error(error: BaseException, where: str, exercise: Exercise) -> tuple[str, str]:
    """Ce qu'a levé la fonction du lecteur, et l'indice."""
    try:
        said = str(error)
    except Exception:  # une exception du lecteur dont le texte lève à son tour
        said = ""
    message = (said.splitlines() or [""])[0].replace("`", "'")[:200]
    named = type(error).__name__ + (f" ({message})" if message else "")
    why = f"Votre fonction s'arrête sur une erreur{where} : `{named}`."
    for pattern, hint in _PATTERNS:
        if found := re.search(pattern, said):
            return why, hint.format(*found.groups())
    known = [hint for kind, hint in _ERRORS.items() if isinstance(error, kind)]
    shapes = (
        "appelez-la à la main sur un petit exemple pour la voir de près, par `" + exercise.signature + "`."
    )
    return why, known[0] if known else shapes

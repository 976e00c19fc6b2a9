"""Les exercices qui se corrigent : ``check("kl-gaussienne", kl)`` essaie la réponse du lecteur.

Importer ce module ne charge pas torch ; les exercices d'un chapitre sont lus au premier appel.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from functools import cache
from typing import Any

from vaebook.exercises.contract import Exercise, Mistake, Verdict

__all__ = ["Exercise", "Mistake", "Verdict", "check", "exercises"]

_MISSING = object()
_made: Counter[tuple[str, str]] = Counter()  # combien de fois chaque faute a été faite, par exercice


@cache
def exercises() -> dict[str, Exercise]:
    """Tous les exercices du livre, par leur nom."""
    names = [info.name for info in pkgutil.iter_modules(__path__) if info.name.startswith("_")]
    chapters = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {exercise.name: exercise for chapter in chapters for exercise in chapter.EXERCISES}


def check(name: str, answer: Any = _MISSING, *others: Any, limit: float = 10.0) -> Verdict:
    """Essaie une réponse sur des cas tirés au hasard, et dit si elle est juste, ou ce qui ne va pas.

    L'indice se précise chaque fois que la même faute revient. Rien de ce que fait la fonction du lecteur
    n'est une exception ici : erreurs, mauvais types, NaN et boucles sans fin ont leur réponse, et un nom
    d'exercice inconnu aussi.

    Paramètres :
        name : le nom de l'exercice, écrit dans son énoncé.
        answer : la fonction demandée, ou le nombre.
        limit : le temps accordé, en secondes.

    Renvoie :
        `Verdict`, déjà affiché ; vrai si la réponse est juste.
    """
    from vaebook.exercises import judging

    exercise = exercises().get(name) if isinstance(name, str) else None
    if exercise is None:
        verdict = judging.unknown(name, exercises())
    elif answer is _MISSING:
        verdict = judging.reminder(exercise)
    elif others:
        verdict = judging.too_many(exercise, answer, others)
    else:
        verdict = judging.judge(exercise, answer, limit, _made)
    verdict.show()
    return verdict

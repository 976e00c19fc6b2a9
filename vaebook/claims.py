"""Ce que la prose affirme d'une exécution, vérifié par cette exécution."""

from collections.abc import Iterator
from contextlib import contextmanager

from vaebook import quick


@contextmanager
def full_run(what: str) -> Iterator[None]:
    """Entoure des ``assert`` qui n'ont de sens que sur une exécution complète.

    En mode rapide, une affirmation fausse est seulement signalée comme non vérifiée.

    Paramètres :
        what : ce que le bloc vérifie, en français.

    Lève :
        AssertionError : une affirmation est fausse, hors du mode rapide.
    """
    try:
        yield
    except AssertionError as error:
        if not quick.enabled():
            raise AssertionError(f"Cette exécution contredit le texte : {what}") from error
    if quick.enabled():
        print(f"{what.rstrip('.')} : non vérifié en mode rapide.")


def claim(condition: object, sentence: str) -> None:
    """Vérifie une phrase du livre ; en mode rapide, dit seulement qu'elle n'est pas vérifiée.

    Paramètres :
        condition : ce que la phrase affirme ; un booléen, ou un tenseur d'un seul élément.
        sentence : la phrase, en français.

    Lève :
        AssertionError : si la condition est fausse, hors du mode rapide.
    """
    with full_run(sentence):
        assert condition

"""Ce que la prose affirme d'une exécution, vérifié par cette exécution."""

from vaebook import quick


def claim(condition: object, sentence: str) -> None:
    """Vérifie une phrase du livre ; en mode rapide, dit seulement qu'elle n'est pas vérifiée.

    Paramètres :
        condition : ce que la phrase affirme ; un booléen, ou un tenseur d'un seul élément.
        sentence : la phrase, en français.

    Lève :
        AssertionError : si la condition est fausse, hors du mode rapide.
    """
    if quick.enabled():
        print(f"{sentence.rstrip('.')} : non vérifié en mode rapide.")
    elif not condition:
        raise AssertionError(f"Cette exécution contredit le texte : {sentence}")

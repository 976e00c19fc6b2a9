"""Une extension de Sphinx qui écrit combien de secondes prend chaque page, à la lecture puis à l'écriture.

Le fichier que nomme la variable ``BUILD_CLOCK`` reçoit une ligne JSON par page et par étape ; plusieurs
processus peuvent y écrire.
"""

import json
import os
import time
from collections.abc import Callable
from typing import Any

from sphinx.application import Sphinx
from sphinx.builders import Builder
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.environment import BuildEnvironment


def setup(app: Sphinx) -> dict[str, Any]:
    """Point d'entrée de Sphinx. Les méthodes sont remplacées dans leur classe : Sphinx copie les objets."""
    Builder.read_doc = _timed("lecture", Builder.read_doc)  # type: ignore[method-assign, misc]
    resolve = _timed("résolution", BuildEnvironment.get_and_resolve_doctree)
    BuildEnvironment.get_and_resolve_doctree = resolve  # type: ignore[method-assign]
    StandaloneHTMLBuilder.write_doc = _timed(  # type: ignore[method-assign]
        "écriture", StandaloneHTMLBuilder.write_doc
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _timed(stage: str, run: Callable[..., Any]) -> Callable[..., Any]:
    def timed(owner: Any, page: str, *arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        result = run(owner, page, *arguments, **options)
        line = json.dumps([page, stage, time.perf_counter() - start], ensure_ascii=False)
        with open(os.environ["BUILD_CLOCK"], "a", encoding="utf-8") as file:
            file.write(line + "\n")
        return result

    return timed

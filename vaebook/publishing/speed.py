"""Une construction deux fois plus courte, sans rien changer aux pages.

De trente-deux à dix-huit secondes sur deux cœurs : arrêter le ramasse-miettes en ôte six ; ne plus chercher
à chaque citation le format des références ni relire une page à chaque renvoi vers elle, huit. Partager les
pages entre les cœurs n'en ôte qu'une ou deux : un seul processus résout les renvois
(``tests/benchmarks/NOTES.md``).
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable
from typing import Any

import pybtex.plugin  # type: ignore[import-untyped]
from docutils import nodes  # type: ignore[import-untyped]
from pybtex.backends.plaintext import Backend as PlainText  # type: ignore[import-untyped]
from pybtex_docutils import Backend as Docutils
from sphinx.application import Sphinx
from sphinx.domains.std import StandardDomain
from sphinx.environment import BuildEnvironment
from sphinx_proof.domain import ProofDomain  # type: ignore[import-untyped]


def setup(app: Sphinx) -> dict[str, Any]:
    """Point d'entrée de Sphinx."""
    # Sans quoi chaque citation les ferait chercher parmi tous les paquets installés.
    for name, backend in (("plaintext", PlainText), ("docutils", Docutils)):
        pybtex.plugin.register_plugin("pybtex.backends", name, backend, force=True)
    app.add_domain(Proofs, override=True)
    app.add_domain(Numbers, override=True)
    app.connect("builder-inited", hold_garbage)
    app.connect("env-before-read-docs", use_every_core)
    app.connect("build-finished", collect_garbage)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def hold_garbage(app: Sphinx) -> None:
    """Arrête le ramasse-miettes : les arbres des pages vivent jusqu'à la fin, il les relirait pour rien."""
    gc.disable()


def collect_garbage(app: Sphinx, exception: Exception | None) -> None:
    """Le remet en marche."""
    gc.enable()


def use_every_core(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    """Partage les pages entre les cœurs ; Jupyter Book n'a pas l'option de Sphinx qui le demande."""
    app.parallel = 1 + (os.cpu_count() or 1)  # un de plus, qui attend les autres
    # Elle ne dit pas si elle le permet ; elle ne fait que numéroter, une fois toutes les pages lues.
    if numbering := app.extensions.get("sphinx_multitoc_numbering"):
        numbering.parallel_read_safe = True


class Proofs(ProofDomain):  # type: ignore[misc]
    """Le domaine de sphinx-proof, qui oublie de dire qu'il n'a rien à réunir entre processus.

    Ses encadrés sont dans l'environnement, que sphinx-proof réunit bien.
    """

    def merge_domaindata(self, docnames: Iterable[str], otherdata: dict[str, Any]) -> None:
        """Ne fait rien : ce domaine n'a pas de données."""


class Numbers(StandardDomain):
    """Le domaine ordinaire de Sphinx, qui relirait toute une page à chaque renvoi numéroté vers elle."""

    def __init__(self, env: BuildEnvironment) -> None:
        super().__init__(env)
        self._read: dict[str, nodes.document] = {}

    def _resolve_numref_xref(self, env: Any, *arguments: Any) -> Any:
        return super()._resolve_numref_xref(_ReadOnce(env, self._read), *arguments)  # type: ignore[arg-type]


class _ReadOnce:
    """Un environnement qui ne lit chaque page qu'une fois, pour qui ne les change pas."""

    def __init__(self, env: BuildEnvironment, read: dict[str, nodes.document]) -> None:
        self._env, self._known = env, read

    def get_doctree(self, docname: str) -> nodes.document:
        if docname not in self._known:
            self._known[docname] = self._env.get_doctree(docname)
        return self._known[docname]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

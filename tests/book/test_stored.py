"""Les carnets stockés : ce que `check` refuse, et ce que la publication rafraîchit."""

from __future__ import annotations

import json

import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from vaebook.publishing import execution, stored


def test_a_whole_book_passes(command):
    assert command("check") == (0, "Toutes les sorties stockées sont valables.\n")
    code, said = command("status")
    assert code == 0
    assert said.splitlines()[1].startswith("essai     à jour")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[: len(text) // 2], "tronqué ou mal formé"),
        (lambda text: text.replace(' "cells": [', '<<<<<<< HEAD\n "cells": ['), "conflit de fusion"),
        (lambda text: text.replace('"chapter": "essai"', '"chapter": "autre"'), "autre chapitre, « autre »"),
        (lambda text: text.replace("3.0\\n", "4.0\\n"), "modifié à la main : la cellule de code 1"),
        (lambda text: text.replace("[1, 2, 6]", "[1, 2, 7]"), "modifié à la main : la cellule de code 1"),
        (lambda text: text.replace("Du texte", "Un texte"), "prose du carnet modifiée à la main"),
        (lambda text: text.replace('"vaebook": {', '"autre": {'), "sans provenance"),
        (lambda text: "[]", "tronqué ou mal formé"),
    ],
)
def test_a_damaged_notebook_is_reported(book, command, damage, said):
    path = book.essai.stored
    text = path.read_text(encoding="utf-8")
    assert damage(text) != text
    path.write_text(damage(text), encoding="utf-8")
    code, found = command("check")
    assert (code, said in found, "essai" in found) == (1, True, True)


def test_a_missing_notebook_and_an_orphan_are_reported(book, command):
    book.essai.stored.rename(book.notebooks / "perdu.ipynb")
    code, said = command("check")
    assert code == 1
    assert "essai : jamais exécuté" in said
    assert "book/notebooks/perdu.ipynb : carnet d'aucun chapitre" in said


def test_a_stale_chapter_is_named_with_what_changed(book, command):
    book.edit("vaebook/outils.py", "sum(x)", "sum(x) + 0")
    code, said = command("check")
    assert (code, said) == (1, "essai : périmé : le module vaebook.outils. Lancez : make execute\n")
    assert "périmé" in command("status")[1]


def test_a_broken_toc_or_chapter_is_reported(book, command):
    (book.root / "_toc.yml").write_text("root: [", encoding="utf-8")
    assert (command("check")[0], "_toc.yml est absent ou illisible" in command("check")[1]) == (1, True)
    (book.root / "_toc.yml").write_text("root: book/absent\n", encoding="utf-8")
    assert "absent.md est absent ou illisible" in command("check")[1]


def test_refreshing_the_prose_touches_nothing_that_was_computed(book):
    before = json.loads(book.essai.stored.read_text(encoding="utf-8"))
    book.edit("book/essai.md", "Une légende", "Une autre légende")
    prose = [["# Essai", "Avant."], [], ["Après."]]
    notebook = stored.refresh(book, book.essai, stored.load(book.essai), prose)
    stored.write(book.essai.stored, stored.dumps(notebook))
    after = json.loads(book.essai.stored.read_text(encoding="utf-8"))
    kinds = [cell["cell_type"] for cell in after["cells"]]
    assert kinds == ["code", "markdown", "markdown", "code", "code", "markdown"]
    assert after["cells"][4]["metadata"]["mystnb"]["figure"]["caption"] == "Une autre légende."
    code = [
        [(cell["source"], cell["outputs"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
        for notebook in (before, after)
    ]
    assert code[0] == code[1]
    assert after["metadata"]["vaebook"]["source"] == stored.source_digest(book.essai)
    for notebook in (before, after):
        for key in ("prose", "source"):
            del notebook["metadata"]["vaebook"][key]
    assert after["metadata"] == before["metadata"]
    stored.load_fresh(book, book.essai)


def test_the_prose_must_be_that_of_the_page(book, command):
    def refresh(text: str) -> None:
        notebook = stored.refresh(book, book.essai, stored.load(book.essai), [[text], [], []])
        stored.write(book.essai.stored, stored.dumps(notebook))

    stored.write(book.essai.stored, stored.dumps(execution.run(book, book.essai)))
    assert "prose provisoire" in command("check")[1]
    refresh("De la prose.")
    assert command("check") == (0, "Toutes les sorties stockées sont valables.\n")
    book.edit("book/essai.md", "Du texte", "De la prose")
    assert "prose du carnet en retard" in command("check")[1]
    refresh("Voir {ref}`fig-droite`.")
    assert "reste du MyST, «\u00a0{ref}`fig-droite`\u00a0»" in command("check")[1]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("```{math}\nx\n```", "```{math}"),
        ("> :::{note}", "> :::{note}"),
        ("a {prf:ref}`b` c", "{prf:ref}`b`"),
        ("(chap-a)=\n# A", "(chap-a)="),
        ("```python\nx = {1}\n```\n\n$a_{i}$ `{b}` et {c} (d)=e", None),
    ],
)
def test_leftovers_are_found(text, found):
    notebook = new_notebook(cells=[new_markdown_cell(text)])
    assert stored.leftovers(notebook) == ([found] if found else [])

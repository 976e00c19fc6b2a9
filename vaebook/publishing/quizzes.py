"""Les quiz : un script et une feuille de style dans le site ; dans le PDF, les réponses à part.

Un chapitre écrit ses réponses en blocs repliés, dont l'explication commence par « Oui » ou par « Non ».
"""

from __future__ import annotations

from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform


def setup(app: Sphinx) -> dict[str, Any]:
    """Point d'entrée de Sphinx."""
    app.add_css_file("quiz.css")
    app.add_js_file("quiz.js")
    app.add_post_transform(AnswersApart)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class AnswersApart(SphinxPostTransform):
    """Dans le PDF, met les choix sous la question, et les explications à la fin du quiz.

    Une explication garde la lettre de son choix : « a. Non. … ».
    """

    formats = ("latex",)
    default_priority = 190

    def run(self, **kwargs: Any) -> None:
        """Traite la section « Quiz » de la page, s'il y en a une."""
        for section in self.document.findall(nodes.section):
            if section[0].astext() == "Quiz":
                separate(section)


def separate(section: Any) -> None:
    """Remplace chaque bloc replié d'une section par son titre, et rassemble les contenus à la fin.

    Paramètres :
        section : la section du quiz, changée sur place.
    """
    answers: list[Any] = []
    for child in list(section.children):
        if isinstance(child, nodes.paragraph) and child.astext().startswith("Question"):
            title = child.astext().partition(".")[0]
            answers.append(nodes.paragraph("", "", nodes.strong("", f"{title}.")))
        elif isinstance(child, nodes.container) and child.get("design_component") == "dropdown":
            title, *explanation = child.children
            letter = title.astext().partition(" ")[0]
            if explanation and isinstance(explanation[0], nodes.paragraph):
                explanation[0].insert(0, nodes.Text(f"{letter}\u00a0"))
            answers += explanation
            child.replace_self(nodes.paragraph("", "", *title.children))
    if answers:
        section += [nodes.rubric("", "Réponses"), *answers]

"""Les quiz : dans un navigateur, avec et sans script, et dans le PDF."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

QUIZ = """# Chapitre

## Quiz

**Question 1.** Combien font $1 + 1$ ?

```{dropdown} a. $3$
Non. C’est trop.
```

```{dropdown} b. $2$, *exactement*
Oui. Une somme.
```

**Question 2.** Et ensuite ?

Une précision.

```{dropdown} a. Rien
Oui. En effet.
```

```{dropdown} b. Tout
Non. Certes pas.

Un second paragraphe.
```

## Pour aller plus loin

Fin.
"""
CONFIG = """
extensions = ["myst_parser", "sphinx_design", "vaebook.publishing.quizzes"]
myst_enable_extensions = ["dollarmath"]
html_theme = "basic"
language = "fr"
html_static_path = ["assets"]
"""


@pytest.fixture(scope="module")
def book(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Un livre d'une page, construit en HTML et en LaTeX."""
    folder = tmp_path_factory.mktemp("quiz")
    (folder / "conf.py").write_text(CONFIG, encoding="utf-8")
    (folder / "index.md").write_text(QUIZ, encoding="utf-8")
    (folder / "assets").mkdir()
    for name in ("quiz.js", "quiz.css"):
        shutil.copy(root / "book/assets" / name, folder / "assets")
    for builder in ("html", "latex"):
        command = [
            sys.executable,
            "-m",
            "sphinx",
            "-q",
            "-W",
            "-b",
            builder,
            str(folder),
            str(folder / builder),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def page(chromium: Any, book: Path) -> Iterator[Any]:
    context = chromium.new_context()
    page = context.new_page()
    page.goto((book / "html/index.html").as_uri())
    yield page
    context.close()


def test_choosing_says_right_or_wrong_and_why(page: Any) -> None:
    questions = page.locator(".quiz-question")
    assert questions.count() == 2
    assert page.get_by_role("group", name="Question 1").count() == 1
    first = questions.nth(0)
    assert first.locator("details").count() == 2
    assert first.locator(".quiz-verdict").all_inner_texts() == ["", ""]
    first.locator("summary").nth(0).click()
    assert first.locator(".quiz-verdict").all_inner_texts() == ["✗ Faux", ""]
    assert first.get_by_text("C’est trop.").is_visible()
    assert first.get_by_role("status").inner_text().startswith("Faux")
    first.locator("summary").nth(1).click()
    assert first.locator(".quiz-verdict").all_inner_texts() == ["✗ Faux", "✓ Juste"]
    assert first.get_by_role("status").inner_text() == "Juste, au bout de 2 essais."


def test_the_keyboard_is_enough_and_the_quiz_can_start_again(page: Any) -> None:
    summaries = page.locator(".quiz-question summary")
    summaries.nth(1).focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent").strip().startswith("a. Rien")
    page.keyboard.press("Space")
    score = page.locator(".quiz-score")
    assert (
        score.inner_text().replace("\u00a0", " ")
        == "Quiz terminé : 2 questions trouvées du premier coup, sur 2."
    )
    # Regarder ensuite une autre réponse ne change pas le compte.
    summaries.nth(0).click()
    assert "2 questions" in score.inner_text()
    page.get_by_role("button", name="Recommencer").click()
    assert page.locator("details[open]").count() == 0
    assert not any(page.locator(".quiz-verdict").all_inner_texts())
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_closing_and_opening_again_counts_once(page: Any) -> None:
    summary = page.locator(".quiz-question summary").nth(0)
    for _ in range(3):
        summary.click()
    page.locator(".quiz-question summary").nth(1).click()
    assert page.get_by_role("status").first.inner_text() == "Juste, au bout de 2 essais."


def test_without_javascript_the_answers_are_folded(chromium: Any, book: Path) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((book / "html/index.html").as_uri())
    assert page.locator("#quiz details").count() == 4
    assert page.get_by_text("C’est trop.").is_hidden()
    page.locator("#quiz summary").nth(0).click()
    assert page.get_by_text("C’est trop.").is_visible()
    context.close()


def test_in_the_pdf_the_answers_follow_the_questions(book: Path) -> None:
    [source] = (book / "latex").glob("*.tex")
    body = source.read_text(encoding="utf-8").partition("{Quiz}")[2].partition("{Pour aller plus loin}")[0]
    text = re.sub(r"\s+", " ", re.sub(r"\\(?:sphinx\w+|par)\b|[{}]|\\\(|\\\)", " ", body.replace("~", " ")))
    order = [
        "Question 1.", "a. 3", "b. 2", "Question 2.", "Une précision.", "a. Rien", "b. Tout", "Réponses",
        "Question 1.", "a. Non. C’est trop.", "b. Oui. Une somme.",
        "Question 2.", "a. Oui. En effet.", "b. Non. Certes pas.", "Un second paragraphe.",
    ]  # fmt: skip
    positions, start = [], 0
    for piece in order:
        start = text.find(piece, start)
        positions.append(start)
        assert start >= 0, f"{piece!r} manque, ou n’est pas à sa place :\n{text}"
        start += len(piece)
    assert positions == sorted(positions)

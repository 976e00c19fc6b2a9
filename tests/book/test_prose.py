"""Le texte du livre : son orthographe, sa typographie, et la charpente de chaque chapitre."""

from __future__ import annotations

import ast
import os
import re
import statistics
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from prose import HOLE, Cell, Directive, Math, Part, Passage, Target, parts, read
from pybtex.database import parse_file
from tiny import ROOT

BOOK = ROOT / "book"
PAGES = sorted(path for path in BOOK.rglob("*.md") if "notebooks" not in path.parts)
CHAPTERS = [path for path in PAGES if path.parent == BOOK and path.stem != "index"]
# Un mot par ligne : les noms propres, les sigles et les termes que les dictionnaires n'ont pas.
WORDS = Path(__file__).with_name("mots.txt")

pages = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
chapters = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


# L'orthographe

WORD = re.compile(r"[^\W\d_]+(?:[’'‑-][^\W\d_]+)*")
ELISION = re.compile(r"^(?:[cdjlmnst]|qu|jusqu|lorsqu|puisqu|quoiqu|presqu|quelqu)['’]", re.IGNORECASE)


def unknown_to(dictionary: str, words: Iterable[str]) -> set[str]:
    """Les mots que hunspell ne trouve pas dans un dictionnaire."""
    done = subprocess.run(
        ["hunspell", "-d", dictionary, "-i", "UTF-8", "-l"],
        input="\n".join(sorted(words)),
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode or "Can't open" in done.stderr:
        raise LookupError(f"le dictionnaire « {dictionary} » de hunspell manque : {done.stderr.strip()}")
    return set(done.stdout.split())


def atoms(word: str) -> list[str]:
    """Les morceaux d'un mot que l'on cherche un par un : sans élision, coupé aux traits d'union."""
    pieces = re.split(r"(?<!aujourd)[’'‑-]", ELISION.sub("", word))
    return [piece for piece in pieces if sum(letter.isalpha() for letter in piece) > 1]


def misspelt(passages: Iterable[Passage], allowed: set[str]) -> list[tuple[int, str]]:
    """Les mots inconnus, avec leur ligne ; en italique, un mot peut être anglais."""
    found = [
        (passage.line + text.count("\n", 0, match.start()), match[0], text is passage.italic)
        for passage in passages
        for text in (passage.roman, passage.italic)
        for match in WORD.finditer(text)
    ]

    def listed(word: str) -> bool:
        return not {word, word.lower()}.isdisjoint(allowed)

    asked = {(atom, italic) for _, word, italic in found for atom in atoms(word) if not listed(atom)}
    french = unknown_to("fr", {atom for atom, _ in asked})
    english = unknown_to("en_GB", {atom for atom, italic in asked if italic and atom in french})

    def known(atom: str, italic: bool) -> bool:
        return listed(atom) or atom not in french or (italic and atom not in english)

    return [
        (line, word) for line, word, italic in found if not all(known(atom, italic) for atom in atoms(word))
    ]


@pytest.fixture(scope="session")
def allowed(require: Callable[[str], str]) -> set[str]:
    """La liste du projet ; sans hunspell ni ses dictionnaires, le test échoue sous CI et passe ailleurs."""
    require("hunspell")
    try:
        unknown_to("fr", ["mot"]), unknown_to("en_GB", ["word"])
    except LookupError as error:
        pytest.fail(str(error)) if os.environ.get("CI") else pytest.skip(str(error))
    return set(WORDS.read_text(encoding="utf-8").split())


@pages
def test_every_word_is_known(path: Path, allowed: set[str]) -> None:
    faults = misspelt((part for part in read(path) if isinstance(part, Passage)), allowed)
    assert not faults, report(path, faults)


def test_a_misspelt_word_is_found(allowed: set[str]) -> None:
    text = "L’encodeur, aujourd’hui, a-t-il une vraisemblence ?\n\nLe prior est *the prior*, dit Kingmaa."
    words = [word for _, word in misspelt(passages(text), allowed)]
    assert words == ["vraisemblence", "prior", "Kingmaa"]


def test_the_word_list_is_sorted_and_needed(allowed: set[str]) -> None:
    words = WORDS.read_text(encoding="utf-8").splitlines()
    assert words == sorted(set(words))
    assert set(words) - unknown_to("fr", words) == set(), "ces mots sont déjà dans le dictionnaire"


# La typographie

NO_BREAK = "[\u00a0\u202f]"
TYPOGRAPHY = {
    "apostrophe droite (’ attendue)": re.compile(r"'"),
    "guillemets anglais (« » attendus)": re.compile(r"[\"“”„]"),
    "espace insécable manquante": re.compile(
        rf"(?<!{NO_BREAK})(?<![?!])[;?!%»]|(?<!{NO_BREAK}):(?=\s|$)|[ \n]:|«(?!{NO_BREAK})"
    ),
    "point décimal (virgule attendue)": re.compile(r"(?<![\w.])\d+\.\d"),
    "trois points (… attendu)": re.compile(r"\.\.\."),
    "rôle ou directive mal formés": re.compile(r"`*\{[\w:-]+\}|`+"),
    "trait d'union pour un signe moins (− attendu)": re.compile(rf"(?<![\w{HOLE}])-\d"),
}
# Les numéros de version gardent leur point.
VERSION = re.compile(r"(?:Python|PyTorch|torch|BY)\s[\d.]+(?:(?:, | ou | et )[\d.]+)*")
UNFINISHED = re.compile(r"PLACEHOLDER|TODO|FIXME|XXX|Lorem ipsum")


def typos(page: Iterable[Part]) -> list[tuple[int, str]]:
    """Les fautes de typographie d'une page : ligne, nature et contexte."""
    faults = []
    for part in page:
        if isinstance(part, Passage):
            text = VERSION.sub(lambda found: HOLE * len(found[0]), part.text)
            for name, pattern in TYPOGRAPHY.items():
                for found in pattern.finditer(text):
                    context = text[max(0, found.start() - 20) : found.end() + 5].replace("\n", " ")
                    faults.append((part.line + text.count("\n", 0, found.start()), f"{name} : {context}"))
        elif isinstance(part, Math):
            formula = re.sub(r"\\text\{[^}]*\}", "", part.text)
            faults.extend(
                (part.line, f"point décimal ou signe de prose dans une formule : {found[0]!r}")
                for found in re.finditer(r"\d\.\d|[’«»\u00a0\u202f]", formula)
            )
    return faults


@pages
def test_the_typography_is_french(path: Path) -> None:
    faults = typos(read(path))
    assert not faults, report(path, faults)


@pages
def test_nothing_is_left_to_write(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    faults = [(number, line) for number, line in enumerate(lines, 1) if UNFINISHED.search(line)]
    assert not faults, report(path, faults)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Voici: rien.", "insécable"),
        ("Voici : rien.", "insécable"),
        ("Vrai ?", "insécable"),
        ("Vrai{glue:text}`x`%", "insécable"),
        ("Un $x$ ; un $y$.", "insécable"),
        ("Un «mot».", "insécable"),
        ("L'encodeur.", "apostrophe"),
        ('Un "mot".', "guillemets"),
        ("Environ 0.5 nat.", "décimal"),
        ("Environ $0.5$ nat.", "décimal"),
        ("La dérivée $f’$.", "formule"),
        ("Et ainsi de suite...", "trois points"),
        ("Environ -3 nats.", "moins"),
        ("```{dropdown} a. `x`\nrien\n```", "mal formés"),
        ("```{admonition} Vrai ?\nrien\n```", "insécable"),
        ("```{code-cell} python\n---\nmystnb:\n  figure:\n    caption: Vrai ?\n---\nx\n```", "insécable"),
        ("```{code-cell} python\n---\nmystnb:\n  image:\n    alt: Vrai ?\n---\nx\n```", "insécable"),
    ],
)
def test_a_typo_is_found(text: str, named: str) -> None:
    assert [named in fault for _, fault in typos(parts(text))] in ([True], [True, True])


def test_correct_typography_is_accepted() -> None:
    text = """
Python 3.11, 3.12 ou 3.13~: «~oui~»~; l’ELBO vaut −0,5 nat, 12~%. $a : 0{,}5$ `x: 'a.b' ?` {cite}`a2014,b2015`

```{math}
:label: eq-a
x ; y ?
```

```python
x: int = 0.5
```
""".replace("~", "\u00a0")
    assert typos(parts(text)) == []


# La charpente


def headings(page: Iterable[Part]) -> list[str]:
    return [part.text for part in page if isinstance(part, Passage) and part.heading == 2]


def section(page: list[Part], title: str) -> list[Part]:
    """Ce qui suit un titre de niveau 2, jusqu'au suivant."""
    inside, found = False, []
    for part in page:
        if isinstance(part, Passage) and part.heading == 2:
            inside = part.text == title
        elif inside:
            found.append(part)
    return found


def directives(page: Iterable[Part], *names: str) -> list[Directive]:
    return [part for part in page if isinstance(part, Directive) and part.name in names]


def cells(page: Iterable[Part]) -> list[Cell]:
    return [part for part in page if isinstance(part, Cell)]


@chapters
def test_a_chapter_has_its_parts(path: Path) -> None:
    page = read(path)
    [objectives] = [found for found in directives(page, "admonition") if found.argument == "Objectifs"]
    for word in ("Prérequis", "Durée"):
        assert word in objectives.body, word
    titles = headings(page)
    assert titles[-4:] == ["À retenir", "Exercices", "Quiz", "Pour aller plus loin"]
    assert re.search(
        r"\{cite(:\w+)?\}`", path.read_text(encoding="utf-8").split("## Pour aller plus loin")[1]
    )


@chapters
def test_exercises_have_folded_solutions(path: Path) -> None:
    page = section(read(path), "Exercices")
    exercises = directives(page, "exercise", "exercise-start")
    solutions = directives(page, "solution", "solution-start")
    assert len(exercises) >= 4
    assert [found.options["label"] for found in exercises] == [found.argument for found in solutions]
    assert all("dropdown" in found.options.get("class", "") for found in solutions)
    coded = sum(bool(re.search(r"```(?:python|\{literalinclude\})", found.body)) for found in solutions)
    assert coded + len(cells(page)) >= 2, "deux en code"


@chapters
def test_each_question_has_one_right_answer(path: Path) -> None:
    questions: list[list[str]] = []
    for part in section(read(path), "Quiz"):
        if isinstance(part, Passage) and part.text.startswith("Question"):
            questions.append([])
        elif isinstance(part, Directive) and part.name == "dropdown":
            questions[-1].append(part.body)
    assert len(questions) >= 3
    for number, options in enumerate(questions, 1):
        assert len(options) >= 3, f"question {number}"
        assert sum(option.startswith("Oui.") for option in options) == 1, f"question {number}"
        assert len(set(options)) == len(options), f"question {number} : deux explications identiques"


@chapters
def test_cells_are_short(path: Path) -> None:
    lengths = [(cell.line, len(cell.source.strip().splitlines())) for cell in cells(read(path))]
    long = [(line, f"{length} lignes") for line, length in lengths if length > 20]
    assert not long, report(path, long)
    assert statistics.median(length for _, length in lengths) <= 10


def draws(source: str) -> bool:
    """Vrai si la dernière instruction d'une cellule appelle une fonction de figures."""
    try:
        last = ast.parse(source).body[-1:]
    except SyntaxError as error:
        pytest.fail(f"une cellule n'est pas du Python : {error.text}")
    return bool(last) and bool(re.match(r"(?:figures|plots|plt)\.\w+\(", ast.unparse(last[0])))


@pages
def test_every_figure_has_a_caption_and_an_alternative(path: Path) -> None:
    page = read(path)
    for cell in cells(page):
        figure, image = cell.config.get("figure", {}), cell.config.get("image", {})
        if draws(cell.source) or figure or image:
            assert figure.get("name", "").startswith("fig-"), f"{path.name}:{cell.line}"
            assert len(figure.get("caption", "")) > 20, f"{path.name}:{cell.line}"
            assert len(image.get("alt", "")) > 20, f"{path.name}:{cell.line}"
            assert "$" not in image["alt"], (
                f"{path.name}:{cell.line} : un texte alternatif n'a pas de formule"
            )
    for found in directives(page, "figure", "image"):
        assert len(found.options.get("alt", "")) > 20, f"{path.name}:{found.line}"


def test_labels_are_unique_across_the_book() -> None:
    labels = Counter(part.label for path in PAGES for part in read(path) if isinstance(part, Target))
    assert labels["chap-index"] == 1
    assert [label for label, count in labels.items() if count > 1] == []


def test_the_book_has_one_bibliography() -> None:
    assert [path.stem for path in PAGES for _ in directives(read(path), "bibliography")] == ["bibliographie"]


def test_references_are_complete() -> None:
    entries = parse_file(BOOK / "references.bib").entries
    assert len(entries) > 10
    identifiers = [
        entry.fields.get("doi")
        or entry.fields.get("eprint")
        or entry.fields.get("isbn")
        or entry.fields["url"]
        for entry in entries.values()
    ]
    assert [identifier for identifier, count in Counter(identifiers).items() if count > 1] == []
    for key, entry in entries.items():
        assert entry.persons.get("author"), key
        assert {"title", "year"} <= set(entry.fields), key
        if eprint := entry.fields.get("eprint"):
            assert re.fullmatch(r"\d{4}\.\d{4,5}|[a-z-]+/\d{7}", eprint), key


def test_the_glossary_is_sorted() -> None:
    text = (BOOK / "annexes/glossaire.md").read_text(encoding="utf-8")
    terms = re.findall(r"^(\w.*)\n  \*", text, flags=re.MULTILINE)
    plain = str.maketrans("àâçéèêëîïôûùü", "aaceeeeiiouuu")
    assert len(terms) >= 50
    assert terms == sorted(terms, key=lambda term: term.lower().translate(plain))


def passages(text: str) -> list[Passage]:
    return [part for part in parts(text) if isinstance(part, Passage)]


def report(path: Path, faults: Iterable[tuple[int, str]]) -> str:
    return "\n" + "\n".join(f"{path.relative_to(ROOT)}:{line} : {what}" for line, what in faults)

"""Les longues expériences : ce qui est rangé, ce qui est refusé, et les chapitres qui en dépendent."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest

from vaebook import results
from vaebook.publishing import stored
from vaebook.publishing.freshness import fingerprint

SCRIPT = '''"""Un essai de somme.

Le reste de la docstring.
"""

from vaebook.calcul import moyenne


def run():
    print("une étape")
    return {"moyenne": moyenne([1, 2, 6]), "texte": "été", "liste": [1, 2]}
'''


@pytest.fixture
def trial(book):
    """Le livre minuscule et son expérience, qu'il reste à faire."""
    book.experiments.mkdir()
    (book.experiments / "essai.py").write_text(SCRIPT, encoding="utf-8")
    return book


@pytest.fixture
def done(trial, command):
    code, said = command("experiment")
    assert code == 0, said
    return trial


def record(book) -> dict:
    return json.loads((book.results / "essai.json").read_text(encoding="utf-8"))


def use(book) -> None:
    book.edit(
        "book/essai.md", "import vaebook\n", 'import vaebook\nfrom essais import load\nload("essai.json")\n'
    )


def test_results_and_provenance(done, command):
    found = record(done)
    assert found["data"] == {"moyenne": 3.0, "texte": "été", "liste": [1, 2]}
    assert list(found["modules"]) == [
        "book/experiments/essai.py",
        "vaebook",
        "vaebook.calcul",
        "vaebook.outils",
    ]
    assert list(found["resources"]) == ["habits/livre.css"]
    assert found["experiment"] == "essai"
    assert {"device", "torch", "seed", "date", "duration", "commit"} <= set(found["provenance"])
    assert command("experiment") == (0, "Aucune expérience à faire\u00a0: tout est à jour.\n")


@pytest.mark.parametrize(
    ("path", "old", "new", "said"),
    [
        ("book/experiments/essai.py", "6]", "7]", "périmée : le module book/experiments/essai.py"),
        ("vaebook/outils.py", "sum(x)", "sum(x) + 0", "périmée : le module vaebook.outils"),
        ("vaebook/habits/livre.css", "red", "green", "périmée : le fichier habits/livre.css"),
        ("book/results/essai.json", "été", "hiver", "modifiés à la main"),
        ("book/results/essai.json", '"data"', '"autre"', "sans provenance"),
        ("book/results/essai.json", '"experiment": "essai"', '"experiment": "b"', "d'une autre expérience"),
        ("book/results/essai.json", "]\n }\n}", "", "tronqués"),
    ],
)
def test_results_that_cannot_be_trusted_are_reported(done, command, path, old, new, said):
    done.edit(path, old, new)
    code, found = command("check")
    found = found.replace("\u00a0", " ")
    assert (code, "expérience essai :" in found, said in found) == (1, True, True), found
    assert "make experiment ARGS=essai" in found
    assert said.split(":")[0].strip() in command("status")[1]


def test_what_does_not_count(done, command):
    done.edit("book/experiments/essai.py", "Un essai", "Une tentative")
    done.edit("vaebook/calcul.py", "# au fond d'une fonction", "# ailleurs")
    assert command("check")[0] == 0


def test_missing_results_and_orphans_are_reported(trial, command):
    assert "jamais faite" in command("check")[1]
    assert "jamais faite" in command("status")[1]
    trial.results.mkdir()
    (trial.results / "perdu.json").write_text("{}", encoding="utf-8")
    assert "book/results/perdu.json" in command("check")[1]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("6])", "6]) / 0", "le script a échoué"),
        ("[1, 2]}", "[{1}]}", "le script a échoué"),
        ("[1, 2]}", "[float('nan')]}", "le script a échoué"),
        ("[1, 2]}", "['/home/quelqu-un/x']}", "«\u00a0/home/quelqu-un\u00a0»"),
        ("[1, 2]}", "list(range(300_000))}", str(stored.MAX_BYTES)),
    ],
)
def test_a_failure_leaves_the_results_whole(done, command, old, new, said):
    before = (done.results / "essai.json").read_bytes()
    done.edit("book/experiments/essai.py", old, new)
    code, found = command("experiment")
    assert (code, said in found) == (1, True), found
    assert [path.name for path in done.results.iterdir()] == ["essai.json"]
    assert (done.results / "essai.json").read_bytes() == before


def test_the_quick_mode_and_unknown_names_are_refused(trial, command, monkeypatch):
    assert "Expérience inconnue : rien" in command("experiment", "rien")[1].replace("\u00a0", " ")
    monkeypatch.setenv("VAEBOOK_QUICK", "1")
    code, said = command("experiment")
    assert (code, "VAEBOOK_QUICK" in said) == (1, True)
    assert not trial.results.exists()


def test_a_chapter_depends_on_the_results_it_names(done, command):
    assert fingerprint(done, done.essai).record()["digest"] == stored.load(done.essai).metadata.vaebook.digest
    use(done)
    before = fingerprint(done, done.essai)
    assert list(before.resources) == ["habits/livre.css", "results/essai.json"]
    assert command("experiment", "--all")[0] == 0  # une autre date, les mêmes nombres
    assert fingerprint(done, done.essai) == before
    done.edit("book/experiments/essai.py", "6]", "7]")
    assert command("experiment")[0] == 0
    assert fingerprint(done, done.essai).changes_since(before.record()) == ["le fichier results/essai.json"]


def test_the_annex_lists_the_experiments(done):
    done.edit("book/index.md", "Bonjour.", "```{executions}\n```")
    assert done.build().returncode == 0
    text = (done.root / "_build/html/book/index.html").read_text(encoding="utf-8")
    assert "Expérience\u00a0: Un essai de somme" in text
    assert record(done)["digest"] in text


def test_load_returns_the_data_or_says_why_not(done, monkeypatch):
    monkeypatch.setattr(results, "_FOLDERS", (done.root / "absent", done.results))
    assert results.load("essai.json")["texte"] == "été"
    with pytest.raises(FileNotFoundError, match=r"Ceux qui existent.*essai\.json.*experiment autre"):
        results.load("autre.json")
    path = done.results / "essai.json"
    whole = path.read_text(encoding="utf-8")
    for text in (whole[:50], "[]", '{"data": [1]}'):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=r"essai\.json"):
            results.load("essai.json")


def test_every_package_is_installed(root):
    declared = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    found = {".".join(path.parent.relative_to(root).parts) for path in root.glob("vaebook/**/__init__.py")}
    assert set(declared["packages"]) == found | {"vaebook._results"}


@pytest.mark.slow
def test_the_installed_package_brings_the_results(done, root, tmp_path):
    for name in ("vaebook", "pyproject.toml", "README.md", "LICENSE"):
        source = root / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / "source" / name)
    shutil.copytree(done.results, tmp_path / "source/book/results")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path)]
    subprocess.run([*pip, "./source"], cwd=tmp_path, check=True)
    [wheel] = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installe")
    program = "from vaebook.results import load; print(load('essai.json')['moyenne'])"
    command = [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = ['.']; {program}"]
    said = subprocess.run(command, cwd=tmp_path / "installe", capture_output=True, text=True, check=True)
    assert said.stdout == "3.0\n"

"""Exécuter : ce qui est rangé, ce qui est refusé, et le carnet précédent qui reste entier."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from tiny import git

from vaebook.publishing import execution, stored
from vaebook.publishing.chapters import PublishingError
from vaebook.publishing.stored import executed_cells


def add_cell(book, source: str) -> None:
    text = book.source.read_text(encoding="utf-8")
    book.source.write_text(f"{text}\n```{{code-cell}} python\n{source}\n```\n", encoding="utf-8")


def run(book, **options):
    execution.execute(book, [book.essai], **options)
    return stored.load(book.essai)


def test_outputs_and_provenance(book):
    notebook = stored.load(book.essai)
    first, second = executed_cells(notebook)
    assert first.outputs[0].text == "3.0\n"
    assert second.outputs[0].data["image/png"].startswith("iVBOR")
    assert [first.execution_count, second.execution_count] == [1, 2]
    provenance = notebook.metadata.vaebook.provenance
    assert provenance.python == ".".join(map(str, sys.version_info[:3]))
    assert provenance.torch is None
    assert provenance.seed is None
    assert provenance.device
    assert provenance.date.endswith("+00:00")
    assert 0 < provenance.duration < 60
    assert notebook.metadata.vaebook.chapter == "essai"


def test_a_second_execution_changes_only_the_provenance(book):
    before = json.loads(book.essai.stored.read_text(encoding="utf-8"))
    run(book)
    after = json.loads(book.essai.stored.read_text(encoding="utf-8"))
    for notebook in (before, after):
        for key in ("provenance", "prose", "source"):
            del notebook["metadata"]["vaebook"][key]
        notebook["cells"] = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert after == before


def test_only_stale_chapters_are_executed(book, command):
    assert command("execute") == (0, "Rien à exécuter : tout est à jour.\n")
    book.edit("vaebook/outils.py", "sum(x)", "sum(x) + 3")
    code, said = command("execute")
    assert (code, "cellule 2/2" in said) == (0, True)
    assert executed_cells(stored.load(book.essai))[0].outputs[0].text == "4.0\n"
    assert command("execute") == (0, "Rien à exécuter : tout est à jour.\n")


def test_the_quick_mode_stores_nothing(book, monkeypatch):
    before = book.essai.stored.read_bytes()
    monkeypatch.setenv("VAEBOOK_QUICK", "1")
    with pytest.raises(PublishingError, match="VAEBOOK_QUICK"):
        run(book)
    assert book.essai.stored.read_bytes() == before


def test_an_unknown_chapter_is_refused(command):
    code, said = command("execute", "rien")
    assert (code, "Chapitre inconnu : rien" in said) == (1, True)


@pytest.mark.parametrize(
    ("cell", "options", "said"),
    [
        ("1 / 0", {}, "cellule de code 3/3 par une erreur, ZeroDivisionError.*> 1 1 / 0"),
        ("import time; time.sleep(60)", {"timeout": 2}, "délai de 2 s dépassé"),
        ("import os; os._exit(1)", {}, "mort du noyau"),
        ("print('/home/quelqu-un/x')", {}, "« /home/quelqu-un »"),
        ("import socket; print(socket.gethostname())", {}, socket.gethostname()),
        ("print('x' * 3_000_000)", {}, str(stored.MAX_BYTES)),
        ("import sys; print('findfont: Font x not found', file=sys.stderr)", {}, "pas ses polices"),
    ],
)
def test_a_failure_leaves_the_stored_notebook_whole(book, cell, options, said):
    before = book.essai.stored.read_bytes()
    add_cell(book, cell)
    with pytest.raises(PublishingError, match=f"(?s)essai.*{said}"):
        run(book, **options)
    assert book.essai.stored.read_bytes() == before
    assert [path.name for path in book.notebooks.iterdir()] == ["essai.ipynb"]


def test_a_full_disk_leaves_the_stored_notebook_whole(book, monkeypatch):
    before = book.essai.stored.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(PublishingError, match="Le carnet précédent est intact"):
        run(book)
    assert book.essai.stored.read_bytes() == before
    assert [path.name for path in book.notebooks.iterdir()] == ["essai.ipynb"]


def test_code_edited_during_the_execution_is_refused(book):
    path = book.package / "outils.py"
    add_cell(book, f"open({str(path)!r}, 'a').write('AUTRE = 1')")
    with pytest.raises(PublishingError, match="a changé pendant l'exécution"):
        run(book)


def test_outputs_are_cleaned(book):
    add_cell(
        book,
        "import sys, vaebook.outils\n"
        "print(vaebook.outils.__file__); print(object())\n"
        "print('bruit', file=sys.stderr)\n"
        "from tqdm import tqdm\nfor _ in tqdm(range(3)): pass",
    )
    [output] = executed_cells(run(book))[2].outputs
    assert output.text == "./vaebook/outils.py\n<object object at 0x…>\n"


def test_a_short_host_name_is_not_seen_in_binary_data(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "vm")
    weights = "QUJD/vm+" * 50
    assert execution.refuse_private(weights, "ici") == weights
    with pytest.raises(PublishingError, match="«\u00a0vm\u00a0»"):
        execution.refuse_private(f"{weights} sur vm", "ici")


def test_identifiers_survive_a_new_cell(book):
    before = [cell.id for cell in executed_cells(stored.load(book.essai))]
    book.edit(
        "book/essai.md",
        "```{code-cell} python\nimport",
        "```{code-cell} python\n1\n```\n\n```{code-cell} python\nimport",
    )
    after = [cell.id for cell in executed_cells(run(book))]
    assert [name for name in after if name in before] == before


def test_two_executions_at_once_are_refused(book):
    with (
        execution.exclusive(book.lock),
        pytest.raises(PublishingError, match="Une autre exécution est en cours"),
    ):
        run(book)
    run(book)


def test_an_interruption_says_so_and_leaves_no_kernel(book, tmp_path):
    before = book.essai.stored.read_bytes()
    witness = tmp_path / "noyau"
    add_cell(book, f"import os, time; open({str(witness)!r}, 'w').write(str(os.getpid())); time.sleep(60)")
    command = [sys.executable, "-m", "vaebook.publishing", "--root", str(book.root), "execute"]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        # Un shell fait ignorer Ctrl-C à ce qu'il lance en arrière-plan, parfois ces tests eux-mêmes.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    limit = time.monotonic() + 60
    while not (witness.exists() and witness.read_text()):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < limit
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in said
    assert "le carnet précédent est intact" in said
    assert book.essai.stored.read_bytes() == before
    with pytest.raises(ProcessLookupError):
        os.kill(int(witness.read_text()), 0)


def test_the_last_commit_is_recorded(book, require):
    require("git")
    git(book.root, "init", "-q")
    git(book.root, "add", ".")
    git(book.root, "commit", "-qm", "essai")
    commit = git(book.root, "log", "-1", "--format=%H").strip()
    assert run(book).metadata.vaebook.provenance.commit == commit
    book.edit("vaebook/ailleurs.py", "1", "2")
    assert run(book).metadata.vaebook.provenance.commit == f"{commit}+"


def test_executing_and_checking_need_neither_sphinx_nor_torch():
    program = (
        "import sys, vaebook.publishing.__main__, vaebook.publishing.execution; "
        "print({'sphinx', 'docutils', 'myst_nb', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"

"""Construit le PDF : ``python -m vaebook.publishing.pdf``, ou ``make pdf``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

NAME = "vaebook"  # celui que _config.yml donne au fichier LaTeX
TOOLS = ("xelatex", "latexmk", "kpsewhich")
FILES = (
    *("french.ldf", "titlesec.sty", "newunicodechar.sty", "unicode-math.sty"),
    *("texgyrepagella-regular.otf", "texgyrepagella-math.otf", "DejaVuSansMono-Oblique.ttf"),
)
PACKAGES = (
    *("latexmk", "texlive-xetex", "texlive-latex-extra", "texlive-lang-french", "texlive-fonts-recommended"),
    *("texlive-plain-generic", "fonts-texgyre", "fonts-texgyre-math"),
    *("fonts-dejavu-core", "fonts-dejavu-extra"),
)
# Au-delà, en points, une ligne sort visiblement de la marge.
MARGIN = 10


def missing() -> list[str]:
    """Les outils et les fichiers de TeX qui manquent ici."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return absent
    return [
        name for name in FILES if subprocess.run(["kpsewhich", name], capture_output=True).returncode != 0
    ]


def problems(log: str) -> list[str]:
    """Ce qui, d'après le journal de LaTeX, manque au PDF ou en déborde.

    Paramètres :
        log : le journal, dont les lignes ne sont pas coupées.
    """
    found = []
    for line in log.splitlines():
        if lost := re.match(r"Missing character: There is no (.) \((U\+\w+)\) in font \[?([^]:/]+)", line):
            found.append(f"le caractère « {lost[1]} » ({lost[2]}) manque à {lost[3]} : voir livre.sty")
        elif re.match(r"(LaTeX|Package \w+) Warning: .*(undefined|multiply defined)", line):
            found.append(line)
        elif wide := re.match(r"Overfull \\hbox \(([\d.]+)pt too wide\)(.*)", line):
            excess = float(wide[1])
            found += [f"une ligne dépasse la marge de {excess:.0f} points{wide[2]}"] * (excess > MARGIN)
    return list(dict.fromkeys(found))


def main() -> int:
    """Construit le PDF du livre qui est dans ce dossier, et renvoie le code de sortie."""
    if absent := missing():
        print(
            f"Le PDF demande TeX ; il manque ici : {', '.join(absent)}.\n"
            f"Sous Debian ou Ubuntu : sudo apt install {' '.join(PACKAGES)}\n"
            "Ailleurs : la distribution TeX Live complète (ou MacTeX), et les polices DejaVu.",
            file=sys.stderr,
        )
        return 1
    sphinx = [str(Path(sys.executable).with_name("jupyter-book")), "build", ".", "--builder", "latex"]
    if code := subprocess.run([*sphinx, "-W", "-n", "--keep-going"]).returncode:
        return code
    folder = Path("_build/latex")
    print("Composition du PDF…", flush=True)
    done = subprocess.run(
        ["latexmk", "-pdfxe", "-interaction=nonstopmode", "-halt-on-error", f"{NAME}.tex"],
        cwd=folder,
        # Le journal de TeX coupe sinon ses lignes à 79 caractères.
        env={**os.environ, "max_print_line": "10000"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    path = folder / f"{NAME}.log"
    log = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    found = [line for line in log.splitlines() if line.startswith("! ")] or problems(log)
    if done.returncode or found:
        print(f"Le PDF est à corriger (journal : {path}) :", *found, sep="\n  - ", file=sys.stderr)
        return 1
    target = Path("_build/pdf", f"{NAME}.pdf")
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(".tmp")
    shutil.copyfile(folder / f"{NAME}.pdf", fresh)
    fresh.replace(target)
    print(f"Le PDF : {target.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`make lighthouse` : les quatre notes de chaque page, réglage d'un ordinateur, médiane de trois mesures."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from walk import ROOT, pages, served

VERSION = "12.8.2"
CATEGORIES = {
    "performance": "performance",
    "accessibility": "accessibilité",
    "best-practices": "pratiques",
    "seo": "référencement",
}


def measure(url: str, preset: str) -> dict[str, float]:
    """Les notes d'une page, sur cent, et ce qu'elle pèse en kilo-octets."""
    command = [
        *("npm", "exec", "--yes", f"--package=lighthouse@{VERSION}", "--", "lighthouse", url, "--quiet"),
        "--output=json",
        "--chrome-flags=--headless --no-sandbox --disable-gpu",
        *(["--preset=desktop"] if preset == "desktop" else []),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"Lighthouse a échoué sur {url} :\n{done.stderr[-1500:]}")
    report = json.loads(done.stdout)
    notes = {name: 100 * (report["categories"][name]["score"] or 0) for name in CATEGORIES}
    audits = report["audits"]
    notes["ko"] = audits["total-byte-weight"]["numericValue"] / 1000
    notes["requêtes"] = len(audits["network-requests"]["details"]["items"])
    return notes


def main(arguments: list[str]) -> int:
    """Mesure les pages nommées, ou toutes ; `--mobile` prend le réglage d'un téléphone."""
    if not (shutil.which("npm") and shutil.which("chromium")):
        sys.exit("Il faut npm et Chromium : installez les paquets npm et chromium de votre système.")
    os.environ.setdefault("CHROME_PATH", str(shutil.which("chromium")))
    site = Path(os.environ.get("VAEBOOK_SITE", ROOT / "_build" / "html")).resolve()
    preset = "mobile" if "--mobile" in arguments else "desktop"
    wanted = [argument for argument in arguments if not argument.startswith("-")]
    runs = 1 if "--once" in arguments else 3
    low = []
    print(f"{'page':32}" + "".join(f"{name:>15}" for name in [*CATEGORIES.values(), "ko", "requêtes"]))
    with served(site) as address:
        for page in pages(site):
            name = page.relative_to(site).with_suffix("").as_posix()
            if name in ("404", "index") or (wanted and not any(part in name for part in wanted)):
                continue
            measured = [measure(f"{address}/{name}.html", preset) for _ in range(runs)]
            notes = {key: statistics.median(one[key] for one in measured) for key in measured[0]}
            print(f"{name:32}" + "".join(f"{value:15.0f}" for value in notes.values()), flush=True)
            low += [f"{name} : {CATEGORIES[key]} {notes[key]:.0f}" for key in CATEGORIES if notes[key] < 95]
    print("\nSous 95 : " + ("; ".join(low) or "rien"))
    return 1 if low and preset == "desktop" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Ce que partagent les mesures de vitesse : chronométrer à tour de rôle, dans plusieurs processus neufs."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def alternate(contenders: Mapping[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """Secondes par pas de chaque concurrent, un tour après l'autre : une machine qui ralentit les gêne tous.

    Paramètres :
        contenders : chacun fait quelques pas et rend leur nombre ; le premier tour, à froid, ne compte pas.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            steps = run()
            seconds[name].append((time.perf_counter() - start) / steps)
    return {name: values[1:] for name, values in seconds.items()}


def in_processes(script: str, processes: int, *arguments: str) -> list[Any]:
    """Ce que `script` imprime en JSON, appelé avec « --un » dans autant de processus neufs."""
    command = [sys.executable, str(Path(__file__).with_name(f"{script}.py")), "--un", *arguments]
    return [
        json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        for _ in range(processes)
    ]


def summary(values: list[float]) -> dict[str, float]:
    """La médiane, et l'étendue."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def table(rows: list[list[str]]) -> None:
    """Imprime un tableau, la première ligne en titre."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def french(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".replace(".", ",")

"""La vitesse : entraînement, évaluation, passage à l'échelle et construction du livre, sur un processeur.

Les mesures sont celles de ``tests/benchmarks`` ; chaque rapport compare des concurrents qui ont tourné tour à
tour sur la même machine. Durée : environ neuf minutes sur deux cœurs, qu'il faut libres.
"""

import os
import sys
from pathlib import Path
from typing import Any

from vaebook.evaluation import aggregate_posterior, log_likelihood
from vaebook.training import fit, fit_many

MEASURED = (fit, fit_many, log_likelihood, aggregate_posterior)


def run() -> dict[str, Any]:
    """Renvoie les quatre séries de mesures ; imprime leurs tableaux."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "benchmarks"))
    import build
    import evaluation
    import scale
    import training

    results: dict[str, Any] = {
        "measured": [f"{function.__module__}.{function.__qualname__}" for function in MEASURED],
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
    }
    for name, benchmark in (
        ("training", training),
        ("evaluation", evaluation),
        ("scale", scale),
        ("build", build),
    ):
        results[name] = benchmark.run()
        benchmark.report(results[name])
        print(flush=True)
    return results

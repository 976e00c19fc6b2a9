"""Les figures de l’annexe sur la vitesse : elles dessinent ce qu’on leur donne."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from vaebook.figures import CLASSES, GREY, KL, NEUTRAL, RECONSTRUCTION, _axes, _styled, french_number
from vaebook.glue import french


class Timing(NamedTuple):
    """La médiane d’une durée, et son étendue."""

    median: float
    low: float
    high: float


class Growth(NamedTuple):
    """Des durées selon une grandeur, et les opérations qu’elles ont demandées, chacune de longueur n."""

    x: Sequence[int]
    seconds: Sequence[Timing]
    operations: Sequence[int]


@_styled
def contenders(timings: Mapping[str, Timing], floor: float) -> None:
    """Une barre par concurrent, son étendue, et un trait vertical au plancher.

    Paramètres :
        timings : nom → durée, en secondes par pas.
        floor : la durée du plancher, en secondes par pas.
    """
    (ax,) = _axes(figsize=(7.0, 0.9 + 0.6 * len(timings)))
    names = list(timings)[::-1]
    for row, name in enumerate(names):
        median, low, high = (1e3 * value for value in timings[name])
        colour = RECONSTRUCTION if median > 1.001e3 * floor else GREY
        ax.barh(row, median, color=colour, height=0.6)
        ax.plot([low, high], [row, row], color=GREY, linewidth=1.2)
        ax.annotate(
            french(median, ".1f"), (max(high, median), row), (5, 0), textcoords="offset points", va="center"
        )
    ax.axvline(1e3 * floor, color=KL, linestyle="--", linewidth=1.4)
    ax.set_yticks(range(len(names)), names)
    ax.margins(x=0.12)
    ax.set_xlim(left=0)
    ax.set_xlabel("millisecondes par pas")


@_styled
def shares(parts: Mapping[str, float]) -> None:
    """Une barre horizontale partagée : où passe le temps.

    Paramètres :
        parts : nom → part, de somme 1.
    """
    (ax,) = _axes(figsize=(7.0, 1.7))
    left = 0.0
    for (name, part), colour in zip(parts.items(), (RECONSTRUCTION, KL, *NEUTRAL[1:]), strict=True):
        ax.barh(0, part, left=left, color=colour, label=f"{name}, {french(100 * part, '.0f')} %")
        left += part
    ax.set_axis_off()
    ax.legend(ncols=2, loc="upper left", bbox_to_anchor=(0, -0.02))


@_styled
def growth(panels: Mapping[str, Growth], ylabels: Sequence[str]) -> None:
    """Une courbe par grandeur, aux axes logarithmiques ; en tirets, une durée proportionnelle aux opérations.

    Paramètres :
        panels : nom de la grandeur → durées.
        ylabels : l’unité de chaque durée.
    """
    axes = _axes(1, len(panels), figsize=(7.0, 3.0))
    for ax, (name, curve), ylabel in zip(axes, panels.items(), ylabels, strict=True):
        medians = [second.median for second in curve.seconds]
        errors = [
            [second.median - second.low for second in curve.seconds],
            [second.high - second.median for second in curve.seconds],
        ]
        ax.errorbar(curve.x, medians, errors, color=CLASSES[0], marker="o", markersize=4, capsize=3)
        # Le débit du dernier point, étendu aux autres.
        rate = curve.operations[-1] / medians[-1]
        ax.plot(curve.x, [count / rate for count in curve.operations], "--", color=GREY, linewidth=1.2)
        ax.set(xscale="log", yscale="log", xlabel=name, ylabel=ylabel)
        # À trois panneaux, la place manque pour écrire toutes les abscisses.
        ax.xaxis.set_major_locator(FixedLocator(curve.x[:: 2 if len(panels) > 1 else 1]))
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(FuncFormatter(french_number))
            axis.set_minor_locator(NullLocator())


@_styled
def stages(pages: Mapping[str, Mapping[str, float]]) -> None:
    """Une barre par page, partagée entre les étapes de sa construction.

    Paramètres :
        pages : nom → étape → secondes ; les mêmes étapes pour toutes.
    """
    (ax,) = _axes(figsize=(7.0, 0.8 + 0.28 * len(pages)))
    names = list(pages)[::-1]
    left = [0.0] * len(names)
    for stage, colour in zip(pages[names[0]], (RECONSTRUCTION, KL, GREY), strict=False):
        widths = [pages[name][stage] for name in names]
        ax.barh(range(len(names)), widths, left=left, color=colour, height=0.7, label=stage)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel("secondes")
    ax.legend(loc="lower right")

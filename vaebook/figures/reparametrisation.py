"""Les figures du chapitre sur la reparamétrisation : elles dessinent ce qu’on leur donne."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.patches import Ellipse, FancyArrowPatch
from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, LogLocator, NullFormatter
from torch import Tensor

from vaebook.figures import (
    CLASSES,
    GREY,
    KL,
    RECONSTRUCTION,
    _arrows,
    _axes,
    _box,
    _cpu,
    _styled,
    french_number,
)

# Deux couleurs pour les deux estimateurs, hors du bleu et de l’orange réservés aux deux termes.
PATHWISE, SCORE = CLASSES[2], CLASSES[3]
_COLOURS = (PATHWISE, SCORE, GREY, CLASSES[5])
_LINES, _MARKERS = ("-", "--", "-.", ":"), ("o", "s", "D", "^")


def _random_node(ax: Axes, x: float, y: float, text: str) -> None:
    ax.add_patch(Ellipse((x, y), 0.95, 0.95, facecolor="none", edgecolor=SCORE, linewidth=1.8))
    ax.text(x, y, text, color=SCORE, ha="center", va="center", fontsize=15)


def _gradient(ax: Axes, start: float, end: float, stopped: bool = False) -> None:
    """Une flèche de rétropropagation, sous le graphe ; barrée si le gradient s’y arrête."""
    style: Any = {"arrowstyle": "-|>", "mutation_scale": 14, "linestyle": (0, (3, 1.5)), "linewidth": 1.8}
    ax.add_patch(FancyArrowPatch((start, -0.85), (end, -0.85), color=PATHWISE, **style))
    if stopped:
        ax.text(end, -0.87, "✗", color=PATHWISE, fontsize=20, ha="center", va="center")


@_styled
def computation_graphs() -> None:
    """Dessine le graphe de calcul de l’ELBO, avant et après la reparamétrisation.

    Carré : nœud déterministe. Cercle : nœud aléatoire. En tirets, la rétropropagation.
    """
    axes = _axes(2, figsize=(7.0, 6.8))
    titles = ("avant : z est tiré", "après : z est calculé, ε est tiré")
    for ax, title in zip(axes, titles, strict=True):
        after = ax is axes[1]
        ax.set(xlim=(-0.6, 9.0), ylim=(-2.6, 1.95))
        ax.set_axis_off()
        ax.set_aspect("equal")
        ax.set_title(title, loc="left", fontsize=14)
        _box(ax, 0, 0, "$\\mathbf{x}$", width=0.8)
        _box(ax, 2.1, 0, "$\\mu,\\,\\sigma$", width=1.15)
        _box(ax, 6.25, 0, "$\\hat{\\mathbf{x}}$", width=0.8)
        _box(ax, 8.2, 0, "$\\log p$", RECONSTRUCTION, width=1.35)
        _box(ax, 2.1, -2.1, "$\\mathrm{KL}$", KL, width=1.15)
        ax.text(2.1, 1.5, "$\\phi$", ha="center", va="center", fontsize=16)
        ax.text(6.25, 1.5, "$\\theta$", ha="center", va="center", fontsize=16)
        arrows: list[tuple[tuple[float, float], tuple[float, float]]]
        arrows = [((0.4, 0), (1.5, 0)), ((2.7, 0), (3.7, 0)), ((4.7, 0), (5.83, 0)), ((6.67, 0), (7.5, 0))]
        arrows += [((2.1, 1.25), (2.1, 0.35)), ((6.25, 1.25), (6.25, 0.35)), ((2.1, -0.35), (2.1, -1.75))]
        if after:
            _box(ax, 4.2, 0, "$\\mathbf{z}$", width=0.8, height=0.8)
            _random_node(ax, 4.2, 1.45, "$\\varepsilon$")
            arrows.append(((4.2, 0.97), (4.2, 0.4)))
            _gradient(ax, 8.2, 2.3)
        else:
            _random_node(ax, 4.2, 0, "$\\mathbf{z}$")
            _gradient(ax, 8.2, 4.2, stopped=True)
        _arrows(ax, arrows)
        label = "gradient jusqu’à φ" if after else "arrêté en z"
        ax.text(5.7, -1.35, label, color=PATHWISE, ha="center", va="center", fontsize=13)


@_styled
def two_views(
    f: Callable[[Tensor], Tensor], mu: float, sigma: float, *, shift: float, samples: int = 9
) -> None:
    """Montre comment chaque estimateur lit un déplacement de μ : déplacer les tirages, ou les repeser.

    Paramètres :
        f : la fonction dont on dérive l’espérance, z (n,) -> (n,).
        mu, sigma : la gaussienne q avant le déplacement, σ écart-type.
        shift : le déplacement de μ dessiné, positif.
        samples : nombre de tirages montrés, aux quantiles réguliers de q.
    """
    grid = torch.linspace(mu - 3.2 * sigma, mu + 3.2 * sigma + shift, 300)
    height = f(grid)
    low, scale = float(height.min()), float(height.max() - height.min())
    z = mu + sigma * torch.special.ndtri((torch.arange(samples) + 0.5) / samples)
    axes = _axes(1, 2, figsize=(7.0, 3.7), sharey=True)
    for ax, title in zip(axes, ("déplacer les tirages", "repeser les tirages"), strict=True):
        ax.plot(grid, height, color=GREY)
        base = low - 0.75 * scale
        for centre, line in ((mu, "-"), (mu + shift, "--")):
            density = base + 0.6 * scale * torch.exp(-0.5 * ((grid - centre) / sigma) ** 2)
            ax.plot(grid, density, color=GREY, linestyle=line, linewidth=1.2)
        ax.set(title=title, xlabel="z", yticks=[], xticks=[])
        ax.spines["left"].set_visible(False)
    axes[0].scatter(z, f(z), s=26, color=PATHWISE, zorder=3)
    for start, end in zip(z, z + shift, strict=True):
        style: Any = {"arrowstyle": "-|>", "mutation_scale": 11, "color": PATHWISE, "linewidth": 1.5}
        points = [(float(point), float(f(point[None])[0])) for point in (start, end)]
        axes[0].add_patch(FancyArrowPatch(*points, shrinkA=0, shrinkB=0, zorder=3, **style))
    weights = torch.exp(shift * (z - mu - shift / 2) / sigma**2)  # q déplacée / q
    axes[1].scatter(z, f(z), s=32 * weights.numpy(), color=SCORE, zorder=3, linewidths=0)


def _decades(axis: Axis) -> None:
    """Graduations en puissances de dix ; sur moins de deux décades, en nombres."""
    low, high = axis.get_view_interval()
    axis.set_minor_formatter(NullFormatter())
    if high < 100 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    else:
        axis.set_major_formatter(LogFormatterMathtext())


@_styled
def variances(
    x: Tensor,
    exact: Mapping[str, Tensor],
    *,
    xlabel: str,
    ylabel: str,
    measured: Mapping[str, Sequence[tuple[Tensor, Tensor]]] | None = None,
    at: Tensor | None = None,
    ylim: tuple[float, float] | None = None,
) -> None:
    """Trace des variances sur deux axes logarithmiques, une courbe par estimateur.

    Paramètres :
        x : abscisses (n,) des courbes.
        exact : légende → variances (n,), exactes ou mesurées ; quatre courbes au plus.
        measured : même légende → m couples, variance mesurée et demi-largeur de son intervalle.
        at : abscisses (m,) des mesures ; celles des courbes par défaut.
        ylim : bornes de l’axe des variances.
    """
    (ax,) = _axes(figsize=(7.0, 4.2))
    measured, at = measured or {}, x if at is None else at
    styles = zip(_COLOURS, _LINES, _MARKERS, strict=True)
    for (label, values), (colour, line, marker) in zip(exact.items(), styles, strict=False):
        ax.plot(_cpu(x), _cpu(values), color=colour, linestyle=line, label=label)
        if label in measured:
            mean, half = torch.tensor([[float(v) for v in pair] for pair in measured[label]]).T
            bars: Any = {"color": colour, "marker": marker, "linestyle": "none", "capsize": 4}
            ax.errorbar(_cpu(at).numpy(), mean.numpy(), yerr=half.numpy(), **bars)
    ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    ax.xaxis.set_major_formatter(FuncFormatter(french_number))  # l’échelle log a remis les siens
    ax.yaxis.set_major_formatter(FuncFormatter(french_number))
    if ylim is not None:
        ax.set_ylim(*ylim)
    _decades(ax.xaxis)
    _decades(ax.yaxis)
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


@_styled
def gradient_histograms(
    estimates: Mapping[str, Sequence[Tensor]], exact: Sequence[float], names: Sequence[str]
) -> None:
    """Compare les lois de deux estimateurs de gradient à la valeur exacte, un panneau par paramètre.

    Paramètres :
        estimates : légende → une suite d’estimations (samples,) par paramètre.
        exact : la valeur exacte de chaque paramètre, tracée en trait vertical.
        names : le nom de chaque paramètre.
    """
    axes = _axes(1, len(names), figsize=(7.0, 3.6))
    for k, (ax, name) in enumerate(zip(axes, names, strict=True)):
        series = [_cpu(values[k]).flatten() for values in estimates.values()]
        # Les queues du score rendraient le reste invisible : on montre 98 % de la série la plus large.
        low = min(float(s.quantile(0.01)) for s in series)
        high = max(float(s.quantile(0.99)) for s in series)
        bins = torch.linspace(low, high, 61).tolist()
        styles = zip((SCORE, PATHWISE), (0.55, 0.75), strict=True)
        for (label, values), (colour, alpha) in zip(
            reversed(list(zip(estimates, series, strict=True))), styles, strict=False
        ):
            ax.hist(values.numpy(), bins=bins, color=colour, alpha=alpha, label=label, density=True)
        ax.axvline(exact[k], color=GREY, linewidth=2)
        ax.set(xlabel=name, yticks=[])
    axes[0].set_ylabel("densité")
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(handles[::-1], labels[::-1], loc="outside upper center", ncols=2)


@_styled
def ascents(m: Tensor, s: Tensor, objective: Tensor, paths: Mapping[str, Tensor]) -> None:
    """Dessine des montées de gradient dans le plan (m, s), sur les lignes de niveau de l’objectif.

    Paramètres :
        m : (M,), abscisses de la grille.
        s : (S,), ordonnées de la grille.
        objective : (S, M), l’objectif exact.
        paths : titre → trajectoire (pas, 2) ; un panneau par titre.
    """
    axes = _axes(1, len(paths), figsize=(7.0, 3.6), sharey=True)
    top = float(objective.max())
    levels = sorted(top - drop for drop in (0.1, 0.5, 1, 2, 4, 8, 16, 32))
    style: Any = {"colors": GREY, "linewidths": 0.7, "linestyles": "solid", "alpha": 0.7}
    row, column = divmod(int(objective.argmax()), len(m))
    for ax, (title, path), colour in zip(axes, paths.items(), _COLOURS, strict=False):
        ax.contour(_cpu(m), _cpu(s), _cpu(objective), levels=levels, **style)
        ax.plot(*_cpu(path).T, color=colour, linewidth=1.2)
        ax.plot(*_cpu(path[0]), color=colour, marker="o", markersize=7)
        ax.plot(m[column], s[row], color=GREY, marker="+", markersize=14, markeredgewidth=2.5)
        ax.set(title=title, xlabel="m", xlim=(float(m[0]), float(m[-1])), ylim=(float(s[0]), float(s[-1])))
    axes[0].set_ylabel("s")

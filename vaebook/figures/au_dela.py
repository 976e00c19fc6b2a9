"""Les figures du chapitre « Au-delà » : elles dessinent ce qu’on leur donne."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from torch import Tensor

from vaebook.evaluation import Estimate
from vaebook.figures import (
    CLASSES,
    GREY,
    KL,
    NEUTRAL,
    RECONSTRUCTION,
    _arrows,
    _axes,
    _box,
    _cpu,
    _funnel,
    _styled,
)

# Deux couleurs hors du bleu et de l’orange réservés aux deux termes.
VIOLET, GREEN = CLASSES[3], CLASSES[2]
_ROUND: dict[str, Any] = {"width": 0.9, "height": 0.9, "rounding": 0.45}


@_styled
def two_levels() -> None:
    """Dessine le modèle à deux niveaux et ses deux inférences : montante, puis descendante."""
    axes = _axes(1, 3, figsize=(7.0, 4.0))
    titles = ("modèle", "inférence\nmontante", "inférence\ndescendante")
    for ax, title in zip(axes, titles, strict=True):
        ax.set(xlim=(-1.3, 1.3), ylim=(-0.7, 4.8), title=title)
        ax.set_axis_off()
        ax.set_aspect("equal")
        for y, name in ((0.0, "$\\mathbf{x}$"), (2.0, "$\\mathbf{z}_1$"), (4.0, "$\\mathbf{z}_2$")):
            _box(ax, 0, y, name, **_ROUND)
    model, upward, downward = axes
    _arrows(model, [((0, 3.55), (0, 2.45))])
    _blue_arrow(model, (0, 1.55), (0, 0.45))
    _arrows(upward, [((0, 0.45), (0, 1.55)), ((0, 2.45), (0, 3.55))])
    _arrows(downward, [((0, 0.45), (0, 1.55)), ((0, 3.55), (0, 2.45))])
    _curve(downward, (-0.45, 0.2), (-0.45, 3.8))


def _blue_arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": RECONSTRUCTION, "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=style)


def _curve(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {
        "arrowstyle": "-|>",
        "color": GREY,
        "linewidth": 1.4,
        "shrinkA": 0,
        "shrinkB": 0,
        "connectionstyle": "arc3,rad=-0.35",
    }
    ax.annotate("", end, start, arrowprops=style)


@_styled
def level_rates(total: Mapping[str, Tensor], top: Mapping[str, Tensor]) -> None:
    """Montre la divergence de chaque modèle, en barres, et la part qui revient à z₂.

    Paramètres :
        total : nom du modèle → divergence (S,), une valeur par graine, en nats par image.
        top : de même, la part de z₂ ; un modèle absent n’en a pas.
    """
    (ax,) = _axes(figsize=(7.0, 0.75 * len(total) + 1.3))
    for row, (name, values) in enumerate(total.items()):
        mean, error = Estimate.of(_cpu(values))
        ax.barh(row, mean, height=0.55, facecolor="none", edgecolor=KL, linewidth=1.8)
        ax.errorbar(mean, row, xerr=2 * error, color=KL, capsize=4)
        if name in top:
            part = Estimate.of(_cpu(top[name])).mean
            ax.barh(row, part, height=0.55, color=KL, hatch="//", edgecolor="white", linewidth=0)
    ax.plot([], [], color=KL, linewidth=8, label="part de $z_2$")
    ax.plot([], [], color=KL, linewidth=1.8, label="divergence totale")
    ax.set_yticks(range(len(total)), list(total))
    ax.set(ylim=(len(total) - 0.5, -0.5), xlabel="nats par image", xlim=(0, None))
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


@_styled
def densities(z: Tensor, exact: Tensor, fits: Mapping[str, Tensor]) -> None:
    """Compare, côte à côte, la densité exacte p(z|x) et des approximations, sur la même échelle.

    Paramètres :
        z : la grille (G, G, 2).
        exact : p(z|x) (G, G).
        fits : titre → q(z) (G, G).
    """
    panels = {"$p(z|x)$, exacte": exact, **fits}
    axes = _axes(2, -(-len(panels) // 2), figsize=(7.0, 7.0))
    grid = _cpu(z)
    levels = [share * float(exact.max()) for share in (0.03, 0.1, 0.3, 0.6)]
    shades = [to_rgba(VIOLET, alpha) for alpha in (0.2, 0.4, 0.65, 0.95)]
    outline = _cpu(exact).numpy()
    for ax, (title, values) in zip(axes, panels.items(), strict=True):
        x, y = grid[..., 0].numpy(), grid[..., 1].numpy()
        ax.contourf(x, y, _cpu(values).numpy(), levels=levels, colors=shades, extend="max")
        ax.contour(x, y, outline, levels=levels[:1], colors=GREY, linewidths=1.2, linestyles="--")
        ax.set(xlabel="$z_1$", ylabel="$z_2$", title=title, xticks=(-2, 0, 2), yticks=(-2, 0, 2))
        ax.set_aspect("equal", adjustable="box")
        ax.label_outer()


@_styled
def straightened(source: Tensor, image: Tensor) -> None:
    """Montre comment un flot déforme une grille polaire : à gauche, u ; à droite, z = T(u).

    Paramètres :
        source : (R, A, 2), R cercles de A points, dans l’espace de u.
        image : (R, A, 2), les mêmes points transportés.
    """
    axes = _axes(1, 2, figsize=(7.0, 3.7))
    names = ("u", "z")
    for ax, points, name in zip(axes, (source, image), names, strict=True):
        for rank, circle in enumerate(_cpu(points)):
            ax.plot(circle[:, 0], circle[:, 1], color=NEUTRAL[rank % len(NEUTRAL)], linewidth=1.8)
        for half, marker in ((0, "o"), (circle.shape[0] // 2, "s")):
            ax.plot(*_cpu(points)[:, half].T, marker, color=GREY, markersize=5)
        ax.set(xlabel=f"${name}_1$", ylabel=f"${name}_2$", title=f"${name}$")
        ax.set_aspect("equal", adjustable="datalim")


@_styled
def latent_diffusion() -> None:
    """Dessine les deux étages de la diffusion latente : l’auto-encodeur figé, la diffusion des codes."""
    (ax,) = _axes(figsize=(7.0, 5.6))
    ax.set(xlim=(-0.3, 9.7), ylim=(-5.8, 2.3))
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.text(-0.2, 2.0, "1. l’auto-encodeur, appris puis figé", fontsize=13, weight="bold")
    _box(ax, 0.4, 0, "$\\mathbf{x}$", width=1.0, height=2.4)
    _funnel(ax, 1.3, 3.0, 1.2, 0.55, "encodeur")
    _box(ax, 4.7, 0, "$\\mathbf{z}$", VIOLET, width=1.0, height=1.0)
    _funnel(ax, 6.2, 7.9, 0.55, 1.2, "décodeur")
    _box(ax, 8.9, 0, "$\\hat{\\mathbf{x}}$", RECONSTRUCTION, width=1.0, height=2.4)
    _arrows(ax, [((0.9, 0), (1.3, 0)), ((3.0, 0), (4.2, 0)), ((5.2, 0), (6.2, 0)), ((7.9, 0), (8.4, 0))])
    ax.text(4.7, 0.75, "petite KL, ou VQ", color=KL, ha="center", va="bottom", fontsize=12)
    losses = "erreur + perceptuelle + antagoniste"
    ax.text(9.5, -1.4, losses, color=RECONSTRUCTION, ha="right", va="top", fontsize=12)
    ax.text(-0.2, -5.65, "2. la diffusion, apprise sur les codes", fontsize=13, weight="bold")
    places = (1.0, 3.6, 6.2, 8.8)
    names = ("$\\mathbf{u}_0$", "$\\mathbf{u}_1$", "$\\cdots$", "$\\mathbf{u}_T$")
    for x, name in zip(places, names, strict=True):
        _box(ax, x, -4.1, name, VIOLET, width=1.0, height=1.0, linestyle="--" if x == 6.2 else "-")
    for left, right in itertools.pairwise(places):
        _arrows(ax, [((left + 0.5, -3.85), (right - 0.5, -3.85))])
        _violet_arrow(ax, (right - 0.5, -4.35), (left + 0.5, -4.35))
    ax.text(4.9, -3.6, "bruiter, fixé", ha="center", fontsize=12)
    ax.text(4.9, -4.85, "débruiter, appris", color=VIOLET, ha="center", fontsize=12)
    ax.text(8.8, -4.95, "$\\approx\\mathcal{N}(0, I)$", ha="center", fontsize=12)
    _arrows(ax, [((4.4, -0.5), (1.3, -3.6))])
    ax.text(2.5, -2.2, "mettre à l’échelle", ha="right", fontsize=12)


def _violet_arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": VIOLET, "linewidth": 1.8, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=style)


@_styled
def what_changes() -> None:
    """Dessine la carte de sortie : ce que l’on change dans un VAE, et le modèle que l’on obtient."""
    (ax,) = _axes(figsize=(7.0, 5.4))
    ax.set(xlim=(-5.2, 5.2), ylim=(-4.0, 4.0))
    ax.set_axis_off()
    ax.set_aspect("equal")
    _box(ax, 0, 0, "VAE", VIOLET, width=1.9, height=0.9)
    rows = (
        (-3.3, 2.9, "a priori à niveaux :\nVAE hiérarchique", GREY),
        (3.3, 2.9, "code discret :\nVQ-VAE", GREY),
        (-3.6, 0, "q plus riche :\nflot a posteriori", GREY),
        (3.6, 0, "a priori appris après :\ndiffusion latente", GREY),
        (-3.3, -2.9, "encodeur fixé,\nniveaux nombreux :\ndiffusion", GREY),
        (3.3, -2.9, "plus de densité :\nGAN\n(cours suivant)", GREEN),
    )
    for x, y, text, colour in rows:
        ax.text(x, y, text, color=colour, ha="center", va="center", fontsize=13, linespacing=1.3)
        reach = 1.05 if y == 0 else 0.62
        start = (
            (1.0 * (1 if x > 0 else -1), 0.0) if y == 0 else (0.6 * (1 if x > 0 else -1), 0.5 * y / abs(y))
        )
        end = (x - reach * 1.75 * (1 if x > 0 else -1), 0.0) if y == 0 else (x * reach, y * 0.7)
        style = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", end, start, arrowprops=style)

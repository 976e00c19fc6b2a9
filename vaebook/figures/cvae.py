"""Les figures du chapitre sur le VAE conditionnel : elles dessinent ce qu’on leur donne."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from torch import Tensor

from vaebook.evaluation import Estimate
from vaebook.figures import (
    CLASSES,
    GREY,
    KL,
    RECONSTRUCTION,
    _arrows,
    _axes,
    _box,
    _cpu,
    _funnel,
    _mosaic,
    _styled,
)
from vaebook.figures._tables import draw_shares

# L’étiquette, ni terme de reconstruction ni terme de régularisation.
LABEL = CLASSES[3]


@_styled
def conditional_architecture() -> None:
    """Dessine un VAE conditionnel : y entre dans l’encodeur, le décodeur et la loi a priori apprise."""
    (ax,) = _axes(figsize=(7.0, 3.3))
    ax.set(xlim=(-0.4, 9.3), ylim=(-2.95, 1.3))
    ax.set_axis_off()
    ax.set_aspect("equal")
    _box(ax, 0.1, 0, "$\\mathbf{x}$", width=0.8, height=2.4)
    _funnel(ax, 0.85, 2.35, 1.2, 0.75, "encodeur\n$\\phi$")
    _box(ax, 3.4, 0, "$q_\\phi(z|x,y)$", KL, width=1.6, height=0.8)
    _box(ax, 5.05, 0, "$\\mathbf{z}$", width=0.8, height=0.8, rounding=0.4)
    _funnel(ax, 5.85, 7.35, 0.75, 1.2, "décodeur\n$\\theta$")
    _box(ax, 8.2, 0, "$\\hat{\\mathbf{x}}$", RECONSTRUCTION, width=0.8, height=2.4)
    _box(ax, 3.4, -1.35, "$p_\\theta(z|y)$", KL, width=1.6, height=0.8, linestyle="--")
    _box(ax, 3.4, -2.5, "$y$", LABEL, width=0.8, height=0.7)
    _arrows(
        ax,
        [
            ((0.5, 0), (0.85, 0)),
            ((2.35, 0), (2.6, 0)),
            ((4.2, 0), (4.65, 0)),
            ((5.45, 0), (5.85, 0)),
            ((7.35, 0), (7.8, 0)),
        ],
    )
    for x, top in ((1.6, -0.97), (6.6, -0.97)):
        ax.plot([3.4 + (0.4 if x > 3.4 else -0.4), x], [-2.5, -2.5], color=LABEL, linewidth=1.6)
        _label_arrow(ax, (x, -2.5), (x, top))
    _label_arrow(ax, (3.4, -2.15), (3.4, -1.75))
    ax.annotate(
        "",
        (3.4, -0.4),
        (3.4, -0.95),
        arrowprops={"arrowstyle": "<|-|>", "color": KL, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0},
    )
    ax.text(3.55, -0.68, "KL", color=KL, va="center", fontsize=13)
    ax.text(8.0, -1.75, "$\\log\\, p_\\theta(x|z,y)$", color=RECONSTRUCTION, ha="center", fontsize=14)


def _label_arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": LABEL, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=style)


@_styled
def label_grid(images: Tensor, classes: Sequence[str], *, originals: Tensor | None = None) -> None:
    """Montre une grille dont chaque colonne est une classe, nommée au-dessus.

    Paramètres :
        images : (R, K, 1, H, W), R lignes, K classes ; de 0 (noir) à 1 (blanc).
        classes : les K noms.
        originals : (R, 1, H, W), une image de départ par ligne, montrée à gauche.
    """
    rows, columns, _, _, width = images.shape
    size = (7.0, 0.65 * rows + 1.25)
    if originals is None:
        (ax,) = _axes(figsize=size)
    else:
        left, ax = _axes(1, 2, figsize=size, gridspec_kw={"width_ratios": [1, columns]})
        left.imshow(_mosaic(originals, 1).numpy(), vmin=0, vmax=1)
        left.set_axis_off()
        _column_names(left, ["départ"], width)
    ax.imshow(_mosaic(images.flatten(0, 1), columns).numpy(), vmin=0, vmax=1)
    ax.set_axis_off()
    _column_names(ax, classes, width)


def _column_names(ax: Axes, names: Sequence[str], width: int) -> None:
    for k, name in enumerate(names):
        ax.text(
            k * (width + 1) + width / 2,
            -3,
            name,
            rotation=50,
            fontsize=12,
            ha="left",
            va="bottom",
            rotation_mode="anchor",
        )


@_styled
def seeds(values: Mapping[str, Tensor], *, xlabel: str) -> None:
    """Montre une mesure par modèle : un point par graine, la moyenne et son intervalle.

    L’intervalle est la moyenne ± deux erreurs types sur les graines.

    Paramètres :
        values : nom du modèle → valeurs (S,), une par graine, S ≥ 2 ; les noms se lisent de haut en bas.
        xlabel : ce qui est mesuré, avec l’unité.
    """
    (ax,) = _axes(figsize=(7.0, 0.62 * len(values) + 1.0))
    for row, measured in enumerate(values.values()):
        mean, error = Estimate.of(_cpu(measured))
        ax.errorbar(mean, row, xerr=2 * error, fmt="|", color=LABEL, markersize=14, capsize=5, linewidth=2)
        ax.plot(_cpu(measured), [row - 0.22] * len(measured), "o", color=GREY, markersize=5)
    ax.set_yticks(range(len(values)), list(values))
    ax.set(ylim=(len(values) - 0.5, -0.6), xlabel=xlabel)
    ax.margins(x=0.06)


@_styled
def confusion(table: Tensor, classes: Sequence[str]) -> None:
    """Montre une table de confusion, en pourcentage de chaque ligne.

    Paramètres :
        table : effectifs (K, K) ; ligne : la vraie classe, colonne : la classe prédite.
        classes : les K noms.
    """
    counts = _cpu(table).double()
    share = counts / counts.sum(1, keepdim=True).clamp(min=1)
    (ax,) = _axes(figsize=(7.0, 6.2))
    draw_shares(ax, share, lambda part: f"{100 * part:.0f}" if part >= 0.005 else "", least=0.05)
    ax.set_xticks(range(len(classes)), list(classes), rotation=50, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(classes)), list(classes))
    ax.set(xlabel="classe prédite", ylabel="vraie classe")

"""Les figures du chapitre sur le β-VAE : elles dessinent ce qu’on leur donne."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Circle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from torch import Tensor

from vaebook.figures import (
    CLASSES,
    GREY,
    KL,
    NEUTRAL,
    RECONSTRUCTION,
    _axes,
    _cpu,
    _latent_axes,
    _styled,
    french_number,
)
from vaebook.figures._tables import draw_shares

# Débit, distorsion : une courbe ou un nuage de points, en nats par image.
Plane = tuple[Tensor, Tensor]

_MODEL = CLASSES[3]
_SHOWN: dict[str, Any] = {"color": _MODEL, "linewidth": 2.2, "alpha": 0.9}


@_styled
def tradeoff(
    curves: Mapping[str, Plane], points: Mapping[str, Plane], tangents: Sequence[tuple[float, float, float]]
) -> None:
    """Trace la distorsion contre le débit, avec des segments de pente −β.

    Paramètres :
        curves : légende → débits (n,) et distorsions (n,), reliés ; trois au plus.
        points : légende → débits (m,) et distorsions (m,), un point chacun ; deux au plus.
        tangents : des triplets (débit, distorsion, β) : un segment de pente −β, centré en ce point.
    """
    (ax,) = _axes(figsize=(7.0, 4.6))
    styles = ("-", "--", ":")
    for (label, (rate, distortion)), colour, style in zip(curves.items(), NEUTRAL, styles, strict=False):
        ax.plot(_cpu(rate), _cpu(distortion), label=label, color=colour, linestyle=style)
    for (label, (rate, distortion)), marker in zip(points.items(), "os", strict=False):
        ax.plot(
            _cpu(rate), _cpu(distortion), marker, label=label, color=RECONSTRUCTION, markersize=6, alpha=0.8
        )
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    for r, d, beta in tangents:
        # Une même longueur à l’écran, quelle que soit la pente.
        half = 0.075 / ((1 / (right - left)) ** 2 + (beta / (top - bottom)) ** 2) ** 0.5
        ax.plot([r - half, r + half], [d + beta * half, d - beta * half], **_SHOWN)
        text = french_number(beta)
        ax.annotate(text, (r, d), (6, 7), textcoords="offset points", color=_MODEL, fontsize=12)
    ax.plot([], [], label="pente −β", **_SHOWN)
    ax.set(xlabel="débit R (nats)", ylabel="distorsion D (nats)")
    ax.legend()


def _log_beta(ax: Axes, betas: Sequence[float]) -> None:
    """Un axe des β logarithmique, gradué en quelques valeurs employées."""
    ax.set_xscale("log")
    ax.set_xticks([beta for beta in betas if beta in (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 100)])
    ax.xaxis.set_major_formatter(FuncFormatter(french_number))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("β")


@_styled
def chords(betas: Sequence[float], slopes: Tensor) -> None:
    """Montre, entre deux β voisins, la pente de la corde mesurée et l’intervalle où elle doit tomber.

    Paramètres :
        betas : les B valeurs de β, croissantes.
        slopes : (B − 1, S), l’opposé de la pente de la corde, une par graine ; toutes positives.
    """
    (ax,) = _axes(figsize=(7.0, 4.0))
    for low, high, measured in zip(betas[:-1], betas[1:], _cpu(slopes), strict=True):
        ax.fill_between([low, high], low, high, color=_MODEL, alpha=0.25, linewidth=0)
        middle = (low * high) ** 0.5
        ax.plot([middle] * len(measured), measured, "o", color=RECONSTRUCTION, markersize=6, alpha=0.8)
    ax.fill_between([], [], [], color=_MODEL, alpha=0.25, linewidth=0, label="de β₁ à β₂ (théorie)")
    ax.plot([], [], "o", color=RECONSTRUCTION, label="−ΔD / ΔR mesuré, par graine")
    _log_beta(ax, betas)
    ax.set_yscale("log")
    ax.set_yticks([0.1, 1, 10, 100])
    ax.yaxis.set_major_formatter(FuncFormatter(french_number))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_ylabel("pente de la corde, au signe près")
    ax.legend()


@_styled
def active(betas: Sequence[float], counts: Tensor, grid: Tensor, linear: Tensor) -> None:
    """Montre le nombre de dimensions latentes actives en fonction de β.

    Paramètres :
        betas : les B valeurs de β.
        counts : (B, S), une par graine.
        grid, linear : (n,) et (n,), le nombre de dimensions du modèle linéaire optimal, pour d’autres β.
    """
    (ax,) = _axes(figsize=(7.0, 3.4))
    ax.plot(_cpu(grid), _cpu(linear), color=GREY, drawstyle="steps-post", label="modèle linéaire optimal")
    for seed, column in enumerate(_cpu(counts).unbind(1)):
        label = "VAE, par graine" if seed == 0 else None
        ax.plot(betas, column, "o", color=KL, markersize=6, alpha=0.7, label=label)
    _log_beta(ax, betas)
    ax.set_ylabel("dimensions actives")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylim(bottom=-0.5)
    ax.legend()


@_styled
def clouds(codes: Mapping[str, Tensor], labels: Tensor) -> None:
    """Montre des codes à deux dimensions, coloriés par classe, et le cercle de rayon 2, chacun à son échelle.

    Paramètres :
        codes : titre → moyennes (N, 2) ; deux titres par ligne, leur nombre est pair.
        labels : classes (N,), entiers.
    """
    rows = len(codes) // 2
    axes = _axes(rows, 2, figsize=(7.0, 3.4 * rows))
    colours = [CLASSES[int(k) % len(CLASSES)] for k in _cpu(labels)]
    for ax, (title, mu) in zip(axes, codes.items(), strict=True):
        first, second = _cpu(mu).unbind(1)
        ax.scatter(first, second, s=5, c=colours, linewidths=0)
        ax.add_patch(Circle((0, 0), 2, fill=False, edgecolor=GREY, linewidth=1.4))
        _latent_axes(ax)
        ax.set_aspect("equal", adjustable="datalim")
        ax.set_title(title)


@_styled
def kl_paths(paths: Mapping[str, Tensor], *, reference: float) -> None:
    """Trace la KL au fil des époques pour plusieurs façons d’apprendre, une courbe par graine.

    Paramètres :
        paths : nom → KL (S, époques), en nats par image ; quatre au plus.
        reference : une KL à comparer, tracée en pointillé.
    """
    (ax,) = _axes(figsize=(7.0, 3.8))
    styles = ("-", "--", "-.", ":")
    colours = (KL, *NEUTRAL[1:])
    for (name, runs), colour, style in zip(paths.items(), colours, styles, strict=False):
        for seed, values in enumerate(_cpu(runs)):
            label = name if seed == 0 else None
            epochs = range(1, len(values) + 1)
            ax.plot(epochs, values, color=colour, linestyle=style, linewidth=1.8, label=label)
    ax.axhline(reference, color=GREY, linestyle=":", linewidth=1.4, label="modèle linéaire optimal")
    ax.set(xlabel="époque", ylabel="KL (nats par image)")
    ax.set_ylim(bottom=0)
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


@_styled
def information(tables: Mapping[str, Tensor], factors: Sequence[str]) -> None:
    """Montre ce que chaque dimension latente dit de chaque facteur, en part de l’entropie du facteur.

    Paramètres :
        tables : titre → parts (d, K), entre 0 et 1.
        factors : les K noms des facteurs.
    """
    axes = _axes(1, len(tables), figsize=(7.0, 3.9), sharey=True)
    for ax, (title, share) in zip(axes, tables.items(), strict=True):
        draw_shares(ax, _cpu(share), lambda part: french_number(round(part, 2)), least=0.1)
        ax.set_xticks(range(len(factors)), list(factors), rotation=40, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(len(share)), [f"$z_{{{j + 1}}}$" for j in range(len(share))])
        ax.set_title(title)

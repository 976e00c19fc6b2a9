"""Les figures du chapitre sur les auto-encodeurs ; elles n’entraînent rien."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter
from torch import Tensor

from vaebook.figures import (
    GREY,
    RECONSTRUCTION,
    _arrows,
    _axes,
    _box,
    _cpu,
    _funnel,
    _mosaic,
    _styled,
    french_number,
)
from vaebook.figures._tables import draw_shares, draw_signed


@_styled
def hourglass() -> None:
    """Dessine l’auto-encodeur : l’encodeur E rétrécit, le code z est le goulot, le décodeur D élargit."""
    (ax,) = _axes(figsize=(7.0, 3.3))
    ax.set(xlim=(-0.5, 8.7), ylim=(-2.35, 1.75))
    ax.set_axis_off()
    ax.set_aspect("equal")
    _box(ax, 0.1, 0, "$\\mathbf{x}$", width=0.8, height=2.8)
    _funnel(ax, 0.9, 3.0, 1.4, 0.45, "encodeur\n$E_\\phi$")
    _box(ax, 4.1, 0, "$\\mathbf{z}$", width=0.8, height=0.9, rounding=0.4)
    _funnel(ax, 5.2, 7.3, 0.45, 1.4, "décodeur\n$D_\\theta$")
    _box(ax, 8.1, 0, "$\\hat{\\mathbf{x}}$", RECONSTRUCTION, width=0.8, height=2.8)
    _arrows(ax, [((0.5, 0), (0.9, 0)), ((3.0, 0), (3.7, 0)), ((4.5, 0), (5.2, 0)), ((7.3, 0), (7.7, 0))])
    ax.text(4.1, 1.0, "$d$ nombres", ha="center", fontsize=13)
    ax.text(4.1, -2.2, "perte $\\ell(\\hat{\\mathbf{x}}, \\mathbf{x})$", color=RECONSTRUCTION, ha="center")
    for x, end in ((0.1, 2.6), (8.1, 5.6)):
        ax.plot([x, x, end], [-1.4, -2.05, -2.05], color=RECONSTRUCTION, linestyle=":")
        ax.text(x, 1.5, "$D$ nombres", ha="center", fontsize=13)


@_styled
def signed_images(rows: Mapping[str, Tensor]) -> None:
    """Montre des directions de l’espace des images : vert où elles ajoutent, violet où elles retirent.

    Paramètres :
        rows : titre → images (N, 1, H, W) de signe quelconque ; chacune est mise à l’échelle de son maximum.
    """
    scaled = {name: band / band.abs().amax((1, 2, 3), keepdim=True) for name, band in rows.items()}
    mosaics = {name: _mosaic(band, len(band)) for name, band in scaled.items()}
    shape = next(iter(mosaics.values())).shape
    height = len(mosaics) * (7.0 * shape[0] / shape[1] + 0.35)
    for ax, (name, mosaic) in zip(_axes(len(mosaics), figsize=(7.0, height)), mosaics.items(), strict=True):
        draw_signed(ax, mosaic)
        ax.set_axis_off()
        ax.set_title(name, loc="left", pad=4)


@_styled
def errors_by_size(sizes: Sequence[int], linear: Tensor, nonlinear: Tensor) -> None:
    """Compare l’erreur de l’ACP et celle d’auto-encodeurs, pour plusieurs tailles de code.

    Paramètres :
        sizes : tailles de code, (S,).
        linear : erreur de l’ACP, (S,).
        nonlinear : erreurs des auto-encodeurs, (S, R), un entraînement par colonne.
    """
    (ax,) = _axes(figsize=(7.0, 3.8))
    ax.plot(sizes, _cpu(linear), color=GREY, marker="s", linestyle="--", label="ACP")
    runs = _cpu(nonlinear)
    ax.plot(sizes, runs.mean(1), color=RECONSTRUCTION, marker="o", label="auto-encodeur non linéaire")
    ax.vlines(sizes, runs.amin(1), runs.amax(1), color=RECONSTRUCTION, linewidth=5, alpha=0.5)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(sizes))
    ax.xaxis.set_major_formatter(FuncFormatter(french_number))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_ylim(bottom=0)
    ax.set(xlabel="taille $d$ du code", ylabel="erreur quadratique")
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


@_styled
def confusion(counts: Tensor, classes: Sequence[str]) -> None:
    """Dessine combien d’images de chaque classe tombent dans chaque groupe.

    Paramètres :
        counts : effectifs (groupes, classes).
        classes : noms des classes.
    """
    share = _cpu(counts) / _cpu(counts).sum(0)
    (ax,) = _axes(figsize=(7.0, 5.6))
    draw_shares(ax, share, lambda part: f"{100 * part:.0f}" if part >= 0.05 else "", least=0.05)
    ax.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    ax.set_yticks(range(len(share)), [str(i + 1) for i in range(len(share))])
    ax.set_ylabel("groupe")
    ax.spines[:].set_visible(False)


@_styled
def panels(grids: Mapping[str, Tensor]) -> None:
    """Montre côte à côte des grilles carrées d’images.

    Paramètres :
        grids : titre → images (n², 1, H, W), rangées ligne par ligne ; trois grilles au plus.
    """
    axes = _axes(1, len(grids), figsize=(7.0, 7.0 / len(grids) + 0.3))
    for ax, (title, grid) in zip(axes, grids.items(), strict=True):
        ax.imshow(_mosaic(grid, round(len(grid) ** 0.5), gap=0).numpy(), vmin=0, vmax=1)
        ax.set_axis_off()
        ax.set_title(title, pad=4, fontsize=12)


@_styled
def distances(samples: Mapping[str, Tensor], *, reference: str) -> None:
    """Compare des distances : un point à la médiane, un trait du premier au dernier décile.

    Paramètres :
        samples : légende → distances (N,).
        reference : la légende dont on prolonge la médiane en pointillé.
    """
    (ax,) = _axes(figsize=(7.0, 0.55 * len(samples) + 1.1))
    levels = torch.tensor([0.1, 0.5, 0.9])
    for y, (title, values) in enumerate(samples.items()):
        low, median, high = _cpu(values).float().quantile(levels).tolist()
        colour = GREY if title == reference else RECONSTRUCTION
        ax.plot([low, high], [y, y], color=colour, linewidth=4, alpha=0.5)
        ax.plot(median, y, "o", color=colour, markersize=9)
        if title == reference:
            ax.axvline(median, color=GREY, linestyle=":", linewidth=1.4)
    ax.set_yticks(range(len(samples)), list(samples))
    ax.invert_yaxis()
    ax.set_xlim(left=0)
    ax.set_xlabel("distance à la plus proche image réelle")

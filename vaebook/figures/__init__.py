"""Les figures du livre : elles dessinent ce qu’on leur donne et n’entraînent rien.

Un seul style (`STYLE`), lisible sur fond blanc comme sur fond sombre : le fond est transparent, le gris des
textes et les deux couleurs du livre ont un contraste d’au moins 4 avec le blanc et avec #14181e. Chaque
fonction laisse sa figure ouverte (`matplotlib.pyplot.gcf()`), que Jupyter affiche à la fin de la cellule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon
from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, MaxNLocator
from torch import Tensor

from vaebook.glue import french

# Les arguments d’une figure, que le décorateur du style transmet tels quels.
P = ParamSpec("P")

# Dans tout le livre, équations comprises : le terme de reconstruction, le terme de régularisation, le reste.
RECONSTRUCTION = "#2b7bd0"
KL = "#cf5a06"
GREY = "#7b7b7b"

# Dix couleurs assez foncées pour porter une étiquette blanche, assez claires pour un fond sombre ; comme dix
# teintes ne se distinguent pas toutes sans ambiguïté, chaque classe porte aussi son nom.
CLASSES = (
    "#2470c0",
    "#c2452d",
    "#277a45",
    "#8452c6",
    "#87690a",
    "#b8407a",
    "#007c88",
    "#5a64c4",
    "#6b7420",
    "#a0522d",
)

# Pour ce qui n’est ni l’un ni l’autre des deux termes.
NEUTRAL = (GREY, CLASSES[3], CLASSES[2], CLASSES[4])

# Les réglages de matplotlib, en vigueur le temps d’une figure seulement.
STYLE: Any = {
    "figure.figsize": (7.0, 3.2),
    "figure.dpi": 144,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "savefig.dpi": 144,
    "savefig.facecolor": "none",
    "font.size": 13,
    "axes.titlesize": 13,
    "axes.labelsize": 13,
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "legend.fontsize": 12,
    "legend.frameon": False,
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.titlecolor": GREY,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 1.0,
    "lines.linewidth": 2.0,
    "image.cmap": "gray",
    "image.interpolation": "nearest",
}


def _styled(draw: Callable[P, None]) -> Callable[P, None]:
    """Dessine dans le style du livre, sans changer celui du lecteur."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> None:
        with plt.rc_context(STYLE):
            draw(*args, **kwargs)
            # Les graduations ne naissent qu’au tracé : on trace pendant que le style est actif.
            plt.gcf().draw_without_rendering()
            interactive = plt.isinteractive()
        # La première figure charge le moteur de Jupyter, qui règle ce mode ; le contexte vient de le défaire.
        matplotlib.interactive(interactive)

    return styled


def french_number(value: float, _position: int | None = None) -> str:
    """Écrit un nombre avec une virgule décimale et un vrai signe moins, sans dépendre de la langue locale."""
    return french(value, ",g")


def _cpu(values: Tensor) -> Tensor:
    return values.detach().cpu()


def _axes(rows: int = 1, columns: int = 1, **options: Any) -> list[Axes]:
    """Ouvre une figure et rend ses axes, gradués à la française."""
    _, axes = plt.subplots(rows, columns, squeeze=False, **options)
    for ax in axes.flat:
        ax.xaxis.set_major_formatter(FuncFormatter(french_number))
        ax.yaxis.set_major_formatter(FuncFormatter(french_number))
    return list(axes.flat)


def _mosaic(images: Tensor, columns: int, gap: int = 1) -> Tensor:
    """Assemble des images (N, 1, H, W) en un seul tableau ; les intervalles, NaN, restent transparents."""
    n, _, height, width = images.shape
    rows = -(-n // columns)
    mosaic = torch.full((rows * (height + gap) - gap, columns * (width + gap) - gap), torch.nan)
    for i, image in enumerate(_cpu(images).float()):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        mosaic[top : top + height, left : left + width] = image[0]
    return mosaic


@_styled
def images(rows: Tensor | Mapping[str, Tensor], *, columns: int = 10) -> None:
    """Montre des images en niveaux de gris, pixels apparents, de 0 (noir) à 1 (blanc).

    Paramètres :
        rows : des images (N, 1, H, W), ou un dictionnaire titre → images, une bande par titre.
        columns : nombre d’images par ligne.
    """
    named = {"": rows} if isinstance(rows, Tensor) else rows
    mosaics = {title: _mosaic(band, columns) for title, band in named.items()}
    heights = [mosaic.shape[0] for mosaic in mosaics.values()]
    width = max(mosaic.shape[1] for mosaic in mosaics.values())
    size = (7.0, 7.0 * sum(heights) / width + 0.32 * sum(bool(title) for title in mosaics))
    axes = _axes(len(mosaics), figsize=size, gridspec_kw={"height_ratios": heights})
    for ax, (title, mosaic) in zip(axes, mosaics.items(), strict=True):
        ax.imshow(mosaic.numpy(), vmin=0, vmax=1)
        ax.set_axis_off()
        if title:
            ax.set_title(title, loc="left", pad=4)


@_styled
def training_curves(history: Any) -> None:
    """Trace les deux termes de l’ELBO au fil des époques, en nats par image.

    Paramètres :
        history : ce que renvoie `vaebook.training.fit`, avec `reconstruction` et `kl` de forme (époques,).
    """
    axes = _axes(1, 2)
    terms = (("reconstruction", history.reconstruction, RECONSTRUCTION), ("KL", history.kl, KL))
    for ax, (title, values, colour) in zip(axes, terms, strict=True):
        epochs = range(1, len(values) + 1)
        ax.plot(epochs, _cpu(values), color=colour, marker="o", markersize=4)
        ax.set_title(title, color=colour)
        ax.set_xlabel("époque")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylabel("nats par image")


@_styled
def curves(
    x: Tensor,
    lines: Mapping[str, Tensor],
    *,
    xlabel: str,
    ylabel: str,
    colours: Sequence[str] = NEUTRAL,
) -> None:
    """Trace quelques courbes y(x), distinguées par la couleur et par le trait.

    Paramètres :
        x : abscisses (n,).
        lines : légende → ordonnées (n,) ; quatre courbes au plus.
    """
    (ax,) = _axes(figsize=(7.0, 3.8))
    styles = ("-", "--", "-.", ":")
    for (label, y), colour, style in zip(lines.items(), colours, styles, strict=False):
        ax.plot(_cpu(x), _cpu(y), label=label, color=colour, linestyle=style)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _latent_axes(ax: Axes) -> None:
    ax.set(xlabel="$z_1$", ylabel="$z_2$")
    ax.set_aspect("equal", adjustable="box")


def _label_points(mu: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Pour chaque classe, le point (2,) le mieux entouré des siens : c’est là que son nom se lit le mieux."""
    near = torch.cdist(mu, mu).topk(min(80, len(mu)), largest=False).indices
    purity = (labels[near] == labels[:, None]).float().mean(dim=1)
    spots = []
    for k in range(classes):
        members = (labels == k).nonzero().squeeze(1)
        best = members[purity[members].topk(max(1, len(members) // 8)).indices]
        spots.append(mu[best].median(dim=0).values)
    return torch.stack(spots)


@_styled
def latent_cloud(mu: Tensor, labels: Tensor, classes: Sequence[str]) -> None:
    """Dessine des codes à deux dimensions, une couleur et une étiquette par classe.

    Paramètres :
        mu : codes (N, 2), par exemple les moyennes de q(z|x) ; quelques milliers au plus.
        labels : classes (N,), entiers.
        classes : noms des classes.
    """
    mu, labels = _cpu(mu), _cpu(labels)
    (ax,) = _axes(figsize=(7.0, 6.4))
    for k, colour in zip(range(len(classes)), CLASSES, strict=False):
        members = mu[labels == k]
        ax.scatter(members[:, 0], members[:, 1], s=9, color=colour, alpha=0.55, linewidths=0)
    spots = _label_points(mu, labels, len(classes)).tolist()
    for name, colour, (x, y) in zip(classes, CLASSES, spots, strict=False):
        box = {"boxstyle": "round,pad=0.25", "facecolor": colour, "edgecolor": "white", "linewidth": 0.8}
        ax.text(x, y, name, color="white", fontsize=11, ha="center", va="center", bbox=box)
    _latent_axes(ax)


@_styled
def latent_grid(model: Any, *, side: int = 15, span: float = 3.0) -> None:
    """Décode une grille régulière d’un espace latent à deux dimensions.

    Paramètres :
        model : un modèle à deux dimensions latentes ; on montre la moyenne de p(x|z).
        side : nombre d’images par côté.
        span : la grille couvre [−span, span]².
    """
    # imshow remplit de haut en bas : z₂ décroît avec les lignes.
    line = torch.linspace(-span, span, side, device=model.prior.mean.device)
    z = torch.cartesian_prod(line.flip(0), line).flip(1)
    with torch.no_grad():
        mosaic = _mosaic(model.likelihood(z).mean, side, gap=0)
    (ax,) = _axes(figsize=(6.0, 5.8))
    edge = span * side / (side - 1)
    ax.imshow(mosaic.numpy(), vmin=0, vmax=1, extent=(-edge, edge, -edge, edge))
    _latent_axes(ax)


@_styled
def sigma_histogram(sigmas: Mapping[str, Tensor]) -> None:
    """Compare, sur un axe logarithmique, des écarts-types de q(z|x).

    Paramètres :
        sigmas : légende → écarts-types, de forme quelconque ; deux séries.
    """
    (ax,) = _axes(figsize=(7.0, 3.4))
    flat = {label: _cpu(sigma).flatten() for label, sigma in sigmas.items()}
    every = torch.cat(list(flat.values())).log10()
    bins = torch.logspace(float(every.min()) - 0.01, float(every.max()) + 0.01, 61).tolist()
    for (label, sigma), colour in zip(flat.items(), (KL, GREY), strict=True):
        ax.hist(sigma.numpy(), bins=bins, color=colour, alpha=0.75, label=label)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(LogFormatterMathtext())
    ax.set(xlabel="écart-type σ de q(z|x), toutes images et dimensions", ylabel="effectif")
    ax.legend()


def _box(ax: Axes, x: float, y: float, text: str, colour: str = GREY, **options: Any) -> None:
    width, height = options.pop("width", 1.0), options.pop("height", 0.7)
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle=f"round,pad=0,rounding_size={options.pop('rounding', 0.12)}",
            facecolor="none",
            edgecolor=colour,
            linewidth=1.6,
            **options,
        )
    )
    ax.text(x, y, text, color=colour, ha="center", va="center", fontsize=15)


def _funnel(ax: Axes, left: float, right: float, tall: float, short: float, text: str) -> None:
    corners = [(left, tall), (right, short), (right, -short), (left, -tall)]
    ax.add_patch(Polygon(corners, closed=True, facecolor="none", edgecolor=GREY, linewidth=1.6))
    ax.text((left + right) / 2, 0, text, ha="center", va="center", fontsize=13, linespacing=1.5)


def _arrows(ax: Axes, pairs: Iterable[tuple[tuple[float, float], tuple[float, float]]]) -> None:
    for start, end in pairs:
        ax.add_patch(
            FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, color=GREY, linewidth=1.4)
        )


@_styled
def vae_architecture() -> None:
    """Dessine un auto-encodeur variationnel gaussien, et ce que voit chacun des deux termes de l’ELBO."""
    (ax,) = _axes(figsize=(7.0, 3.6))
    ax.set(xlim=(-0.4, 9.3), ylim=(-2.4, 2.2))
    ax.set_axis_off()
    ax.set_aspect("equal")
    _box(ax, 0.1, 0, "$\\mathbf{x}$", width=0.8, height=2.4)
    _funnel(ax, 0.85, 2.35, 1.2, 0.75, "encodeur\n$\\phi$")
    _box(ax, 3.25, 0.65, "$\\mu$", KL, width=0.8)
    _box(ax, 3.25, -0.65, "$\\sigma$", KL, width=0.8)
    _box(ax, 4.85, 1.75, "$\\varepsilon$", width=0.8, linestyle="--", rounding=0.34)
    _box(ax, 4.85, 0, "$\\mathbf{z}$", width=0.8, height=0.8, rounding=0.4)
    _funnel(ax, 5.75, 7.25, 0.75, 1.2, "décodeur\n$\\theta$")
    _box(ax, 8.1, 0, "$\\hat{\\mathbf{x}}$", RECONSTRUCTION, width=0.8, height=2.4)
    _arrows(
        ax,
        [
            ((0.5, 0), (0.85, 0)),
            ((2.35, 0.3), (2.85, 0.6)),
            ((2.35, -0.3), (2.85, -0.6)),
            ((3.65, 0.6), (4.47, 0.15)),
            ((3.65, -0.6), (4.47, -0.15)),
            ((4.85, 1.4), (4.85, 0.4)),
            ((5.25, 0), (5.75, 0)),
            ((7.25, 0), (7.7, 0)),
        ],
    )
    ax.text(5.35, 1.75, "$\\sim\\mathcal{N}(0, I)$", va="center", fontsize=13)
    ax.text(4.85, -0.85, "$\\mu + \\sigma\\odot\\varepsilon$", ha="center", va="center", fontsize=13)
    ax.text(3.25, -2.1, "$\\mathrm{KL}\\,(q_\\phi(z|x)\\,\\Vert\\,p(z))$", color=KL, ha="center", fontsize=14)
    ax.text(7.9, -2.1, "$\\log\\, p_\\theta(x|z)$", color=RECONSTRUCTION, ha="center", fontsize=14)
    for x, top, colour in ((3.25, -1.0, KL), (8.1, -1.2, RECONSTRUCTION)):
        ax.plot([x, x], [top, -1.6], color=colour, linewidth=1.4, linestyle=":")

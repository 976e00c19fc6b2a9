"""Les figures du chapitre sur les variables latentes, sans les couleurs réservées aux termes de l’ELBO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter
from torch import Tensor

from vaebook.figures import CLASSES, GREY, _axes, _cpu, _styled

# Trois couleurs hors du bleu et de l’orange réservés aux deux termes, et des traits qui s’en passent.
PURPLE, GREEN, TEAL = CLASSES[3], CLASSES[2], CLASSES[6]
MARKS = ((PURPLE, "o", "-"), (GREEN, "s", "--"), (GREY, "^", "-."))


def _node(ax: Axes, x: float, text: str, *, observed: bool = False) -> None:
    if observed:
        ax.add_patch(Circle((x, 0), 0.55, facecolor=GREY, alpha=0.3, linewidth=0))
    ax.add_patch(Circle((x, 0), 0.55, facecolor="none", edgecolor=GREY, linewidth=1.6))
    ax.text(x, 0, text, ha="center", va="center", fontsize=17)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], **options: Any) -> None:
    style: dict[str, Any] = {"color": GREY, "linewidth": 1.6, "arrowstyle": "-|>", "mutation_scale": 16}
    ax.add_patch(FancyArrowPatch(start, end, **style | options))


@_styled
def graphical_model() -> None:
    """Dessine le modèle graphique : z cache, x s’observe, la plaque se répète pour chaque observation."""
    (ax,) = _axes(figsize=(7.0, 3.3))
    ax.set(xlim=(-1.5, 8.3), ylim=(-2.0, 2.1))
    ax.set_axis_off()
    ax.set_aspect("equal")
    plate: dict[str, Any] = {
        "boxstyle": "round,pad=0,rounding_size=0.2",
        "facecolor": "none",
        "edgecolor": GREY,
    }
    ax.add_patch(FancyBboxPatch((-1.3, -1.8), 6.6, 3.6, linewidth=1.4, **plate))
    ax.text(5.1, -1.55, "$i = 1, \\dots, n$", ha="right", va="center")
    _node(ax, 0.2, "$\\mathbf{z}_i$")
    _node(ax, 3.8, "$\\mathbf{x}_i$", observed=True)
    ax.plot(7.2, 0, marker="o", markersize=7, color=GREY)
    ax.text(7.5, 0, "$\\theta$", va="center", fontsize=17)
    _arrow(ax, (0.75, 0.0), (3.25, 0.0))
    _arrow(ax, (7.05, 0.0), (4.35, 0.0))
    _arrow(ax, (3.4, -0.45), (0.6, -0.45), color=PURPLE, linestyle="--", connectionstyle="arc3,rad=-0.25")
    ax.text(0.2, 0.95, "$p(\\mathbf{z})$", ha="center", va="center")
    ax.text(2.0, 0.4, "$p_\\theta(\\mathbf{x}|\\mathbf{z})$", ha="center", va="center")
    ax.text(2.0, -1.3, "$p_\\theta(\\mathbf{z}|\\mathbf{x})$", ha="center", va="center", color=PURPLE)


@_styled
def mixture(model: Any, x: Tensor) -> None:
    """Montre le mélange de deux gaussiennes, un échantillon, et la loi a posteriori de z.

    Paramètres :
        model : un `vaebook.exact.BernoulliGaussianMixture`.
        x : un échantillon (N,), dessiné en histogramme.
    """
    top, bottom = _axes(2, 1, figsize=(7.0, 5.2), sharex=True, gridspec_kw={"height_ratios": [3, 2]})
    grid = torch.linspace(float(x.min()) - 0.5, float(x.max()) + 0.5, 500, dtype=torch.float64)
    weights = (1 - model.p, model.p)
    top.hist(_cpu(x).numpy(), bins=60, density=True, color=GREY, alpha=0.3, label="échantillon")
    for k, (colour, _, style) in zip(range(2), MARKS, strict=False):
        part = weights[k] * model.likelihood(torch.tensor(k)).log_prob(grid).exp()
        top.plot(grid, part, color=colour, linestyle=style, label=f"$p(z={k})\\,p(x|z={k})$")
    top.plot(grid, model.log_prob(grid).exp(), color=GREY, label="$p(x)$")
    top.set(ylabel="densité")
    top.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    bottom.plot(grid, model.posterior(grid).probs, color=GREEN, linestyle="--")
    bottom.axhline(float(model.p), color=GREY, linestyle=":")
    bottom.text(float(grid[-1]), float(model.p), "$p(z=1)$", ha="right", va="bottom")
    bottom.set(xlabel="x", ylabel="$p(z=1|x)$", ylim=(-0.03, 1.05))


@_styled
def likelihood_curves(p: Tensor, curves: Mapping[str, Tensor], truth: float) -> None:
    """Trace des log-vraisemblances moyennes en fonction de p ; un point marque chaque maximum.

    Paramètres :
        p : abscisses (n,).
        curves : légende → log-vraisemblance moyenne (n,), en nats ; trois courbes au plus.
        truth : la valeur de p qui a produit les données.
    """
    (ax,) = _axes(figsize=(7.0, 3.9))
    ax.axvline(truth, color=GREY, linewidth=1.0, linestyle=":")
    for (label, values), (colour, marker, style) in zip(curves.items(), MARKS, strict=False):
        best = int(values.argmax())
        ax.plot(_cpu(p), _cpu(values), color=colour, linestyle=style, label=label)
        ax.plot(float(p[best]), float(values[best]), color=colour, marker=marker, markersize=9)
    ax.set(xlabel="$p$", ylabel="log-vraisemblance moyenne\n(nats par observation)")
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


@_styled
def joint_density(model: Any) -> None:
    """Montre la densité jointe p(x, z) de l’exemple suivi, la courbe du décodeur, et la densité de x.

    Paramètres :
        model : un `vaebook.running_example.RunningExample`.
    """
    left, right = _axes(1, 2, figsize=(7.0, 4.2), sharey=True, gridspec_kw={"width_ratios": [3, 1.1]})
    z = torch.linspace(-2.6, 2.6, 261, dtype=torch.float64)
    x = torch.linspace(-4, 4, 401, dtype=torch.float64).unsqueeze(1)
    density = model.log_prob(x).exp()
    joint = model.posterior_density(x, z) * density.unsqueeze(1)
    extent = (float(z[0]), float(z[-1]), float(x[0]), float(x[-1]))
    left.imshow(
        joint.numpy(), origin="lower", extent=extent, aspect="auto", cmap="cividis", interpolation="bilinear"
    )
    left.plot(z, model.decoder(z), color="white", linestyle="--")
    left.text(-2.4, 3.3, "$p(x, z)$", color="white", fontsize=15)
    left.text(0.75, 0.9, "$f(z)$", color="white", fontsize=15)
    left.set(xlabel="z", ylabel="x", ylim=(-4, 4))
    right.plot(density, x[:, 0], color=GREY)
    right.fill_betweenx(x[:, 0].numpy(), density.numpy(), color=GREY, alpha=0.25, linewidth=0)
    right.set(xlabel="$p(x)$", xlim=(0, None))


@_styled
def lines_and_points(
    x: Sequence[float],
    lines: Mapping[str, Tensor],
    points: tuple[str, Tensor],
    *,
    xlabel: str,
    ylabel: str,
) -> None:
    """Compare une mesure, en points, à des valeurs théoriques, en traits.

    Paramètres :
        x : abscisses (n,).
        lines : légende → ordonnées (n,) ; trois courbes au plus.
        points : la légende des points et leurs ordonnées (m,), pour les m premières abscisses.
        xlabel, ylabel : les titres des axes.
    """
    (ax,) = _axes(figsize=(7.0, 4.0))
    for (label, y), (colour, _, style) in zip(lines.items(), MARKS, strict=False):
        ax.plot(x, _cpu(y), color=colour, linestyle=style, label=label)
    label, y = points
    ax.plot(x[: len(y)], _cpu(y), color=TEAL, marker="D", markersize=8, linestyle="none", label=label)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


@_styled
def error_bars(
    x: Sequence[float],
    series: Mapping[str, Tensor],
    *,
    xlabel: str,
    ylabel: str,
    log: bool = False,
) -> None:
    """Résume des répétitions par leur médiane et l’intervalle de 5 à 95 %, en chaque abscisse.

    Paramètres :
        x : abscisses (n,).
        series : légende → répétitions (R, n) ; trois séries au plus.
        xlabel, ylabel : les titres des axes.
        log : abscisses en échelle logarithmique.
    """
    (ax,) = _axes(figsize=(7.0, 4.0))
    levels = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
    for k, ((label, values), (colour, marker, style)) in enumerate(zip(series.items(), MARKS, strict=False)):
        low, middle, high = _cpu(values).double().quantile(levels, dim=0)
        # Un léger décalage, pour que les barres ne se recouvrent pas.
        shift = k - (len(series) - 1) / 2
        at = [v * 1.05**shift if log else v + 0.008 * shift * (x[-1] - x[0]) for v in x]
        ax.errorbar(
            at,
            middle,
            yerr=torch.stack([middle - low, high - middle]).numpy(),
            color=colour,
            marker=marker,
            linestyle=style,
            markersize=7,
            capsize=4,
            elinewidth=1.6,
            label=label,
        )
    ax.axhline(0, color=GREY, linewidth=1.0, linestyle=":")
    if log:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator(list(x)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


@_styled
def principal_line(model: Any, x: Tensor) -> None:
    """Montre une ACP probabiliste de deux dimensions vers une : le nuage, la droite, et ce que x devient.

    Paramètres :
        model : un `vaebook.exact.PPCA`, D = 2 et d = 1.
        x : le nuage (N, 2) ; six points éloignés de la droite sont reliés à leur reconstruction.
    """
    (ax,) = _axes(figsize=(7.0, 4.8))
    ax.scatter(x[:, 0], x[:, 1], s=10, color=GREY, alpha=0.45, linewidths=0)
    ends = model.likelihood(torch.tensor([[-2.6], [2.6]])).mean
    ax.plot(ends[:, 0], ends[:, 1], color=PURPLE, label="$\\mu + Wz$")
    angle = torch.linspace(0, 2 * torch.pi, 200, dtype=torch.float64)
    root = torch.linalg.cholesky(model.W @ model.W.T + model.sigma2 * torch.eye(2))
    outline = model.mu + 2 * torch.stack([angle.cos(), angle.sin()], 1) @ root.T
    ax.plot(outline[:, 0], outline[:, 1], color=GREY, linestyle="--", label="$p(x)$, 2 écarts-types")
    direction = model.W / model.W.norm()
    projected = model.mu + (x - model.mu) @ direction @ direction.T
    far = ((x - projected).norm(dim=1) > 1.2 * model.sigma2.sqrt()).nonzero()[:6, 0]
    x_hat = model.likelihood(model.posterior(x[far]).mean).mean
    for start, end in zip(x[far].tolist(), x_hat.tolist(), strict=True):
        _arrow(ax, (start[0], start[1]), (end[0], end[1]), color=GREEN, shrinkA=0, shrinkB=0)
    ax.scatter(x[far, 0], x[far, 1], s=40, color=GREEN, label="$x$, et sa reconstruction", zorder=3)
    ax.scatter(
        projected[far, 0],
        projected[far, 1],
        s=60,
        color=TEAL,
        marker="x",
        label="projection de $x$",
        zorder=3,
    )
    ax.set(xlabel="$x_1$", ylabel="$x_2$")
    ax.set_aspect("equal", adjustable="datalim")
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


@_styled
def spectrum(eigenvalues: Tensor, models: Mapping[str, tuple[int, float]]) -> None:
    """Trace des valeurs propres, et la variance de bruit que chaque modèle retient pour les dernières.

    Paramètres :
        eigenvalues : (D,), décroissantes, strictement positives là où on les montre.
        models : légende → (dimension latente d, variance σ²) ; trois modèles au plus.
    """
    (ax,) = _axes(figsize=(7.0, 3.9))
    ranks = range(1, len(eigenvalues) + 1)
    ax.plot(ranks, _cpu(eigenvalues), color=TEAL, label="valeurs propres")
    for (label, (d, sigma2)), (colour, _, style) in zip(models.items(), MARKS, strict=False):
        ax.plot([d, len(eigenvalues)], [sigma2, sigma2], color=colour, linestyle=style, label=label)
        ax.plot(d, sigma2, color=colour, marker="o", markersize=6)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set(xlabel="rang", ylabel="variance", ylim=(1e-5, None))
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))

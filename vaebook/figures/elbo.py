"""Les figures du chapitre sur l’ELBO.

Ce qui vient de q est bleu-vert, log p(x) est gris, et l’écart entre eux violet : aucun n’est l’un des deux
termes de l’ELBO, dont le bleu et l’orange sont réservés.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Ellipse
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from vaebook.figures import CLASSES, GREY, _axes, _cpu, _styled, french_number

# Les couleurs de l’écart et de q, et les marques qui distinguent les courbes sans la couleur.
GAP = CLASSES[3]
Q = CLASSES[6]
MARKS = ("o", "s", "^", "D", "v")


def _legend_above(ax: Axes, columns: int = 2) -> None:
    ax.legend(ncols=columns, loc="lower center", bbox_to_anchor=(0.5, 1.0))


@_styled
def integrand(z: Tensor, q: Distribution, p: Distribution) -> None:
    """Montre deux densités et l’intégrande q log(q/p) de leur divergence, aire positive et aire négative.

    Paramètres :
        z : une grille (n,).
        q, p : deux lois d’événement ().
    """
    top, bottom = _axes(2, 1, figsize=(7.0, 4.8), sharex=True)
    log_q, log_p = q.log_prob(z), p.log_prob(z)
    top.plot(z, log_q.exp(), color=Q, label="$q$")
    top.plot(z, log_p.exp(), color=GREY, linestyle="--", label="$p$")
    top.set_ylabel("densité")
    _legend_above(top)
    values = log_q.exp() * (log_q - log_p)
    bottom.plot(z, values, color=GAP)
    bottom.fill_between(z, values, where=(values > 0).tolist(), color=GAP, alpha=0.35, linewidth=0)
    bottom.fill_between(
        z, values, where=(values < 0).tolist(), facecolor="none", edgecolor=GAP, hatch="///", linewidth=0
    )
    bottom.axhline(0, color=GREY, linewidth=1)
    bottom.set(xlabel="z", ylabel="$q\\,\\log(q/p)$")


@_styled
def gaussian_fits(z: Tensor, p: Distribution, fits: Mapping[str, Distribution]) -> None:
    """Montre, côte à côte, des gaussiennes ajustées à une même loi p.

    Paramètres :
        z : une grille (n,).
        p : la loi visée, d’événement ().
        fits : titre → gaussienne ; un panneau par titre.
    """
    axes = _axes(1, len(fits), figsize=(7.0, 3.5), sharey=True)
    target = p.log_prob(z).exp()
    for ax, (title, q) in zip(axes, fits.items(), strict=True):
        ax.fill_between(z, target, color=GREY, alpha=0.35, linewidth=0, label="$p$")
        ax.plot(z, q.log_prob(z).exp(), color=Q, label="$q$")
        ax.set(title=title, xlabel="z")
    axes[0].set_ylabel("densité")
    axes[0].legend()


@_styled
def encoder_choices(z: Tensor, posterior: Tensor, choices: Mapping[str, Distribution]) -> None:
    """Montre la loi a posteriori exacte et les gaussiennes choisies pour l’approcher.

    Paramètres :
        z : une grille (n,).
        posterior : p(z|x) sur la grille (n,).
        choices : légende → q, d’événement (1,) ; trois au plus.
    """
    (ax,) = _axes(figsize=(7.0, 4.0))
    ax.fill_between(z, posterior, color=GREY, alpha=0.35, linewidth=0, label="$p(z|x)$, exacte")
    for (label, q), style in zip(choices.items(), ("-", "--", "-."), strict=False):
        ax.plot(z, q.log_prob(z.view(-1, 1, 1)).exp().flatten(), color=Q, linestyle=style, label=label)
    ax.set(xlabel="z", ylabel="densité")
    _legend_above(ax)


@_styled
def bound_and_gap(rows: Mapping[str, tuple[Tensor, Tensor]], *, left: float, digits: int = 2) -> None:
    """Empile l’ELBO et l’écart KL(q‖p(z|x)) : leur somme est log p(x), quel que soit q.

    Paramètres :
        rows : légende → (ELBO, écart), deux nombres en nats ; une barre par ligne, la première en haut.
        left : où commence l’axe, en nats ; il ne part pas de zéro.
        digits : nombre de décimales écrites.
    """
    (ax,) = _axes(figsize=(7.0, 1.3 + 0.62 * len(rows)))
    total = max(float(bound + gap) for bound, gap in rows.values())
    width = total - left
    for y, (bound, gap) in enumerate((float(b), float(g)) for b, g in rows.values()):
        ax.barh(y, bound - left, left=left, height=0.62, color=Q, alpha=0.2)
        ax.barh(y, gap, left=bound, height=0.62, color=GAP, hatch="///", edgecolor="white", linewidth=0)
        ax.text(left + 0.02 * width, y, f"ELBO {_decimal(bound, digits)}", va="center")
        ax.text(total + 0.02 * width, y, f"écart {_decimal(gap, digits)}", va="center", color=GAP)
    ax.axvline(total, color=GREY, linewidth=1.6)
    ax.set_title(f"log p(x) = {_decimal(total, digits)}", x=1 / 1.32)
    ax.set_xticks([tick for tick in MaxNLocator(5).tick_values(left, total) if left <= tick <= total])
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlabel="nats", xlim=(left, total + 0.32 * width))
    ax.invert_yaxis()


def _decimal(value: float, digits: int) -> str:
    # Un écart nul à l’arrondi près ne s’écrit pas « −0,00 ».
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−").replace(".", ",")


@_styled
def elbo_map(
    m: Tensor, s: Tensor, values: Tensor, choices: Mapping[str, Distribution], *, levels: Sequence[float]
) -> None:
    """Dessine l’ELBO en fonction de la moyenne m et de l’écart-type s de q, par lignes de niveau.

    Paramètres :
        m, s : abscisses (a,) et ordonnées (b,).
        values : l’ELBO (b, a), en nats.
        choices : légende → q, marquée sur la carte.
        levels : les niveaux tracés, croissants, en nats.
    """
    (ax,) = _axes(figsize=(7.0, 4.6))
    # Une teinte de plus en plus opaque : le fond de la page, clair ou sombre, reste le bas de l’échelle.
    shades = [(*to_rgb(GAP), 0.45 * (k + 1) / len(levels)) for k in range(len(levels))]
    ax.contourf(m, s, values, levels=[*levels, float(values.max()) + 1], colors=shades)
    lines = ax.contour(m, s, values, levels=list(levels), colors=GREY, linewidths=0.9, linestyles="solid")
    ax.clabel(lines, fmt=french_number, fontsize=12)
    for (label, q), mark in zip(choices.items(), MARKS, strict=False):
        ax.plot(float(q.mean), float(q.stddev), mark, color=Q, markersize=10, label=label, linestyle="none")
    ax.set(xlabel="moyenne m", ylabel="écart-type s")
    _legend_above(ax)


@_styled
def log_weights(values: Tensor, *, bound: Tensor, log_px: Tensor) -> None:
    """Montre la loi des log-poids (1 % coupé à gauche), leur moyenne (l’ELBO) et log p(x).

    Paramètres :
        values : des log-poids (k,), en nats.
        bound, log_px : l’ELBO et la log-vraisemblance exacts.
    """
    (ax,) = _axes(figsize=(7.0, 3.6))
    low, high = _cpu(values).quantile(torch.tensor([0.01, 0.999], dtype=values.dtype)).tolist()
    ax.hist(_cpu(values).numpy(), bins=80, range=(low, high), color=Q, alpha=0.35, density=True)
    for value, label, colour, style in (
        (bound, "$E[\\log w]$, l’ELBO", Q, "-"),
        (log_px, "$\\log E[w] = \\log p(x)$", GREY, "--"),
    ):
        ax.axvline(float(value), color=colour, linestyle=style, label=label)
    ax.set(xlabel="log w (nats)", ylabel="densité")
    _legend_above(ax)


@_styled
def posterior_ellipses(posterior: Distribution, choices: Mapping[str, Distribution]) -> None:
    """Compare, dans un plan latent, la gaussienne a posteriori et ses approximations, à deux écarts-types.

    Paramètres :
        posterior : p(z|x), gaussienne de lot (1,) et d’événement (2,).
        choices : légende → gaussienne diagonale de même forme.
    """
    (ax,) = _axes(figsize=(7.0, 4.8))
    laws = {"$p(\\mathbf{z}|x)$, exacte": posterior} | dict(choices)
    for (label, q), colour, style in zip(laws.items(), (GREY, Q, Q), ("-", "--", ":"), strict=False):
        values, vectors = torch.linalg.eigh(_covariance(q))
        x, y = q.mean.flatten().tolist()
        long, short = (4 * values.flip(0).sqrt()).tolist()
        angle = float(torch.rad2deg(torch.atan2(vectors[1, 1], vectors[0, 1])))
        outline = Ellipse((x, y), long, short, angle=angle, facecolor="none", edgecolor=colour, linewidth=2.2)
        outline.set(linestyle=style, label=label)
        ax.add_patch(outline)
    ax.autoscale_view()
    ax.set(xlabel="$z_1$", ylabel="$z_2$")
    ax.set_aspect("equal", adjustable="datalim")
    _legend_above(ax)


def _covariance(q: Distribution) -> Tensor:
    full: Tensor = q.covariance_matrix if isinstance(q, MultivariateNormal) else q.variance.diag_embed()
    return full.reshape(2, 2)


@_styled
def em_steps(p: Tensor, log_likelihood: Tensor, bounds: Sequence[Tensor], visited: Tensor) -> None:
    """Montre EM sur un paramètre : chaque minorant touche la log-vraisemblance, puis son maximum est pris.

    Paramètres :
        p : une grille du paramètre (n,).
        log_likelihood : la log-vraisemblance moyenne (n,), en nats.
        bounds : les ELBO successifs (n,), fonctions de p à q fixée ; trois au plus.
        visited : les valeurs du paramètre, une de plus que de minorants.
    """
    (ax,) = _axes(figsize=(7.0, 4.4))
    ax.plot(p, log_likelihood, color=GREY, label="$\\log p_\\theta(x)$, moyenne")
    height = float(log_likelihood.max() - log_likelihood.min())
    for t, (bound, style) in enumerate(zip(bounds, ("--", "-.", ":"), strict=False)):
        ax.plot(p, bound, color=Q, linestyle=style, label=f"ELBO, $q$ du pas {t}")
        start, end = (int((p - visited[t + i]).abs().argmin()) for i in (0, 1))
        ax.plot(p[start], log_likelihood[start], "o", color=GREY, markersize=8)
        ax.plot(p[end], bound[end], "^", color=Q, markersize=8)
    ax.set(xlabel="$\\theta = p$", ylabel="nats par observation")
    ax.set_ylim(float(log_likelihood.min()) - 0.15 * height, float(log_likelihood.max()) + 0.08 * height)
    _legend_above(ax)


@_styled
def bound_against_likelihood(sigma2: Tensor, log_px: Tensor, bound: Tensor) -> None:
    """Montre, en fonction d’un paramètre, log p(x) et l’ELBO, et l’intervalle où ils s’opposent.

    Paramètres :
        sigma2 : valeurs croissantes du paramètre (n,).
        log_px, bound : moyennes sur les données (n,), en nats.
    """
    (ax,) = _axes(figsize=(7.0, 4.2))
    best, chosen = (float(sigma2[values.argmax()]) for values in (log_px, bound))
    ax.axvspan(min(best, chosen), max(best, chosen), color=GREY, alpha=0.15, linewidth=0)
    for values, colour, style, mark, label in (
        (log_px, GREY, "-", "o", "$\\log p_\\theta(x)$"),
        (bound, Q, "--", "s", "ELBO, meilleure $q$ diagonale"),
    ):
        ax.plot(sigma2, values, color=colour, linestyle=style, label=label)
        ax.plot(sigma2[values.argmax()], values.max(), mark, color=colour, markersize=9)
    _log_axis(ax, (0.03, 0.1, 0.3, 1, 3))
    ax.set(xlabel="variance σ² du bruit", ylabel="nats par observation")
    ax.set_ylim(bottom=float(bound[log_px.argmax()]) - 0.1)
    _legend_above(ax)


def _log_axis(ax: Axes, ticks: Sequence[float]) -> None:
    ax.set_xscale("log")
    ax.set_xticks(list(ticks))
    ax.xaxis.set_major_formatter(FuncFormatter(french_number))
    ax.xaxis.set_minor_formatter(NullFormatter())


@_styled
def importance_bound(
    k: Sequence[int], mean: Tensor, error: Tensor, weighted: Tensor, *, log_px: Tensor
) -> None:
    """Montre E[L_k] monter vers log p(x), et la moyenne pondérée des log-poids le dépasser.

    Paramètres :
        k : nombres de tirages (n,), croissants.
        mean, error : moyenne de L_k et deux erreurs-types (n,), en nats.
        weighted : moyenne de la somme des w̃ log w (n,), en nats.
        log_px : la log-vraisemblance exacte.
    """
    (ax,) = _axes(figsize=(7.0, 4.2))
    ax.axhline(float(log_px), color=GREY, label="$\\log p(x)$, exacte")
    ax.errorbar(k, mean, yerr=error, color=Q, marker="o", markersize=6, capsize=3, label="$E[L_k]$")
    ax.plot(k, weighted, color=GAP, linestyle=":", marker="x", label="$E\\,\\Sigma\\,\\tilde w \\log w$")
    _log_axis(ax, (1, 4, 16, 64, 256, 1024))
    ax.set(xlabel="nombre k de tirages", ylabel="nats par image")
    _legend_above(ax, 3)


@_styled
def aggregates_and_prior(z: Tensor, prior: Tensor, aggregates: Mapping[str, Tensor]) -> None:
    """Compare la densité a priori et des a posteriori agrégés.

    Paramètres :
        z : une grille (n,).
        prior : p(z) sur la grille (n,).
        aggregates : légende → densité (n,) ; trois au plus.
    """
    (ax,) = _axes(figsize=(7.0, 3.8))
    ax.fill_between(z, prior, color=GREY, alpha=0.35, linewidth=0, label="$p(z)$")
    for (label, density), colour, style in zip(
        aggregates.items(), (Q, GAP, CLASSES[2]), ("-", "--", "-."), strict=False
    ):
        ax.plot(z, density, color=colour, linestyle=style, label=label)
    ax.set(xlabel="z", ylabel="densité")
    _legend_above(ax)

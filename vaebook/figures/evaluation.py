"""Les figures du chapitre sur l’évaluation : elles dessinent ce qu’on leur donne."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator
from torch import Tensor

from vaebook.evaluation import AggregatePosterior, Estimate, InferenceGaps
from vaebook.figures import CLASSES, GREY, KL, NEUTRAL, RECONSTRUCTION, _axes, _cpu, _styled
from vaebook.figures.cvae import seeds as seeds

_MARKERS = ("o", "s", "^", "D")


class Curve(NamedTuple):
    """Des moyennes et leur intervalle selon un effectif, chacune de forme (n,)."""

    counts: Sequence[int]
    mean: Tensor
    error: Tensor


class BoundCurve(NamedTuple):
    """La borne selon k, son intervalle, la moyenne pondérée des log-poids, et log p(x) s’il est connu."""

    counts: Sequence[int]
    mean: Tensor
    error: Tensor
    weighted: Tensor
    exact: float | None = None


def _log_axis(ax: Axes, counts: Sequence[int]) -> None:
    ax.set_xscale("log")
    ax.set_xticks(list(counts), [f"{count:,}".replace(",", "\u202f") for count in counts])
    ax.xaxis.set_minor_locator(NullLocator())


@_styled
def importance_bounds(curves: Mapping[str, BoundCurve]) -> None:
    """Trace, par modèle, la borne pondérée selon le nombre de tirages.

    Paramètres :
        curves : titre → courbe, en nats par image ; deux au plus.
    """
    axes = _axes(1, len(curves), figsize=(7.0, 3.9))
    for ax, (title, curve) in zip(axes, curves.items(), strict=True):
        if curve.exact is not None:
            ax.axhline(curve.exact, color=GREY, linewidth=1.4, label="$\\log\\,p(x)$ exact")
        ax.errorbar(
            curve.counts,
            _cpu(curve.mean),
            yerr=_cpu(curve.error),
            color=CLASSES[3],
            marker="o",
            markersize=4,
            capsize=3,
            label="$L_k$",
        )
        weighted = _cpu(curve.weighted)
        ax.plot(curve.counts, weighted, ":", color=CLASSES[2], label="$\\sum \\tilde{w} \\log\\,w$")
        ax.set_title(title)
        ax.set_xlabel("tirages $k$")
        _log_axis(ax, curve.counts[::2])
    axes[0].set_ylabel("nats par image")
    axes[0].legend(loc="lower right")


@_styled
def bias_of_the_bound(curves: Mapping[str, Curve], predicted: Mapping[str, float]) -> None:
    """Trace log p(x) − E[L_k] selon k, en échelles logarithmiques, et la loi v/2k prédite.

    Paramètres :
        curves : légende → biais, en nats.
        predicted : légende → v, pour les lois qui en ont une.
    """
    (ax,) = _axes(figsize=(7.0, 4.0))
    for (label, curve), colour, marker in zip(curves.items(), NEUTRAL[1:], _MARKERS, strict=False):
        # Ce que les tirages ne distinguent pas de zéro n’a pas de logarithme.
        seen = [i for i in range(len(curve.counts)) if curve.mean[i] > curve.error[i]]
        counts = [curve.counts[i] for i in seen]
        ax.errorbar(
            counts,
            _cpu(curve.mean)[seen],
            yerr=_cpu(curve.error)[seen],
            color=colour,
            marker=marker,
            markersize=5,
            capsize=3,
            linewidth=1.4,
            label=label,
        )
        if label in predicted:
            ax.plot(counts, [predicted[label] / (2 * k) for k in counts], "--", color=colour, linewidth=1.2)
    ax.set_yscale("log")
    longest = max((curve.counts for curve in curves.values()), key=len)
    _log_axis(ax, longest[::2])
    ax.set(xlabel="tirages $k$", ylabel="$\\log\\,p(x) - E[L_k]$, nats")
    ax.legend()


@_styled
def decomposition(parts: Mapping[str, AggregatePosterior], *, limit: float) -> None:
    """Montre les trois parts de la KL moyenne, une barre par modèle.

    Paramètres :
        parts : nom du modèle → décomposition, en nats ; de haut en bas.
        limit : log N, le plus que l’information puisse valoir.
    """
    (ax,) = _axes(figsize=(7.0, 0.75 * len(parts) + 1.8))
    columns = (
        ("information $I_q(x;z)$", CLASSES[3], "mutual_information"),
        ("corrélation totale", KL, "total_correlation"),
        ("KL par dimension", CLASSES[4], "dimension_wise_kl"),
    )
    for label, colour, name in columns:
        previous = [
            sum(max(0.0, getattr(part, earlier).mean) for _, _, earlier in columns[: _rank(columns, name)])
            for part in parts.values()
        ]
        estimates: list[Estimate] = [getattr(part, name) for part in parts.values()]
        ax.barh(
            range(len(parts)),
            [max(0.0, estimate.mean) for estimate in estimates],
            left=previous,
            xerr=[2 * estimate.error for estimate in estimates],
            error_kw={"ecolor": GREY, "capsize": 3},
            color=colour,
            height=0.6,
            label=label,
        )
    ax.axvline(limit, color=GREY, linestyle="--", linewidth=1.4)
    ax.text(limit, -0.55, " $\\log\\,N$", ha="left", va="center")
    ax.set_yticks(range(len(parts)), list(parts))
    ax.set(xlabel="nats par image", ylim=(len(parts) - 0.5, -0.8))
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.4, 1.0))


def _rank(columns: Sequence[tuple[str, str, str]], name: str) -> int:
    return [column for _, _, column in columns].index(name)


@_styled
def by_count(curves: Mapping[str, Curve], *, ylabel: str, limit: Curve | None = None, note: str = "") -> None:
    """Trace des mesures selon le nombre N d’images, avec leur intervalle.

    Paramètres :
        curves : légende → mesures, trois au plus.
        ylabel : ce qui est mesuré, avec l’unité.
        limit : une courbe de référence, en tirets.
        note : la légende de la référence.
    """
    (ax,) = _axes(figsize=(7.0, 4.0))
    if limit is not None:
        ax.plot(limit.counts, _cpu(limit.mean), "--", color=GREY, linewidth=1.4, label=note)
    for (label, curve), colour, marker in zip(curves.items(), NEUTRAL[1:], _MARKERS, strict=False):
        ax.errorbar(
            curve.counts,
            _cpu(curve.mean),
            yerr=_cpu(curve.error),
            color=colour,
            marker=marker,
            markersize=5,
            capsize=3,
            linewidth=1.4,
            label=label,
        )
    _log_axis(ax, next(iter(curves.values())).counts)
    ax.set(xlabel="nombre d’images $N$", ylabel=ylabel)
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


@_styled
def unit_variances(variances: Mapping[str, Tensor], *, threshold: float) -> None:
    """Trace la variance des moyennes de q(z|x) par dimension latente, en ordre décroissant.

    Paramètres :
        variances : légende → variances (d,), trois au plus.
        threshold : le seuil au-delà duquel une dimension est dite active.
    """
    (ax,) = _axes(figsize=(7.0, 3.8))
    for (label, variance), colour, marker in zip(variances.items(), NEUTRAL[1:], _MARKERS, strict=False):
        ordered = _cpu(variance).sort(descending=True).values
        ax.plot(range(1, len(ordered) + 1), ordered, marker, color=colour, markersize=6, label=label)
    ax.axhline(threshold, color=GREY, linestyle="--", linewidth=1.4)
    ax.set_yscale("log")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="dimension latente, de la plus à la moins active", ylabel="variance de la moyenne")
    ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


@_styled
def inference_gaps(rows: Mapping[str, Sequence[InferenceGaps]]) -> None:
    """Montre les écarts d’approximation et d’amortissement, une barre par cas, un point par graine.

    Paramètres :
        rows : nom du cas → écarts de chaque graine, en nats ; de haut en bas.
    """
    (ax,) = _axes(figsize=(7.0, 0.7 * len(rows) + 1.6))
    for row, gaps in enumerate(rows.values()):
        parts = [
            sum(values) / len(gaps)
            for values in zip(*((g.approximation.mean, g.amortisation.mean) for g in gaps), strict=True)
        ]
        for left, part, colour, label in (
            (0.0, parts[0], CLASSES[3], "approximation"),
            (parts[0], parts[1], CLASSES[2], "amortissement"),
        ):
            ax.barh(row, part, left=left, color=colour, height=0.5, label="" if row else label)
        ax.plot([g.inference.mean for g in gaps], [row + 0.36] * len(gaps), "o", color=GREY, markersize=5)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlabel="$\\log\\,p(x)$ − ELBO, nats par image", ylim=(len(rows) - 0.4, -0.5))
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


@_styled
def against_published(rows: Mapping[str, Tensor], published: Mapping[str, float]) -> None:
    """Compare des mesures à des valeurs publiées, une ligne par modèle.

    Paramètres :
        rows : nom → −log p(x) de chaque graine, en nats ; de haut en bas.
        published : nom → valeur publiée, pour les lignes qui en ont une.
    """
    (ax,) = _axes(figsize=(7.0, 0.7 * len(rows) + 1.6))
    for row, (name, values) in enumerate(rows.items()):
        ours = "" if row else "mesuré, un point par graine"
        theirs = "" if row else "publié"
        ax.plot(_cpu(values), [row] * len(values), "o", color=RECONSTRUCTION, markersize=7, label=ours)
        if name in published:
            ax.plot(published[name], row, "D", color=GREY, markersize=7, label=theirs)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlabel="−$\\log\\,p(x)$ sur le test, nats par image", ylim=(len(rows) - 0.5, -0.5))
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.4, 1.0))

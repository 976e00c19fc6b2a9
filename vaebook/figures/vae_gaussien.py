"""Les figures du chapitre sur le VAE gaussien : elles dessinent ce qu’on leur donne."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from vaebook.evaluation import Estimate
from vaebook.figures import CLASSES, GREY, RECONSTRUCTION, _axes, _styled, french_number

# Quantile à 97,5 % de la loi de Student à deux degrés de liberté : trois graines, intervalle à 95 %.
STUDENT = 4.303


def interval(values: Sequence[float]) -> Estimate:
    """La moyenne de trois entraînements et la demi-largeur de son intervalle de Student à 95 %.

    Paramètres :
        values : trois mesures, une par graine, supposées à peu près gaussiennes.

    Renvoie :
        ``mean`` et ``error``, ici la demi-largeur de l’intervalle.

    Lève :
        ValueError : si les mesures ne sont pas trois.
    """
    if len(values) != 3:
        raise ValueError(f"{len(values)} mesures : le quantile de Student employé est celui de trois.")
    mean, error = Estimate.of(torch.tensor(values, dtype=torch.float64))
    return Estimate(mean, STUDENT * error)


@_styled
def scores(
    nats: Mapping[str, Sequence[float]],
    bits: Mapping[str, Sequence[float]],
    *,
    reference: tuple[float, float],
) -> None:
    """Place des modèles deux fois : par leur ELBO en nats, et par leurs bits par dimension.

    Paramètres :
        nats, bits : nom du modèle → une mesure par graine ; les mêmes noms, de haut en bas.
        reference : les nats et les bits de l’ACP probabiliste, en tirets ; le trait plein est à 8 bits.
    """
    axes = _axes(1, 2, figsize=(7.0, 0.5 * len(nats) + 1.7), sharey=True)
    panels = (nats, "ELBO aux points k/255 (nats)"), (bits, "bits par dimension")
    for ax, (values, label), value in zip(axes, panels, reference, strict=True):
        for row, measured in enumerate(values.values()):
            ax.plot(measured, [row] * len(measured), "o", color=RECONSTRUCTION, markersize=8)
        ax.axvline(value, color=CLASSES[3], linestyle="--", linewidth=1.6)
        ax.set(ylim=(len(nats) - 0.5, -0.5), xlabel=label)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.margins(x=0.08)
    axes[0].set_title("meilleur →")
    axes[1].set_title("← meilleur")
    axes[1].axvline(8, color=GREY, linewidth=1.4)
    axes[0].set_yticks(range(len(nats)), list(nats))


@_styled
def distances(groups: Mapping[str, Mapping[str, Sequence[float]]], *, floor: float) -> None:
    """Compare des lois de z par la distance de Fréchet de leurs images, un panneau par modèle.

    Paramètres :
        groups : modèle → loi de z → une distance positive par graine ; les mêmes lois pour tous les modèles.
        floor : la distance de vraies images, en trait vertical.
    """
    laws = list(next(iter(groups.values())))
    everything = [values for measured in groups.values() for values in measured.values()]
    axes = _axes(1, len(groups), figsize=(7.0, 0.55 * len(laws) + 1.5), sharey=True, sharex=True)
    for ax, (title, measured) in zip(axes, groups.items(), strict=True):
        for row, values in enumerate(measured.values()):
            ax.plot(values, [row] * len(values), "o", color=CLASSES[3], markersize=7, alpha=0.8)
        ax.axvline(floor, color=GREY, linestyle="--", linewidth=1.6)
        ax.set_title(title)
        ax.set_xscale("log")
        ax.set_xlim(floor / 1.6, 1.6 * max(max(values) for values in everything))
        ax.xaxis.set_major_formatter(FuncFormatter(french_number))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set(ylim=(len(laws) - 0.5, -0.5), xlabel="distance de Fréchet")
    axes[0].set_yticks(range(len(laws)), laws)

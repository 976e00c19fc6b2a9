"""Les figures de l'accueil : ce que l'on fait d'un modèle génératif, et la carte des modèles depuis 2014."""

from __future__ import annotations

from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch
from torch import Tensor

from vaebook.figures import GREY, _axes, _cpu, _styled

# Ni le bleu ni l'orange, qui ont déjà un sens dans le livre.
VIOLET, GREEN = "#9467d8", "#2f8f52"


class Family(NamedTuple):
    """Une famille de la carte : son nom, ses jalons (nom, année de publication), sa couleur, une note."""

    name: str
    milestones: tuple[tuple[str, int], ...]
    colour: str = GREY
    note: str = ""


# Ce que l'on sait de la densité du modèle → les familles, de haut en bas.
MAP: dict[str, tuple[Family, ...]] = {
    "densité explicite, exacte": (
        Family("auto-régressifs", (("PixelRNN", 2016), ("Image\nTransformer", 2018))),
        Family("flots normalisants", (("NICE", 2015), ("Real NVP", 2017), ("FFJORD", 2019))),
        Family("appariement de flots", (("appariement de flots", 2023),)),
    ),
    "densité explicite, approchée : une borne": (
        Family("VAE", (("VAE", 2014), ("VQ-VAE", 2017), ("NVAE", 2020)), VIOLET, "ce livre"),
        Family("diffusion", (("diffusion", 2015), ("DDPM", 2020), ("latente", 2022))),
    ),
    "densité non normalisée": (Family("énergie, score", (("ConvNet\ngénératif", 2016), ("NCSN", 2019))),),
    "densité implicite : on ne sait que tirer": (
        Family("GAN", (("GAN", 2014), ("WGAN", 2017), ("StyleGAN", 2019)), GREEN, "le cours suivant"),
    ),
}

# Filiations : (famille, année) → (famille, année) ; au-delà d'un jalon quand son nom barrerait la flèche.
LINKS = (
    (("flots normalisants", 2020), ("appariement de flots", 2023)),
    (("VAE", 2014), ("diffusion", 2015)),
    (("énergie, score", 2019), ("diffusion", 2020)),
)


@_styled
def three_uses(
    samples: Tensor, grid: Tensor, density: Tensor, x: Tensor, z: Tensor, posterior: Tensor
) -> None:
    """Montre les trois usages d'un modèle à une dimension : engendrer, évaluer, représenter.

    Paramètres :
        samples : tirages du modèle (n, 1).
        grid, density : abscisses (G,), et p(x) en ces points (G,).
        x : deux observations (2, 1).
        z, posterior : codes (Z,), et p(z|x) en ces points pour chaque observation (2, Z).
    """
    draw, score, code = _axes(1, 3, figsize=(7.0, 2.9))
    draw.hist(_cpu(samples).flatten().numpy(), bins=40, density=True, color=GREY, alpha=0.6)
    draw.set(title="engendrer", xlabel="$x$ tirés")
    score.plot(_cpu(grid), _cpu(density), color=GREY)
    score.set(title="évaluer", xlabel="$x$")
    code.set(title="représenter", xlabel="$z$")
    looks = ((VIOLET, "-", "o"), (GREEN, "--", "s"))
    for value, curve, (colour, style, marker) in zip(_cpu(x)[:, 0], _cpu(posterior), looks, strict=True):
        at = float(value)
        height = float(_cpu(density)[(_cpu(grid) - value).abs().argmin()])
        score.plot([at, at], [0, height], color=colour, linestyle=style)
        score.plot(at, height, marker, color=colour, markersize=8)
        code.plot(_cpu(z), curve, color=colour, linestyle=style)
    for ax in (draw, score, code):
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)


@_styled
def landscape() -> None:
    """Dessine la carte des modèles génératifs depuis 2014 : une bande par nature de la densité."""
    (ax,) = _axes(figsize=(5.4, 7.2))
    rows: dict[str, float] = {}
    y = 0.0
    for rank, (lane, families) in enumerate(MAP.items()):
        top = y
        ax.text(2013.5, y + 0.3, lane, fontsize=12, style="italic", va="center")
        y += 0.55
        for family in families:
            rows[family.name] = y + 0.45
            _family(ax, family, y + 0.45)
            y += 1.15
        if rank % 2 == 0:
            ax.axhspan(top, y, color=GREY, alpha=0.1, linewidth=0)
    for (start, begin), (end, finish) in LINKS:
        _link(ax, (begin, rows[start]), (finish, rows[end]))
    ax.set(xlim=(2013.3, 2024.9), ylim=(y, 0))
    ax.set_xticks(range(2014, 2025, 2), [str(year) for year in range(2014, 2025, 2)])
    ax.spines["left"].set_visible(False)
    ax.set_yticks([])


def _family(ax: Axes, family: Family, y: float) -> None:
    """Une ligne de vie, de la première publication à aujourd'hui, avec ses jalons."""
    years = [year for _, year in family.milestones]
    width = 1.6 if family.colour == GREY else 3.0
    ax.annotate(
        "",
        (2024.8, y),
        (years[0], y),
        arrowprops={"arrowstyle": "-|>", "color": family.colour, "linewidth": width, "shrinkA": 0},
    )
    ax.plot(years, [y] * len(years), "o", color=family.colour, markersize=7)
    # Le nom d'une famille récente sortirait du cadre à droite, et le lien qui y mène le barrerait.
    late = years[0] > 2020
    ax.text(
        2024.8 if late else years[0] - 0.1,
        y + 0.3 if late else y - 0.26,
        family.name,
        color=family.colour,
        weight="bold",
        fontsize=12,
        ha="right" if late else "left",
        va="center",
    )
    if family.note:
        ax.text(2024.4, y - 0.26, family.note, color=family.colour, ha="right", va="center")
    for name, year in family.milestones:
        if name != family.name:
            above = (family.name, year) in {end for _, end in LINKS}
            ax.text(
                year,
                y - 0.14 if above else y + 0.14,
                name,
                color=family.colour,
                fontsize=11,
                ha="center",
                va="bottom" if above else "top",
                linespacing=0.95,
            )


def _link(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    ax.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=12,
            color=GREY,
            linestyle=":",
            linewidth=1.6,
            shrinkA=5,
            shrinkB=6,
        )
    )

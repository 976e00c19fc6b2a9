"""Des tables et des images dont le zéro est transparent : rien n’y fait une dalle blanche sur fond sombre."""

from __future__ import annotations

from collections.abc import Callable

import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from torch import Tensor

from vaebook.figures import CLASSES, GREY

# Du gris au violet, d'une même clarté : le blanc s'y lit partout, et la teinte se voit sur les deux fonds.
_SHARES = LinearSegmentedColormap.from_list("shares", ["#777777", "#7a3fd0"])
_NEGATIVE, _POSITIVE = CLASSES[3], "#2f8f55"


def draw_shares(ax: Axes, shares: Tensor, label: Callable[[float], str], *, least: float) -> None:
    """Dessine une table de parts, d'autant plus violettes qu'elles sont grandes.

    Paramètres :
        shares : (lignes, colonnes), entre 0 et 1.
        label : le texte d'une case ; rien, s'il est vide.
        least : en deçà, la case est transparente.
    """
    drawn = shares.double().masked_fill(shares < least, torch.nan)
    ax.imshow(drawn.numpy(), cmap=_SHARES, vmin=0, vmax=1, aspect="auto")
    for i, row in enumerate(shares.tolist()):
        for j, value in enumerate(row):
            if text := label(value):
                colour = "white" if value >= least else GREY
                ax.text(j, i, text, color=colour, fontsize=11, ha="center", va="center")


def draw_signed(ax: Axes, image: Tensor) -> None:
    """Dessine une image de signe quelconque : vert si positive, violet si négative, d'autant plus opaque.

    Paramètres :
        image : (H, W), entre −1 et 1 ; NaN est transparent.
    """
    negative, positive = (torch.tensor(to_rgb(colour)).to(image) for colour in (_NEGATIVE, _POSITIVE))
    tint = torch.where((image < 0).unsqueeze(-1), negative, positive)
    opacity = image.abs().nan_to_num().clamp(max=1).unsqueeze(-1)
    ax.imshow(torch.cat([tint, opacity], -1).numpy())

"""L'explorateur d'un espace latent à deux dimensions : on glisse un point, l'image se décode dans la page."""

from __future__ import annotations

import base64
import io
import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from vaebook.data import Images
from vaebook.explorer import Panel
from vaebook.figures import CLASSES, _label_points, _mosaic
from vaebook.glue import french
from vaebook.likelihoods import Bernoulli, ContinuousBernoulli
from vaebook.models import VAE, ConditionalVAE

_Array = NDArray[Any]

# En deçà, une matrice pèse trop peu pour qu'on l'arrondisse.
_WIDE = 16
# Le nuage déborde un peu du plan montré ; plus loin, un code est ramené au bord.
_MARGIN = 1.25


class LatentExplorer(Panel):
    """Le plan latent d'un modèle appris, que l'on parcourt à la souris, au doigt ou au clavier.

    Les poids du décodeur sont dans la page : des entiers de 8 bits, avec une échelle par ligne des grandes
    matrices ; ceux des petites restent en simple précision. L'image est la moyenne de p(x|z).

    Paramètres :
        models : un `VAE` ou un `ConditionalVAE`, ou une liste de couples (β, modèle) qu'un curseur parcourt.
        data : les images dont les codes, moyennes de q(z|x), font le nuage, et leurs classes ; sans elles,
            ni nuage ni noms.
        span : on montre [−span, span]² ; par défaut, de quoi voir 98 % des codes, et au moins 3.
        points : nombre de points du nuage, les premières images de `data`.
        parameter : le nom de ce qui distingue les modèles d'une liste.

    Lève :
        ValueError : liste vide, espace latent qui n'est pas de dimension 2, décodeur à convolutions, images
            en couleurs, modèles qui ne sont pas de même sorte.

    Source :
        le plan latent décodé est celui de Kingma et Welling (2014), figure 4.
    """

    script = "latent.js"

    def __init__(
        self,
        models: VAE | ConditionalVAE | Sequence[tuple[float, VAE | ConditionalVAE]],
        data: Images | None = None,
        *,
        span: float | None = None,
        points: int = 1000,
        parameter: str = "β",
    ) -> None:
        pairs = [(0.0, models)] if isinstance(models, nn.Module) else list(models)
        if not pairs:
            raise ValueError(
                "Aucun modèle à explorer : donnez un modèle, ou une liste de couples (β, modèle)."
            )
        for _, model in pairs:
            _check(model, pairs[0][1])
        self.names = [french(value, "g") for value, _ in pairs]
        self.models = [model for _, model in pairs]
        self.parameter = parameter
        first = self.models[0]
        self.conditional = isinstance(first, ConditionalVAE)
        self.classes = tuple(data.classes) if data is not None else ()
        if isinstance(first, ConditionalVAE) and len(self.classes) != first.classes:
            self.classes = tuple(f"classe {k}" for k in range(first.classes))
        self.labels = data.labels[:points].cpu() if data is not None else torch.zeros(0, dtype=torch.int64)
        self.codes = [
            _codes(model, data.images[:points], self.labels) if data is not None else torch.zeros(0, 2)
            for model in self.models
        ]
        self.span = float(span) if span is not None else _span(torch.cat(self.codes))

    def data(self) -> dict[str, Any]:
        """Ce que reçoit le script : la forme des réseaux, les noms, et tous les nombres, comprimés.

        Renvoie :
            un dictionnaire prêt pour du JSON.
        """
        _, *shape = self.models[0].image_shape
        numbers = zlib.compress(b"".join(map(_aligned, self._arrays())), 9)
        return {
            "binary": base64.b64encode(numbers).decode("ascii"),
            "classes": self.classes,
            "colours": [CLASSES[k % len(CLASSES)] for k in range(len(self.classes))],
            "conditional": self.conditional,
            "models": [
                {
                    "name": name,
                    "layers": [[w.shape[1], w.shape[0], w.shape[1] > _WIDE] for w, _ in _layers(model)],
                    "link": _link(model),
                    "spots": self._spots(codes),
                }
                for name, model, codes in zip(self.names, self.models, self.codes, strict=True)
            ],
            "parameter": self.parameter,
            "points": len(self.labels),
            "shape": shape,
            "span": self.span,
        }

    def png(self) -> bytes:
        """Une grille d'images décodées, en niveaux de gris."""
        bands = [_mosaic(images, columns, gap=0) for images, columns in map(self._grid, self.models)]
        gap = torch.ones(len(bands[0]), 8)
        picture = torch.cat([part for band in bands for part in (band, gap)][:-1], dim=1)
        content = io.BytesIO()
        pixels = ((31 * picture.clamp(0, 1)).round() * 255 / 31).byte()  # 32 gris : deux fois moins d'octets
        if self.conditional:  # une bande basse : agrandie, pour qu'on la voie
            pixels = pixels.repeat_interleave(2, 0).repeat_interleave(2, 1)
        Image.fromarray(pixels.numpy()).save(content, "PNG", optimize=True)
        return content.getvalue()

    def alternative(self) -> str:
        """La phrase qui décrit la grille."""
        if self.conditional:
            return (
                "Grille d’images décodées : une colonne par étiquette, de gauche à droite "
                f"{', '.join(self.classes)} ; une ligne par code."
            )
        if len(self.models) > 1:
            return (
                "Grilles d’images décodées d’un plan latent, de gauche à droite pour "
                f"{self.parameter} = {' ; '.join(self.names)}."
            )
        return "Grille d’images décodées du plan latent : z₁ croît de gauche à droite, z₂ de bas en haut."

    def _arrays(self) -> Iterator[_Array]:
        """Les nombres de la page, dans l'ordre où le script les lit."""
        yield self.labels.to(torch.uint8).numpy()
        for model in self.models:
            for weight, bias in _layers(model):
                yield bias.numpy()
                if weight.shape[1] > _WIDE:
                    yield from quantise(weight)
                else:
                    yield weight.numpy()
        for codes in self.codes:
            steps = codes / (_MARGIN * self.span) * 32767
            yield steps.round().clamp(-32767, 32767).to(torch.int16).numpy()

    def _spots(self, codes: Tensor) -> list[list[float]]:
        """Où écrire le numéro de chaque classe ; nulle part si l'étiquette est choisie à part."""
        if self.conditional or not len(codes):
            return []
        missing = set(range(len(self.classes))) - set(self.labels.tolist())
        if missing:
            return []
        spots = _label_points(codes, self.labels, len(self.classes))
        return [[round(value, 3) for value in spot] for spot in spots.tolist()]

    @torch.no_grad()
    def _grid(self, model: VAE | ConditionalVAE) -> tuple[Tensor, int]:
        device, edge = model.prior_mu.device, min(self.span, 3.0)
        if isinstance(model, ConditionalVAE):
            codes = torch.tensor([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], device=device) * edge / 2
            given = model.given(torch.arange(model.classes, device=device))
            return given.likelihood(codes.unsqueeze(1)).mean.flatten(0, 1), model.classes
        side = 9 if len(self.models) == 1 else 5
        line = torch.linspace(-edge, edge, side, device=device)
        z = torch.cartesian_prod(line.flip(0), line).flip(1)
        return model.likelihood(z).mean, side


def quantise(weight: Tensor) -> tuple[_Array, _Array]:
    """Arrondit une matrice à des entiers de −127 à 127, avec une échelle par ligne.

    Paramètres :
        weight : (sorties, entrées).

    Renvoie :
        les échelles (sorties,) en float32 et les entiers (sorties, entrées) en int8 : leur produit est la
        matrice, à une demi-échelle près.
    """
    scale = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / 127
    rounded = (weight / scale.unsqueeze(1)).round().clamp(-127, 127)
    return scale.numpy(), rounded.to(torch.int8).numpy()


def _check(model: Any, first: Any) -> None:
    if not isinstance(model, VAE | ConditionalVAE):
        raise ValueError(f"Un explorateur montre un VAE ou un ConditionalVAE, pas {type(model).__name__}.")
    if model.latent_dim != 2:
        raise ValueError(f"L’espace latent a {model.latent_dim} dimensions ; un plan en montre exactement 2.")
    if model.config.get("channels"):
        raise ValueError("Le décodeur a des convolutions ; l’explorateur ne lit que des couches denses.")
    if model.image_shape[0] != 1:
        raise ValueError(
            f"Images à {model.image_shape[0]} canaux ; l’explorateur en montre un seul, le gris."
        )
    if type(model) is not type(first) or model.image_shape != first.image_shape:
        raise ValueError("Les modèles d’une liste doivent être de même sorte et de même forme d’image.")
    if isinstance(model, ConditionalVAE) and model.classes != first.classes:
        raise ValueError("Les modèles d’une liste doivent avoir les mêmes étiquettes.")


def _layers(model: VAE | ConditionalVAE) -> list[tuple[Tensor, Tensor]]:
    """Les matrices et les biais du décodeur ; de la dernière, les lignes qui donnent la moyenne."""
    linear = [module for module in model.decoder.layers.modules() if isinstance(module, nn.Linear)]
    layers = [(layer.weight.detach().cpu().float(), layer.bias.detach().cpu().float()) for layer in linear]
    weight, bias = layers.pop()
    pixels = math.prod(model.image_shape)
    return [*layers, (weight[:pixels], bias[:pixels])]


def _link(model: VAE | ConditionalVAE) -> str:
    """Comment la moyenne d'un pixel se déduit de la sortie du décodeur."""
    observation = model.observation
    if isinstance(observation, ContinuousBernoulli):
        return "continuous"
    return "sigmoid" if isinstance(observation, Bernoulli) else str(getattr(observation, "link"))  # noqa: B009


@torch.no_grad()
def _codes(model: VAE | ConditionalVAE, images: Tensor, labels: Tensor) -> Tensor:
    x = images.to(model.prior_mu.device)
    law = model.given(labels) if isinstance(model, ConditionalVAE) else model
    return law.posterior(x).mean.cpu().float()


def _span(codes: Tensor) -> float:
    if not len(codes):
        return 3.0
    return float(max(3, math.ceil(codes.abs().amax(dim=1).quantile(0.98))))


def _aligned(array: _Array) -> bytes:
    """Les octets d'un tableau, petit-boutiens, complétés à un multiple de quatre."""
    content = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
    return content + bytes(-len(content) % 4)

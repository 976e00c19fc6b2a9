"""Les réseaux que partagent tous les modèles : un encodeur, un décodeur, une tête gaussienne.

Des convolutions d'abord (``channels``, aucune si vide), des couches denses ensuite (``hidden``, aucune si
vide) : sans les unes ni les autres, le réseau est linéaire.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

# Noyau 4, pas 2, marge 1 : chaque convolution divise la taille par deux, chaque transposée la double.
_CONVOLUTION: dict[str, Any] = {"kernel_size": 4, "stride": 2, "padding": 1}


class Encoder(nn.Module):
    """Image (et contexte éventuel) -> traits.

    Paramètres :
        image_shape : (C, H, W).
        hidden : tailles des couches denses, chacune suivie d'une ReLU.
        channels : canaux des convolutions, chacune suivie d'une ReLU ; H et W sont divisés par deux à chaque.
        context : taille du vecteur de contexte, 0 s'il n'y en a pas.

    Lève :
        ValueError : forme d'image ou tailles impossibles.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        hidden: Sequence[int],
        channels: Sequence[int] = (),
        context: int = 0,
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        stem_shape = _stem_shape(self.image_shape, hidden, channels)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((self.image_shape[0], *channels)):
            layers += [nn.Conv2d(inputs, outputs, **_CONVOLUTION), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        sizes = (math.prod(stem_shape) + context, *hidden)
        self.dense = nn.Sequential(*(_dense(i, o) for i, o in pairwise(sizes)))
        self.features = sizes[-1]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x : (B, C, H, W) ; context : (B, K) ou rien. Renvoie (B, `features`).

        Lève :
            ValueError : x n'a pas la forme (B, C, H, W) attendue.
        """
        if tuple(x.shape[1:]) != self.image_shape:
            raise ValueError(
                f"Images de forme {tuple(x.shape)} reçues ; le modèle attend (B, "
                f"{', '.join(map(str, self.image_shape))}). Changez image_shape ou redimensionnez les images."
            )
        features: Tensor = self.convolutions(x)
        if context is not None:
            features = torch.cat([features, context], dim=-1)
        return self.dense(features)


class Decoder(nn.Module):
    """Code (et contexte éventuel) -> paramètres de la vraisemblance, l'encodeur à l'envers.

    Paramètres :
        latent_dim : taille du code.
        image_shape, hidden, channels, context : ceux de l'encodeur.
        outputs : nombre de paramètres par pixel.

    Lève :
        ValueError : forme d'image ou tailles impossibles.
    """

    def __init__(
        self,
        latent_dim: int,
        image_shape: Sequence[int],
        hidden: Sequence[int],
        channels: Sequence[int] = (),
        context: int = 0,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.output_shape = (outputs, *image_shape)
        image_channels = outputs * image_shape[0]
        stem_shape = _stem_shape((image_channels, *image_shape[1:]), hidden, channels)
        sizes = (latent_dim + context, *reversed(hidden))
        layers: list[nn.Module] = [_dense(i, o) for i, o in pairwise(sizes)]
        layers.append(nn.Linear(sizes[-1], math.prod(stem_shape)))
        if channels:
            layers += [nn.ReLU(), nn.Unflatten(-1, stem_shape)]
        for inputs, outputs_ in pairwise((*reversed(channels), image_channels)):
            layers += [nn.ConvTranspose2d(inputs, outputs_, **_CONVOLUTION), nn.ReLU()]
        if channels:
            layers.pop()  # pas de ReLU sur la sortie : les paramètres n'ont pas de contrainte
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """z : (..., d) ; context : (B, K) ou rien, étendu aux dimensions de tête de z.

        Renvoie (..., `outputs`, C, H, W).

        Lève :
            ValueError : la dernière dimension de z n'est pas d.
        """
        if z.shape[-1:] != (self.latent_dim,):
            raise ValueError(
                f"Code de forme {tuple(z.shape)} reçu ; la dernière dimension doit être {self.latent_dim}."
            )
        lead = z.shape[:-1]
        if context is not None:
            lead = torch.broadcast_shapes(lead, context.shape[:-1])
            z = torch.cat([z.expand(*lead, -1), context.expand(*lead, -1)], dim=-1)
        output: Tensor = self.layers(z.reshape(-1, z.shape[-1]))
        return output.view(*lead, *self.output_shape)


class GaussianHead(nn.Module):
    """Traits -> N(μ, diag σ²) : les têtes de la moyenne et de la log-variance, en une seule couche."""

    def __init__(self, features: int, latent_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 2 * latent_dim)

    def forward(self, features: Tensor) -> Distribution:
        """features : (B, F). Renvoie une gaussienne diagonale, lot (B,), événement (d,)."""
        mu, logvar = self.linear(features).chunk(2, dim=-1)
        return diagonal_gaussian(mu, torch.exp(logvar / 2))


def diagonal_gaussian(mu: Tensor, sigma: Tensor) -> Distribution:
    """N(μ, diag σ²) : μ et σ (l'écart-type) de forme (..., d), l'événement est (d,)."""
    return Independent(Normal(mu, sigma, validate_args=False), 1, validate_args=False)


def diagonal_factors(distribution: Distribution) -> Normal:
    """Les gaussiennes à une dimension, de forme (..., d), d'une gaussienne diagonale.

    Lève :
        TypeError : la loi n'en est pas une.
    """
    if isinstance(distribution, Independent) and isinstance(distribution.base_dist, Normal):
        return distribution.base_dist
    raise TypeError(
        f"Il faut une gaussienne diagonale, Independent(Normal(…), 1), pas {type(distribution).__name__}."
    )


def _dense(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU())


def _stem_shape(
    image_shape: Sequence[int], hidden: Sequence[int], channels: Sequence[int]
) -> tuple[int, ...]:
    """La forme entre convolutions et couches denses ; refuse ce qui ne se construit pas."""
    if len(image_shape) != 3 or any(size < 1 for size in (*image_shape, *hidden, *channels)):
        raise ValueError(
            f"image_shape={tuple(image_shape)}, hidden={tuple(hidden)}, channels={tuple(channels)} : "
            "image_shape doit être (canaux, hauteur, largeur), et toutes les tailles au moins 1."
        )
    if not channels:
        return tuple(image_shape)
    factor = 2 ** len(channels)
    _, height, width = image_shape
    if height % factor or width % factor:
        raise ValueError(
            f"Avec {len(channels)} convolutions, hauteur et largeur doivent être des multiples de {factor} ; "
            f"elles valent {height} et {width}. Retirez des convolutions ou redimensionnez les images."
        )
    return channels[-1], height // factor, width // factor

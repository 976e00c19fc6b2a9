"""Le VAE à codes discrets (VQ-VAE) : une grille d'indices dans un tableau de vecteurs, et deux lois de codes.

L'encodeur choisit, à chaque place de la grille, le vecteur du tableau le plus proche. C'est un modèle à
variable latente comme les autres, d'encodeur déterministe : ``posterior(x)`` met toute sa masse sur une
grille d'indices. Il s'apprend par `vector_quantised` ; la loi des codes, ensuite.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent

from vaebook.likelihoods import IMAGE_DIMS, Likelihood, make_likelihood
from vaebook.objectives import Terms

_CONVOLUTION: dict[str, Any] = {"kernel_size": 4, "stride": 2, "padding": 1}


class VQVAE(nn.Module):
    """Le VAE à quantification vectorielle, de loi a priori uniforme sur les codes.

    Paramètres :
        codes : K, le nombre de vecteurs du tableau.
        code_dim : la taille d'un vecteur.
        image_shape : (C, H, W) ; la grille a H/2ⁿ lignes et W/2ⁿ colonnes pour n convolutions.
        likelihood : p(x|z), un nom ou un objet de ``vaebook.likelihoods``.
        channels : canaux des convolutions, chacune divisant H et W par deux.

    Lève :
        ValueError : moins de deux vecteurs, vraisemblance inconnue, forme impossible.

    Source :
        van den Oord, Vinyals et Kavukcuoglu (2017), section 3.
    """

    uniform: Tensor

    def __init__(
        self,
        codes: int = 64,
        code_dim: int = 8,
        image_shape: Sequence[int] = (1, 28, 28),
        likelihood: str | Likelihood | dict[str, Any] = "shared_gaussian",
        *,
        channels: Sequence[int] = (16, 32),
    ) -> None:
        super().__init__()
        image_channels, height, width = image_shape
        factor = 2 ** len(channels)
        if codes < 2 or not channels or height % factor or width % factor:
            raise ValueError(
                f"codes={codes}, channels={tuple(channels)}, image_shape={tuple(image_shape)} : il faut au "
                f"moins deux codes, une convolution, et des côtés multiples de {factor}."
            )
        self.image_shape, self.grid = tuple(image_shape), (height // factor, width // factor)
        self.observation = make_likelihood(likelihood)
        outputs = self.observation.parameters_per_pixel
        down: list[nn.Module] = []
        for before, after in pairwise((image_channels, *channels)):
            down += [nn.Conv2d(before, after, **_CONVOLUTION), nn.ReLU()]
        self.encoder = nn.Sequential(*down, nn.Conv2d(channels[-1], code_dim, 1))
        up: list[nn.Module] = [nn.Conv2d(code_dim, channels[-1], 3, padding=1)]
        for before, after in pairwise((*reversed(channels), outputs * image_channels)):
            up += [nn.ReLU(), nn.ConvTranspose2d(before, after, **_CONVOLUTION)]
        self.decoder = nn.Sequential(*up, nn.Unflatten(1, (outputs, image_channels)))
        self.codebook = nn.Parameter(torch.randn(codes, code_dim) / math.sqrt(code_dim))
        self.register_buffer("uniform", torch.zeros(*self.grid, codes), persistent=False)

    def embed(self, x: Tensor) -> Tensor:
        """Les vecteurs de l'encodeur, avant quantification : x (B, C, H, W) -> (B, h, w, code_dim)."""
        return self.encoder(x).movedim(1, -1)

    def nearest(self, vectors: Tensor) -> Tensor:
        """L'indice du vecteur du tableau le plus proche de chacun : (..., code_dim) -> (...), entiers."""
        # ‖v‖² ne dépend pas du code : il ne change pas le minimum.
        return (self.codebook.square().sum(-1) - 2 * vectors @ self.codebook.T).argmin(-1)

    def codes(self, x: Tensor) -> Tensor:
        """La grille d'indices k(x) : (B, C, H, W) -> (B, h, w), entiers de 0 à K − 1."""
        return self.nearest(self.embed(x))

    def decode(self, vectors: Tensor) -> Distribution:
        """p(x|z) pour des vecteurs (..., h, w, code_dim) ; lot (...), événement (C, H, W)."""
        lead = vectors.shape[:-IMAGE_DIMS]
        output: Tensor = self.decoder(vectors.reshape(-1, *vectors.shape[-IMAGE_DIMS:]).movedim(-1, 1))
        return self.observation(output.reshape(*lead, *output.shape[1:]))

    def posterior(self, x: Tensor) -> Distribution:
        """q(k|x), toute la masse sur k(x). x : (B, C, H, W) ; lot (B,), événement (h, w)."""
        certain = F.one_hot(self.codes(x), len(self.codebook)).to(x.dtype)
        return Independent(Categorical(probs=certain, validate_args=False), 2, validate_args=False)

    def likelihood(self, k: Tensor) -> Distribution:
        """p(x|k). k : (..., h, w), entiers ; lot (...), événement (C, H, W)."""
        return self.decode(self.codebook[k])

    @property
    def prior(self) -> Distribution:
        """p(k) uniforme : événement (h, w), probabilité K^(−hw) pour chaque grille."""
        return Independent(Categorical(logits=self.uniform), 2)

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """La moyenne de p(x|k(x)). x et le résultat : (B, C, H, W)."""
        return self.likelihood(self.codes(x)).mean


def straight_through(vectors: Tensor, quantised: Tensor) -> Tensor:
    """La valeur de `quantised`, le gradient de `vectors` : deux tenseurs de même forme (...).

    Source :
        Bengio, Léonard et Courville (2013), section 4 ; van den Oord et al. (2017), section 3.2.
    """
    return vectors + (quantised - vectors).detach()


def vector_quantised(model: VQVAE, x: Tensor, *, commitment: float = 1.0) -> Terms:
    """L'objectif du VQ-VAE : log p(x|z) − ‖sg[e] − c‖² − γ ‖e − sg[c]‖², à maximiser.

    sg arrête le gradient : le premier carré déplace le tableau, le second retient l'encodeur. Les carrés ne
    sont pas des nats : leur poids est un réglage, et ``value`` n'est pas une borne de log p(x).

    Paramètres :
        model : un VQ-VAE.
        x : (B, C, H, W).
        commitment : γ, le poids de la perte d'engagement.

    Renvoie :
        `Terms`, chacun (B,) : ``value``, l'objectif ; ``reconstruction``, log p(x|z), en nats ; ``kl``, celle
        de q à la loi a priori uniforme, h·w·log K nats, constante.

    Lève :
        ValueError : poids négatif.

    Source :
        van den Oord et al. (2017), équation 3.
    """
    if commitment < 0:
        raise ValueError(f"commitment={commitment} : ce poids doit être positif ou nul.")
    vectors = model.embed(x)
    quantised = model.codebook[model.nearest(vectors)]
    reconstruction = model.decode(straight_through(vectors, quantised)).log_prob(x)
    move_codes = (quantised - vectors.detach()).square().sum((1, 2, 3))
    hold_encoder = (vectors - quantised.detach()).square().sum((1, 2, 3))
    kl = torch.full_like(reconstruction, math.prod(model.grid) * math.log(len(model.codebook)))
    return Terms(reconstruction - move_codes - commitment * hold_encoder, reconstruction, kl)


def perplexity(k: Tensor, codes: int) -> float:
    """exp de l'entropie des indices, un nombre entre 1 (un seul sert) et K (tous servent autant).

    Paramètres :
        k : des indices, de forme quelconque (...), entiers de 0 à K − 1.
        codes : K.
    """
    frequency = k.flatten().bincount(minlength=codes).double() / k.numel()
    return float(torch.special.entr(frequency).sum().exp())


def code_frequencies(k: Tensor, codes: int, *, smoothing: float = 1.0) -> Distribution:
    """La loi a priori la plus simple : à chaque place, la fréquence de chaque code ; places indépendantes.

    Paramètres :
        k : (N, h, w), entiers de 0 à K − 1.
        codes : K.
        smoothing : effectif ajouté à chaque code, pour qu'aucun n'ait une probabilité nulle.

    Renvoie :
        une loi d'événement (h, w).

    Lève :
        ValueError : lissage négatif ou nul.
    """
    if smoothing <= 0:
        raise ValueError(f"smoothing={smoothing} : l'effectif ajouté doit être strictement positif.")
    counts = F.one_hot(k, codes).sum(0) + smoothing
    return Independent(Categorical(probs=counts), 2)


class AutoregressivePrior(nn.Module):
    """Une loi des codes qui lit la grille ligne à ligne : p(k) = Π p(k_i | k_1, …, k_{i−1}).

    Un réseau récurrent résume les codes déjà lus ; la log-probabilité est exacte.

    Paramètres :
        codes : K.
        grid : (h, w).
        hidden : taille de l'état du réseau.

    Source :
        van den Oord et al. (2017), section 3.3, qui emploie un PixelCNN.
    """

    def __init__(self, codes: int, grid: Sequence[int], hidden: int = 128) -> None:
        super().__init__()
        self.grid = tuple(grid)
        self.start = codes  # un indice de plus, celui d'« avant le premier »
        self.embedding = nn.Embedding(codes + 1, hidden)
        self.place = nn.Parameter(torch.zeros(math.prod(grid), hidden))
        self.network = nn.GRU(hidden, hidden, batch_first=True)
        self.head = nn.Linear(hidden, codes)

    def log_prob(self, k: Tensor) -> Tensor:
        """log p(k), exact. k : (..., h, w), entiers ; renvoie (...), en nats."""
        flat = k.reshape(-1, math.prod(self.grid))
        before = F.pad(flat[:, :-1], (1, 0), value=self.start)
        states, _ = self.network(self.embedding(before) + self.place)
        return Categorical(logits=self.head(states)).log_prob(flat).sum(-1).reshape(k.shape[:-2])

    @torch.no_grad()
    def sample(self, shape: Sequence[int] = ()) -> Tensor:
        """Des grilles tirées code après code : (*shape, h, w), entiers."""
        code = torch.full((math.prod(shape), 1), self.start, device=self.place.device)
        state, drawn = None, []
        for place in self.place:
            output, state = self.network(self.embedding(code) + place, state)
            code = Categorical(logits=self.head(output)).sample()
            drawn.append(code)
        return torch.cat(drawn, 1).reshape(*shape, *self.grid)

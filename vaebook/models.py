"""Les modèles du livre : auto-encodeur, VAE, VAE conditionnel, VAE linéaire.

Un modèle à variable latente est tout objet qui a ``posterior(x)``, ``likelihood(z)`` et ``prior`` : trois
distributions. Les objectifs (``vaebook.objectives``) n'en demandent pas plus.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution

from vaebook.likelihoods import Likelihood, SharedGaussian, make_likelihood
from vaebook.networks import Decoder, Encoder, GaussianHead, diagonal_gaussian


class LatentVariableModel(Protocol):
    """Ce que les objectifs demandent à un modèle."""

    def posterior(self, x: Tensor) -> Distribution:
        """q(z|x) : x de forme (B, …), lot (B,), événement (d,)."""
        ...

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z) : z de forme (…, d), lot (…), événement la forme d'une observation."""
        ...

    @property
    def prior(self) -> Distribution:
        """p(z) : événement (d,)."""
        ...


class _Generator:
    """Ce que tout modèle à variable latente sait faire de ses trois distributions."""

    @torch.no_grad()
    def sample(self: LatentVariableModel, n: int) -> Tensor:
        """Engendre n images : z ~ p(z), puis la moyenne de p(x|z).

        Renvoie (n, C, H, W) ; si p(z) a un lot d'étiquettes (B,), n images pour chacune, (n, B, C, H, W).
        """
        z = self.prior.sample(torch.Size((n,)))
        return self.likelihood(z).mean

    @torch.no_grad()
    def reconstruct(self: LatentVariableModel, x: Tensor) -> Tensor:
        """La moyenne de p(x|z) en z = moyenne de q(z|x). x et le résultat : (B, C, H, W)."""
        return self.likelihood(self.posterior(x).mean).mean


class _GaussianVAE(nn.Module):
    """Les quatre pièces d'un VAE gaussien et sa loi a priori, sans dire comment on s'en sert."""

    prior_mu: Tensor
    prior_sigma: Tensor
    _head: type[nn.Module] = GaussianHead

    def __init__(
        self,
        latent_dim: int,
        hidden: Sequence[int],
        image_shape: Sequence[int],
        likelihood: str | Likelihood | dict[str, Any],
        channels: Sequence[int],
        encoder_context: int = 0,
        decoder_context: int = 0,
    ) -> None:
        super().__init__()
        _check_latent_dim(latent_dim)
        self.latent_dim, self.image_shape = latent_dim, tuple(image_shape)
        self.observation = make_likelihood(likelihood)
        outputs = self.observation.parameters_per_pixel
        self.encoder = Encoder(image_shape, hidden, channels, encoder_context)
        self.head = self._head(self.encoder.features, latent_dim)
        self.decoder = Decoder(latent_dim, image_shape, hidden, channels, decoder_context, outputs)
        self.register_buffer("prior_mu", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("prior_sigma", torch.ones(latent_dim), persistent=False)
        self._architecture = {
            "latent_dim": latent_dim,
            "hidden": list(hidden),
            "image_shape": list(image_shape),
            "channels": list(channels),
        }

    @property
    def config(self) -> dict[str, Any]:
        """Les arguments qui reconstruisent le modèle, prêts pour du JSON."""
        return self._architecture | {"likelihood": self.observation.config}


class VAE(_Generator, _GaussianVAE):
    """L'auto-encodeur variationnel à encodeur gaussien diagonal et à loi a priori N(0, I).

    Paramètres :
        latent_dim : dimension d de z.
        hidden : tailles des couches denses de l'encodeur ; le décodeur les prend à l'envers.
        image_shape : (C, H, W).
        likelihood : p(x|z), un nom (« bernoulli », « shared_gaussian »…) ou un objet de
            ``vaebook.likelihoods``.
        channels : canaux des convolutions qui précèdent les couches denses ; aucune par défaut.

    Lève :
        ValueError : vraisemblance inconnue, dimension ou forme impossible.

    Source :
        Kingma et Welling (2014), section 3 et annexe C.
    """

    def __init__(
        self,
        latent_dim: int = 20,
        hidden: Sequence[int] = (400,),
        image_shape: Sequence[int] = (1, 28, 28),
        likelihood: str | Likelihood | dict[str, Any] = "bernoulli",
        *,
        channels: Sequence[int] = (),
    ) -> None:
        super().__init__(latent_dim, hidden, image_shape, likelihood, channels)

    def posterior(self, x: Tensor) -> Distribution:
        """q_φ(z|x) = N(μ(x), diag σ²(x)). x : (B, C, H, W) ; lot (B,), événement (d,).

        Lève :
            ValueError : x n'a pas la forme attendue.
        """
        return self.head(self.encoder(x))

    def likelihood(self, z: Tensor) -> Distribution:
        """p_θ(x|z). z : (..., d) ; lot (...), événement (C, H, W).

        Lève :
            ValueError : la dernière dimension de z n'est pas d.
        """
        return self.observation(self.decoder(z))

    @property
    def prior(self) -> Distribution:
        """p(z) = N(0, I), événement (d,)."""
        return diagonal_gaussian(self.prior_mu, self.prior_sigma)


class _SharedVarianceHead(nn.Module):
    """Une moyenne linéaire en x, une log-variance par dimension latente, la même pour tous les x."""

    def __init__(self, features: int, latent_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, latent_dim)
        self.logvar = nn.Parameter(torch.zeros(latent_dim))

    def forward(self, features: Tensor) -> Distribution:
        mu = self.linear(features)
        return diagonal_gaussian(mu, torch.exp(self.logvar / 2).expand_as(mu))


class LinearVAE(VAE):
    """Le VAE dont encodeur et décodeur sont linéaires : à l'optimum, c'est l'ACP probabiliste.

    La variance de q(z|x) ne dépend pas de x, comme celle de la vraie loi a posteriori.

    Paramètres :
        latent_dim : dimension d de z.
        image_shape : (C, H, W).
        likelihood : gaussienne de lien identité, pour que l'énoncé tienne ; à σ appris par défaut.

    Lève :
        ValueError : vraisemblance inconnue ou non linéaire, dimension ou forme impossible.

    Source :
        Lucas, Tucker, Grosse et Norouzi (2019), section 4.
    """

    _head = _SharedVarianceHead

    def __init__(
        self,
        latent_dim: int = 20,
        image_shape: Sequence[int] = (1, 28, 28),
        likelihood: Likelihood | dict[str, Any] | None = None,
    ) -> None:
        super().__init__(latent_dim, (), image_shape, likelihood or SharedGaussian(link="identity"))
        if getattr(self.observation, "link", None) != "identity":
            raise ValueError(
                "LinearVAE demande une vraisemblance de lien identité : SharedGaussian(link='identity')."
            )

    @property
    def config(self) -> dict[str, Any]:
        """Les arguments qui reconstruisent le modèle, prêts pour du JSON."""
        config = super().config
        return {name: config[name] for name in ("latent_dim", "image_shape", "likelihood")}


class ConditionalVAE(_GaussianVAE):
    """Le VAE conditionnel p(x|z, y) : `given` fixe les étiquettes et rend un modèle comme les autres.

    Paramètres :
        latent_dim, hidden, image_shape, likelihood, channels : ceux de `VAE`.
        classes : nombre d'étiquettes K.
        conditional_encoder : l'encodeur voit-il l'étiquette ? q(z|x, y) si oui, q(z|x) sinon.
        learned_prior : la loi a priori dépend-elle de l'étiquette ? p(z|y) gaussienne apprise si oui.

    Lève :
        ValueError : vraisemblance inconnue, dimension, forme ou nombre de classes impossible.

    Source :
        Sohn, Lee et Yan (2015), équation 4.
    """

    def __init__(
        self,
        latent_dim: int = 20,
        hidden: Sequence[int] = (400,),
        image_shape: Sequence[int] = (1, 28, 28),
        likelihood: str | Likelihood | dict[str, Any] = "bernoulli",
        *,
        channels: Sequence[int] = (),
        classes: int = 10,
        conditional_encoder: bool = True,
        learned_prior: bool = False,
    ) -> None:
        if classes < 1:
            raise ValueError(f"classes={classes} : il faut au moins une étiquette.")
        encoder_context = classes if conditional_encoder else 0
        super().__init__(latent_dim, hidden, image_shape, likelihood, channels, encoder_context, classes)
        self.classes, self.conditional_encoder = classes, conditional_encoder
        self.prior_head = GaussianHead(classes, latent_dim) if learned_prior else None

    @property
    def config(self) -> dict[str, Any]:
        """Les arguments qui reconstruisent le modèle, prêts pour du JSON."""
        return super().config | {
            "classes": self.classes,
            "conditional_encoder": self.conditional_encoder,
            "learned_prior": self.prior_head is not None,
        }

    def given(self, y: Tensor) -> "GivenLabels":
        """Le modèle, les étiquettes étant fixées.

        Paramètres :
            y : (B,), entiers de 0 à K − 1.

        Lève :
            ValueError : étiquettes non entières ou hors de [0, K − 1].
        """
        y = torch.as_tensor(y)
        if y.device.type == "cpu":  # sur un GPU, lire les étiquettes ferait attendre la carte à chaque lot
            self.check_labels(y)
        # Une comparaison plutôt que F.one_hot, qui lit le maximum.
        classes = torch.arange(self.classes, device=self.prior_mu.device)
        labels = y.to(self.prior_mu.device).unsqueeze(-1) == classes
        return GivenLabels(self, labels.to(self.prior_mu.dtype))

    def check_labels(self, y: Tensor) -> None:
        """Refuse des étiquettes qui ne sont pas un vecteur (B,) d'entiers de 0 à K − 1.

        Lève :
            ValueError : étiquettes non entières ou hors de [0, K − 1].
        """
        if y.is_floating_point() or y.dim() != 1:
            raise ValueError(f"Étiquettes {tuple(y.shape)} de type {y.dtype} : il faut (B,), entières.")
        if y.numel() and not 0 <= int(y.min()) <= int(y.max()) < self.classes:
            raise ValueError(
                f"Étiquettes de {int(y.min())} à {int(y.max())} ; elles vont de 0 à {self.classes - 1}."
            )

    def posterior(self, x: Tensor) -> Distribution:
        """Refuse : sans étiquette, q(z|x, y) n'est pas défini.

        Lève :
            TypeError : toujours ; écrire ``model.given(y).posterior(x)``, ou
                ``objectives.marginal_bound(model, x)`` si l'étiquette manque.
        """
        raise TypeError(
            "Un VAE conditionnel a besoin d'étiquettes : écrivez model.given(y). Si elles manquent, "
            "vaebook.objectives.marginal_bound(model, x) en fait la somme."
        )

    def sample(self, n: int, label: int) -> Tensor:
        """Engendre n images de l'étiquette donnée. Renvoie (n, C, H, W)."""
        return self.given(torch.tensor([label])).sample(n).squeeze(1)

    def reconstruct(self, x: Tensor, y: Tensor) -> Tensor:
        """La moyenne de p(x|z, y) en z = moyenne de q(z|x, y). x et le résultat : (B, C, H, W) ; y : (B,)."""
        return self.given(y).reconstruct(x)

    @torch.no_grad()
    def transfer(self, x: Tensor, y: Tensor, new_y: Tensor) -> Tensor:
        """Garde z et change d'étiquette : analogie de (x, y) vers `new_y`.

        Paramètres :
            x : (B, C, H, W).
            y, new_y : (B,), les étiquettes de départ et d'arrivée.

        Renvoie :
            (B, C, H, W).
        """
        z = self.given(y).posterior(x).mean
        return self.given(new_y).likelihood(z).mean


class GivenLabels(_Generator):
    """Un `ConditionalVAE` dont les étiquettes sont fixées : les trois distributions, sachant y.

    La loi a priori a pour lot (B,) ; ``sample(n)`` rend n images par étiquette, (n, B, C, H, W).

    Paramètres :
        model : le modèle.
        labels : (B, K), une étiquette par ligne, codée par un 1.
    """

    def __init__(self, model: ConditionalVAE, labels: Tensor) -> None:
        self.model, self.labels = model, labels

    def posterior(self, x: Tensor) -> Distribution:
        """q_φ(z|x, y). x : (B, C, H, W) ; lot (B,), événement (d,).

        Lève :
            ValueError : x n'a pas la forme attendue, ou pas autant d'images que d'étiquettes.
        """
        if len(x) != len(self.labels):
            raise ValueError(f"{len(x)} images et {len(self.labels)} étiquettes : il en faut une par image.")
        context = self.labels if self.model.conditional_encoder else None
        return self.model.head(self.model.encoder(x, context))

    def likelihood(self, z: Tensor) -> Distribution:
        """p_θ(x|z, y). z : (..., B, d) ; lot (..., B), événement (C, H, W)."""
        return self.model.observation(self.model.decoder(z, self.labels))

    @property
    def prior(self) -> Distribution:
        """p(z|y) : N(0, I), ou la gaussienne apprise. Lot (B,), événement (d,)."""
        if self.model.prior_head is not None:
            return self.model.prior_head(self.labels)
        shape = (len(self.labels), self.model.latent_dim)
        return diagonal_gaussian(self.model.prior_mu.expand(shape), self.model.prior_sigma.expand(shape))


_Loss = Callable[[Tensor, Tensor], Tensor]

# Perte par pixel entre la sortie brute du décodeur et l'image, et ce qui fait de cette sortie une image.
_LOSSES: dict[str, tuple[_Loss, Callable[[Tensor], Tensor]]] = {
    "squared": (lambda output, x: (output - x) ** 2, lambda output: output),
    "absolute": (lambda output, x: (output - x).abs(), lambda output: output),
    "cross_entropy": (
        lambda output, x: F.binary_cross_entropy_with_logits(output, x, reduction="none"),
        torch.sigmoid,
    ),
}


class Autoencoder(nn.Module):
    """L'auto-encodeur H = D∘E : un code par image, aucune probabilité.

    Sans couche cachée ni convolution, il est linéaire : appris par l'erreur quadratique, il trouve le
    sous-espace de l'ACP.

    Paramètres :
        latent_dim : dimension du code, plus petite que l'image.
        hidden, image_shape, channels : ceux de `VAE`.
        loss : « squared », « absolute » ou « cross_entropy ».

    Lève :
        ValueError : perte inconnue, dimension ou forme impossible.

    Source :
        Bourlard et Kamp (1988) pour le cas linéaire ; Hinton et Salakhutdinov (2006).
    """

    def __init__(
        self,
        latent_dim: int = 20,
        hidden: Sequence[int] = (400,),
        image_shape: Sequence[int] = (1, 28, 28),
        loss: str = "squared",
        *,
        channels: Sequence[int] = (),
    ) -> None:
        super().__init__()
        _check_latent_dim(latent_dim)
        if loss not in _LOSSES:
            raise ValueError(f"Perte inconnue : « {loss} ». Choisissez parmi {', '.join(_LOSSES)}.")
        self.latent_dim, self.image_shape, self.loss = latent_dim, tuple(image_shape), loss
        self.encoder = Encoder(image_shape, hidden, channels)
        self.head = nn.Linear(self.encoder.features, latent_dim)
        self.decoder = Decoder(latent_dim, image_shape, hidden, channels)
        self.config: dict[str, Any] = {
            "latent_dim": latent_dim,
            "hidden": list(hidden),
            "image_shape": list(image_shape),
            "loss": loss,
            "channels": list(channels),
        }

    def encode(self, x: Tensor) -> Tensor:
        """Le code : x (B, C, H, W) -> (B, d).

        Lève :
            ValueError : x n'a pas la forme attendue.
        """
        return self.head(self.encoder(x))

    def decode(self, z: Tensor) -> Tensor:
        """L'image d'un code : z (..., d) -> (..., C, H, W).

        Lève :
            ValueError : la dernière dimension de z n'est pas d.
        """
        _, to_image = _LOSSES[self.loss]
        return to_image(self._output(z))

    def reconstruct(self, x: Tensor) -> Tensor:
        """x̂ = D(E(x)). x et le résultat : (B, C, H, W)."""
        return self.decode(self.encode(x))

    def error(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        """L'erreur de reconstruction par image, sommée sur les pixels.

        Paramètres :
            x : (B, C, H, W), ce que voit l'encodeur.
            target : l'image à retrouver, x par défaut (autre que x pour débruiter).

        Renvoie :
            (B,), dans l'unité de la perte ; en nats pour l'entropie croisée seulement.
        """
        pixel_loss, _ = _LOSSES[self.loss]
        return pixel_loss(self._output(self.encode(x)), x if target is None else target).flatten(1).sum(-1)

    def _output(self, z: Tensor) -> Tensor:
        output: Tensor = self.decoder(z)
        return output.squeeze(-1 - len(self.image_shape))


def _check_latent_dim(latent_dim: int) -> None:
    if not isinstance(latent_dim, int) or isinstance(latent_dim, bool) or latent_dim < 1:
        raise ValueError(f"latent_dim={latent_dim!r} : il faut un int au moins égal à 1.")

"""Les exercices du chapitre sur le VAE gaussien."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vaebook.exercises.contract import Exercise, Mistake
from vaebook.exercises.draws import normal, uniform

LOG_2PI = math.log(2 * math.pi)


def _posteriors(generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """μ et log σ², (B, d)."""
    return [(normal(generator, b, d), normal(generator, b, d)) for b, d in ((3, 4), (5, 2), (2, 6))]


def _kl(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1)


def _images(generator: torch.Generator) -> list[tuple[Tensor, Tensor, float]]:
    """x et x̂ (B, C, H, W), σ."""
    sizes = (((3, 1, 2, 2), 0.3), ((2, 1, 3, 4), 1.4), ((4, 2, 2, 3), 0.7))
    return [(uniform(generator, *size), uniform(generator, *size), sigma) for size, sigma in sizes]


def _gaussian(x: Tensor, x_hat: Tensor, sigma: float) -> Tensor:
    error = ((x - x_hat) ** 2).flatten(1).sum(1)
    return -0.5 * error / sigma**2 - _pixels(x) * (math.log(sigma) + 0.5 * LOG_2PI)


def _pixels(x: Tensor) -> int:
    return x[0].numel()


def _squares(x: Tensor, x_hat: Tensor) -> Tensor:
    return ((x - x_hat) ** 2).flatten(1).sum(1)


def _binary(generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """Des images de 0 et de 1 et leurs logits, (B, C, H, W) ; les derniers sont extrêmes."""
    sizes = ((3, 1, 2, 2), (2, 1, 3, 4), (4, 2, 2, 3))
    cases = [((uniform(generator, *size) < 0.5).double(), normal(generator, *size)) for size in sizes]
    return [*cases, (cases[0][0], 300 * normal(generator, *sizes[0]))]


def _bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    return (x * logits - F.softplus(logits)).flatten(1).sum(1)


def _naive(x: Tensor, logits: Tensor) -> Tensor:
    p = logits.sigmoid()
    return (x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1)


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        name="kl-gaussienne",
        label="ex-vae-kl",
        signature="kl(mu, logvar)",
        cases=_posteriors,
        expected=_kl,
        mistakes=(
            Mistake(
                lambda mu, logvar: -_kl(mu, logvar),
                (
                    "une divergence peut-elle être négative ?",
                    "votre valeur est l'opposée de la divergence, ce que l'ELBO ajoute à la reconstruction.",
                    "½ (μ² + σ² − 1 − log σ²), et non ½ (1 + log σ² − μ² − σ²).",
                ),
            ),
            Mistake(
                lambda mu, logvar: 2 * _kl(mu, logvar),
                (
                    "l'échelle n'est pas la bonne.",
                    "le facteur ½ de la formule manque.",
                    "il vient du carré de la gaussienne, −½ z², et porte sur les quatre termes.",
                ),
            ),
            Mistake(
                lambda mu, logvar: 0.5 * (mu**2 + (logvar / 2).exp() - 1 - logvar).sum(1),
                (
                    "votre valeur est-elle nulle en μ = 0 et log σ² = 0, et seulement là ?",
                    "vous avez mis l'écart-type là où il faut la variance.",
                    "`logvar` est log σ² : la variance est `logvar.exp()`, sans le ½ qui donnerait σ.",
                ),
            ),
            Mistake(
                lambda mu, logvar: 0.5 * (mu**2 + logvar.exp() - 1 - 0.5 * logvar).sum(1),
                (
                    "cherchez le minimum de votre formule en `logvar` : est-il en 0 ?",
                    "le logarithme de σ a pris la place de celui de σ².",
                    "`logvar` est déjà log σ², que la formule retranche tel quel.",
                ),
            ),
            Mistake(
                lambda mu, logvar: 0.5 * (mu**2 + logvar.exp() - logvar).sum(1),
                (
                    "que vaut votre formule quand q est la loi a priori ?",
                    "elle vaut ½ par dimension, au lieu de 0 : il manque une constante.",
                    "le −1 de ½ (μ² + σ² − 1 − log σ²) est oublié.",
                ),
            ),
            Mistake(
                lambda mu, logvar: _kl(mu, logvar).mean(),
                (
                    "combien de valeurs rendez-vous, et combien y a-t-il d'images ?",
                    "vous avez aussi pris la moyenne sur le lot.",
                    "réduisez le seul axe des dimensions, `.sum(1)` : la moyenne du lot vient plus tard.",
                ),
            ),
            Mistake(
                lambda mu, logvar: 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(0),
                (
                    "un nombre par image, ou un nombre par dimension latente ?",
                    "vous sommez sur le lot, et non sur les dimensions.",
                    "l'axe 0 est celui des images : gardez-le, et sommez l'axe 1.",
                ),
            ),
            Mistake(
                lambda mu, logvar: 0.5 * (mu**2 + logvar.exp() - 1 - logvar).mean(1),
                (
                    "la divergence de deux dimensions indépendantes est-elle leur moyenne ?",
                    "vous moyennez sur les dimensions latentes, là où la divergence s'ajoute.",
                    "remplacez `mean` par `sum` : la moyenne reviendrait à prendre β = 1/d.",
                ),
            ),
        ),
    ),
    Exercise(
        name="log-vraisemblance-gaussienne",
        label="ex-vae-log-vraisemblance",
        signature="log_likelihood(x, x_hat, sigma)",
        cases=_images,
        expected=_gaussian,
        mistakes=(
            Mistake(
                lambda x, x_hat, sigma: -0.5 * _squares(x, x_hat) / sigma**2 - _pixels(x) * math.log(sigma),
                (
                    "votre densité s'intègre-t-elle à 1 ?",
                    "il manque une constante par pixel.",
                    "−½ log 2π par pixel : D fois, pour une image de D pixels.",
                ),
            ),
            Mistake(
                lambda x, x_hat, sigma: -0.5 * _squares(x, x_hat) / sigma**2,
                (
                    "que se passe-t-il si l'on fait croître σ sans fin ?",
                    "votre valeur croît avec σ : le terme de normalisation manque.",
                    "retranchez ½ log(2πσ²) par pixel.",
                ),
            ),
            Mistake(
                lambda x, x_hat, sigma: (
                    -0.5 * _squares(x, x_hat) / sigma - _pixels(x) * 0.5 * (math.log(sigma) + LOG_2PI)
                ),
                (
                    "`sigma` est un écart-type.",
                    "vous l'employez comme une variance.",
                    "divisez le carré de l'erreur par σ², et retranchez log σ (et non ½ log σ).",
                ),
            ),
            Mistake(
                lambda x, x_hat, sigma: (
                    -0.5 * _squares(x, x_hat) / sigma**2 - (math.log(sigma) + 0.5 * LOG_2PI)
                ),
                (
                    "un des termes ne dépend pas du nombre de pixels, alors qu'il le devrait.",
                    "vous normalisez un seul pixel.",
                    "chaque pixel a sa densité : log σ + ½ log 2π est à retrancher D fois.",
                ),
            ),
            Mistake(
                lambda x, x_hat, sigma: _gaussian(x, x_hat, sigma) / _pixels(x),
                (
                    "la log-densité d'une image est-elle une moyenne ?",
                    "vous moyennez sur les pixels.",
                    "les pixels sont indépendants sachant z : leurs log-densités s'ajoutent.",
                ),
            ),
            Mistake(
                lambda x, x_hat, sigma: (
                    -_squares(x, x_hat) / sigma**2 - _pixels(x) * (math.log(sigma) + 0.5 * LOG_2PI)
                ),
                (
                    "le terme d'erreur est trop grand.",
                    "il manque le facteur ½ devant le carré.",
                    "la gaussienne a (x − x̂)²/(2σ²) dans son exponentielle.",
                ),
            ),
        ),
    ),
    Exercise(
        name="bernoulli-logits",
        label="ex-vae-bernoulli",
        signature="log_likelihood_bernoulli(x, logits)",
        cases=_binary,
        expected=_bernoulli,
        mistakes=(
            Mistake(
                _naive,
                (
                    "la formule est juste, mais pas sur tous les essais : regardez la taille des logits.",
                    "la sigmoïde d'un logit de 40 est 1 en double précision, et log(1 − 1) est infini.",
                    "log σ(ℓ) = −log(1 + e⁻ˡ) : `F.logsigmoid` et `F.softplus` le calculent sans passer "
                    "par la "
                    "probabilité.",
                ),
            ),
            Mistake(
                lambda x, logits: -_bernoulli(x, logits),
                (
                    "une probabilité a-t-elle un logarithme positif ?",
                    "vous rendez l'entropie croisée, une perte à minimiser.",
                    "changez de signe : `binary_cross_entropy_with_logits` rend −log p(x).",
                ),
            ),
            Mistake(
                lambda x, logits: (x * F.logsigmoid(logits)).flatten(1).sum(1),
                (
                    "les pixels noirs comptent-ils ?",
                    "vous n'avez que les pixels allumés, ceux où x = 1.",
                    "ajoutez (1 − x) log(1 − p), qui est (1 − x) `logsigmoid(-logits)`.",
                ),
            ),
            Mistake(
                lambda x, logits: (x * logits - F.softplus(logits)).flatten(1).mean(1),
                (
                    "la log-probabilité d'une image est-elle une moyenne ?",
                    "vous moyennez sur les pixels.",
                    'sommez : `reduction="mean"` divise la reconstruction par D, et donc multiplie β par D.',
                ),
            ),
            Mistake(
                lambda x, logits: (
                    (x * F.logsigmoid(logits.sigmoid()) + (1 - x) * F.logsigmoid(-logits.sigmoid()))
                    .flatten(1)
                    .sum(1)
                ),
                (
                    "un noir parfait a une log-probabilité nulle : votre formule peut-elle l'atteindre ?",
                    "vous prenez deux fois la sigmoïde.",
                    "`logits` entre tel quel dans `logsigmoid` ou `binary_cross_entropy_with_logits`.",
                ),
            ),
        ),
    ),
    Exercise(
        name="kl-asymetrie",
        label="ex-kl-deux-gaussiennes",
        signature="",
        expected=lambda: 0.5 * (4 + 1 - 1 - math.log(4)),
        mistakes=(
            Mistake(
                lambda: 0.5 * (math.log(4) + 2 / 4 - 1),
                (
                    "l'ordre des deux lois compte.",
                    "c'est la divergence dans l'autre sens.",
                    "q est la première, de variance 4 ; p est N(0, 1), dont la variance est au dénominateur.",
                ),
            ),
            Mistake(
                lambda: 0.5 * (16 + 1 - 1 - math.log(16)),
                (
                    "quel est le second paramètre de N ?",
                    "vous avez pris 4 pour l'écart-type.",
                    "dans ce livre, N(μ, σ²) porte la variance : σ² = 4, donc σ = 2.",
                ),
            ),
        ),
        tol=2e-3,
    ),
    Exercise(
        name="variance-de-la-mse",
        label="ex-sigma-beta",
        signature="",
        expected=lambda: 50.0,
        mistakes=(
            Mistake(
                lambda: 100.0,
                (
                    "à quelle variance correspond la MSE sommée ?",
                    "vous l'avez prise pour un décodeur de variance 1.",
                    "l'erreur sans facteur ½ est celle de la variance ½ : β = ½/σ².",
                ),
            ),
            Mistake(
                lambda: 0.02,
                (
                    "la pénalité est-elle plus forte ou plus faible que dans l'ELBO ?",
                    "vous avez le rapport inverse.",
                    "β σ² = ½ : divisez ½ par σ².",
                ),
            ),
        ),
        tol=2e-3,
    ),
    Exercise(
        name="bits-plancher",
        label="ex-vae-bits",
        signature="",
        expected=lambda: 8 + 0.5 * LOG_2PI / math.log(2),
        mistakes=(
            Mistake(
                lambda: 8 + 0.5 * LOG_2PI,
                (
                    "des bits et des nats se mêlent.",
                    "votre log 2π est en nats.",
                    "divisez par log 2 : ½ log₂ 2π, et non ½ log 2π.",
                ),
            ),
            Mistake(
                lambda: 0.5 * LOG_2PI / math.log(2),
                (
                    "à quelle échelle sont les pixels ?",
                    "c'est le coût d'un nombre de [0, 1] ; un niveau n'en occupe qu'un 256ᵉ.",
                    "ajoutez log₂ 256 = 8 bits.",
                ),
            ),
        ),
        tol=2e-3,
    ),
)

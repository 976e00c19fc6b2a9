"""Les exercices du chapitre « Le musée des bogues »."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vaebook.exercises.contract import Exercise, Mistake
from vaebook.exercises.draws import normal, uniform
from vaebook.networks import diagonal_gaussian

# ---------------------------------------------------------------- une perte à corriger


def faulty_loss(x: Tensor, x_hat: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """Une perte à trois fautes, que le chapitre donne à corriger."""
    reconstruction = 0.5 * F.mse_loss(x_hat, x)
    kl = 0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(0).mean()
    return reconstruction + kl


def _loss_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    return [
        (
            uniform(generator, images, pixels),
            uniform(generator, images, pixels),
            normal(generator, images, dims),
            normal(generator, images, dims) - 1,
        )
        for images, pixels, dims in ((5, 12, 3), (3, 9, 4), (4, 16, 2))
    ]


def _sse(x: Tensor, x_hat: Tensor) -> Tensor:
    return (x - x_hat).square().sum(1)


def _kl_by_dim(mu: Tensor, logvar: Tensor) -> Tensor:
    return -0.5 * (1 + logvar - mu**2 - logvar.exp())


def _kl(mu: Tensor, logvar: Tensor) -> Tensor:
    return _kl_by_dim(mu, logvar).sum(1)


def _loss(x: Tensor, x_hat: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """−ELBO, par torch.distributions, moins la constante (D/2) log 2π."""
    q = diagonal_gaussian(mu, (logvar / 2).exp())
    prior = diagonal_gaussian(torch.zeros_like(mu), torch.ones_like(mu))
    log_px = diagonal_gaussian(x_hat, torch.ones_like(x_hat)).log_prob(x)
    elbo = log_px - torch.distributions.kl_divergence(q, prior)
    return -elbo.mean() - x.shape[1] / 2 * math.log(2 * math.pi)


_LOSS = Exercise(
    name="perte-a-corriger",
    label="ex-pieges-perte",
    signature="repaired_loss(x, x_hat, mu, logvar)",
    cases=_loss_cases,
    expected=_loss,
    mistakes=(
        Mistake(
            answer=faulty_loss,
            hints=(
                "c’est la perte fautive, telle quelle.",
                "trois fautes : une réduction dans la reconstruction, un signe et un axe dans la divergence.",
                "la divergence est −½ Σ_j (1 + log σ² − μ² − σ²), sommée sur les dimensions puis "
                "moyennée sur les images ; la reconstruction, la demi-somme des carrés de chaque image.",
            ),
        ),
        Mistake(
            answer=lambda x, x_hat, mu, logvar: F.mse_loss(x_hat, x) + _kl(mu, logvar).mean(),
            hints=(
                "la divergence est juste. Quelle variance suppose votre reconstruction ?",
                "la moyenne sur les pixels la divise par D : c’est un décodeur de variance σ² = D/2.",
                "sommez les carrés sur les pixels, divisez par deux, et ne moyennez que sur les images.",
            ),
        ),
        Mistake(
            answer=lambda x, x_hat, mu, logvar: F.mse_loss(x_hat, x) / 2 + _kl(mu, logvar).mean(),
            hints=(
                "la divergence est juste. Que devient la reconstruction si l’image a plus de pixels ?",
                "elle est moyennée sur les pixels : c’est un décodeur de variance σ² = D.",
                "le facteur ½ est bon ; sommez sur les pixels, et ne moyennez que sur les images.",
            ),
        ),
        Mistake(
            answer=lambda x, x_hat, mu, logvar: (_sse(x, x_hat) + _kl(mu, logvar)).mean(),
            hints=(
                "les sommes et les signes sont bons. Quelle variance supposez-vous ?",
                "la somme des carrés est celle d’un décodeur de variance σ² = ½ ; l’énoncé dit σ = 1.",
                "il manque le facteur ½ devant la somme des carrés.",
            ),
        ),
        Mistake(
            answer=lambda x, x_hat, mu, logvar: (_sse(x, x_hat) / 2 - _kl(mu, logvar)).mean(),
            hints=(
                "la reconstruction est juste. Que fait votre perte d’un code loin de la loi a priori ?",
                "elle le récompense : la divergence y est comptée en moins.",
                "le crochet 1 + log σ² − μ² − σ² est négatif : mettez −½ devant.",
            ),
        ),
        Mistake(
            answer=lambda x, x_hat, mu, logvar: (
                _sse(x, x_hat).mean() / 2 + _kl_by_dim(mu, logvar).sum(0).mean()
            ),
            hints=(
                "évaluez votre perte sur un lot, puis sur ce lot répété deux fois : elle change.",
                "la divergence est sommée sur les images et moyennée sur les dimensions : B/d fois la bonne.",
                "sommez sur la dimension 1, celle des codes, puis prenez la moyenne sur les images.",
            ),
        ),
        Mistake(
            answer=lambda x, x_hat, mu, logvar: (_sse(x, x_hat) / 2 + _kl(mu, logvar)).sum(),
            hints=(
                "doublez le lot en répétant les images : votre perte double.",
                "vous sommez sur les images ; l’énoncé demande la moyenne du lot.",
                "terminez par `.mean()` sur les images.",
            ),
        ),
        Mistake(
            answer=lambda x, x_hat, mu, logvar: (
                (_sse(x, x_hat) / 2 + _kl(mu, logvar)).mean() + x.shape[1] / 2 * math.log(2 * math.pi)
            ),
            hints=(
                "tout est juste, à une constante près.",
                "vous avez gardé la constante de la gaussienne : ce n’est pas faux, mais l’énoncé l’omet.",
                "retirez (D/2) log 2π.",
            ),
        ),
        Mistake(
            answer=lambda x, x_hat, mu, logvar: _sse(x, x_hat).mean() / 2 + _kl_by_dim(mu, logvar).mean(),
            hints=(
                "la reconstruction est juste. Que devient votre divergence si d double ?",
                "elle est moyennée sur les dimensions latentes, donc divisée par d : c’est un β de 1/d.",
                "sommez sur les dimensions, et ne moyennez que sur les images.",
            ),
        ),
        Mistake(
            answer=lambda x, x_hat, mu, logvar: _sse(x, x_hat).sum() / 2 + _kl(mu, logvar).mean(),
            hints=(
                "les deux termes ne sont pas réduits de la même façon.",
                "la reconstruction est sommée sur les images, la divergence y est moyennée.",
                "divisez la reconstruction par le nombre d’images.",
            ),
        ),
        Mistake(
            answer=lambda x, x_hat, mu, logvar: ((x - x_hat).abs().sum(1) / 2 + _kl(mu, logvar)).mean(),
            hints=(
                "la divergence est juste. De quelle loi vient votre reconstruction ?",
                "de celle de Laplace : la valeur absolue n’est pas le carré.",
                "prenez le carré de x − x̂.",
            ),
        ),
    ),
)


# ---------------------------------------------------------------- la log-vraisemblance de Bernoulli


def _bernoulli_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    """Des pixels binaires ; les derniers logits sont de ceux d'un décodeur trop sûr de lui."""
    return [
        (scale * normal(generator, images, pixels), (uniform(generator, images, pixels) < 0.5).double())
        for scale, images, pixels in ((1, 4, 6), (5, 3, 8), (1000, 5, 10))
    ]


def _bernoulli(logits: Tensor, x: Tensor) -> Tensor:
    return (x * logits - F.softplus(logits)).sum(1)


def _from_probabilities(p: Tensor, x: Tensor) -> Tensor:
    return (x * p.log() + (1 - x) * (1 - p).log()).sum(1)


_BERNOULLI = Exercise(
    name="bernoulli-stable",
    label="ex-pieges-bernoulli",
    signature="bernoulli_log_likelihood(logits, x)",
    cases=_bernoulli_cases,
    expected=lambda logits, x: -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1),
    mistakes=(
        Mistake(
            answer=lambda logits, x: _from_probabilities(logits.sigmoid(), x),
            hints=(
                "la formule est juste ; essayez-la avec un logit de 800, sur un pixel nul puis sur un blanc.",
                "la sigmoïde y vaut exactement 1 : log(1 − 1) est infini, et 0 × ∞ n’est pas un nombre.",
                "ne passez pas par la probabilité : log p(x|ℓ) = x ℓ − log(1 + e^ℓ), par `F.softplus`.",
            ),
        ),
        Mistake(
            answer=lambda logits, x: -F.binary_cross_entropy(logits.sigmoid(), x, reduction="none").sum(1),
            hints=(
                "juste pour de petits logits. Et pour un logit de 300 et un pixel nul ?",
                "`binary_cross_entropy` plafonne la perte d’un pixel à 100, et son gradient y est nul.",
                "partez des logits : `F.binary_cross_entropy_with_logits`, sans sigmoïde.",
            ),
        ),
        Mistake(
            answer=lambda logits, x: _from_probabilities(logits.sigmoid().clamp(1e-7, 1 - 1e-7), x),
            hints=(
                "un pixel nul, un logit de 20 : votre valeur est-elle −20, à très peu près ?",
                "en bornant la probabilité, vous plafonnez la perte d’un pixel à 16 nats environ.",
                "sans probabilité, rien à borner : x ℓ − `F.softplus(ℓ)`.",
            ),
        ),
        Mistake(
            answer=lambda logits, x: -_bernoulli(logits, x),
            hints=(
                "la log-probabilité d’une image binaire a toujours le même signe.",
                "vous rendez la perte ; l’énoncé demande la log-vraisemblance.",
                "l’entropie croisée est l’opposé de la log-vraisemblance : changez le signe.",
            ),
        ),
        Mistake(
            answer=lambda logits, x: (x * logits - F.softplus(logits)).mean(1),
            hints=(
                "que devient votre valeur si l’image a deux fois plus de pixels ?",
                "les pixels sont indépendants sachant z : leurs log-probabilités s’ajoutent.",
                "sommez sur les pixels : `.sum(1)`. La réduction par défaut de PyTorch est la moyenne.",
            ),
        ),
        Mistake(
            answer=lambda logits, x: (x * logits - F.softplus(logits)).sum(),
            hints=(
                "regardez la forme de ce que vous rendez.",
                "il faut un nombre par image.",
                'ne sommez que sur les pixels : `.sum(1)`, avec `reduction="none"` si vous appelez PyTorch.',
            ),
        ),
        Mistake(
            answer=lambda logits, x: _bernoulli(logits.sigmoid(), x),
            hints=(
                "Même avec un logit immense, votre modèle reste hésitant.",
                "la sigmoïde est appliquée deux fois.",
                "`binary_cross_entropy_with_logits` et softplus attendent le logit : retirez la sigmoïde.",
            ),
        ),
        Mistake(
            answer=lambda logits, x: (x * logits - F.softplus(-logits)).sum(1),
            hints=(
                "essayez un seul pixel nul : log(1 − sigmoïde(ℓ)) est-il ce que vous rendez ?",
                "−log(1 + e^−ℓ) est le logarithme de la sigmoïde, pas de son complément.",
                "le terme commun est −`F.softplus(logits)`, sans signe moins à l’intérieur.",
            ),
        ),
        Mistake(
            answer=lambda logits, x: (x * logits - torch.log(1 + logits.exp())).sum(1),
            hints=(
                "la formule est la bonne ; essayez-la avec un logit de 1000.",
                "exp(1000) est infini, même en double précision.",
                "log(1 + e^ℓ) se calcule sans déborder par `F.softplus`.",
            ),
        ),
        Mistake(
            answer=lambda logits, x: -F.binary_cross_entropy_with_logits(logits, x),
            hints=(
                "la forme n’est pas la bonne, et c’est PyTorch qui l’a choisie.",
                "par défaut, il rend la moyenne sur les images et sur les pixels.",
                "demandez-lui de ne rien réduire, puis sommez sur les pixels.",
            ),
        ),
    ),
)


# ---------------------------------------------------------------- un écart-type par pixel, minoré


def _floor_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    """Les dernières sorties du réseau sont très négatives : σ y est son plancher."""
    return [
        (
            uniform(generator, images, pixels),
            uniform(generator, images, pixels),
            2 * normal(generator, images, pixels) + centre,
            floor,
        )
        for images, pixels, centre, floor in ((4, 6, 0, 0.1), (3, 8, -2, 0.05), (5, 7, -40, 0.1))
    ]


def _density(x: Tensor, x_hat: Tensor, sigma: Tensor) -> Tensor:
    return torch.distributions.Normal(x_hat, sigma).log_prob(x)


_FLOOR = Exercise(
    name="plancher",
    label="ex-pieges-plancher",
    signature="pixel_log_likelihood(x, x_hat, raw, floor)",
    cases=_floor_cases,
    expected=lambda x, x_hat, raw, floor: diagonal_gaussian(x_hat, floor + F.softplus(raw)).log_prob(x),
    mistakes=(
        Mistake(
            answer=lambda x, x_hat, raw, floor: _density(x, x_hat, F.softplus(raw)).sum(1),
            hints=(
                "votre réponse ne dépend pas du plancher.",
                "sans lui, rien n’empêche σ de tendre vers 0 : la vraisemblance n’est pas bornée.",
                "l’écart-type est `floor + F.softplus(raw)`.",
            ),
        ),
        Mistake(
            answer=lambda x, x_hat, raw, floor: _density(x, x_hat, floor + raw.exp()).sum(1),
            hints=(
                "vos écarts-types sont-ils ceux de l’énoncé quand `raw` est grand ?",
                "l’exponentielle croît bien plus vite que softplus.",
                "σ = plancher + softplus(`raw`), softplus(s) = log(1 + e^s).",
            ),
        ),
        Mistake(
            answer=lambda x, x_hat, raw, floor: _density(x, x_hat, F.softplus(raw).clamp(min=floor)).sum(1),
            hints=(
                "le plancher est respecté, mais pas comme le demande l’énoncé.",
                "avec `clamp`, le gradient par rapport à `raw` est nul sous le plancher.",
                "ajoutez le plancher : `floor + F.softplus(raw)`.",
            ),
        ),
        Mistake(
            answer=lambda x, x_hat, raw, floor: _density(x, x_hat, (floor + F.softplus(raw)).sqrt()).sum(1),
            hints=(
                "que désigne `floor + softplus(raw)`, dans l’énoncé ?",
                "c’est l’écart-type ; vous l’avez pris pour la variance.",
                "retirez la racine : `Normal` attend l’écart-type. Dans la formule, on divise par 2σ².",
            ),
        ),
        Mistake(
            answer=lambda x, x_hat, raw, floor: _density(x, x_hat, (floor + F.softplus(raw)) ** 2).sum(1),
            hints=(
                "écart-type, ou variance ?",
                "`Normal` attend σ, et non σ² ; `floor + softplus(raw)` est déjà σ.",
                "retirez le carré.",
            ),
        ),
        Mistake(
            answer=lambda x, x_hat, raw, floor: _density(x, x_hat, floor + F.softplus(raw)).mean(1),
            hints=(
                "que devient votre valeur si l’image a deux fois plus de pixels ?",
                "une moyenne divise la log-vraisemblance par D : dans l’ELBO, elle multiplierait β par D.",
                "sommez sur les pixels : `.sum(1)`.",
            ),
        ),
        Mistake(
            answer=lambda x, x_hat, raw, floor: (
                _density(x, x_hat, floor + F.softplus(raw)) + math.log(2 * math.pi) / 2
            ).sum(1),
            hints=(
                "votre densité est-elle d’intégrale 1 ?",
                "il ne manque qu’une constante, la même pour toutes les images.",
                "ajoutez −(D/2) log 2π.",
            ),
        ),
        Mistake(
            answer=lambda x, x_hat, raw, floor: (
                -((x - x_hat) / (floor + F.softplus(raw))).square().sum(1) / 2
                - x.shape[1] / 2 * math.log(2 * math.pi)
            ),
            hints=(
                "si σ est très grand partout, votre modèle prédit tout également bien : est-ce normal ?",
                "quand σ est appris, son logarithme n’est plus une constante.",
                "il manque −Σ log σ : une densité étalée est plus basse.",
            ),
        ),
        Mistake(
            answer=lambda x, x_hat, raw, floor: (
                _density(x, x_hat, floor + F.softplus(raw)) - (floor + F.softplus(raw)).log()
            ).sum(1),
            hints=(
                "combien de fois log σ entre-t-il dans la log-densité ?",
                "le terme est ½ log σ², c’est-à-dire log σ ; vous en retranchez deux.",
                "écrivez −log σ, ou −½ log σ², pas −log σ².",
            ),
        ),
    ),
)

# ---------------------------------------------------------------- la variance que personne n'a choisie

_VARIANCE = Exercise(
    name="variance-supposee",
    label="ex-pieges-poids",
    signature="",
    expected=lambda: 784 / (2 * 20),
    tol=1e-3,
    mistakes=(
        Mistake(
            answer=lambda: 784 / 2,
            hints=(
                "c’est la variance quand la divergence est sommée.",
                "la moyenne sur les d dimensions divise la divergence par d.",
                "remplacez w par w/d dans σ² = wD/2.",
            ),
        ),
        Mistake(
            answer=lambda: 20 * 784 / 2,
            hints=(
                "dans quel sens la moyenne change-t-elle le poids de la divergence ?",
                "une divergence moyennée est plus petite : le poids w devient w/d, et non wd.",
                "divisez par 20 au lieu de multiplier.",
            ),
        ),
        Mistake(
            answer=lambda: 784 / 20,
            hints=(
                "l’opposé de la log-densité gaussienne est ‖x − x̂‖² / 2σ².",
                "vous avez identifié d/(wD) à 1/σ².",
                "c’est 1/(2σ²) = d/(wD) : il manque un facteur ½.",
            ),
        ),
        Mistake(
            answer=lambda: math.sqrt(784 / (2 * 20)),
            hints=(
                "on demande une variance.",
                "vous donnez σ, l’écart-type.",
                "élevez votre réponse au carré.",
            ),
        ),
        Mistake(
            answer=lambda: 2 * 20 / 784,
            hints=(
                "cette variance est bien petite : le modèle serait presque exact.",
                "c’est l’inverse de la bonne réponse.",
                "1/(2σ²) = d/(wD) : isolez σ², pas son inverse.",
            ),
        ),
    ),
)

EXERCISES = (_LOSS, _BERNOULLI, _FLOOR, _VARIANCE)

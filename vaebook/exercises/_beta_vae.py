"""Les exercices du chapitre « β-VAE »."""

from typing import Any

import torch
from torch import Tensor

from vaebook.exercises.contract import Exercise, Mistake
from vaebook.exercises.draws import normal


def _uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


# ---------------------------------------------------------------- le β d'une perte moyennée


def _hidden_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    return [
        (pixels, _uniform(generator, 0.1, 3, programs), _uniform(generator, 0.05, 0.9, programs))
        for pixels, programs in ((784, 4), (49, 3), (3072, 5))
    ]


def _hidden_beta(pixels: int, weight: Tensor, sigma: Tensor) -> Tensor:
    variance = weight * pixels / 2
    return variance / sigma**2


_HIDDEN = Exercise(
    name="beta-cache",
    label="ex-beta-moyenne",
    signature="hidden_beta(pixels, weight, sigma)",
    cases=_hidden_cases,
    expected=_hidden_beta,
    mistakes=(
        Mistake(
            answer=lambda pixels, weight, sigma: weight * pixels / sigma**2,
            hints=(
                "il n’y a qu’un facteur constant entre votre réponse et la bonne.",
                "l’opposé de la log-densité gaussienne est ‖x − x̂‖² / 2σ², et non ‖x − x̂‖² / σ².",
                "il manque un facteur ½ : 1/(wD) = 1/(2s) donne s = wD/2.",
            ),
        ),
        Mistake(
            answer=lambda pixels, weight, sigma: weight * pixels / (2 * sigma),
            hints=(
                "vérifiez l’unité : β n’en a pas, et σ² est dans celle des carrés de pixels.",
                "sigma est un écart-type ; la proposition parle de variances.",
                "divisez par `sigma**2`.",
            ),
        ),
        Mistake(
            answer=lambda pixels, weight, sigma: weight / (2 * sigma**2),
            hints=(
                "votre réponse ne dépend pas du nombre de pixels.",
                "la perte est la moyenne des carrés sur les pixels, pas leur somme.",
                "la moyenne est la somme divisée par D : multipliez par `pixels`.",
            ),
        ),
        Mistake(
            answer=lambda pixels, weight, sigma: pixels / (2 * sigma**2),
            hints=(
                "une des grandeurs données n’entre pas dans votre réponse.",
                "le poids de la divergence compte : plus il est grand, plus β l’est.",
                "multipliez par `weight`.",
            ),
        ),
        Mistake(
            answer=lambda pixels, weight, sigma: pixels / (2 * weight * sigma**2),
            hints=(
                "si l’on double le poids de la divergence, β doit doubler.",
                "chez vous, il est divisé par deux.",
                "`weight` multiplie, il ne divise pas : s = wD/2.",
            ),
        ),
        Mistake(
            answer=lambda pixels, weight, sigma: weight * pixels / 2 + 0 * sigma,
            hints=(
                "vous avez fait la première moitié de la question.",
                "c’est la variance du décodeur à β = 1 ; il reste à l’exprimer en β.",
                "β = s / σ² : divisez par `sigma**2`.",
            ),
        ),
        Mistake(
            answer=lambda pixels, weight, sigma: 2 * sigma**2 / (weight * pixels),
            hints=(
                "une moyenne des carrés donne trop d’importance à la divergence : β est-il grand ou petit ?",
                "c’est l’inverse de la bonne réponse.",
                "β = s / σ², et non σ² / s.",
            ),
        ),
    ),
)


# ---------------------------------------------------------------- les nats gratuits


def _free_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    """Des dimensions des deux côtés du seuil ; dans le dernier cas, toutes ensemble n'y atteignent pas."""
    cases = []
    for images, dims, threshold, most in ((6, 4, 0.25, 2.5), (5, 3, 0.5, 2), (7, 5, 1.0, 0.5)):
        spread = torch.linspace(0.05, most, dims, dtype=torch.float64)
        logvar = -spread * _uniform(generator, 0.2, 1.2, images, dims)
        cases.append((spread * normal(generator, images, dims), logvar, threshold))
    return cases


def _kl_by_dim(mu: Tensor, logvar: Tensor) -> Tensor:
    return (mu**2 + logvar.exp() - 1 - logvar) / 2


def _free_bits_penalty(mu: Tensor, logvar: Tensor, threshold: float) -> Tensor:
    return torch.stack([kl.mean().clamp(min=threshold) for kl in _kl_by_dim(mu, logvar).unbind(1)]).sum()


_FREE = Exercise(
    name="nats-gratuits",
    label="ex-beta-gratuit",
    signature="free_bits_penalty(mu, logvar, threshold)",
    cases=_free_cases,
    expected=_free_bits_penalty,
    mistakes=(
        Mistake(
            answer=lambda mu, logvar, threshold: _kl_by_dim(mu, logvar).sum(1).mean(),
            hints=(
                "votre réponse ne dépend pas du seuil.",
                "c’est la divergence ordinaire : où sont les nats gratuits ?",
                "remplacez chaque moyenne KL_j par max(KL_j, seuil), par `.clamp(min=threshold)`, avant de "
                "sommer sur j.",
            ),
        ),
        Mistake(
            answer=lambda mu, logvar, threshold: _kl_by_dim(mu, logvar).clamp(min=threshold).sum(1).mean(),
            hints=(
                "le seuil agit au bon endroit ; agit-il au bon moment ?",
                "vous seuillez image par image ; l’article seuille la divergence moyenne du lot.",
                "prenez la moyenne sur les images d’abord : `.mean(0).clamp(min=threshold).sum()`.",
            ),
        ),
        Mistake(
            answer=lambda mu, logvar, threshold: _kl_by_dim(mu, logvar).sum(1).mean().clamp(min=threshold),
            hints=(
                "à qui donne-t-on des nats gratuits ?",
                "vous seuillez la somme : une dimension pourrait les prendre tous. Chacune a son seuil.",
                "seuillez avant de sommer sur les dimensions : `.mean(0).clamp(min=threshold).sum()`.",
            ),
        ),
        Mistake(
            answer=lambda mu, logvar, threshold: _kl_by_dim(mu, logvar).mean(0).clamp(max=threshold).sum(),
            hints=(
                "quand la divergence d’une dimension est grande, que paie votre objectif ?",
                "vous plafonnez la divergence au lieu de lui donner un plancher.",
                "c’est max(KL_j, seuil) : `.clamp(min=threshold)`.",
            ),
        ),
        Mistake(
            answer=lambda mu, logvar, threshold: (
                (_kl_by_dim(mu, logvar).mean(0) - threshold).clamp(min=0).sum()
            ),
            hints=(
                "le gradient est le bon ; la valeur, non.",
                "vous retranchez le seuil ; la pénalité de l’énoncé le garde : au-dessus, elle vaut KL_j.",
                "max(KL_j, seuil) = seuil + max(KL_j − seuil, 0) : il manque le seuil de chaque dimension.",
            ),
        ),
        Mistake(
            answer=lambda mu, logvar, threshold: _kl_by_dim(mu, logvar).sum(0).clamp(min=threshold).sum(),
            hints=(
                "doublez le lot en répétant les images : votre réponse double.",
                "sur les images on prend une moyenne, sur les dimensions une somme.",
                "remplacez `.sum(0)` par `.mean(0)`, avant le seuil.",
            ),
        ),
        Mistake(
            answer=lambda mu, logvar, threshold: _kl_by_dim(mu, logvar).mean(0).clamp(min=threshold).mean(),
            hints=(
                "le seuil est bien placé ; que fait-on ensuite des dimensions ?",
                "une moyenne sur les dimensions latentes divise la pénalité par d.",
                "terminez par `.sum()`, pas par `.mean()`.",
            ),
        ),
        Mistake(
            answer=lambda mu, logvar, threshold: (-_kl_by_dim(mu, logvar)).mean(0).clamp(min=threshold).sum(),
            hints=(
                "votre réponse ne dépend pas des images : elle vaut d fois le seuil.",
                "c’est que toutes vos divergences sont sous le seuil : quel est leur signe ?",
                "KL_j = −½ (1 + log σ² − μ² − σ²) : il manque le signe moins.",
            ),
        ),
        Mistake(
            answer=lambda mu, logvar, threshold: _kl_by_dim(mu, logvar).clamp(min=threshold).sum(1),
            hints=(
                "on demande un seul nombre, pour tout le lot.",
                "vous rendez une pénalité par image, seuillée image par image.",
                "moyennez sur les images avant de seuiller : `.mean(0)`, puis le seuil, puis la somme.",
            ),
        ),
        Mistake(
            answer=lambda mu, logvar, threshold: _kl_by_dim(mu, logvar).clamp(min=threshold).sum(),
            hints=(
                "votre pénalité dépend du nombre d’images.",
                "vous seuillez image par image, et vous sommez tout.",
                "seuillez la moyenne sur les images, dimension par dimension, puis sommez les dimensions.",
            ),
        ),
    ),
)


# ---------------------------------------------------------------- la capacité


def _capacity_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    """Des divergences des deux côtés de la cible."""
    cases = []
    for images, target, beta in ((6, 5.0, 20.0), (4, 15.0, 4.0), (5, 30.0, 0.5)):
        around = torch.linspace(-4, 6, images, dtype=torch.float64) * _uniform(generator, 0.5, 1, images)
        cases.append((-300 + 40 * normal(generator, images), target + around, target, beta))
    return cases


def _capacity(reconstruction: Tensor, kl: Tensor, target: float, beta: float) -> Tensor:
    return reconstruction - beta * torch.maximum(kl - target, target - kl)


_CAPACITY = Exercise(
    name="capacite",
    label="ex-beta-capacite",
    signature="capacity_objective(reconstruction, kl, target, beta)",
    cases=_capacity_cases,
    expected=_capacity,
    mistakes=(
        Mistake(
            answer=lambda reconstruction, kl, target, beta: reconstruction - beta * (kl - target),
            hints=(
                "regardez les images dont la divergence est sous la cible.",
                "sans valeur absolue, elles sont récompensées : c’est l’ELBO pondéré, à une constante près.",
                "retranchez `beta * (kl - target).abs()`.",
            ),
        ),
        Mistake(
            answer=lambda reconstruction, kl, target, beta: (
                reconstruction - beta * (kl - target).clamp(min=0)
            ),
            hints=(
                "que paient les images dont la divergence est sous la cible ?",
                "rien : votre objectif n’attire pas leur divergence vers C.",
                "remplacez la partie positive par la valeur absolue.",
            ),
        ),
        Mistake(
            answer=lambda reconstruction, kl, target, beta: reconstruction + beta * (kl - target).abs(),
            hints=(
                "cet objectif est à maximiser : vers quelle divergence pousse le vôtre ?",
                "il récompense l’écart à la cible au lieu de le pénaliser.",
                "le signe devant `beta` est un moins.",
            ),
        ),
        Mistake(
            answer=lambda reconstruction, kl, target, beta: reconstruction - beta * (kl - target) ** 2,
            hints=(
                "vos écarts sont dans la mauvaise unité.",
                "un carré de nats ne s’ajoute pas à des nats.",
                "c’est une valeur absolue que l’on retranche, pas un carré.",
            ),
        ),
        Mistake(
            answer=lambda reconstruction, kl, target, beta: reconstruction - (kl - target).abs(),
            hints=(
                "une des grandeurs données n’entre pas dans votre réponse.",
                "le poids β est ignoré.",
                "multipliez la valeur absolue par `beta`.",
            ),
        ),
        Mistake(
            answer=lambda reconstruction, kl, target, beta: reconstruction - (beta * kl - target).abs(),
            hints=(
                "vers quelle divergence votre objectif pousse-t-il ?",
                "vers C/β : β ne doit pas multiplier la divergence seule.",
                "mettez β devant la valeur absolue : `beta * (kl - target).abs()`.",
            ),
        ),
        Mistake(
            answer=lambda reconstruction, kl, target, beta: (
                reconstruction - beta * (kl.mean() - target).abs()
            ),
            hints=(
                "toutes vos images paient le même prix.",
                "ici la cible vaut pour chaque image, pas pour la moyenne du lot.",
                "retirez `.mean()` : `kl` est de forme (B,), et la réponse aussi.",
            ),
        ),
        Mistake(
            answer=lambda reconstruction, kl, target, beta: (
                reconstruction - beta * (target - kl).clamp(min=0)
            ),
            hints=(
                "que paient les images dont la divergence est au-dessus de la cible ?",
                "rien : elles peuvent grandir sans fin.",
                "prenez la valeur absolue de l’écart, pas sa partie positive.",
            ),
        ),
    ),
)


# ---------------------------------------------------------------- le MIG


def _mig_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    """Une information ne dépasse pas l'entropie du facteur."""
    cases = []
    for dims, factors in ((5, 3), (4, 5), (6, 2), (3, 4)):
        entropy = _uniform(generator, 0.7, 3, factors)
        cases.append((entropy * _uniform(generator, 0.02, 0.95, dims, factors), entropy))
    return cases


def _mig(information: Tensor, entropy: Tensor) -> Tensor:
    ordered = information.sort(0, descending=True).values
    return ((ordered[0] - ordered[1]) / entropy).mean()


def _gap(information: Tensor, dim: int = 0) -> Tensor:
    first, second = information.topk(2, dim=dim).values.unbind(dim)
    return first - second


_MIG = Exercise(
    name="mig",
    label="ex-beta-mig",
    signature="mig(information, entropy)",
    cases=_mig_cases,
    expected=_mig,
    mistakes=(
        Mistake(
            answer=lambda information, entropy: _gap(information / entropy, 1).mean(),
            hints=(
                "le MIG demande, pour chaque facteur, si une seule dimension l’informe. Et le vôtre ?",
                "vous cherchez, pour chaque dimension, les deux facteurs qu’elle informe le plus.",
                "les deux plus grandes se prennent le long des dimensions latentes : `topk(2, dim=0)`.",
            ),
        ),
        Mistake(
            answer=lambda information, entropy: _gap(information).mean(),
            hints=(
                "votre valeur peut dépasser 1.",
                "l’écart est en nats ; on le rapporte à ce que l’on pouvait apprendre du facteur.",
                "divisez l’écart de chaque facteur par son entropie, avant la moyenne.",
            ),
        ),
        Mistake(
            answer=lambda information, entropy: _gap(information).mean() / entropy.mean(),
            hints=(
                "les facteurs n’ont pas tous la même entropie.",
                "un rapport de moyennes n’est pas la moyenne des rapports.",
                "divisez d’abord chaque écart par `entropy`, de forme (K,), puis prenez la moyenne.",
            ),
        ),
        Mistake(
            answer=lambda information, entropy: (
                (information.amax(0) - information.amin(0)) / entropy
            ).mean(),
            hints=(
                "que se passe-t-il si deux dimensions informent autant l’une que l’autre ?",
                "vous comparez la plus grande information à la plus petite.",
                "comparez-la à la deuxième : `information.topk(2, dim=0)`.",
            ),
        ),
        Mistake(
            answer=lambda information, entropy: (information.amax(0) / entropy).mean(),
            hints=(
                "si toutes les dimensions disaient la même chose, quel devrait être le MIG ?",
                "vous mesurez ce que sait la meilleure dimension, pas ce qu’elle est seule à savoir.",
                "retranchez la deuxième plus grande information avant de diviser.",
            ),
        ),
        Mistake(
            answer=lambda information, entropy: (_gap(information) / entropy).sum(),
            hints=(
                "ajoutez un facteur à la liste : que devient votre valeur ?",
                "elle croît avec le nombre de facteurs.",
                "terminez par une moyenne sur les K facteurs, pas par une somme.",
            ),
        ),
        Mistake(
            answer=lambda information, entropy: (_gap(information) / information.amax(0)).mean(),
            hints=(
                "une dimension qui n’apprend presque rien peut avoir, chez vous, un MIG de 1.",
                "vous divisez par la plus grande information.",
                "divisez par l’entropie du facteur, `entropy`.",
            ),
        ),
        Mistake(
            answer=lambda information, entropy: (
                -information.sort(0).values[:2].diff(dim=0)[0] / entropy
            ).mean(),
            hints=(
                "vous comparez deux informations ; lesquelles ?",
                "les deux plus petites : `sort` range par ordre croissant.",
                "prenez les deux plus grandes : `sort(0, descending=True)`, ou `topk`.",
            ),
        ),
    ),
)

EXERCISES = (_HIDDEN, _FREE, _CAPACITY, _MIG)

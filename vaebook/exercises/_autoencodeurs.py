"""Les exercices du chapitre sur les auto-encodeurs."""

import math

import torch
from torch import Tensor

from vaebook.exercises.contract import Exercise, Mistake
from vaebook.exercises.draws import normal


def _clouds(generator: torch.Generator) -> list[tuple[Tensor, int]]:
    """Des observations (n, D) loin de l'origine, et d < D."""
    return [
        (normal(generator, n, D) @ normal(generator, D, D) + 2 * normal(generator, D), d)
        for n, D, d in ((9, 4, 2), (7, 5, 1), (12, 3, 2))
    ]


def _eigenvalues(x: Tensor, *, centred: bool = True) -> Tensor:
    """Les valeurs propres de la covariance, décroissantes."""
    y = x - x.mean(0) if centred else x
    return torch.linalg.eigvalsh(y.T @ y / len(x)).flip(0)


def _corruptions(generator: torch.Generator) -> list[tuple[Tensor, Tensor, float]]:
    """Les images bruitées (B, D), les images propres (n, D) et σ."""
    cases = []
    for b, n, D, sigma in ((3, 4, 2, 0.6), (2, 5, 3, 1.5), (4, 6, 2, 0.4)):
        data = normal(generator, n, D)
        cases.append((data[:b] + sigma * normal(generator, b, D), data, sigma))
    return cases


def _squares(noisy: Tensor, data: Tensor) -> Tensor:
    return torch.cdist(noisy, data).square()


def _denoise(noisy: Tensor, data: Tensor, sigma: float) -> Tensor:
    return (-_squares(noisy, data) / (2 * sigma**2)).softmax(1) @ data


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        name="erreur-acp",
        label="ex-ae-erreur-acp",
        signature="linear_error(x, d)",
        cases=_clouds,
        expected=lambda x, d: _eigenvalues(x)[d:].sum(),
        mistakes=(
            Mistake(
                lambda x, d: _eigenvalues(x, centred=False)[d:].sum(),
                (
                    "déplacez toutes les observations ensemble : votre erreur change-t-elle ?",
                    "les biais de l'auto-encodeur retirent la moyenne ; votre calcul la garde.",
                    "remplacez x par x − x̄ (`x - x.mean(0)`) avant de décomposer.",
                ),
            ),
            Mistake(
                lambda x, d: _eigenvalues(x)[:d].sum(),
                (
                    "que vaut votre réponse pour d = D ?",
                    "vous additionnez la variance que le code garde ; l'erreur est celle qu'il perd.",
                    "sommez les plus petites valeurs propres, de la (d + 1)ᵉ à la dernière ; `eigvalsh` "
                    "les donne dans "
                    "l'ordre croissant.",
                ),
            ),
            Mistake(
                lambda x, d: _eigenvalues(x)[d:].sum() * len(x) / (len(x) - 1),
                (
                    "l'écart est faible, et il diminue avec le nombre d'observations.",
                    "votre covariance est divisée par n − 1.",
                    "`torch.cov` divise par n − 1 ; l'erreur du théorème est une moyenne sur les n "
                    "observations.",
                ),
            ),
            Mistake(
                lambda x, d: _eigenvalues(x)[d:].sum() * len(x),
                (
                    "votre erreur croît avec le nombre d'observations.",
                    "vous rendez l'erreur totale, et non sa moyenne.",
                    "divisez par n, la taille de l'axe 0 de `x`.",
                ),
            ),
            Mistake(
                lambda x, d: (_eigenvalues(x)[d:].clamp(min=0) * len(x)).sqrt().sum(),
                (
                    "multipliez x par 2 : l'erreur doit être multipliée par 4.",
                    "vous additionnez des valeurs singulières ; il en faut les carrés.",
                    "les valeurs propres de la covariance sont les carrés des valeurs singulières, "
                    "divisés par n.",
                ),
            ),
            Mistake(
                lambda x, d: _eigenvalues(x)[d:].sum() / x.shape[1],
                (
                    "le carré de la distance entre deux vecteurs est-il une moyenne ?",
                    "vous moyennez sur les D coordonnées.",
                    "sommez les carrés sur les coordonnées, et ne moyennez que sur les observations : "
                    "`mse_loss` divise "
                    "par les deux.",
                ),
            ),
        ),
    ),
    Exercise(
        name="debruiteur-optimal",
        label="ex-ae-debruiteur",
        signature="denoise(noisy, data, sigma)",
        cases=_corruptions,
        expected=_denoise,
        mistakes=(
            Mistake(
                lambda noisy, data, sigma: (-_squares(noisy, data) / sigma**2).softmax(1) @ data,
                (
                    "vos moyennes sont un peu trop tranchées.",
                    "le facteur ½ de la gaussienne manque.",
                    "le poids de xᵢ est exp(−‖x̃ − xᵢ‖²/(2σ²)).",
                ),
            ),
            Mistake(
                lambda noisy, data, sigma: (-_squares(noisy, data) / (2 * sigma)).softmax(1) @ data,
                (
                    "`sigma` est un écart-type.",
                    "vous l'employez comme une variance.",
                    "divisez le carré de la distance par 2σ².",
                ),
            ),
            Mistake(
                lambda noisy, data, sigma: (-_squares(noisy, data).sqrt() / (2 * sigma**2)).softmax(1) @ data,
                (
                    "l'exposant d'une gaussienne a la dimension d'un nombre pur.",
                    "vous y mettez une distance, et non son carré.",
                    "élevez la distance au carré : `torch.cdist(…)` la donne sans carré.",
                ),
            ),
            Mistake(
                lambda noisy, data, sigma: (-_squares(noisy, data) / (2 * sigma**2)).softmax(0) @ data,
                (
                    "les poids d'une image bruitée somment-ils à 1 ?",
                    "vous normalisez sur les images bruitées.",
                    "le `softmax` se prend sur l'axe des images propres, le second.",
                ),
            ),
            Mistake(
                lambda noisy, data, sigma: (-_squares(noisy, data) / (2 * sigma**2)).exp() @ data,
                (
                    "loin de toutes les images propres, que rend votre fonction ?",
                    "vous n'avez pas divisé par la somme des poids.",
                    "la formule de Bayes a un dénominateur : un `softmax` le porte.",
                ),
            ),
            Mistake(
                lambda noisy, data, sigma: data[_squares(noisy, data).argmin(1)],
                (
                    "le débruiteur optimal est-il toujours l'une des images propres ?",
                    "vous rendez la plus proche : c'est le maximum de la loi a posteriori, et non sa "
                    "moyenne.",
                    "l'erreur quadratique veut l'espérance : une moyenne de toutes les images, pondérée.",
                ),
            ),
        ),
    ),
    Exercise(
        name="pixel-debruite",
        label="ex-ae-tweedie",
        signature="",
        expected=lambda: 1 / (1 + math.exp(-(0.7 - 0.5) / 0.25)),
        mistakes=(
            Mistake(
                lambda: 1 / (1 + math.exp(-(0.7 - 0.5) / 0.5)),
                (
                    "`σ` est un écart-type.",
                    "vous avez divisé par σ.",
                    "l'exposant est (x̃ − ½)/σ², avec σ² = 0,25.",
                ),
            ),
            Mistake(
                lambda: 1 / (1 + math.exp((0.7 - 0.5) / 0.25)),
                (
                    "0,7 est plus près de 1 que de 0.",
                    "vous donnez P(x = 0 | x̃).",
                    "prenez le complément à 1.",
                ),
            ),
            Mistake(
                lambda: 1.0,
                (
                    "peut-on être certain du pixel ?",
                    "vous donnez la valeur la plus probable.",
                    "l'espérance est entre 0 et 1 : c'est P(x = 1 | x̃).",
                ),
            ),
        ),
        tol=1e-3,
    ),
)

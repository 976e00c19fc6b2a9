"""Les exercices du chapitre sur les variables latentes."""

import math

import torch
from torch import Tensor
from torch.distributions import Normal
from torch.nn import functional as F

from vaebook.exercises.contract import Exercise, Mistake
from vaebook.exercises.draws import normal, simplex, uniform


def _mixtures(generator: torch.Generator) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """x (B,), les poids, les moyennes et les écarts-types (K,) ; les dernières x sont très loin."""
    cases = [
        (
            3 * normal(generator, b),
            simplex(generator, k),
            3 * normal(generator, k),
            0.5 + uniform(generator, k),
        )
        for b, k in ((5, 3), (4, 2), (3, 4))
    ]
    x, weights, means, sigmas = cases[0]
    return [*cases, (x + 300, weights, means, sigmas)]


def _posterior(x: Tensor, weights: Tensor, means: Tensor, sigmas: Tensor) -> Tensor:
    return (weights.log() + Normal(means, sigmas).log_prob(x[:, None])).softmax(1)


def _linear(generator: torch.Generator) -> list[tuple[Tensor, Tensor, Tensor, float]]:
    """x (B, D), W (D, d), μ (D,), σ."""
    return [
        (normal(generator, b, D), normal(generator, D, d), normal(generator, D), sigma)
        for b, D, d, sigma in ((3, 5, 2, 0.6), (4, 6, 3, 1.5), (2, 4, 3, 0.3))
    ]


def _solve(x: Tensor, W: Tensor, mu: Tensor, ridge: float) -> Tensor:
    M = W.T @ W + ridge * torch.eye(W.shape[1], dtype=W.dtype)
    return torch.linalg.solve(M, W.T @ (x - mu).T).T


def _assignments(generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    """x (B,) et les responsabilités (B, K)."""
    return [(3 * normal(generator, b), simplex(generator, b, k)) for b, k in ((6, 3), (4, 2), (9, 4))]


def _hard_means(x: Tensor, r: Tensor) -> Tensor:
    chosen = F.one_hot(r.argmax(1), r.shape[1]).to(x.dtype)
    return (chosen * x[:, None]).sum(0) / chosen.sum(0)


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        name="responsabilites",
        label="ex-latentes-responsabilites",
        signature="responsibilities(x, weights, means, sigmas)",
        cases=_mixtures,
        expected=_posterior,
        mistakes=(
            Mistake(
                lambda x, weights, means, sigmas: Normal(means, sigmas).log_prob(x[:, None]).softmax(1),
                (
                    "votre réponse ne dépend pas de tous ses arguments.",
                    "vous oubliez l'avis a priori : une composante rare doit être mieux prouvée qu'une "
                    "autre.",
                    "ajoutez le logarithme des poids à la log-densité de chaque composante, avant de "
                    "normaliser.",
                ),
            ),
            Mistake(
                lambda x, weights, means, sigmas: (
                    weights.log() - (x[:, None] - means) ** 2 / (2 * sigmas**2)
                ).softmax(1),
                (
                    "que dit votre réponse de deux composantes de même moyenne et de largeurs différentes ?",
                    "le facteur 1/σ de la densité manque ; il n'est pas le même pour toutes les composantes.",
                    "retranchez log σₖ à la log-densité : il ne se simplifie que si les largeurs sont "
                    "égales.",
                ),
            ),
            Mistake(
                lambda x, weights, means, sigmas: _posterior(x, weights, means, sigmas.sqrt()),
                (
                    "comparez les largeurs de vos composantes à celles demandées.",
                    "vous prenez `sigmas` pour des variances.",
                    "ce sont des écarts-types : (x − μ)²/(2σ²), et −log σ.",
                ),
            ),
            Mistake(
                lambda x, weights, means, sigmas: (
                    weights.log() + Normal(means, sigmas).log_prob(x[:, None])
                ).softmax(0),
                (
                    "additionnez les probabilités d'une même observation.",
                    "ce sont les colonnes qui somment à 1 : vous normalisez sur les observations.",
                    "normalisez sur l'axe 1, celui des composantes.",
                ),
            ),
            Mistake(
                lambda x, weights, means, sigmas: (
                    (joint := weights * Normal(means, sigmas).log_prob(x[:, None]).exp())
                    / joint.sum(1, keepdim=True)
                ),
                (
                    "la formule est juste, mais pas tous les essais : regardez la taille de `x`.",
                    "loin des moyennes toutes les densités sont nulles en double précision, et 0/0 est NaN.",
                    "normalisez en échelle logarithmique : `softmax`, ou `logsumexp`, des log-densités "
                    "pondérées.",
                ),
            ),
            Mistake(
                lambda x, weights, means, sigmas: (
                    weights * Normal(means, sigmas).log_prob(x[:, None]).softmax(1)
                ),
                (
                    "vos lignes ne somment pas à 1.",
                    "vous pondérez par les poids après avoir normalisé.",
                    "les poids entrent d'abord ; la normalisation vient en dernier.",
                ),
            ),
        ),
    ),
    Exercise(
        name="posterieur-acp",
        label="ex-latentes-posterieur",
        signature="posterior_mean(x, W, mu, sigma)",
        cases=_linear,
        expected=lambda x, W, mu, sigma: _solve(x, W, mu, sigma**2),
        mistakes=(
            Mistake(
                lambda x, W, mu, sigma: _solve(x, W, mu, sigma),
                (
                    "`sigma` est un écart-type.",
                    "vous ajoutez σ à la diagonale, au lieu d'une variance.",
                    "la matrice est WᵀW + σ² I.",
                ),
            ),
            Mistake(
                lambda x, W, mu, sigma: _solve(x, W, torch.zeros_like(mu), sigma**2),
                (
                    "votre réponse ne dépend pas de tous ses arguments.",
                    "une observation égale à la moyenne doit donner le code nul.",
                    "retranchez `mu` de x avant d'appliquer Wᵀ.",
                ),
            ),
            Mistake(
                lambda x, W, mu, sigma: _solve(x, W, mu, 0.0),
                (
                    "votre réponse ne dépend pas du bruit.",
                    "vous rendez les moindres carrés : la loi a priori, qui ramène les codes vers 0, n'y "
                    "est pas.",
                    "ajoutez σ² I à WᵀW avant de résoudre.",
                ),
            ),
            Mistake(
                lambda x, W, mu, sigma: (x - mu) @ W,
                (
                    "vérifiez avec W deux fois plus grande : le code doit diminuer quand le bruit est "
                    "faible.",
                    "vous projetez sans résoudre : il manque l'inverse d'une matrice.",
                    "résolvez (WᵀW + σ² I) z = Wᵀ(x − μ), par exemple par `torch.linalg.solve`.",
                ),
            ),
            Mistake(
                lambda x, W, mu, sigma: _solve(x, W, mu, 1.0),
                (
                    "faites varier `sigma` : votre réponse ne bouge pas.",
                    "vous ajoutez l'identité, comme si le bruit était de variance 1.",
                    "l'identité est à multiplier par σ².",
                ),
            ),
            Mistake(
                lambda x, W, mu, sigma: _solve(x, W, mu, sigma**2) * sigma**2,
                (
                    "l'échelle de votre code dépend trop du bruit.",
                    "vous multipliez par σ² à la fin : c'est la covariance a posteriori σ² M⁻¹ qui le porte.",
                    "la moyenne est M⁻¹ Wᵀ(x − μ), sans facteur.",
                ),
            ),
        ),
    ),
    Exercise(
        name="pas-em",
        label="ex-latentes-pas",
        signature="update_means(x, r)",
        cases=_assignments,
        expected=lambda x, r: (r * x[:, None]).sum(0) / r.sum(0),
        mistakes=(
            Mistake(
                lambda x, r: (r * x[:, None]).sum(0),
                (
                    "que rend votre fonction si tous les x sont égaux ?",
                    "vous sommez sans normaliser : une moyenne pondérée se divise par la somme des poids.",
                    "divisez par la somme des responsabilités de la composante, `r.sum(0)`.",
                ),
            ),
            Mistake(
                lambda x, r: (r * x[:, None]).mean(0),
                (
                    "votre réponse est trop proche de 0.",
                    "vous divisez par le nombre d'observations : elles n'appartiennent pas toutes à la "
                    "composante.",
                    "divisez par le nombre effectif d'observations de la composante, `r.sum(0)`.",
                ),
            ),
            Mistake(
                _hard_means,
                (
                    "EM ou k-moyennes ?",
                    "vous donnez chaque observation à sa composante la plus probable.",
                    "gardez les probabilités : chaque x compte dans toutes les moyennes, avec le poids `r`.",
                ),
            ),
            Mistake(
                lambda x, r: (r**2 * x[:, None]).sum(0) / (r**2).sum(0),
                (
                    "chaque responsabilité compte une fois.",
                    "vous pondérez par le carré des responsabilités.",
                    "le poids de x dans la moyenne de la composante k est rₖ, et non rₖ².",
                ),
            ),
        ),
    ),
    Exercise(
        name="variance-melange",
        label="ex-latentes-bosses",
        signature="",
        expected=lambda: 0.7 * 1 + 0.3 * 0.25 + 0.21 * 25,
        mistakes=(
            Mistake(
                lambda: 0.7 * 1 + 0.3 * 0.25,
                (
                    "deux composantes très étroites et très éloignées auraient une variance presque nulle.",
                    "vous avez la moyenne des variances.",
                    "ajoutez la variance des moyennes, p(1 − p)(μ₁ − μ₀)².",
                ),
            ),
            Mistake(
                lambda: 0.7 * 1 + 0.3 * 0.5 + 0.21 * 25,
                (
                    "écart-type, ou variance ?",
                    "vous avez moyenné les écarts-types.",
                    "σ₁ = 0,5 donne la variance 0,25.",
                ),
            ),
            Mistake(
                lambda: 0.3 * 1 + 0.7 * 0.25 + 0.21 * 25,
                (
                    "quelle composante a le poids p ?",
                    "vous avez échangé les deux poids.",
                    "p est la probabilité de z = 1 : σ₁² est multipliée par p, σ₀² par 1 − p.",
                ),
            ),
        ),
        tol=1e-3,
    ),
    Exercise(
        name="bonne-largeur",
        label="ex-latentes-largeur",
        signature="",
        expected=lambda: (2.25 / math.sqrt(3.5)) ** 4 - 1,
        mistakes=(
            Mistake(
                lambda: (2.25 / math.sqrt(3.5)) ** 4,
                (
                    "la variance est nulle quand s = 1 : est-ce le cas de votre formule ?",
                    "vous donnez le moment d'ordre deux.",
                    "retranchez le carré de la moyenne, qui vaut 1.",
                ),
            ),
            Mistake(
                lambda: 2.25 / math.sqrt(3.5) - 1,
                (
                    "en quelle dimension ?",
                    "c'est la valeur en dimension 1.",
                    "en dimension 4, le facteur s²/√(2s² − 1) est à la puissance 4, avant de retrancher 1.",
                ),
            ),
            Mistake(
                lambda: 4 * (2.25 / math.sqrt(3.5) - 1),
                (
                    "les dimensions s'ajoutent-elles ?",
                    "vous multipliez par 4 la variance d'une dimension.",
                    "ce sont les moments d'ordre deux qui se multiplient : puissance 4, puis −1.",
                ),
            ),
        ),
        tol=2e-3,
    ),
    Exercise(
        name="debit-d-une-image",
        label="ex-latentes-debit",
        signature="",
        expected=lambda: 0.5 * math.log(4 * 2),
        mistakes=(
            Mistake(
                lambda: 0.5 * math.log(4 + 2),
                (
                    "somme de logarithmes, ou logarithme d'une somme ?",
                    "vous avez additionné les valeurs propres avant le logarithme.",
                    "additionnez les logarithmes : ½ (log 4 + log 2).",
                ),
            ),
            Mistake(
                lambda: math.log(4 * 2),
                (
                    "un facteur manque.",
                    "vous avez oublié le ½ de la divergence gaussienne.",
                    "½ log 4 + ½ log 2.",
                ),
            ),
        ),
        tol=2e-3,
    ),
)

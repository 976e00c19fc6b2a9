"""Les exercices du chapitre sur la reparamétrisation."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vaebook.exercises.contract import Exercise, Mistake
from vaebook.exercises.draws import normal, uniform


def _noises(generator: torch.Generator) -> list[tuple[Tensor, Tensor, Tensor]]:
    """μ et log σ² (B, d), ε (k, B, d)."""
    return [
        (normal(generator, b, d), normal(generator, b, d), normal(generator, k, b, d))
        for k, b, d in ((2, 3, 4), (5, 2, 3), (1, 4, 2))
    ]


def _scores(generator: torch.Generator) -> list[tuple[Tensor, Tensor, float, float]]:
    """f(z) et z (n,), μ et σ : les tirages de N(μ, σ²) et les valeurs d'une fonction."""
    cases = []
    for n, mu, sigma in ((3, 0.7, 0.5), (6, -1.3, 1.7), (4, 2.1, 0.3)):
        z = mu + sigma * normal(generator, n)
        cases.append((z.sin() + z.square(), z, mu, sigma))
    return cases


def _score(f: Tensor, z: Tensor, mu: float, sigma: float) -> Tensor:
    in_mu = (z - mu) / sigma**2
    in_sigma = (z - mu) ** 2 / sigma**3 - 1 / sigma
    return f[:, None] * torch.stack([in_mu, in_sigma], 1)


def _columns(first: Tensor, second: Tensor) -> Tensor:
    return torch.stack([first, second], 1)


def _relaxations(generator: torch.Generator) -> list[tuple[Tensor, Tensor, float]]:
    """Les logits (B, K), des uniformes (B, K), une température."""
    return [
        (normal(generator, b, k), uniform(generator, b, k), temperature)
        for b, k, temperature in ((3, 4, 0.7), (2, 5, 1.6), (4, 3, 0.4))
    ]


def _gumbel(u: Tensor) -> Tensor:
    return -(-u.log()).log()


def _hard(logits: Tensor, u: Tensor, temperature: float) -> Tensor:
    best = (logits + _gumbel(u)).argmax(-1)
    return F.one_hot(best, logits.shape[-1]).to(logits.dtype)


def _crossing() -> float:
    """La fréquence où les deux variances de la proposition sur le sinus sont égales, par dichotomie."""
    low, high = 0.9, 1.3
    for _ in range(60):
        k = (low + high) / 2
        decay = math.exp(-2 * k**2)
        path, score = k**2 * (1 + decay), 1 - (1 - 4 * k**2) * decay
        low, high = (low, k) if path > score else (k, high)
    return low


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        name="tirage-reparametre",
        label="ex-rep-tirage",
        signature="draw(mu, logvar, eps)",
        cases=_noises,
        expected=lambda mu, logvar, eps: mu + (logvar / 2).exp() * eps,
        gradient=True,
        mistakes=(
            Mistake(
                lambda mu, logvar, eps: mu + logvar.exp() * eps,
                (
                    "calculez l'écart-type de vos tirages : est-ce σ ?",
                    "vous multipliez le bruit par la variance.",
                    "σ est la racine de la variance : exp(½ log σ²), et non exp(log σ²).",
                ),
            ),
            Mistake(
                lambda mu, logvar, eps: mu + logvar * eps,
                (
                    "votre échelle peut être négative.",
                    "vous multipliez le bruit par le logarithme d'une variance.",
                    "remontez du logarithme à l'écart-type : exp(½ log σ²).",
                ),
            ),
            Mistake(
                lambda mu, logvar, eps: mu + (-logvar / 2).exp() * eps,
                (
                    "quand la variance croît, vos tirages se resserrent.",
                    "vous divisez par l'écart-type au lieu de multiplier.",
                    "c'est le chemin de ε à z, et non celui de z à ε : z = μ + σ ε.",
                ),
            ),
            Mistake(
                lambda mu, logvar, eps: (mu + (logvar / 2).exp() * eps).detach(),
                (
                    "la valeur est juste, mais l'encodeur n'apprendrait rien.",
                    "aucun gradient ne remonte à `mu` ni à `logvar`.",
                    "retirez ce qui coupe le graphe : `detach`, `no_grad`, `.data`, `torch.tensor(…)`, ou un "
                    "`sample` là où il faut un `rsample`.",
                ),
            ),
            Mistake(
                lambda mu, logvar, eps: mu + (logvar / 2).exp().detach() * eps,
                (
                    "la valeur est juste, et le gradient en `mu` aussi.",
                    "le gradient ne remonte pas à `logvar` : l'écart-type ne serait jamais appris.",
                    "l'écart-type ne doit pas être détaché du graphe ; seul ε est une constante.",
                ),
            ),
        ),
    ),
    Exercise(
        name="gradient-score",
        label="ex-rep-score",
        signature="score_gradient(f, z, mu, sigma)",
        cases=_scores,
        expected=_score,
        mistakes=(
            Mistake(
                lambda f, z, mu, sigma: f[:, None] * _columns((z - mu) / sigma, (z - mu) ** 2 / sigma**2 - 1),
                (
                    "les unités : un gradient en `mu` a celle de f divisée par celle de z.",
                    "chaque colonne est trop grande ou trop petite d'un facteur σ.",
                    "la densité a (z − μ)²/(2σ²) dans son exponentielle : dérivez en μ, puis en σ (et non "
                    "en log σ).",
                ),
            ),
            Mistake(
                lambda f, z, mu, sigma: (
                    f[:, None] * _columns((mu - z) / sigma**2, (z - mu) ** 2 / sigma**3 - 1 / sigma)
                ),
                (
                    "la seconde colonne est juste.",
                    "la première a le mauvais signe : par rapport à quoi dérivez-vous ?",
                    "le score dérive log q en μ, et non en z ; log q croît quand μ se rapproche de z.",
                ),
            ),
            Mistake(
                lambda f, z, mu, sigma: _columns((z - mu) / sigma**2, (z - mu) ** 2 / sigma**3 - 1 / sigma),
                (
                    "votre valeur ne dépend pas de `f`.",
                    "vous rendez le score seul, dont l'espérance est nulle.",
                    "chaque ligne est à multiplier par la valeur de f au même tirage.",
                ),
            ),
            Mistake(
                lambda f, z, mu, sigma: f[:, None] * _columns((z - mu) / sigma**2, (z - mu) ** 2 / sigma**3),
                (
                    "la première colonne est juste.",
                    "l'espérance de la seconde n'est pas nulle quand f est constante : il manque un terme.",
                    "le facteur 1/σ de la densité se dérive aussi : il donne −1/σ.",
                ),
            ),
            Mistake(
                lambda f, z, mu, sigma: (
                    f[:, None]
                    * _columns((z - mu) / sigma**2, (z - mu) ** 2 / (2 * sigma**4) - 1 / (2 * sigma**2))
                ),
                (
                    "la première colonne est juste ; relisez ce que la seconde dérive.",
                    "vous dérivez par rapport à la variance.",
                    "la dérivée en σ est celle en σ², fois 2σ.",
                ),
            ),
        ),
    ),
    Exercise(
        name="gumbel-softmax",
        label="ex-rep-gumbel",
        signature="relax(logits, u, temperature)",
        cases=_relaxations,
        expected=lambda logits, u, temperature: ((logits + _gumbel(u)) / temperature).softmax(-1),
        mistakes=(
            Mistake(
                lambda logits, u, temperature: ((logits - u.log()) / temperature).softmax(-1),
                (
                    "le bruit n'a pas la bonne loi.",
                    "−log u suit une loi exponentielle ; il faut une loi de Gumbel.",
                    "un logarithme de plus : −log(−log u).",
                ),
            ),
            Mistake(
                lambda logits, u, temperature: ((logits - _gumbel(u)) / temperature).softmax(-1),
                (
                    "le bruit a la bonne loi, à une symétrie près.",
                    "le signe du bruit n'est pas le bon : la loi de Gumbel n'est pas symétrique.",
                    "il y a un moins devant chaque logarithme : −log(−log u), qu'on ajoute aux logits.",
                ),
            ),
            Mistake(
                lambda logits, u, temperature: (logits / temperature + _gumbel(u)).softmax(-1),
                (
                    "à quoi s'applique la température ?",
                    "vous divisez les logits sans diviser le bruit.",
                    "la température divise la somme des logits et du bruit ; sinon, elle change la loi du "
                    "maximum.",
                ),
            ),
            Mistake(
                lambda logits, u, temperature: ((logits + _gumbel(u)) * temperature).softmax(-1),
                (
                    "que devient votre réponse quand la température tend vers 0 ?",
                    "elle devient uniforme, alors qu'elle devrait tendre vers un vecteur de 0 et d'un 1.",
                    "divisez par la température, ne multipliez pas.",
                ),
            ),
            Mistake(
                lambda logits, u, temperature: ((logits + _gumbel(u)) / temperature).softmax(0),
                (
                    "additionnez chaque ligne de votre réponse.",
                    "ce sont les colonnes qui somment à 1 : vous normalisez sur les images.",
                    "le `softmax` se prend sur le dernier axe, celui des K classes.",
                ),
            ),
            Mistake(
                _hard,
                (
                    "votre réponse a-t-elle un gradient ?",
                    "vous rendez le tirage discret lui-même : un `argmax` n'a pas de pente.",
                    "remplacez le maximum par un `softmax` des logits bruités, divisés par la température.",
                ),
            ),
        ),
    ),
    Exercise(
        name="rapport-exponentielle",
        label="ex-rep-exponentielle",
        signature="",
        expected=lambda: 488 / 80,
        mistakes=(
            Mistake(
                lambda: 80 / 488,
                (
                    "quel estimateur est le plus bruité ?",
                    "vous avez le rapport dans l'autre sens.",
                    "divisez la variance du score par celle du gradient reparamétré.",
                ),
            ),
            Mistake(
                lambda: 504 / 96,
                (
                    "une variance n'est pas un moment d'ordre deux.",
                    "vous divisez E[g²] par E[g²].",
                    "retranchez à chacun le carré de l'espérance, 16/λ⁶, avant de diviser.",
                ),
            ),
        ),
        tol=1e-2,
    ),
    Exercise(
        name="reference-optimale",
        label="ex-rep-reference",
        signature="",
        expected=lambda: 22.0,
        mistakes=(
            Mistake(
                lambda: 20.0,
                (
                    "c'est une bonne référence, mais pas la meilleure.",
                    "vous donnez l'espérance de f.",
                    "la référence optimale pondère f par le carré du score : E[f s²]/E[s²].",
                ),
            ),
            Mistake(
                lambda: 44.0,
                (
                    "c'est une autre quantité du même calcul.",
                    "vous donnez la variance atteinte avec la référence optimale.",
                    "elle vaut 2 b* : la référence est la moitié.",
                ),
            ),
        ),
        tol=2e-3,
    ),
    Exercise(
        name="unite-des-pixels",
        label="ex-rep-constante",
        signature="",
        expected=lambda: -784 * math.log(255),
        mistakes=(
            Mistake(
                lambda: -math.log(255),
                (
                    "combien de pixels ?",
                    "vous donnez le changement d'un seul pixel.",
                    "chaque pixel a sa densité : le changement est à multiplier par D = 784.",
                ),
            ),
            Mistake(
                lambda: -784 * math.log(256),
                (
                    "de combien les pixels sont-ils multipliés ?",
                    "il y a 256 niveaux, mais l'échelle va de 0 à 255.",
                    "le facteur est 255 : −784 log 255.",
                ),
            ),
        ),
        tol=1e-4,
    ),
    Exercise(
        name="croisement",
        label="ex-rep-croisement",
        signature="",
        expected=_crossing,
        mistakes=(
            Mistake(
                lambda: math.sqrt(0.5),
                (
                    "relisez le gradient reparamétré.",
                    "vous avez oublié le facteur k de la dérivée de sin(kz).",
                    "f'(z) = k cos(kz) : son carré porte k².",
                ),
            ),
            Mistake(
                lambda: 1.17278,
                (
                    "relisez la dérivée du sinus.",
                    "vous avez pris sin² là où il faut cos².",
                    "E[cos²(kz)] = ½ (1 + e^(−2k²)), avec un plus.",
                ),
            ),
        ),
        tol=2e-3,
    ),
)

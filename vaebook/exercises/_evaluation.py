"""Les exercices du chapitre « Mesurer un VAE »."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily

from vaebook.evaluation import bits_per_dim
from vaebook.exercises.contract import Exercise, Mistake
from vaebook.exercises.draws import normal
from vaebook.networks import diagonal_gaussian

# ---------------------------------------------------------------- bits par dimension


def _bits_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    return [
        (mean + 60 * normal(generator, images), dims, levels)
        for images, mean, dims, levels in ((5, 1200, 784, 256), (3, -240, 784, 256), (4, 3000, 3072, 32))
    ]


_BITS = Exercise(
    name="bits-par-dimension",
    label="ex-evaluation-bits",
    signature="bits(log_px, dims, levels)",
    cases=_bits_cases,
    expected=lambda log_px, dims, levels: bits_per_dim(log_px, dims, levels=levels),
    mistakes=(
        Mistake(
            answer=lambda log_px, dims, levels: -log_px / (dims * math.log(2)),
            hints=(
                "votre code prendrait parfois une longueur négative.",
                "`log_px` est la log-densité de pixels ramenés dans [0, 1] : chacun est large de 1/L.",
                "il manque le logarithme de la largeur d’un niveau : ajoutez log₂ L.",
            ),
        ),
        Mistake(
            answer=lambda log_px, dims, levels: -log_px / (dims * math.log(2)) - math.log2(levels),
            hints=(
                "plus il y a de niveaux, plus un pixel est long à coder : et chez vous ?",
                "la probabilité d’un niveau est la densité divisée par L, donc son code est plus long.",
                "le signe devant log₂ L est un plus.",
            ),
        ),
        Mistake(
            answer=lambda log_px, dims, levels: -log_px / dims + math.log2(levels),
            hints=(
                "deux unités se mêlent dans votre somme.",
                "`log_px` est en nats, log₂ L en bits.",
                "divisez les nats par log 2 pour en faire des bits.",
            ),
        ),
        Mistake(
            answer=lambda log_px, dims, levels: -log_px / dims + math.log(levels),
            hints=(
                "le calcul est cohérent ; l’unité est-elle celle que l’on demande ?",
                "vous rendez des nats par dimension.",
                "divisez le tout par log 2.",
            ),
        ),
        Mistake(
            answer=lambda log_px, dims, levels: log_px / (dims * math.log(2)) + math.log2(levels),
            hints=(
                "un modèle plus vraisemblable doit donner un code plus court.",
                "la longueur d’un code est −log₂ de la probabilité.",
                "il manque un signe moins devant `log_px`.",
            ),
        ),
        Mistake(
            answer=lambda log_px, dims, levels: -log_px / math.log(2) + dims * math.log2(levels),
            hints=(
                "quelle longueur de code annoncez-vous, et pour quoi ?",
                "c’est la longueur du code de l’image entière.",
                "divisez par `dims` : on demande des bits par dimension.",
            ),
        ),
        Mistake(
            answer=lambda log_px, dims, levels: (-log_px / math.log(2) + math.log2(levels)) / dims,
            hints=(
                "combien de pixels faut-il quantifier ?",
                "chacun des D pixels ajoute log₂ L : par dimension, il n’y a plus rien à diviser.",
                "sortez log₂ L de la parenthèse : seul −`log_px` se divise par `dims`.",
            ),
        ),
        Mistake(
            answer=lambda log_px, dims, levels: -log_px / (dims * math.log(2)) + 8,
            hints=(
                "juste pour 256 niveaux ; et pour 32 ?",
                "vous avez écrit 8 bits en dur.",
                "8 est log₂ 256 : prenez `math.log2(levels)`.",
            ),
        ),
        Mistake(
            answer=lambda log_px, dims, levels: -log_px / dims * math.log(2) + math.log2(levels),
            hints=(
                "un bit est-il plus grand ou plus petit qu’un nat ?",
                "un bit vaut log 2 ≈ 0,69 nat : il faut plus de bits que de nats.",
                "divisez par log 2 au lieu de multiplier.",
            ),
        ),
    ),
)


# ---------------------------------------------------------------- le nombre effectif de tirages


def _weight_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    """Des log-poids comme on en rencontre, (k, B)."""
    sizes = ((0, 7, 4), (-240, 5, 3), (-1300, 4, 6), (1200, 8, 5))
    return [(offset + 1.5 * normal(generator, draws, images),) for offset, draws, images in sizes]


def _effective(log_w: Tensor) -> Tensor:
    return 1 / log_w.softmax(0).square().sum(0)


_EFFECTIVE = Exercise(
    name="tirages-effectifs",
    label="ex-evaluation-effectif",
    signature="effective_samples(log_w)",
    cases=_weight_cases,
    expected=lambda log_w: (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp(),
    mistakes=(
        Mistake(
            answer=lambda log_w: log_w.softmax(0).square().sum(0),
            hints=(
                "ce nombre devrait être entre 1 et k.",
                "le vôtre est entre 1/k et 1.",
                "prenez l’inverse de la somme des carrés.",
            ),
        ),
        Mistake(
            answer=lambda log_w: 1 / log_w.softmax(1).square().sum(1),
            hints=(
                "regardez la forme de ce que vous rendez.",
                "vous normalisez les poids entre les images ; ils se normalisent entre les tirages.",
                "les tirages sont la dimension 0 : `softmax(0)`, puis `sum(0)`.",
            ),
        ),
        Mistake(
            answer=lambda log_w: _effective(-log_w),
            hints=(
                "quels tirages dominent, chez vous ?",
                "les plus mauvais : vous avez mis un signe moins devant les log-poids.",
                "les poids normalisés sont `softmax(+log_w)` ; c’est la perte qui vaut −log w.",
            ),
        ),
        Mistake(
            answer=lambda log_w: torch.distributions.Categorical(logits=log_w.T).entropy().exp(),
            hints=(
                "c’est bien un nombre effectif, entre 1 et k, mais pas celui de l’énoncé.",
                "vous avez pris l’exponentielle de l’entropie des poids.",
                "l’énoncé demande l’inverse de la somme de leurs carrés.",
            ),
        ),
        Mistake(
            answer=lambda log_w: log_w.exp().sum(0).square() / log_w.exp().square().sum(0),
            hints=(
                "la formule est la bonne ; essayez-la avec des log-poids voisins de −1300, puis de 1200.",
                "exp(−1300) vaut zéro et exp(1200) l’infini, même en double précision.",
                "normalisez par softmax, qui retire le maximum avant l’exponentielle.",
            ),
        ),
        Mistake(
            answer=lambda log_w: 1 / log_w.exp().square().sum(0),
            hints=(
                "ajoutez une constante à tous les log-poids : le résultat ne devrait pas changer.",
                "vos poids ne somment pas à 1.",
                "employez les poids normalisés, `log_w.softmax(0)`.",
            ),
        ),
        Mistake(
            answer=lambda log_w: _effective(log_w) / len(log_w),
            hints=(
                "ce nombre devrait valoir k quand tous les poids sont égaux.",
                "le vôtre vaut 1 : c’est une proportion.",
                "ne divisez pas par k.",
            ),
        ),
        Mistake(
            answer=lambda log_w: 1 / log_w.softmax(0).norm(dim=0),
            hints=(
                "si tous les poids sont égaux, que vaut votre réponse ?",
                "elle vaut √k : il y a une racine de trop.",
                "la norme est la racine de la somme des carrés : gardez la somme des carrés.",
            ),
        ),
        Mistake(
            answer=lambda log_w: 1 / (log_w / log_w.sum(0)).square().sum(0),
            hints=(
                "vos poids sont-ils positifs ?",
                "vous normalisez les log-poids ; ce sont les poids qui se normalisent.",
                "passez par l’exponentielle, sans déborder : `log_w.softmax(0)`.",
            ),
        ),
        Mistake(
            answer=lambda log_w: 1 / log_w.softmax(1).square().sum(0),
            hints=(
                "la forme est bonne ; pour une image, vos poids somment-ils à 1 ?",
                "non : vous les normalisez entre les images, et vous sommez sur les tirages.",
                "normalisez sur la dimension 0, comme la somme.",
            ),
        ),
        Mistake(
            answer=lambda log_w: 1 / log_w.softmax(0).square().sum(),
            hints=(
                "il faut un nombre par image.",
                "vous sommez aussi sur les images.",
                "donnez un axe à la somme : celui des tirages, 0.",
            ),
        ),
    ),
)


# ---------------------------------------------------------------- l'a posteriori agrégé


def _aggregate_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    return [
        (
            normal(generator, points, dims),
            normal(generator, images, dims),
            0.8 * normal(generator, images, dims) - 1,
        )
        for points, images, dims in ((6, 5, 3), (4, 7, 2), (5, 3, 4))
    ]


def _components(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """log q_i(z_s), dimension par dimension : (S, N, d)."""
    return torch.distributions.Normal(mu, (logvar / 2).exp()).log_prob(z.unsqueeze(1))


def _log_aggregate(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    each = diagonal_gaussian(mu, (logvar / 2).exp())
    return MixtureSameFamily(Categorical(logits=torch.zeros_like(mu[:, 0])), each).log_prob(z)


_AGGREGATE = Exercise(
    name="loi-agregee",
    label="ex-evaluation-agrege",
    signature="log_aggregate(z, mu, logvar)",
    cases=_aggregate_cases,
    expected=_log_aggregate,
    mistakes=(
        Mistake(
            answer=lambda z, mu, logvar: torch.distributions.Normal(0, 1).log_prob(z).sum(1),
            hints=(
                "votre réponse ne dépend pas des images.",
                "vous avez évalué la loi a priori p(z) ; l’a posteriori agrégé q(z) en diffère.",
                "évaluez chaque q(z|x_i), et prenez la moyenne de ces N densités.",
            ),
        ),
        Mistake(
            answer=lambda z, mu, logvar: _components(z, mu, logvar).sum(2).mean(1),
            hints=(
                "votre valeur est trop basse, en tout point.",
                "vous avez pris la moyenne des log-densités ; par Jensen, elle minore le log de la moyenne.",
                "moyennez les densités : logsumexp sur les images, moins log N.",
            ),
        ),
        Mistake(
            answer=lambda z, mu, logvar: _components(z, mu, logvar).sum(2).logsumexp(1),
            hints=(
                "votre densité est-elle d’intégrale 1 ?",
                "son intégrale est N : c’est une somme, il faut une moyenne.",
                "retranchez log N.",
            ),
        ),
        Mistake(
            answer=lambda z, mu, logvar: (_components(z, mu, logvar).logsumexp(1) - math.log(len(mu))).sum(1),
            hints=(
                "vous avez calculé la densité d’une autre loi, dont les coordonnées sont indépendantes.",
                "c’est le produit des marginales q(z_j) ; l’écart entre les deux est la corrélation totale.",
                "sommez sur les dimensions d’abord, puis le log-somme-exp sur les images.",
            ),
        ),
        Mistake(
            answer=lambda z, mu, logvar: _log_aggregate(z, mu, 2 * logvar),
            hints=(
                "que désigne `exp(logvar)` ?",
                "c’est la variance ; `Normal` attend l’écart-type.",
                "l’écart-type est `exp(logvar / 2)`.",
            ),
        ),
        Mistake(
            answer=lambda z, mu, logvar: _components(z, mu, logvar).sum(2).amax(1) - math.log(len(mu)),
            hints=(
                "votre valeur est trop basse, surtout là où plusieurs images se recouvrent.",
                "vous ne gardez que la composante la plus proche de z.",
                "remplacez le maximum par un log-somme-exp.",
            ),
        ),
        Mistake(
            answer=lambda z, mu, logvar: _components(z, mu, logvar).sum(2).logsumexp(0) - math.log(len(mu)),
            hints=(
                "regardez la forme de ce que vous rendez : un nombre par point z.",
                "vous sommez sur les points ; il faut sommer sur les images.",
                "avec `z.unsqueeze(1)`, les images sont la dimension 1 : `logsumexp(1)`.",
            ),
        ),
        Mistake(
            answer=lambda z, mu, logvar: _log_aggregate(z, mu, logvar).exp(),
            hints=(
                "l’énoncé demande une log-densité.",
                "vous rendez la densité.",
                "ne prenez pas l’exponentielle à la fin.",
            ),
        ),
        Mistake(
            answer=lambda z, mu, logvar: diagonal_gaussian(mu.mean(0), (logvar / 2).exp().mean(0)).log_prob(
                z
            ),
            hints=(
                "combien de bosses votre densité peut-elle avoir ?",
                "une seule : c’est une gaussienne aux paramètres moyens, pas un mélange.",
                "moyennez les N densités, pas leurs paramètres.",
            ),
        ),
    ),
)

# ---------------------------------------------------------------- le biais de deux gaussiennes


def _second_moment(c: float) -> float:
    return c**2 / math.sqrt(2 * c**2 - 1)


_CHI2 = Exercise(
    name="biais-de-deux-gaussiennes",
    label="ex-evaluation-chi2",
    signature="",
    expected=lambda: _second_moment(1.5) ** 10 - 1,
    tol=1e-2,
    mistakes=(
        Mistake(
            answer=lambda: _second_moment(1.5) ** 10,
            hints=(
                "si q était exacte, quel nombre donnerait votre calcul ?",
                "vous rendez E[r²] ; v est la variance de r.",
                "E[r] = 1 : retranchez 1.",
            ),
        ),
        Mistake(
            answer=lambda: _second_moment(1.5) - 1,
            hints=(
                "c’est juste pour une dimension.",
                "les dix dimensions sont indépendantes : que fait l’espérance d’un produit ?",
                "élevez E[r²] à la puissance dix avant de retrancher 1.",
            ),
        ),
        Mistake(
            answer=lambda: 10 * (_second_moment(1.5) - 1),
            hints=(
                "les dimensions ne s’ajoutent pas ici.",
                "r est un produit de dix rapports indépendants ; E[r²] aussi est un produit.",
                "élevez E[r²] à la puissance dix, puis retranchez 1.",
            ),
        ),
        Mistake(
            answer=lambda: (1.5 / math.sqrt(2 * 1.5**2 - 1)) ** 10 - 1,
            hints=(
                "votre valeur est négative : une variance, jamais.",
                "relisez le numérateur de E[r²].",
                "c’est c², pas c.",
            ),
        ),
    ),
)

EXERCISES = (_BITS, _EFFECTIVE, _AGGREGATE, _CHI2)

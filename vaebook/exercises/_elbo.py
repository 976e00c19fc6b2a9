"""Les exercices du chapitre sur l'ELBO."""

import math

import torch
from torch import Tensor

from vaebook.exercises.contract import Exercise, Mistake
from vaebook.exercises.draws import normal, simplex, uniform


def _log_weights(generator: torch.Generator) -> list[tuple[Tensor]]:
    """Des log-poids (k, B) ; les derniers sont hors de portée de l'exponentielle."""
    cases = [(2 * normal(generator, *size) - 3,) for size in ((2, 5), (3, 4), (7, 2), (5, 3))]
    return [*cases, (40 * normal(generator, 3, 4) - 900,)]


def _bound(log_w: Tensor) -> Tensor:
    return log_w.logsumexp(0) - math.log(len(log_w))


def _normalised(log_w: Tensor) -> Tensor:
    return (log_w.softmax(0) * log_w).sum(0)


def _discrete(generator: torch.Generator) -> list[tuple[Tensor, Tensor, Tensor]]:
    """q(z|x) (B, K), p(z) (K,) et p(x|z) (B, K) ; la dernière q ignore une valeur de z."""
    cases = [
        (simplex(generator, b, k), simplex(generator, k), uniform(generator, b, k))
        for b, k in ((3, 4), (5, 2), (2, 6))
    ]
    q, prior, likelihood = cases[0]
    sparse = torch.where(q == q.amin(1, keepdim=True), 0.0, q)
    return [*cases, (sparse / sparse.sum(1, keepdim=True), prior, likelihood)]


def _elbo(q: Tensor, prior: Tensor, likelihood: Tensor) -> Tensor:
    return (q * (likelihood.log() + prior.log()) - torch.xlogy(q, q)).sum(1)


def _gap(v: float) -> float:
    return math.log((1 + v) ** 2 / (v * (v + 2))) / 2


EXERCISES: tuple[Exercise, ...] = (
    Exercise(
        name="borne-ponderee",
        label="ex-elbo-borne",
        signature="bound(log_w)",
        cases=_log_weights,
        expected=_bound,
        mistakes=(
            Mistake(
                lambda log_w: log_w.mean(0),
                (
                    "votre valeur est toujours trop petite.",
                    "vous prenez la moyenne des logarithmes ; la borne est le logarithme d'une moyenne.",
                    "ce que vous rendez estime l'ELBO. Additionnez les poids d'abord (`logsumexp`), "
                    "divisez par k, "
                    "et prenez le logarithme en dernier.",
                ),
            ),
            Mistake(
                lambda log_w: log_w.logsumexp(0),
                (
                    "pour un seul tirage votre valeur serait juste ; plus k est grand, plus elle s'écarte.",
                    "`logsumexp` est le logarithme d'une somme, et la borne celui d'une moyenne.",
                    "il reste à diviser la somme par k, c'est-à-dire à retrancher log k.",
                ),
            ),
            Mistake(
                lambda log_w: log_w.exp().mean(0).log(),
                (
                    "la formule est juste, mais pas tous les essais : regardez la taille des log-poids.",
                    "l'exponentielle de −900 est nulle en double précision, et le logarithme de 0 infini.",
                    "ne sortez pas de l'échelle logarithmique : `logsumexp` fait le même calcul sans "
                    "déborder.",
                ),
            ),
            Mistake(
                lambda log_w: log_w.logsumexp(1) - math.log(log_w.shape[1]),
                (
                    "combien de valeurs rendez-vous, et combien y a-t-il d'images ?",
                    "vous mélangez les poids d'images différentes : k est le premier axe, B le second.",
                    "réduisez l'axe 0, celui des tirages ; le log k est celui de sa taille, "
                    "`log_w.shape[0]`.",
                ),
            ),
            Mistake(
                _normalised,
                (
                    "votre valeur est trop grande : elle peut dépasser log p(x).",
                    "vous pondérez les log-poids par les poids normalisés ; cette moyenne-là n'est pas la "
                    "borne.",
                    "les poids normalisés (`softmax`) servent au gradient. La valeur est le logarithme de "
                    "la moyenne "
                    "des poids non normalisés.",
                ),
            ),
        ),
    ),
    Exercise(
        name="elbo-discret",
        label="ex-elbo-discret",
        signature="elbo(q, prior, likelihood)",
        cases=_discrete,
        expected=_elbo,
        mistakes=(
            Mistake(
                lambda q, prior, likelihood: (q * (likelihood.log() - prior.log()) + torch.xlogy(q, q)).sum(
                    1
                ),
                (
                    "un des deux termes de l'ELBO a le mauvais signe.",
                    "rapprocher q de la loi a priori doit augmenter l'ELBO ; ici, cela le diminue.",
                    "c'est la reconstruction moins la divergence : − Σ q log(q/p), et non plus.",
                ),
            ),
            Mistake(
                lambda q, prior, likelihood: (q * (likelihood * prior / q).log()).sum(1),
                (
                    "un des essais a quelque chose que les autres n'ont pas : regardez q.",
                    "q y est nulle en un point ; 0 log 0 vaut 0 dans une espérance, mais NaN pour torch.",
                    "`torch.xlogy(q, q)` est q log q, nul quand q l'est ; séparez ce terme des deux autres.",
                ),
            ),
            Mistake(
                lambda q, prior, likelihood: (q * (likelihood.log() + prior.log())).sum(1),
                (
                    "il manque un terme.",
                    "vous rendez l'espérance du logarithme de la loi jointe, sans l'entropie de q.",
                    "retranchez E_q[log q] : sans lui, q se réduirait à un seul point.",
                ),
            ),
            Mistake(
                lambda q, prior, likelihood: (q * likelihood.log()).sum(1),
                (
                    "il manque plus d'un logarithme.",
                    "vous rendez le seul terme de reconstruction : la loi a priori n'y entre pas.",
                    "retranchez la divergence de q à la loi a priori, Σ q log(q/p).",
                ),
            ),
            Mistake(
                lambda q, prior, likelihood: (
                    (q * likelihood).sum(1).log() - (torch.xlogy(q, q) - q * prior.log()).sum(1)
                ),
                (
                    "l'ordre du logarithme et de l'espérance est à revoir.",
                    "dans la reconstruction, vous prenez le logarithme de la moyenne ; cette valeur est "
                    "trop grande.",
                    "le logarithme d'abord, puis la moyenne sous q : Σ q log p(x|z).",
                ),
            ),
            Mistake(
                lambda q, prior, likelihood: (prior * likelihood).sum(1).log(),
                (
                    "votre valeur ne dépend pas de q.",
                    "vous rendez log p(x) lui-même ; l'ELBO est en dessous, sauf si q est la loi a "
                    "posteriori.",
                    "écrivez Σ q log(p(x|z) p(z)/q), et comparez-la ensuite à ce que vous avez calculé.",
                ),
            ),
        ),
    ),
    Exercise(
        name="kl-uniformes",
        label="ex-elbo-uniformes",
        signature="",
        expected=lambda: math.log(3),
        mistakes=(
            Mistake(
                lambda: math.inf,
                (
                    "c'est la valeur dans l'autre sens.",
                    "la première loi donne les points, la seconde doit les couvrir.",
                    "les points viennent de [0, 1], que la loi uniforme sur [0, 3] couvre : la divergence "
                    "est finie.",
                ),
            ),
            Mistake(
                lambda: 3.0,
                (
                    "il manque une opération à la fin.",
                    "c'est le rapport des densités ; la divergence est l'espérance de son logarithme.",
                    "prenez le logarithme népérien du rapport 3.",
                ),
            ),
        ),
        tol=2e-3,
    ),
    Exercise(
        name="ecart-diagonal",
        label="ex-elbo-biais",
        signature="",
        expected=lambda: _gap(0.5),
        mistakes=(
            Mistake(
                lambda: _gap(0.25),
                (
                    "qu'est-ce que v ?",
                    "vous avez mis le bruit au carré une fois de trop.",
                    "v est déjà la variance σ² : prenez v = 0,5, et non 0,25.",
                ),
            ),
            Mistake(
                lambda: 0.5 * 1.5**2 / (0.5 * 2.5),
                (
                    "il manque une opération.",
                    "vous avez la moitié du rapport.",
                    "la moitié du logarithme du rapport.",
                ),
            ),
        ),
        tol=2e-3,
    ),
)

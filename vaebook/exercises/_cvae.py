"""Les exercices du chapitre « Le VAE conditionnel »."""

import math

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from vaebook.exercises.contract import Exercise, Mistake
from vaebook.exercises.draws import normal
from vaebook.networks import diagonal_gaussian

Case = tuple[Tensor, ...]


def _labels(generator: torch.Generator, size: int, classes: int) -> Tensor:
    return torch.randint(classes, (size,), generator=generator)


# ---------------------------------------------------------------- la divergence à p(z|y)


def _kl_cases(generator: torch.Generator) -> list[Case]:
    return [
        (
            normal(generator, images, dims),
            normal(generator, images, dims),
            _labels(generator, images, classes),
            normal(generator, classes, dims),
            normal(generator, classes, dims),
        )
        for images, dims, classes in ((5, 3, 4), (6, 2, 3), (4, 5, 2), (7, 4, 6))
    ]


def _conditional_kl(mu: Tensor, logvar: Tensor, y: Tensor, prior_mu: Tensor, prior_logvar: Tensor) -> Tensor:
    q = diagonal_gaussian(mu, (logvar / 2).exp())
    return kl_divergence(q, diagonal_gaussian(prior_mu[y], (prior_logvar[y] / 2).exp()))


def _kl_by_dim(mu: Tensor, logvar: Tensor, y: Tensor, prior_mu: Tensor, prior_logvar: Tensor) -> Tensor:
    m, v = prior_mu[y], prior_logvar[y].exp()
    return ((mu - m) ** 2 / v + logvar.exp() / v - 1 - logvar + prior_logvar[y]) / 2


def _kl_to_standard(mu: Tensor, logvar: Tensor) -> Tensor:
    return (mu**2 + logvar.exp() - 1 - logvar).sum(-1) / 2


def _kl_reversed(mu: Tensor, logvar: Tensor, y: Tensor, prior_mu: Tensor, prior_logvar: Tensor) -> Tensor:
    return _conditional_kl(prior_mu[y], prior_logvar[y], torch.arange(len(y)), mu, logvar)


_KL = Exercise(
    name="kl-a-priori-appris",
    label="ex-cvae-kl",
    signature="conditional_kl(mu, logvar, y, prior_mu, prior_logvar)",
    cases=_kl_cases,
    expected=_conditional_kl,
    mistakes=(
        Mistake(
            answer=lambda mu, logvar, y, prior_mu, prior_logvar: _kl_to_standard(mu, logvar),
            hints=(
                "changez `y` : votre résultat ne bouge pas.",
                "vous comparez q à N(0, I) ; ici, la loi a priori est apprise, une par étiquette.",
                "prenez m = `prior_mu[y]` et log s² = `prior_logvar[y]`, de forme (B, d) ; μ devient μ − m, "
                "et les variances sont divisées par s².",
            ),
        ),
        Mistake(
            answer=_kl_reversed,
            hints=(
                "c’est une divergence entre les deux bonnes lois, mais pas celle de l’ELBO.",
                "KL(q‖p) n’est pas KL(p‖q) : laquelle des deux lois tire z ?",
                "vous avez calculé KL(p(z|y)‖q(z|x, y)). Au dénominateur, c’est la variance de p(z|y) "
                "qu’il faut, pas celle de q.",
            ),
        ),
        Mistake(
            answer=lambda *arguments: -_conditional_kl(*arguments),
            hints=(
                "une divergence de Kullback-Leibler a toujours le même signe.",
                "la vôtre est négative : c’est l’opposé de la bonne valeur.",
                "changez le signe devant la somme ; c’est l’ELBO qui la retranche, pas cette fonction.",
            ),
        ),
        Mistake(
            answer=lambda *arguments: 2 * _conditional_kl(*arguments),
            hints=(
                "il n’y a qu’un facteur constant entre votre réponse et la bonne.",
                "la log-densité gaussienne contient un facteur que vous avez perdu.",
                "il manque le facteur ½ devant la somme.",
            ),
        ),
        Mistake(
            answer=lambda *arguments: _kl_by_dim(*arguments).mean(-1),
            hints=(
                "la valeur ne devrait pas diminuer quand on ajoute des dimensions latentes.",
                "les dimensions de z sont indépendantes sous q et sous p : leurs divergences s’ajoutent.",
                "remplacez la moyenne sur la dernière dimension par une somme : `.sum(-1)`.",
            ),
        ),
        Mistake(
            answer=lambda *arguments: _kl_by_dim(*arguments).sum(0),
            hints=(
                "regardez la forme de ce que vous rendez : combien d’images, combien de dimensions ?",
                "la somme porte sur les dimensions latentes, pas sur les images du lot.",
                "il faut un nombre par image : `.sum(-1)` au lieu de `.sum(0)`.",
            ),
        ),
        Mistake(
            answer=lambda mu, logvar, y, prior_mu, prior_logvar: kl_divergence(
                diagonal_gaussian(mu, logvar.exp()),
                diagonal_gaussian(prior_mu[y], prior_logvar[y].exp()),
            ),
            hints=(
                "que désigne `exp(logvar)` ?",
                "c’est la variance ; `torch.distributions.Normal` attend l’écart-type.",
                "l’écart-type est `exp(logvar / 2)`, pour q comme pour la loi a priori.",
            ),
        ),
        Mistake(
            answer=lambda mu, logvar, y, prior_mu, prior_logvar: (
                _kl_to_standard(mu, logvar) - _kl_to_standard(prior_mu[y], prior_logvar[y])
            ),
            hints=(
                "votre réponse peut être négative : une divergence, jamais.",
                "la différence de deux divergences à N(0, I) n’est pas une divergence.",
                "écrivez E_q[log q(z) − log p(z|y)] : le carré est celui de μ − m(y), divisé par s²(y).",
            ),
        ),
        Mistake(
            answer=lambda mu, logvar, y, prior_mu, prior_logvar: (
                (
                    (mu - prior_mu[y]) ** 2 + (logvar - prior_logvar[y]).exp() - 1 - logvar + prior_logvar[y]
                ).sum(-1)
                / 2
            ),
            hints=(
                "un des termes n’est pas à l’échelle de la loi a priori.",
                "un écart de moyennes compte d’autant plus que la loi a priori est étroite.",
                "le carré (μ − m)² se divise lui aussi par s².",
            ),
        ),
    ),
)


# ---------------------------------------------------------------- la borne marginale


def _bound_cases(generator: torch.Generator) -> list[Case]:
    """Des étiquettes inégalement probables, des ELBO comme on en rencontre."""
    return [
        (offset + 3 * normal(generator, images, classes), (2 * normal(generator, classes)).log_softmax(0))
        for offset, images, classes in ((0, 5, 4), (-240, 3, 5), (-1300, 4, 3), (1200, 6, 2))
    ]


def _marginal_bound(elbo: Tensor, log_prior: Tensor) -> Tensor:
    return (elbo + log_prior).logsumexp(1)


_BOUND = Exercise(
    name="borne-marginale",
    label="ex-cvae-marginale",
    signature="bound_over_labels(elbo, log_prior)",
    cases=_bound_cases,
    expected=_marginal_bound,
    mistakes=(
        Mistake(
            answer=lambda elbo, log_prior: elbo.logsumexp(1),
            hints=(
                "votre valeur peut dépasser log p(x).",
                "chaque étiquette compte autant dans votre somme : où sont leurs probabilités ?",
                "ajoutez log p(y) à chaque ELBO avant le log-somme-exp : p(y) exp L = exp(log p(y) + L).",
            ),
        ),
        Mistake(
            answer=lambda elbo, log_prior: elbo.logsumexp(1) - math.log(elbo.shape[1]),
            hints=(
                "vous supposez quelque chose des étiquettes, que l’énoncé ne dit pas.",
                "retrancher log K, c’est les supposer équiprobables.",
                "remplacez −log K par `log_prior`, ajouté à chaque colonne avant le log-somme-exp.",
            ),
        ),
        Mistake(
            answer=lambda elbo, log_prior: (log_prior.exp() * elbo).sum(1),
            hints=(
                "c’est bien un minorant, mais on peut faire mieux sans rien calculer de plus.",
                "vous avez pris la moyenne des ELBO. C’est p(x|y), pas son logarithme, que l’on moyenne.",
                "passez aux exponentielles avant la somme : log Σ p(y) exp L(x, y), par `torch.logsumexp`.",
            ),
        ),
        Mistake(
            answer=lambda elbo, log_prior: (elbo + log_prior).amax(1),
            hints=(
                "c’est bien un minorant, mais il oublie quelque chose.",
                "vous ne gardez que la meilleure étiquette ; les autres contribuent aussi à p(x).",
                "remplacez le maximum par un log-somme-exp, sur la même dimension.",
            ),
        ),
        Mistake(
            answer=lambda elbo, log_prior: (elbo + log_prior).logsumexp(0),
            hints=(
                "regardez la forme de ce que vous rendez.",
                "vous sommez sur les images du lot ; il faut sommer sur les étiquettes.",
                "les étiquettes sont la dimension 1 de `elbo` : `.logsumexp(1)`.",
            ),
        ),
        Mistake(
            answer=lambda elbo, log_prior: (log_prior.exp() * elbo.exp()).sum(1).log(),
            hints=(
                "la formule est la bonne ; essayez-la avec un ELBO de −1300 nats, puis de 1200.",
                "exp(−1300) vaut zéro et exp(1200) l’infini, même en double précision.",
                "restez en logarithmes : `torch.logsumexp(elbo + log_prior, 1)` retire le maximum avant "
                "l’exponentielle.",
            ),
        ),
        Mistake(
            answer=lambda elbo, log_prior: (elbo + log_prior.exp()).logsumexp(1),
            hints=(
                "une des deux quantités que vous ajoutez n’est pas un logarithme.",
                "p(y) multiplie exp L(x, y) : dans l’exponentielle, c’est son logarithme qui s’ajoute.",
                "`log_prior` est déjà log p(y) : n’en prenez pas l’exponentielle.",
            ),
        ),
    ),
)


# ---------------------------------------------------------------- le transport d'un style


def _transport_cases(generator: torch.Generator) -> list[Case]:
    """L'étiquette change toujours."""
    cases: list[Case] = []
    for images, dims, classes in ((5, 3, 4), (6, 2, 3), (4, 5, 2)):
        y = _labels(generator, images, classes)
        new_y = (y + 1 + _labels(generator, images, classes - 1)) % classes
        prior = normal(generator, classes, dims), normal(generator, classes, dims)
        cases.append((normal(generator, images, dims), y, new_y, *prior))
    return cases


def _transport(z: Tensor, y: Tensor, new_y: Tensor, prior_mu: Tensor, prior_logvar: Tensor) -> Tensor:
    sigma = (prior_logvar / 2).exp()
    return prior_mu[new_y] + sigma[new_y] * (z - prior_mu[y]) / sigma[y]


_TRANSPORT = Exercise(
    name="transport",
    label="ex-cvae-transport",
    signature="transport(z, y, new_y, prior_mu, prior_logvar)",
    cases=_transport_cases,
    expected=_transport,
    mistakes=(
        Mistake(
            answer=lambda z, y, new_y, prior_mu, prior_logvar: z.clone(),
            hints=(
                "votre réponse ne dépend pas des étiquettes.",
                "garder z tel quel ne garde pas sa place dans la loi a priori, qui change avec l’étiquette.",
                "gardez u = (z − m(y)) / s(y), et rendez m(y′) + s(y′) u.",
            ),
        ),
        Mistake(
            answer=lambda z, y, new_y, prior_mu, prior_logvar: z - prior_mu[y] + prior_mu[new_y],
            hints=(
                "les moyennes sont bien transportées ; les lois ont-elles la même largeur ?",
                "vous avez déplacé z sans changer l’échelle.",
                "divisez z − m(y) par s(y), puis multipliez par s(y′), avant d’ajouter m(y′).",
            ),
        ),
        Mistake(
            answer=lambda z, y, new_y, prior_mu, prior_logvar: (
                prior_mu[new_y] + prior_logvar[new_y].exp() * (z - prior_mu[y]) / prior_logvar[y].exp()
            ),
            hints=(
                "que désigne `exp(prior_logvar)` ?",
                "c’est la variance s² ; u se divise par l’écart-type s.",
                "s = `exp(prior_logvar / 2)`.",
            ),
        ),
        Mistake(
            answer=lambda z, y, new_y, prior_mu, prior_logvar: _transport(
                z, new_y, y, prior_mu, prior_logvar
            ),
            hints=(
                "partez-vous de la bonne classe ?",
                "vous allez de `new_y` vers `y`.",
                "on réduit avec m(y) et s(y), puis on replace avec m(`new_y`) et s(`new_y`).",
            ),
        ),
        Mistake(
            answer=lambda z, y, new_y, prior_mu, prior_logvar: (
                (z - prior_mu[y]) * (-prior_logvar[y] / 2).exp()
            ),
            hints=(
                "votre réponse ne dépend pas de `new_y`.",
                "vous rendez u, de loi a priori N(0, I) ; le décodeur attend un z de la nouvelle classe.",
                "il reste à rendre m(y′) + s(y′) u.",
            ),
        ),
        Mistake(
            answer=lambda z, y, new_y, prior_mu, prior_logvar: (
                prior_mu[new_y] + ((prior_logvar[new_y] - prior_logvar[y]) / 2).exp() * z
            ),
            hints=(
                "essayez y = `new_y` : retrouvez-vous z ?",
                "l’échelle est bonne, mais z n’est pas centré avant d’être dilaté.",
                "retranchez m(y) à z avant de multiplier par s(y′) / s(y).",
            ),
        ),
        Mistake(
            answer=lambda z, y, new_y, prior_mu, prior_logvar: (
                prior_mu[new_y] + ((prior_logvar[new_y] + prior_logvar[y]) / 2).exp() * (z - prior_mu[y])
            ),
            hints=(
                "essayez y = `new_y` dans une classe où s vaut 2 : retrouvez-vous z ?",
                "pour réduire z, vous multipliez par s(y).",
                "u = (z − m(y)) / s(y) : c’est une division.",
            ),
        ),
    ),
)

# ---------------------------------------------------------------- ce que vaut une étiquette

_ENTROPY = Exercise(
    name="valeur-de-l-etiquette",
    label="ex-cvae-entropie",
    signature="",
    expected=lambda: -0.9 * math.log(0.9) - 0.1 * math.log(0.1),
    tol=5e-3,
    mistakes=(
        Mistake(
            answer=lambda: math.log(2),
            hints=(
                "ces deux classes sont-elles également probables ?",
                "log K n’est l’entropie que de K classes équiprobables.",
                "l’entropie est −Σ p(y) log p(y), avec 0,9 et 0,1.",
            ),
        ),
        Mistake(
            answer=lambda: -math.log(0.1),
            hints=(
                "on demande une moyenne sur les images.",
                "c’est ce que rapporte, au plus, l’étiquette d’une image de la classe rare.",
                "pesez −log p(y) par p(y), et sommez sur les deux classes.",
            ),
        ),
        Mistake(
            answer=lambda: -(math.log(0.9) + math.log(0.1)) / 2,
            hints=(
                "les deux classes ne pèsent pas le même poids dans la moyenne.",
                "vous avez moyenné −log p(y) comme si les classes étaient équiprobables.",
                "pesez par 0,9 et 0,1 au lieu de ½ et ½.",
            ),
        ),
        Mistake(
            answer=lambda: -0.1 * math.log(0.9) - 0.9 * math.log(0.1),
            hints=(
                "laquelle des deux classes voit-on le plus souvent ?",
                "vous avez échangé les poids : la surprise de la classe rare est rarement ressentie.",
                "chaque −log p(y) est pesé par son propre p(y).",
            ),
        ),
    ),
)

EXERCISES = (_KL, _BOUND, _TRANSPORT, _ENTROPY)

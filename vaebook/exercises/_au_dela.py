"""Les exercices du chapitre « Au-delà du VAE gaussien »."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from vaebook.exercises.contract import Exercise, Mistake
from vaebook.exercises.draws import normal
from vaebook.networks import diagonal_gaussian
from vaebook.vector_quantised import straight_through

# ---------------------------------------------------------------- deux niveaux


def _level_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    return [
        (
            *(normal(generator, images, top) for _ in range(2)),
            *(normal(generator, draws, images, bottom) for _ in range(4)),
        )
        for draws, images, top, bottom in ((6, 4, 2, 3), (3, 5, 4, 2), (5, 3, 3, 6))
    ]


def _gaussian_kl(mu: Tensor, logvar: Tensor, prior_mu: Tensor, prior_logvar: Tensor) -> Tensor:
    q = diagonal_gaussian(mu, (logvar / 2).exp())
    return kl_divergence(q, diagonal_gaussian(prior_mu, (prior_logvar / 2).exp()))


def _top(mu: Tensor, logvar: Tensor) -> Tensor:
    return _gaussian_kl(mu, logvar, torch.zeros_like(mu), torch.zeros_like(mu))


def _ladder_kl(
    mu2: Tensor, logvar2: Tensor, mu1: Tensor, logvar1: Tensor, prior_mu1: Tensor, prior_logvar1: Tensor
) -> Tensor:
    return _top(mu2, logvar2) + _gaussian_kl(mu1, logvar1, prior_mu1, prior_logvar1).mean(0)


_LADDER = Exercise(
    name="kl-deux-niveaux",
    label="ex-au-dela-kl",
    signature="ladder_kl(mu2, logvar2, mu1, logvar1, prior_mu1, prior_logvar1)",
    cases=_level_cases,
    expected=_ladder_kl,
    mistakes=(
        Mistake(
            answer=lambda mu2, logvar2, *first: _gaussian_kl(*first).mean(0) + 0 * mu2[:, 0],
            hints=(
                "il manque un niveau.",
                "z₂ aussi a sa divergence, à p(z₂) = N(0, I).",
                "ajoutez KL(q(z₂|x)‖N(0, I)), de `mu2` et `logvar2`, en forme close.",
            ),
        ),
        Mistake(
            answer=lambda mu2, logvar2, mu1, logvar1, prior_mu1, prior_logvar1: (
                _top(mu2, logvar2) + _top(mu1, logvar1).mean(0)
            ),
            hints=(
                "deux des arguments ne servent pas, chez vous.",
                "la loi a priori de z₁ n’est pas N(0, I) : elle dépend de z₂.",
                "comparez N(`mu1`, …) à N(`prior_mu1`, `exp(prior_logvar1)`), tirage par tirage.",
            ),
        ),
        Mistake(
            answer=lambda mu2, logvar2, *first: _top(mu2, logvar2) + _gaussian_kl(*first).sum(0),
            hints=(
                "doublez le nombre de tirages : votre réponse double presque.",
                "les tirages de z₂ estiment une espérance.",
                "prenez la moyenne sur la dimension 0, celle des tirages, pas la somme.",
            ),
        ),
        Mistake(
            answer=lambda mu2, logvar2, mu1, logvar1, prior_mu1, prior_logvar1: (
                _top(mu2, logvar2) + _gaussian_kl(prior_mu1, prior_logvar1, mu1, logvar1).mean(0)
            ),
            hints=(
                "les deux niveaux y sont ; l’un est pris à l’envers.",
                "KL(q‖p) n’est pas KL(p‖q) : au premier niveau, qui est q ?",
                "c’est la variance de p(z₁|z₂), `exp(prior_logvar1)`, qui va au dénominateur.",
            ),
        ),
        Mistake(
            answer=lambda mu2, logvar2, *first: _gaussian_kl(*first).mean(0) - _top(mu2, logvar2),
            hints=(
                "votre valeur peut être négative : une divergence, jamais.",
                "le logarithme d’un produit de rapports est une somme.",
                "les deux divergences s’ajoutent.",
            ),
        ),
        Mistake(
            answer=lambda mu2, logvar2, mu1, logvar1, prior_mu1, prior_logvar1: (
                _top(mu2, logvar2)
                + _gaussian_kl(mu1.mean(0), logvar1.mean(0), prior_mu1.mean(0), prior_logvar1.mean(0))
            ),
            hints=(
                "deux opérations ne s’échangent pas.",
                "vous calculez la divergence de paramètres moyens, pas la moyenne des divergences.",
                "calculez une divergence par tirage, (S, B), puis moyennez sur la dimension 0.",
            ),
        ),
        Mistake(
            answer=lambda mu2, logvar2, *first: _top(mu2, logvar2).mean() + _gaussian_kl(*first).mean(1),
            hints=(
                "regardez la forme de ce que vous rendez : un nombre par image.",
                "vous moyennez sur les images ; l’espérance porte sur les tirages de z₂.",
                "dans (S, B, d₁), les tirages sont la dimension 0 : `.mean(0)`.",
            ),
        ),
        Mistake(
            answer=lambda mu2, logvar2, *first: (
                _top(mu2, logvar2) + _gaussian_kl(*first).mean(0) / first[0].shape[-1]
            ),
            hints=(
                "le niveau du haut est juste ; celui du bas est trop petit.",
                "vous y moyennez sur les dimensions de z₁.",
                "sur les dimensions, une somme ; sur les tirages seulement, une moyenne.",
            ),
        ),
    ),
)


# ---------------------------------------------------------------- le gradient direct


def _quantised_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    """Des codes de normes inégales : le plus proche n'est pas celui du plus grand produit scalaire."""
    return [
        (
            normal(generator, count, dims),
            torch.arange(1, codes + 1).unsqueeze(1) * normal(generator, codes, dims),
        )
        for count, dims, codes in ((6, 3, 4), (5, 2, 3), (7, 4, 6))
    ]


def _nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    return codebook[torch.cdist(vectors, codebook).argmin(1)]


_DIRECT = Exercise(
    name="gradient-direct",
    label="ex-au-dela-direct",
    signature="quantise(vectors, codebook)",
    cases=_quantised_cases,
    expected=lambda vectors, codebook: straight_through(vectors, _nearest(vectors, codebook)),
    gradient=True,
    mistakes=(
        Mistake(
            answer=_nearest,
            hints=(
                "les valeurs sont bonnes. Qui reçoit un gradient, chez vous ?",
                "le tableau, et lui seul : l’encodeur n’en reçoit pas, et n’apprendrait rien.",
                "rendez `e + (c − e).detach()` : la valeur est c, la dérivée en e est 1, celle en c est 0.",
            ),
        ),
        Mistake(
            answer=lambda vectors, codebook: _nearest(vectors, codebook).detach(),
            hints=(
                "les valeurs sont bonnes. Que reste-t-il du gradient ?",
                "rien : `detach` arrête tout, l’encodeur n’apprendrait rien.",
                "ne détachez que la différence : `e + (c − e).detach()`.",
            ),
        ),
        Mistake(
            answer=lambda vectors, codebook: vectors + _nearest(vectors, codebook) - vectors.detach(),
            hints=(
                "les valeurs sont bonnes, et l’encodeur a le bon gradient. Est-il le seul à en recevoir un ?",
                "le tableau en reçoit un aussi ; l’énoncé le lui refuse.",
                "c doit être dans `detach`, avec e : `e + (c − e).detach()`.",
            ),
        ),
        Mistake(
            answer=lambda vectors, codebook: (
                _nearest(vectors, codebook) + (vectors - _nearest(vectors, codebook)).detach()
            ),
            hints=(
                "vos valeurs sont celles de l’encodeur.",
                "vous rendez e, et le gradient va au tableau : les deux rôles sont échangés.",
                "hors de `detach`, c’est e : `e + (c − e).detach()`.",
            ),
        ),
        Mistake(
            answer=lambda vectors, codebook: vectors.clone(),
            hints=(
                "quels codes avez-vous choisis ? On n’en voit aucun.",
                "vous rendez les vecteurs de l’encodeur, sans les quantifier.",
                "cherchez le code le plus proche, par `torch.cdist(vectors, codebook).argmin(1)`.",
            ),
        ),
        Mistake(
            answer=lambda vectors, codebook: straight_through(
                vectors, codebook[(vectors @ codebook.T).argmax(1)]
            ),
            hints=(
                "certains de vos vecteurs prennent un autre code que le plus proche.",
                "le plus grand produit scalaire ne donne le plus proche que si les codes ont la même norme.",
                "minimisez ‖e − c‖² : `torch.cdist(vectors, codebook).argmin(1)`.",
            ),
        ),
        Mistake(
            answer=lambda vectors, codebook: torch.cdist(vectors, codebook).argmin(1).double(),
            hints=(
                "regardez ce que vous rendez : des vecteurs, ou des numéros ?",
                "ce sont les indices des codes les plus proches.",
                "lisez les codes dans le tableau : `codebook[indices]`, puis laissez passer le gradient.",
            ),
        ),
    ),
)


# ---------------------------------------------------------------- le couplage affine


def _coupling_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    return [
        (normal(generator, points, kept), *(normal(generator, points, moved) for _ in range(3)))
        for points, kept, moved in ((5, 2, 3), (4, 3, 2), (6, 4, 5))
    ]


def _standard(u: Tensor) -> Tensor:
    return diagonal_gaussian(torch.zeros_like(u), torch.ones_like(u)).log_prob(u)


def _inverse(z_b: Tensor, log_scale: Tensor, shift: Tensor) -> Tensor:
    return (z_b - shift) * (-log_scale).exp()


def _coupling(z_a: Tensor, z_b: Tensor, log_scale: Tensor, shift: Tensor) -> Tensor:
    """z_b sachant z_a est gaussien, de moyenne t et d'écart-type e^s."""
    return _standard(z_a) + diagonal_gaussian(shift, log_scale.exp()).log_prob(z_b)


_COUPLING = Exercise(
    name="couplage",
    label="ex-au-dela-couplage",
    signature="coupling_log_prob(z_a, z_b, log_scale, shift)",
    cases=_coupling_cases,
    expected=_coupling,
    mistakes=(
        Mistake(
            answer=lambda z_a, z_b, log_scale, shift: (
                _standard(z_a) + _standard(_inverse(z_b, log_scale, shift))
            ),
            hints=(
                "votre densité est-elle d’intégrale 1 ?",
                "une dilatation étale la densité : il manque le jacobien.",
                "retranchez log |det J| = Σ_j s_j.",
            ),
        ),
        Mistake(
            answer=lambda z_a, z_b, log_scale, shift: (
                _standard(z_a) + _standard(_inverse(z_b, log_scale, shift)) + log_scale.sum(1)
            ),
            hints=(
                "si l’échelle est grande, la densité de z est-elle plus haute ou plus basse ?",
                "le jacobien est celui de u vers z : il divise la densité.",
                "le signe devant Σ_j s_j est un moins.",
            ),
        ),
        Mistake(
            answer=lambda z_a, z_b, log_scale, shift: (
                diagonal_gaussian(shift, log_scale.exp()).log_prob(z_b) + 0 * z_a[:, 0]
            ),
            hints=(
                "votre réponse ne dépend pas de z_a.",
                "c’est la densité de z_b sachant z_a ; celle de z est jointe.",
                "ajoutez la log-densité de u_a = z_a sous N(0, I).",
            ),
        ),
        Mistake(
            answer=lambda z_a, z_b, log_scale, shift: (
                _standard(z_a) + _standard(log_scale.exp() * z_b + shift) - log_scale.sum(1)
            ),
            hints=(
                "dans quel sens va votre transformation ?",
                "on vous donne z, et la densité de base s’évalue en u.",
                "défaites le couplage : u_b = e^(−s) (z_b − t).",
            ),
        ),
        Mistake(
            answer=lambda z_a, z_b, log_scale, shift: (
                _standard(z_a) + _standard(z_b * (-log_scale).exp() - shift) - log_scale.sum(1)
            ),
            hints=(
                "refaites le couplage à partir de votre u_b : retrouvez-vous z_b ?",
                "pour défaire « dilater puis déplacer », on défait le dernier d’abord.",
                "retranchez t, puis divisez par e^s : les parenthèses comptent.",
            ),
        ),
        Mistake(
            answer=lambda z_a, z_b, log_scale, shift: (
                _standard(z_a) + _standard(_inverse(z_b, log_scale, shift)) - log_scale.exp().sum(1)
            ),
            hints=(
                "l’inverse est bon ; le logarithme du déterminant, non : essayez s = 0.",
                "le déterminant est le produit des e^(s_j) : quel est son logarithme ?",
                "c’est Σ_j s_j, sans exponentielle.",
            ),
        ),
        Mistake(
            answer=lambda z_a, z_b, log_scale, shift: (
                _standard(z_a) + _standard(_inverse(z_b, log_scale, shift)) - log_scale.mean(1)
            ),
            hints=(
                "l’inverse est bon. Et le logarithme du déterminant ?",
                "le déterminant est un produit sur les coordonnées.",
                "sommez les log-échelles : `.sum(1)`, pas `.mean(1)`.",
            ),
        ),
        Mistake(
            answer=lambda z_a, z_b, log_scale, shift: (
                _standard(z_a) + _standard(_inverse(z_b, log_scale, shift)) - log_scale.sum()
            ),
            hints=(
                "l’inverse est bon ; le jacobien d’un point dépend-il des autres points ?",
                "vous sommez les log-échelles de tout le lot.",
                "donnez un axe à la somme : celui des coordonnées, 1.",
            ),
        ),
        Mistake(
            answer=lambda z_a, z_b, log_scale, shift: (
                _standard(z_a) + _standard((z_b - shift) / log_scale) - log_scale.log().sum(1)
            ),
            hints=(
                "d’où viennent ces NaN ? Une échelle est-elle toujours positive ?",
                "vous prenez `log_scale` pour l’échelle ; c’en est le logarithme.",
                "l’échelle est `log_scale.exp()`, et son logarithme, `log_scale`.",
            ),
        ),
    ),
)


# ---------------------------------------------------------------- la diffusion


def _diffusion_cases(generator: torch.Generator) -> list[tuple[Any, ...]]:
    """t va de 1 à T, ses deux extrêmes compris."""
    return [
        (
            normal(generator, count, dims),
            normal(generator, count, dims),
            0.5 + 0.45 * torch.rand(levels, generator=generator, dtype=torch.float64),
            torch.cat(
                [torch.tensor([1, levels]), torch.randint(2, levels, (count - 2,), generator=generator)]
            ),
        )
        for count, dims, levels in ((6, 3, 5), (5, 2, 7), (4, 4, 4))
    ]


def _mixed(u0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    return alpha_bar.sqrt().unsqueeze(1) * u0 + (1 - alpha_bar).sqrt().unsqueeze(1) * noise


def _diffuse(u0: Tensor, noise: Tensor, alpha: Tensor, t: Tensor) -> Tensor:
    return _mixed(u0, noise, torch.stack([alpha[:level].prod() for level in t]))


_DIFFUSION = Exercise(
    name="diffusion-directe",
    label="ex-au-dela-diffusion",
    signature="diffuse(u0, noise, alpha, t)",
    cases=_diffusion_cases,
    expected=_diffuse,
    mistakes=(
        Mistake(
            answer=lambda u0, noise, alpha, t: _mixed(u0, noise, alpha[t - 1]),
            hints=(
                "un seul pas de bruit, ou t pas ?",
                "vous tirez u_t sachant u_{t−1} = u₀ : il faut le produit des α_1 à α_t.",
                "ᾱ est le produit cumulé : `alpha.cumprod(0)[t - 1]`.",
            ),
        ),
        Mistake(
            answer=lambda u0, noise, alpha, t: _mixed(
                u0, noise, torch.cat([torch.ones_like(alpha[:1]), alpha.cumprod(0)])[t - 1]
            ),
            hints=(
                "au niveau t = 1, vous n’ajoutez aucun bruit.",
                "vous êtes en retard d’un niveau : c’est ᾱ_{t−1}.",
                "`alpha[0]` est α_1, donc `alpha.cumprod(0)[t - 1]` est ᾱ_t, sans rien ajouter devant.",
            ),
        ),
        Mistake(
            answer=lambda u0, noise, alpha, t: _mixed(
                u0, noise, alpha.cumprod(0)[t.clamp(max=len(alpha) - 1)]
            ),
            hints=(
                "vos indices sont-ils ceux de l’énoncé ? t va de 1 à T, ceux de Python de 0 à T − 1.",
                "vous avez pris ᾱ_{t+1}.",
                "ᾱ_t est `alpha.cumprod(0)[t - 1]`.",
            ),
        ),
        Mistake(
            answer=lambda u0, noise, alpha, t: (
                alpha.cumprod(0)[t - 1, None] * u0 + (1 - alpha.cumprod(0)[t - 1, None]) * noise
            ),
            hints=(
                "si u₀ et le bruit ont une variance 1, u_t devrait l’avoir aussi.",
                "ᾱ et 1 − ᾱ sont des parts de variance.",
                "prenez leurs racines carrées avant de multiplier.",
            ),
        ),
        Mistake(
            answer=lambda u0, noise, alpha, t: (
                alpha.cumprod(0)[t - 1, None].sqrt() * u0 + (1 - alpha.cumprod(0)[t - 1, None]) * noise
            ),
            hints=(
                "le signal est juste. Et l’échelle du bruit ?",
                "1 − ᾱ_t est la variance de u_t sachant u₀.",
                "le bruit se multiplie par l’écart-type, √(1 − ᾱ_t).",
            ),
        ),
        Mistake(
            answer=lambda u0, noise, alpha, t: _mixed(noise, u0, alpha.cumprod(0)[t - 1]),
            hints=(
                "quand t grandit, que doit-il rester ?",
                "chez vous, c’est u₀ : le signal et le bruit sont échangés.",
                "√ᾱ_t multiplie u₀ ; √(1 − ᾱ_t), le bruit.",
            ),
        ),
        Mistake(
            answer=lambda u0, noise, alpha, t: (
                alpha.cumprod(0)[t - 1, None].sqrt() * u0 + (1 - alpha[t - 1, None]).sqrt() * noise
            ),
            hints=(
                "le signal est juste. Tout le bruit y est-il ?",
                "vous n’avez gardé que le bruit du dernier pas ; les précédents s’y ajoutent.",
                "les bruits des t pas ont pour variance totale 1 − ᾱ_t, pas 1 − α_t.",
            ),
        ),
    ),
)

# ---------------------------------------------------------------- le prix des codes

_PRICE = Exercise(
    name="prix-des-codes",
    label="ex-au-dela-codes",
    signature="",
    expected=lambda: 49 * math.log(64),
    tol=2e-3,
    mistakes=(
        Mistake(
            answer=lambda: math.log(64),
            hints=(
                "combien de codes décrivent une image ?",
                "c’est le prix d’une seule place de la grille.",
                "multipliez par les 7 × 7 places, indépendantes sous la loi uniforme.",
            ),
        ),
        Mistake(
            answer=lambda: 64 * math.log(49),
            hints=(
                "combien y a-t-il de grilles possibles ?",
                "K à la puissance n : à chacune des n places, K choix.",
                "log Kⁿ = n log K, avec n = 49 et K = 64.",
            ),
        ),
        Mistake(
            answer=lambda: 7 * math.log(64),
            hints=(
                "combien de places la grille a-t-elle ?",
                "sept lignes et sept colonnes : plus de sept places.",
                "il y a 49 places.",
            ),
        ),
        Mistake(
            answer=lambda: 49 * math.log10(64),
            hints=(
                "dans quelle base est votre logarithme ?",
                "un nat est l’unité du logarithme naturel.",
                "`math.log`, pas `math.log10`.",
            ),
        ),
        Mistake(
            answer=lambda: 49 * 64,
            hints=(
                "combien de nats coûte un choix parmi 64, tous également probables ?",
                "vous avez compté les codes ; il faut un logarithme.",
                "chaque place coûte log K, pas K.",
            ),
        ),
    ),
)

EXERCISES = (_LADDER, _DIRECT, _COUPLING, _DIFFUSION, _PRICE)

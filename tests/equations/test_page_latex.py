"""Les formules centrales, évaluées telles que la page les écrit, puis avec une faute de signe ou de nombre.

Chaque lecture donne un sens aux symboles d'une formule, vérifie ses relations, et compare un membre à ce que
rend `vaebook`. Le LaTeX vient du chapitre : y changer un signe fait échouer le test.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from latex import Finite, LatexError, Statement, mutants, statements
from quadrature import Prescribed
from sides import Draw, float64, same
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    constraints,
)

from vaebook.evaluation import frechet_distance
from vaebook.exact import PPCA, BernoulliGaussianMixture
from vaebook.likelihoods import make_likelihood
from vaebook.models import VAE
from vaebook.networks import diagonal_gaussian
from vaebook.objectives import elbo, iwae_bound, log_weights, marginal_bound
from vaebook.publishing.chapters import Book
from vaebook.publishing.equations import labelled, read
from vaebook.running_example import RunningExample

BOOK = Book(Path(__file__).resolve().parents[2])
EQUATIONS = {equation.label: equation.latex for equation in labelled(BOOK)}

Page = list[Statement]


@dataclass(frozen=True)
class Reading:
    """Une formule du livre, et comment on l'évalue.

    Paramètres :
        name : son étiquette, ou la ligne du tableau où elle est.
        latex : ce qu'écrit la page.
        check : échoue si les énoncés sont faux.
        equivalent : les mutants qui disent la même chose, et pourquoi.
    """

    name: str
    latex: str
    check: Callable[[Page, Draw], None]
    equivalent: Mapping[str, str] = field(default_factory=dict)


READINGS: list[Reading] = []


def reads(name: str, latex: str = "", equivalent: Mapping[str, str] | None = None) -> Callable[[Any], Any]:
    """Inscrit une lecture : celle d'une équation étiquetée, sauf si `latex` est donné."""

    def register(check: Callable[[Page, Draw], None]) -> Callable[[Page, Draw], None]:
        READINGS.append(Reading(name, latex or EQUATIONS[name], check, equivalent or {}))
        return check

    return register


def holds(statement: Statement, scope: Mapping[str, Any], vaebook: Any = None, tol: float = 1e-9) -> None:
    """Échoue si une relation est fausse, ou si le dernier membre n'est pas la valeur que rend `vaebook`."""
    values = statement.values(scope)
    for left, relation, right in zip(values, statement.relations, values[1:], strict=False):
        left, right = torch.as_tensor(left), torch.as_tensor(right)
        if relation == "=":
            same(left, right, tol)
        elif relation in (r"\geq", ">"):
            assert (left - right > (-tol if relation == r"\geq" else 0)).all(), f"{left} {relation} {right}"
        elif relation == r"\leq":
            assert (right - left > -tol).all(), f"{left} {relation} {right}"
        else:
            raise LatexError(f"Relation « {relation} » : elle ne s'évalue pas.")
    if vaebook is not None:
        same(values[-1], vaebook, tol)


def column(vector: Tensor) -> Tensor:
    return vector.unsqueeze(-1)


# --- Les divergences gaussiennes --------------------------------------------------------------------------


def kl_term(q: Distribution, prior: Distribution) -> Tensor:
    """La divergence telle que la calcule l'ELBO du paquet."""
    model = SimpleNamespace(
        posterior=lambda x: q, prior=prior, likelihood=lambda z: diagonal_gaussian(z, z.exp())
    )
    size = q.event_shape[0]
    return elbo(model, torch.zeros(1, size)).kl.squeeze(0)


@reads("eq-gaussien-kl")
def diagonal_kl(page: Page, draw: Draw) -> None:
    mu, sigma = draw.normal(3), draw.positive(3)
    scope = {r"\mu": column(mu), r"\sigma": column(sigma), "d": 3, "I_d": torch.eye(3)}
    prior = diagonal_gaussian(torch.zeros(3), torch.ones(3))
    holds(page[0], scope, kl_term(diagonal_gaussian(mu, sigma), prior))


@reads("eq-gaussien-kl-covariance")
def full_kl(page: Page, draw: Draw) -> None:
    model = PPCA(draw.normal(5, 3), draw.normal(5), draw.positive())
    q = model.posterior(draw.normal(1, 5))
    scope = {r"\mu": q.mean.mT, r"\Sigma": q.covariance_matrix.squeeze(0), "d": 3, "I_d": torch.eye(3)}
    holds(page[0], scope, kl_term(q, model.prior))


@reads("eq-gaussien-kl-logvar")
def diagonal_kl_from_the_log_variance(page: Page, draw: Draw) -> None:
    mu, logvar = draw.normal(3), draw.normal(3)
    q, prior = diagonal_gaussian(mu, torch.exp(logvar / 2)), diagonal_gaussian(torch.zeros(3), torch.ones(3))
    scope = {r"\mu": mu, "s": logvar, "d": 3, r"\x": 0.0, r"q_\phi(\z|\x)": lambda x: q, r"p(\z)": prior}
    holds(page[0], scope, kl_term(q, prior))


@reads("eq-gaussien-kl-deux")
def two_diagonal_kl(page: Page, draw: Draw) -> None:
    mu, sigma, m, s = draw.normal(3), draw.positive(3), draw.normal(3), draw.positive(3)
    q, p = diagonal_gaussian(mu, sigma), diagonal_gaussian(m, s)
    scope = {r"\mu": mu, r"\sigma": sigma, "m": m, "s": s, "d": 3, r"q(\z)": q, r"p(\z)": p}
    holds(page[0], scope, kl_term(q, p))


@reads("eq-elbo-gaussiennes")
def two_full_kl(page: Page, draw: Draw) -> None:
    q, p = (MultivariateNormal(draw.normal(3), draw.spd(3)) for _ in range(2))
    scope: dict[str, Any] = {r"q(\z)": q, r"p(\z)": p, "d": 3}
    for name, law in (("q", q), ("p", p)):
        scope |= {rf"\mu_{name}": column(law.mean), rf"\Sigma_{name}": law.covariance_matrix}
    holds(page[0], scope, kl_term(q.expand((1,)), p))


@reads("eq-elbo-gaussiennes-1d")
def two_scalar_kl(page: Page, draw: Draw) -> None:
    q, p = (Normal(draw.normal(), draw.positive()) for _ in range(2))
    scope = {rf"\mu_{name}": law.mean for name, law in (("q", q), ("p", p))}
    scope |= {rf"\sigma_{name}": law.stddev for name, law in (("q", q), ("p", p))}
    laws = (diagonal_gaussian(law.mean.view(1), law.stddev.view(1)) for law in (q, p))
    holds(page[0], scope | {r"q(\z)": q, r"p(\z)": p}, kl_term(*laws))


@reads("eq-latentes-kl-normale")
def kl_to_the_standard_normal(page: Page, draw: Draw) -> None:
    m, tau = draw.normal(), draw.positive()
    q, p = (diagonal_gaussian(mu.view(1), sigma.view(1)) for mu, sigma in ((m, tau), (m * 0, tau / tau)))
    holds(page[0], {"m": m, r"\tau": tau}, kl_term(q, p))


@reads("eq-elbo-diagonale")
def best_diagonal(page: Page, draw: Draw) -> None:
    model = PPCA(draw.normal(5, 3), draw.normal(5), draw.positive())
    x = draw.normal(1, 5)
    posterior = model.posterior(x)
    minimum = kl_term(model.best_diagonal(x), posterior)
    # Le membre de gauche, un minimum, ne s'évalue pas : c'est la divergence de la meilleure, du paquet.
    right = Statement(page[0].sides[1:], ())
    holds(right, {r"\Lambda": torch.linalg.inv(posterior.covariance_matrix[0]), "d": 3}, minimum)


# --- L'ELBO, sur l'exemple suivi --------------------------------------------------------------------------

MODEL = RunningExample()


class Posterior(Distribution):
    """La loi a posteriori exacte de l'exemple suivi."""

    support = constraints.real

    def __init__(self, x: Tensor) -> None:
        self.x = x
        super().__init__(validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return MODEL.posterior_density(self.x.view(1, 1), value.view(-1)).log().view(value.shape)


def example(x: Tensor, q: Normal) -> dict[str, Any]:
    """L'exemple suivi, une observation et un encodeur q."""
    likelihood = lambda z: Normal(MODEL.decoder(z), MODEL.sigma)  # noqa: E731
    prior = Normal(torch.zeros(()), torch.ones(()))
    return {
        r"\x": x,
        r"p(\z)": prior,
        r"p_\theta(\x|\z)": likelihood,
        r"p_\theta(\x, \z)": lambda x, z: (likelihood(z).log_prob(x) + prior.log_prob(z)).exp(),
        r"p_\theta(\x)": lambda x: MODEL.log_prob(x.view(1, 1)).exp()[0],
        r"p_\theta(\z|\x)": Posterior,
        r"q(\z)": q,
        r"q_\phi(\z|\x)": lambda x: q,
    }


def terms(x: Tensor, q: Normal) -> Any:
    """L'ELBO exact et ses deux termes, du paquet."""
    found = MODEL.elbo(x.view(-1, 1), diagonal_gaussian(q.mean.view(-1, 1), q.stddev.view(-1, 1)))
    return type(found)(*(term.view(x.shape) for term in found))


def encode(x: Tensor) -> Normal:
    """Un encodeur : une loi différente par observation."""
    return Normal(torch.sin(x), torch.exp(x / 3 - 1))


def observation(draw: Draw) -> tuple[Tensor, Normal]:
    return draw.normal(), Normal(draw.normal(), draw.uniform(low=0.3, high=0.8))


@reads("eq-elbo-decomposition")
def decomposition(page: Page, draw: Draw) -> None:
    x, q = observation(draw)
    scope = example(x, q) | {r"\mathcal{L}_\theta(\x ; q)": terms(x, q).value}
    holds(page[0], scope, MODEL.log_prob(x.view(1, 1))[0])


@reads("eq-elbo-jensen")
def jensen(page: Page, draw: Draw) -> None:
    x, q = observation(draw)
    holds(page[0], example(x, q) | {r"\mathcal{L}_\theta(\x ; q)": terms(x, q).value}, terms(x, q).value)
    # Une q qui ne charge pas toutes les valeurs de z : la première inégalité est alors stricte.
    means, sigmas, masses = draw.normal(4), draw.positive(4), draw.simplex(4)
    joint = lambda x, z: masses[int(z)] * Normal(means, sigmas).log_prob(x)[int(z)].exp()  # noqa: E731
    q = Categorical(torch.tensor([0.0, 0.3, 0.0, 0.7]))
    value = sum(w * (joint(x, z) / w).log() for z, w in ((1, 0.3), (3, 0.7)))
    scope = {r"\x": x, r"p_\theta(\x, \z)": joint, r"q(\z)": q, r"\mathcal{L}_\theta(\x ; q)": value}
    holds(page[0], scope | {r"p_\theta(\x)": lambda x: sum(joint(x, z) for z in range(4))})


@reads("eq-elbo-termes")
def two_terms(page: Page, draw: Draw) -> None:
    x, q = observation(draw)
    value = terms(x, q).value
    holds(page[0], example(x, q) | {r"\mathcal{L}_{\theta,\phi}(\x)": value}, value)


@reads("eq-rep-elbo")
def two_terms_again(page: Page, draw: Draw) -> None:
    x, q = observation(draw)
    value = terms(x, q).value
    holds(page[0], example(x, q) | {r"\mathcal{L}(\theta, \phi ; \x)": value}, value)


@reads("eq-gaussien-elbo")
def lower_bound(page: Page, draw: Draw) -> None:
    x, q = observation(draw)
    holds(page[0], example(x, q), terms(x, q).value)


@reads("eq-elbo-deux-kl")
def two_divergences(page: Page, draw: Draw) -> None:
    x, q = observation(draw)
    gaussian = diagonal_gaussian(q.mean.view(1), q.stddev.view(1))
    holds(page[0], example(x, q), MODEL.posterior_kl(x.view(1, 1), gaussian)[0])


@reads(
    "eq-elbo-somme", equivalent={"1 → 2, n° 1": "un terme de moins, négatif : le membre de gauche grandit"}
)
def sum_of_bounds(page: Page, draw: Draw) -> None:
    xs = draw.normal(3)
    scope = example(xs, encode(xs[0])) | {
        r"q_\phi(\z|\x)": encode,
        r"\mathcal{L}_{\theta,\phi}(\x)": lambda x: terms(x, encode(x)).value,
        "n": 3,
    }
    holds(page[0], scope, terms(xs, encode(xs)).value.sum())


@reads("eq-latentes-pont")
def bridge(page: Page, draw: Draw) -> None:
    x, q = observation(draw)
    holds(page[0], example(x, q), terms(x, q).value)


@reads("eq-elbo-definition")
def definition(page: Page, draw: Draw) -> None:
    x, q = observation(draw)
    value = terms(x, q).value
    holds(page[0], example(x, q) | {r"\mathcal{L}_\theta(\x ; q)": value}, value)


@reads("eq-au-dela-pieces")
def three_pieces(page: Page, draw: Draw) -> None:
    x, q = observation(draw)
    value = terms(x, q).value
    holds(page[0], example(x, q) | {r"\mathcal{L}(\x)": value}, value)


@reads("eq-latentes-evidence")
def evidence(page: Page, draw: Draw) -> None:
    x, q = observation(draw)
    grid = torch.linspace(-12, 12, 6001)
    measure = (grid, torch.full_like(grid, float(grid[1] - grid[0])))
    holds(page[0], example(x, q) | {r"\dd \z": measure}, MODEL.log_prob(x.view(1, 1)).exp()[0])


@reads("eq-latentes-bayes")
def bayes(page: Page, draw: Draw) -> None:
    x, q = observation(draw)
    z = draw.normal()
    density = MODEL.posterior_density(x.view(1, 1), z.view(1))[0, 0]
    holds(page[0], example(x, q) | {r"\z": z}, density)


@reads("eq-latentes-candidat")
def candidate(page: Page, draw: Draw) -> None:
    x, q = observation(draw)
    holds(page[0], example(x, q) | {r"\z": draw.normal()}, MODEL.log_prob(x.view(1, 1))[0].exp())


def surgery(draw: Draw) -> tuple[dict[str, Any], Tensor]:
    """Trois encodeurs, leur a posteriori agrégé ; et la divergence moyenne, du paquet."""
    mu, sigma = draw.normal(3), draw.positive(3)
    mixture = MixtureSameFamily(Categorical(torch.ones(3)), Normal(mu, sigma))
    scope = {
        r"\x": range(3),
        "i": range(1, 4),
        "n": 3,
        "N": 3,
        r"q_\phi(\z|\x)": lambda x: Normal(mu[int(x)], sigma[int(x)]),
        r"q_\phi(\z)": mixture,
        r"q(\z)": mixture,
        r"p(\z)": Normal(torch.zeros(()), torch.ones(())),
    }
    q = diagonal_gaussian(mu.view(3, 1), sigma.view(3, 1))
    return scope, MODEL.elbo(torch.zeros(3, 1), q).kl.mean()


@reads("eq-elbo-chirurgie")
def aggregate(page: Page, draw: Draw) -> None:
    scope, rate = surgery(draw)
    holds(page[0], scope, rate)


@reads("eq-beta-information")
def rate_and_information(page: Page, draw: Draw) -> None:
    scope, rate = surgery(draw)
    (information,) = statements(EQUATIONS["eq-evaluation-information"])
    value = information.values(scope | {r"I_q(\x ; \z)": 0})[-1]
    holds(page[0], scope | {r"I_q(\x ; \z)": value, "R": rate}, rate)


@reads("eq-evaluation-chirurgie")
def aggregate_again(page: Page, draw: Draw) -> None:
    scope, rate = surgery(draw)
    (information,) = statements(EQUATIONS["eq-evaluation-information"])
    scope[r"I_q(\x ; \z)"] = information.values(scope | {r"I_q(\x ; \z)": 0})[-1]
    holds(page[0], scope, rate)
    holds(page[1], scope)


# --- Le gradient ------------------------------------------------------------------------------------------


def encoder_of(x: Tensor, phi: Any) -> Normal:
    """Un encodeur d'un seul paramètre, dont dépendent la moyenne et l'écart-type."""
    phi = torch.as_tensor(phi)
    return Normal(torch.sin(phi) * x, torch.exp(phi / 3 - 1))


def gradient(draw: Draw) -> tuple[dict[str, Any], Tensor]:
    """f = log p(x|z), sur l'exemple suivi ; et le gradient exact de son espérance, du paquet."""
    x, phi = draw.normal(), draw.normal()
    grid = torch.linspace(-30, 30, 6001)
    scope = {
        r"\x": x,
        r"\phi": phi,
        r"q_\phi(\z|\x)": encoder_of,
        "f": lambda z: Normal(MODEL.decoder(z), MODEL.sigma).log_prob(x),
        "F": lambda phi, x, noise: encoder_of(x, phi).mean + encoder_of(x, phi).stddev * noise,
        r"r(\varepsilon)": Normal(torch.zeros(()), torch.ones(())),
        r"\dd \z": (grid, torch.full_like(grid, float(grid[1] - grid[0]))),
    }
    leaf = phi.clone().requires_grad_()
    (exact,) = torch.autograd.grad(terms(x, encoder_of(x, leaf)).reconstruction, leaf)
    return scope, exact


@reads("eq-rep-difficulte")
def under_the_integral(page: Page, draw: Draw) -> None:
    holds(page[0], *gradient(draw))


@reads("eq-rep-log-derivee")
def log_derivative(page: Page, draw: Draw) -> None:
    scope, _ = gradient(draw)
    scope |= {r"\z": draw.normal()}
    holds(page[0], scope)
    holds(page[1], scope)


@reads("eq-rep-score", equivalent={"- → +, n° 3": "toute constante b convient"})
def score_gradient(page: Page, draw: Draw) -> None:
    scope, exact = gradient(draw)
    holds(page[0], scope)
    holds(page[1], scope | {"b": draw.normal()}, exact)


@reads("eq-rep-gradient")
def reparameterised_gradient(page: Page, draw: Draw) -> None:
    holds(page[0], *gradient(draw))


@reads("eq-gaussien-reparam")
def reparameterisation(page: Page, draw: Draw) -> None:
    mu, sigma, noise = draw.normal(3), draw.positive(3), draw.normal(3)
    z = Prescribed(mu.view(1, 3), sigma.view(1, 3), noise.view(1, 1, 3)).rsample((1,)).view(3, 1)
    scope = {r"\mu_\phi(\x)": column(mu), r"\sigma_\phi(\x)": column(sigma), r"\varepsilon": column(noise)}
    holds(page[0], scope | {r"\z": z}, z)
    same(page[1].law({"I_d": torch.eye(3)}).mean, torch.zeros(3))


# --- Les bornes pondérées ---------------------------------------------------------------------------------


def weighted(draw: Draw, samples: int = 4) -> tuple[dict[str, Any], Tensor]:
    """Des tirages de l'exemple suivi, leurs poids, et la borne L_k, du paquet."""
    x, q = observation(draw)
    noise = draw.normal(samples, 1, 1)
    encoder = Prescribed(q.mean.view(1, 1), q.stddev.view(1, 1), noise)
    model = SimpleNamespace(posterior=lambda x: encoder, likelihood=MODEL.likelihood, prior=MODEL.prior)
    weights = log_weights(model, x.view(1, 1), samples=samples).exp().flatten()
    bound = iwae_bound(model, x.view(1, 1), samples=samples).squeeze()
    points = (q.mean + q.stddev * noise).flatten()
    return example(x, q) | {r"\z": points, "w": weights, "k": samples, "L_k": bound}, bound


@reads("eq-elbo-iwae")
def weighted_bound(page: Page, draw: Draw) -> None:
    scope, bound = weighted(draw)
    holds(page[0], scope, bound)
    for i in range(1, 5):
        holds(page[1], scope | {"i": i}, scope["w"][i - 1])


@reads("eq-evaluation-borne")
def weighted_bound_again(page: Page, draw: Draw) -> None:
    weighted_bound(page, draw)


@reads("eq-evaluation-faux")
def wrong_average(page: Page, draw: Draw) -> None:
    scope, bound = weighted(draw)
    shares = scope["w"] / scope["w"].sum()
    entropy = Categorical(shares).entropy()
    holds(page[0], scope | {r"\tilde w": shares, r"H(\tilde w)": entropy}, bound)


@reads("eq-latentes-naif")
def naive_estimator(page: Page, draw: Draw) -> None:
    x, noise = draw.normal(), draw.normal(4, 1, 1)
    prior = Prescribed(torch.zeros(1, 1), torch.ones(1, 1), noise)
    model = SimpleNamespace(posterior=lambda x: prior, likelihood=MODEL.likelihood, prior=MODEL.prior)
    estimate = iwae_bound(model, x.view(1, 1), samples=4)[0].exp()
    scope = {r"\x": x, r"\z": noise.flatten(), "K": 4, r"\hat p_K(\x)": estimate}
    holds(page[0], scope | {r"p(\x|\z)": lambda z: Normal(MODEL.decoder(z), MODEL.sigma)}, estimate)


@reads("eq-latentes-importance")
def importance_sampling(page: Page, draw: Draw) -> None:
    scope, bound = weighted(draw)
    scope |= {"K": 4, r"p(\x|\z)": scope[r"p_\theta(\x|\z)"], r"\hat p_K(\x)": bound.exp()}
    holds(page[0], scope, bound.exp())
    for k in range(1, 5):
        holds(page[1], scope | {"k": k}, scope["w"][k - 1])


def one(law: Any) -> Distribution:
    """La loi d'un lot d'une seule image, sans la dimension du lot."""
    return type(law)(law.mean[0], law.covariance_matrix[0])


# --- β et le lagrangien -----------------------------------------------------------------------------------


@reads("eq-beta-definitions")
def distortion_and_rate(page: Page, draw: Draw) -> None:
    xs = draw.normal(3)
    encoder = lambda x: Normal(torch.sin(x), torch.exp(x / 3 - 1))  # noqa: E731
    exact = MODEL.elbo(
        xs.view(3, 1), diagonal_gaussian(torch.sin(xs).view(3, 1), torch.exp(xs / 3 - 1).view(3, 1))
    )
    scope = example(xs[0], encoder(xs[0])) | {
        r"q_\phi(\z|\x)": encoder,
        r"\E_{\x}": Finite(list(xs)),
        "D(m)": -exact.reconstruction.mean(),
        "R(m)": exact.kl.mean(),
    }
    holds(page[0], scope, -exact.reconstruction.mean())
    holds(page[1], scope)


@reads("eq-beta-objectif")
def lagrangian(page: Page, draw: Draw) -> None:
    beta = draw.positive()
    encoder = Prescribed(draw.normal(3, 1), draw.positive(3, 1), draw.normal(1, 3, 1))
    model = SimpleNamespace(posterior=lambda x: encoder, likelihood=MODEL.likelihood, prior=MODEL.prior)
    value, reconstruction, kl = (term.mean() for term in elbo(model, draw.normal(3, 1), beta=float(beta)))
    scope = {r"\beta": beta, "D(m)": -reconstruction, "R(m)": kl, r"J_\beta(m)": -value}
    holds(page[0], scope, -value)
    holds(page[1], scope | {r"\beta": torch.tensor(0.4)})


def linear_curve(draw: Draw) -> tuple[dict[str, Any], PPCA]:
    """La courbe débit-distorsion d'une ACP probabiliste ajustée."""
    model = PPCA.fit(draw.normal(40, 5) * torch.tensor([3.0, 2.0, 1.2, 0.7, 0.4]), 3)
    curve = model.rate_distortion
    return {
        r"\beta": torch.tensor(2.3),
        "R": lambda beta: curve(beta).rate,
        "D": lambda beta: curve(beta).distortion,
        "F": lambda beta: curve(beta).distortion + beta * curve(beta).rate,
    }, model


@reads("eq-beta-corde", equivalent={"- → +, n° 5": "les débits sont positifs : le majorant est plus grand"})
def chord(page: Page, draw: Draw) -> None:
    _, model = linear_curve(draw)
    scope: dict[str, Any] = {}
    for k, beta in ((1, 1.5), (2, 2.0)):
        rate, distortion = model.rate_distortion(beta)
        scope |= {rf"\beta_{k}": beta, f"R_{k}": rate, f"D_{k}": distortion}
    holds(page[0], scope)


@reads("eq-beta-enveloppe")
def envelope(page: Page, draw: Draw) -> None:
    scope, model = linear_curve(draw)
    holds(page[0], scope, model.rate_distortion(2.3).rate)


@reads("eq-beta-pente")
def slope(page: Page, draw: Draw) -> None:
    scope, _ = linear_curve(draw)
    holds(page[0], scope | {r"\dd": scope[r"\beta"]})


@reads("eq-beta-lineaire")
def water_filling(page: Page, draw: Draw) -> None:
    scope, model = linear_curve(draw)
    # s abandonne une des trois dimensions : le maximum et le minimum prennent leurs deux valeurs.
    s = (model.eigenvalues[1] + model.eigenvalues[2]) / 2
    beta = s / model.sigma2
    scope |= {r"\beta": beta, "s": s, r"\sigma": model.sigma2.sqrt(), r"\lambda": model.eigenvalues}
    scope |= {"j": range(1, 6), "d": 3, "D_x": 5}
    holds(page[0], scope, model.rate_distortion(beta).rate)
    holds(page[1], scope, model.rate_distortion(beta).distortion)


@reads("eq-beta-temperee")
def tempered(page: Page, draw: Draw) -> None:
    # Tempérer la vraisemblance, c'est multiplier sa variance par β : la loi est celle d'une autre ACP.
    W, mu, sigma2, beta = draw.normal(4, 2) / 2, draw.normal(4), 0.8, draw.positive()
    model, tempered = PPCA(W, mu, sigma2), PPCA(W, mu, beta * sigma2)
    x, z = model.sample(1)[0], draw.normal(2)
    evidence = tempered.log_prob(x.view(1, 4)).exp()[0]
    normaliser = (2 * math.pi * sigma2) ** (-2 / beta) / (2 * math.pi * beta * sigma2) ** -2.0
    scope = {
        r"\x": column(x),
        r"\z": column(z),
        r"\beta": beta,
        r"p(\z)": model.prior,
        r"p_\theta(\x|\z)": lambda z: model.likelihood(z.squeeze(-1)),
        r"Z_\beta(\x)": evidence * normaliser,
        r"q_\beta(\z|\x)": lambda x, beta: one(tempered.posterior(x.mT)),
    }
    holds(page[0], scope, tempered.posterior(x.view(1, 4)).log_prob(z).exp()[0])


# --- Le modèle et ses vraisemblances ----------------------------------------------------------------------


@reads("eq-gaussien-reseaux")
def networks(page: Page, draw: Draw) -> None:
    model = VAE(2, hidden=(3,), image_shape=(1, 2, 2), likelihood="gaussian").double()
    x, z = draw.uniform(1, 1, 2, 2), draw.normal(1, 2)
    q, p = model.posterior(x), model.likelihood(z)
    hidden, (first, last) = model.encoder(x), (model.decoder.layers[0][0], model.decoder.layers[1])
    layers = [model.encoder.dense[0][0], *heads(model.head.linear), first, last]
    scope = {rf"W_{k}": layer.weight for k, layer in enumerate(layers, 1)}
    scope |= {rf"b_{k}": column(layer.bias) for k, layer in enumerate(layers, 1)}
    scope |= {r"\x": x.view(4, 1), r"\z": z.mT, r"\mathbf{a}": hidden.mT, r"\mathbf{a}'": first(z).relu().mT}
    scope |= {r"\mu_\phi(\x)": q.mean.mT, r"\sigma_\phi(\x)": q.stddev.mT}
    scope |= {r"\hat{\x}_\theta(\z)": p.mean.view(4, 1)}
    for statement in page:
        holds(statement, scope)


def heads(linear: torch.nn.Linear) -> list[SimpleNamespace]:
    """Les deux têtes de l'encodeur, que le paquet range dans une seule couche."""
    pairs = zip(linear.weight.chunk(2), linear.bias.chunk(2), strict=True)
    return [SimpleNamespace(weight=weight, bias=bias) for weight, bias in pairs]


def costs() -> dict[str, str]:
    """Les coûts du tableau des vraisemblances : le nom de chaque ligne, et sa formule."""
    text = (BOOK.sources / "vae_gaussien.md").read_text(encoding="utf-8")
    table = text.split(":name: tab-vraisemblances")[1].split("```")[0]
    return dict(re.findall(r"^\| (.+?) \| \$(.+?)\$ \|", table, re.M))


COSTS = costs()


def pixels(draw: Draw, likelihood: Any, raw: Tensor, x: Tensor) -> Tensor:
    """Le coût −log p(x|z) d'une image de quatre pixels, du paquet."""
    return -make_likelihood(likelihood)(raw.view(-1, 1, 1, 4)).log_prob(x.view(1, 1, 4))


def image_scope(x: Tensor, x_hat: Tensor) -> dict[str, Any]:
    return {r"\x": column(x), r"\hat\x": column(x_hat), "x": x, r"\hat x": x_hat, "D": 4, "i": range(1, 5)}


@reads("gaussienne fixée", COSTS[r"gaussienne, $\sigma_\theta$ fixé"])
def gaussian_cost(page: Page, draw: Draw) -> None:
    x, x_hat, sigma = draw.normal(4), draw.normal(4), draw.positive()
    cost = pixels(draw, {"name": "gaussian", "sigma": float(sigma), "link": "identity"}, x_hat, x)
    holds(page[0], image_scope(x, x_hat) | {r"\sigma_\theta": sigma}, cost)


@reads("gaussienne par pixel", COSTS[r"gaussienne, $\sigma_{\theta,i}(\z)$ par pixel"])
def pixel_gaussian_cost(page: Page, draw: Draw) -> None:
    x, x_hat, raw = draw.normal(4), draw.normal(4), draw.normal(4)
    likelihood = {"name": "pixel_gaussian", "floor": 0.1, "link": "identity"}
    cost = pixels(draw, likelihood, torch.stack([x_hat, raw]), x)
    sigma = 0.1 + torch.nn.functional.softplus(raw)
    holds(page[0], image_scope(x, x_hat) | {r"\sigma_\theta": sigma}, cost)


@reads("Laplace", COSTS["Laplace, $b$ fixé"])
def laplace_cost(page: Page, draw: Draw) -> None:
    x, x_hat, b = draw.normal(4), draw.normal(4), draw.positive()
    cost = pixels(draw, {"name": "laplace", "scale": float(b), "link": "identity"}, x_hat, x)
    holds(page[0], image_scope(x, x_hat) | {"b": b}, cost)


@reads("Bernoulli", COSTS["Bernoulli"])
def bernoulli_cost(page: Page, draw: Draw) -> None:
    x, x_hat = torch.tensor([1.0, 0.0, 0.0, 1.0]), draw.uniform(4, low=0.1, high=0.9)
    holds(page[0], image_scope(x, x_hat), pixels(draw, "bernoulli", torch.logit(x_hat), x))


def inline(chapter: str, containing: str) -> str:
    """La formule du texte courant qui contient ces mots."""
    text = (BOOK.sources / f"{chapter}.md").read_text(encoding="utf-8")
    found = [latex for latex in re.findall(r"(?<!\$)\$([^$\n]+)\$(?!\$)", text) if containing in latex]
    assert len(found) == 1, f"« {containing} » est dans {len(found)} formules de {chapter}"
    return found[0]


@reads("Bernoulli continue", inline("vae_gaussien", r"1/C(\lambda) ="))
def continuous_bernoulli(page: Page, draw: Draw) -> None:
    share, x = draw.uniform(low=0.1, high=0.4), draw.uniform(4)
    raw = torch.logit(share).expand(4)
    constants = (pixels(draw, name, raw, x) for name in ("continuous_bernoulli", "bernoulli"))
    inverse = math.exp(sum(sign * float(cost) for sign, cost in zip((1, -1), constants, strict=True)) / 4)
    holds(page[0], {r"\lambda": share, r"C(\lambda)": 1 / inverse}, inverse)


# --- L'ACP probabiliste et le mélange ---------------------------------------------------------------------


@reads("eq-latentes-ppca-lois")
def ppca_laws(page: Page, draw: Draw) -> None:
    W, mu, sigma2 = draw.normal(4, 2), draw.normal(4), draw.positive()
    model, x, z = PPCA(W, mu, sigma2), draw.normal(1, 4), draw.normal(2)
    scope = {"W": W, r"\mu": column(mu), r"\sigma": sigma2.sqrt(), "I_D": torch.eye(4)}
    scope |= {"M": W.mT @ W + sigma2 * torch.eye(2), r"\x": x.mT, r"\z": column(z)}
    scope |= {r"p(\x)": model.log_prob(x)[0].exp(), r"p(\z|\x)": lambda x: one(model.posterior(x.mT))}
    holds(page[0], scope, model.log_prob(x)[0].exp())
    holds(page[1], scope, model.posterior(x).log_prob(z)[0].exp())


def fitted(draw: Draw) -> tuple[dict[str, Any], PPCA, Tensor]:
    """Une ACP probabiliste ajustée, et les valeurs et vecteurs propres des données."""
    x = draw.normal(30, 5) @ draw.normal(5, 5)
    model = PPCA.fit(x, 3)
    values, vectors = torch.linalg.eigh(torch.cov(x.mT, correction=0))
    values, vectors = values.flip(0), vectors.flip(1)
    vectors = vectors * (vectors.gather(0, vectors.abs().argmax(0, keepdim=True))).sign()
    scope = {
        "D": 5,
        "d": 3,
        "R": torch.eye(3),
        "I_d": torch.eye(3),
        "U_d": vectors[:, :3],
        "u": [vectors[:, [j]] for j in range(5)],
        r"\Lambda_d": torch.diag(values[:3]),
        r"\lambda": values,
        r"\hat\sigma": model.sigma2.sqrt(),
        r"\hat\mu": column(model.mu),
        r"\bar\x": column(x.mean(0)),
        r"\hat W": model.W,
    }
    return scope, model, x


@reads("eq-latentes-ppca-mv")
def ppca_fit(page: Page, draw: Draw) -> None:
    scope, model, _ = fitted(draw)
    for statement, value in zip(page, (column(model.mu), model.sigma2, model.W), strict=True):
        holds(statement, scope, value)


@reads("eq-latentes-ppca-max")
def ppca_maximum(page: Page, draw: Draw) -> None:
    scope, model, x = fitted(draw)
    holds(page[0], scope, model.log_prob(x).mean())


@reads("eq-latentes-ppca-retrait")
def ppca_shrinkage(page: Page, draw: Draw) -> None:
    scope, model, x = fitted(draw)
    code = model.posterior(x[:1]).mean
    scope |= {r"\x": x[:1].mT, r"\E[\z|\x]": code.mT}
    holds(page[0], scope, model.likelihood(code).mean.mT)


@reads("eq-latentes-variance")
def relative_variance(page: Page, draw: Draw) -> None:
    # La loi a priori a deux dimensions, et W est petite : la quadrature sous elle converge.
    W, mu, sigma2, x = (
        0.4 * draw.normal(3, 2),
        draw.normal(3),
        draw.uniform(low=1.5, high=2),
        draw.normal(1, 3),
    )
    model = PPCA(W, mu, sigma2)
    values, vectors = torch.linalg.eigh(W @ W.mT / sigma2)
    rho, t = values[1:], (x - mu)[0] @ vectors[:, 1:] / (sigma2 * (1 + values[1:])).sqrt()
    scope = {r"\rho": rho, "t": t, "d": 2, r"\x": x.mT, r"p(\z)": model.prior}
    holds(page[0], scope | {r"p(\z|\x)": lambda x: one(model.posterior(x.mT))})


@reads("eq-latentes-melange-marginale")
def mixture_density(page: Page, draw: Draw) -> None:
    scope, mixture, x = mixture_scope(draw)
    holds(page[0], scope, mixture.log_prob(x.view(1))[0].exp())


@reads("eq-latentes-melange-posterior")
def mixture_posterior(page: Page, draw: Draw) -> None:
    scope, mixture, x = mixture_scope(draw)
    holds(page[0], scope, mixture.posterior(x.view(1)).logits[0])


@reads("eq-latentes-derivee")
def likelihood_slope(page: Page, draw: Draw) -> None:
    scope, mixture, _ = mixture_scope(draw)
    xs = draw.normal(5)

    def log_likelihood(p: Tensor) -> Tensor:
        return BernoulliGaussianMixture(p, mixture.means, mixture.sigmas).log_prob(xs).sum()

    shares = mixture.posterior(xs).probs
    holds(page[0], scope | {r"\ell": log_likelihood, "n": 5, r"\bar r(p)": shares.mean()})


def mixture_scope(draw: Draw) -> tuple[dict[str, Any], BernoulliGaussianMixture, Tensor]:
    share, means, sigmas, x = draw.uniform(low=0.1, high=0.4), draw.normal(2), draw.positive(2), draw.normal()
    mixture = BernoulliGaussianMixture(share, means, sigmas)
    scope = {"p": share, "x": x, "p(x)": mixture.log_prob(x.view(1)).exp()[0]}
    scope |= {rf"\mu_{z}": means[z] for z in (0, 1)} | {rf"\sigma_{z}": sigmas[z] for z in (0, 1)}
    posterior = mixture.posterior(x.view(1)).probs[0]
    return scope | {"p(z|x)": lambda x: Bernoulli(posterior)}, mixture, x


# --- Les étiquettes, le débruitage, les images -----------------------------------------------------------


class Conditional:
    """Un VAE conditionnel à trois étiquettes, dont les tirages sont donnés."""

    classes = 3

    def __init__(self, draw: Draw) -> None:
        self.means, self.noise = draw.normal(3) / 3, draw.normal(1, 1, 1)

    def given(self, labels: Tensor) -> SimpleNamespace:
        mean = self.means[labels].view(1, 1)
        q = Prescribed(mean, torch.exp(mean), self.noise)
        return SimpleNamespace(
            posterior=lambda x: q, likelihood=MODEL.likelihood, prior=diagonal_gaussian(mean, mean.cos())
        )


@reads("eq-cvae-marginale")
def sum_over_labels(page: Page, draw: Draw) -> None:
    model, x = Conditional(draw), draw.normal(1, 1)
    bounds = torch.stack([elbo(model.given(torch.tensor([y])), x).value[0] for y in range(3)])
    densities = (bounds + draw.positive(3)).exp()
    scope = {
        r"\x": x[0, 0],
        "y": range(3),
        "p(y)": Categorical(torch.ones(3)),
        r"\mathcal{L}(\x, y)": lambda x, y: bounds[int(y)],
        r"p_\theta(\x)": densities.mean(),
        r"p_\theta(\x|y)": lambda y: Level(densities[int(y)]),
    }
    holds(page[0], scope, marginal_bound(model, x)[0])


class Level(Distribution):
    """Une loi dont on ne connaît que la densité au point observé."""

    def __init__(self, density: Tensor) -> None:
        self.density = density
        super().__init__(validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.density.log()


@reads("eq-cvae-elbo")
def conditional_bound(page: Page, draw: Draw) -> None:
    x, q = observation(draw)
    prior = Normal(draw.normal(), draw.positive())
    laws = (diagonal_gaussian(law.mean.view(1), law.stddev.view(1)) for law in (q, prior))
    value = terms(x, q).reconstruction - kl_term(*laws)
    scope = example(x, q) | {"y": 1, r"\mathcal{L}(\x, y)": value, r"p_\theta(\z|y)": lambda y: prior}
    scope |= {r"q_\phi(\z|\x, y)": lambda x, y: q}
    scope |= {r"p_\theta(\x|\z, y)": lambda z, y: Normal(MODEL.decoder(z), MODEL.sigma)}
    holds(page[0], scope, value)


@reads("eq-cvae-semi")
def unlabelled_bound(page: Page, draw: Draw) -> None:
    model, x = Conditional(draw), draw.normal(1, 1)
    bounds = torch.stack([elbo(model.given(torch.tensor([y])), x).value[0] for y in range(3)])
    best = marginal_bound(model, x)[0]
    scope = {r"\x": x[0, 0], "y": range(3), "p(y)": Categorical(torch.ones(3))}
    scope |= {r"\mathcal{L}(\x, y)": lambda x, y: bounds[int(y)], r"p_\theta(\x)": best.exp()}
    guess = Categorical(draw.simplex(3))
    holds(page[0], scope | {"q(y|\\x)": lambda x: guess})
    # À la meilleure loi des étiquettes, le membre de droite est la borne du paquet.
    holds(page[0], scope | {"q(y|\\x)": lambda x: Categorical(logits=bounds)}, best)


@reads("eq-cvae-bayes")
def label_posterior(page: Page, draw: Draw) -> None:
    bounds, masses = draw.normal(3), draw.simplex(3)
    responsibilities = torch.softmax(bounds + masses.log(), 0)
    scope = {r"\x": draw.normal(), "y": 2, "y'": range(3), "p(y)": Categorical(masses)}
    scope |= {r"\mathcal{L}(\x, y)": lambda x, y: bounds[int(y)]}
    scope |= {r"\hat{q}(y|\x)": lambda x: Categorical(responsibilities)}
    holds(page[0], scope, responsibilities[2])


@reads("eq-ae-debruiteur-exact")
def exact_denoiser(page: Page, draw: Draw) -> None:
    sigma, noisy = draw.positive(), draw.normal()
    mixture = BernoulliGaussianMixture(0.5, (0.0, 1.0), [float(sigma)] * 2)
    exact = mixture.posterior(noisy.view(1)).probs[0]
    scope = {
        r"\sigma": sigma,
        r"\tilde x": noisy,
        r"\E[x | \tilde x]": exact,
        r"P(x|\tilde x)": lambda x: Bernoulli(exact),
    }
    holds(page[0], scope, exact)


@reads("eq-evaluation-frechet")
def frechet(page: Page, draw: Draw) -> None:
    a, b = draw.normal(20, 3), draw.normal(20, 3) @ draw.normal(3, 3) + 1
    distance = torch.tensor(frechet_distance(a, b))
    scope = {"d": distance.sqrt(), r"\mu_a": column(a.mean(0)), r"\mu_b": column(b.mean(0))}
    scope |= {r"\Sigma_a": torch.cov(a.mT), r"\Sigma_b": torch.cov(b.mT)}
    holds(page[0], scope, distance, tol=1e-6)


# --- Les tests --------------------------------------------------------------------------------------------


def failure(reading: Reading, latex: str, seed: int) -> str:
    """Pourquoi cette écriture de la formule est fausse ; vide si elle est juste."""
    with float64(seed):
        try:
            reading.check(statements(latex), Draw(seed))
        except LatexError:
            raise
        except (AssertionError, ValueError) as error:  # ValueError : ce n'est plus une loi
            return str(error) or "fausse"
    return ""


@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: reading.name)
def test_the_formula_of_the_page_is_right(reading: Reading) -> None:
    assert [failure(reading, reading.latex, seed) for seed in (0, 1)] == ["", ""]


@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: reading.name)
def test_every_changed_sign_or_number_is_caught(reading: Reading) -> None:
    changed = dict(mutants(reading.latex))
    unseen = {name for name, latex in changed.items() if not failure(reading, latex, 0)}
    assert changed, "rien à changer"
    assert unseen == set(reading.equivalent), "\n".join(f"{name} : {changed[name]}" for name in unseen)


def test_a_sign_changed_in_the_chapter_itself_is_seen() -> None:
    """De la page au test : le même chapitre, un signe changé, lu comme l'est celui du livre."""
    text = (BOOK.sources / "vae_gaussien.md").read_text(encoding="utf-8")
    changed = text.replace(r"- \mu_j^2 - \sigma_j^2 \bigr)", r"- \mu_j^2 + \sigma_j^2 \bigr)")
    assert changed != text
    reading = next(reading for reading in READINGS if reading.name == "eq-gaussien-kl")
    found = {equation.label: equation.latex for equation in read(changed)}
    assert "écart" in failure(reading, found["eq-gaussien-kl"], 0)


NUMBERS = {"a": 3.0, "b": 5.0, "x_1": 7.0, "v": [2.0, 11.0], "f": lambda t: t + 1, "f(a|b)": 0.0, "n": 2}


@pytest.mark.parametrize(
    ("latex", "value"),
    [
        (r"1{,}5 a - \tfrac12 b", 2.0),
        (r"a / 2b", 0.3),
        (r"a^2 b^{-1}", 1.8),
        (r"\frac1n \sum_{i=1}^n v_i + 1", 7.5),
        (r"\prod_{i=1}^{n} v_i x_1", 2 * 11 * 49),
        (r"\log a b + a", math.log(15) + 3),
        (r"\log(a) b", math.log(3) * 5),
        (r"\log_2 8", 3.0),
        (r"\max\bigl(a,\, b - 1\bigr)", 4.0),
        (r"a(b - 1)", 12.0),
        (r"f(b - 1)", 5.0),
        (r"\underbrace{a}_{\text{trois}} + \recon{b}", 8.0),
    ],
)
def test_the_evaluator_reads_as_a_mathematician(latex: str, value: float) -> None:
    scope = {name: entry for name, entry in NUMBERS.items() if name != "f(a|b)"}
    same(statements(latex)[0].values(scope)[0], value)


@pytest.mark.parametrize(
    ("latex", "message"),
    [
        (r"a + \foo b", r"Commande inconnue : « \foo », après « a + »."),
        (r"a + c", "Symbole sans valeur : « c »."),
        (r"f(a, b)", "Fonction sans valeur : « f ( a , b ) »."),
        (r"\frac{a}{b", "« } » attendu, « la fin » trouvé"),
        (r"a)", "« ) » inattendu, après « a »."),
        (r"\KL(a \Vert b)", "« a » n'est pas une loi de l'environnement."),
    ],
)
def test_what_cannot_be_read_is_said_in_french(latex: str, message: str) -> None:
    scope = {name: entry for name, entry in NUMBERS.items() if name != "f"}
    with pytest.raises(LatexError, match=re.escape(message)):
        statements(latex)[0].values(scope)

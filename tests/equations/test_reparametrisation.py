"""Les équations du chapitre « Dériver à travers un tirage : la reparamétrisation »."""

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from quadrature import Prescribed, cubature, line, nodes
from sides import Draw, same
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from vaebook.exact import PPCA
from vaebook.gradient_variance import exact_variances
from vaebook.gradients import reparameterised, score_function
from vaebook.networks import diagonal_gaussian
from vaebook.objectives import elbo, iwae_bound, log_weights


def log_q(phi: Tensor, z: Tensor) -> Tensor:
    """log N(z ; μ, σ²), φ = (μ, σ), en toutes lettres : un autre calcul que celui de torch."""
    mu, sigma = phi.unbind(-1)
    return -((z - mu) ** 2) / (2 * sigma**2) - torch.log(sigma) - math.log(2 * math.pi) / 2


def q(phi: Tensor, z: Tensor) -> Tensor:
    return torch.exp(log_q(phi, z))


def gradient(f: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """∇f au point donné, de la forme de ce point ; f rend un nombre."""
    at = at.detach().clone().requires_grad_()
    return torch.autograd.grad(f(at), at)[0]


def each(f: Callable[[Tensor, Tensor], Tensor], phi: Tensor, z: Tensor) -> Tensor:
    """∇_φ f(φ, z), pour chaque z : (n, 2)."""
    return gradient(lambda copies: f(copies, z).sum(), phi.expand(len(z), 2))


def law(draw: Draw) -> Tensor:
    """φ = (μ, σ)."""
    return torch.cat([draw.normal(1), draw.positive(1)])


def wave_mean(mean: Tensor, variance: Tensor, phase: float) -> Tensor:
    """E[sin(y + c)] pour y ~ N(m, v) : la fonction caractéristique."""
    return torch.exp(-variance / 2) * torch.sin(mean + phase)


def derivative_of_wave_mean(phi: Tensor, k: float) -> Tensor:
    """∇_φ E_q[sin(kz + 1)] (2,), sans intégrale."""
    return gradient(lambda phi: wave_mean(k * phi[0], (k * phi[1]) ** 2, 1.0), phi)


def linear(draw: Draw) -> PPCA:
    return PPCA(draw.normal(5, 3), draw.normal(5), 1.7)


@pytest.mark.equation("eq-rep-elbo")
def test_the_elbo_is_the_reconstruction_minus_the_divergence(draw: Draw) -> None:
    model, x, mu, sigma = linear(draw), draw.normal(2, 5), draw.normal(2, 3), draw.positive(2, 3)
    posterior = Prescribed(mu, sigma, cubature(3))  # log p(x|z) est quadratique en z : six tirages suffisent
    guess = SimpleNamespace(posterior=lambda x: posterior, likelihood=model.likelihood, prior=model.prior)
    left = elbo(guess, x, samples=6).value
    rules = [nodes(mu[i], sigma[i]) for i in range(2)]
    expected = torch.stack([w @ model.likelihood(z).log_prob(x[i]) for i, (z, w) in enumerate(rules)])
    right = expected - kl_divergence(diagonal_gaussian(mu, sigma), model.prior)
    same(left, right)
    same(model.elbo(x, diagonal_gaussian(mu, sigma)), right)


@pytest.mark.equation("eq-rep-difficulte")
def test_the_gradient_goes_under_the_integral_and_finds_the_density(draw: Draw) -> None:
    phi, k = law(draw), 1.3
    z, _ = line(edge=30, points=3001)
    f, grad_q = torch.sin(k * z + 1), each(q, phi, z)
    left = derivative_of_wave_mean(phi, k)
    right = gradient(lambda phi: torch.trapezoid(f * q(phi, z), z), phi)
    same(left, right)
    right_2 = torch.trapezoid(f[:, None] * grad_q, z, dim=0)
    same(left, right_2)


@pytest.mark.equation("eq-rep-log-derivee")
def test_the_gradient_of_a_density_is_the_density_times_the_score(draw: Draw) -> None:
    phi, z = law(draw), draw.normal(7)
    score = each(log_q, phi, z)
    left = each(lambda phi, z: Normal(*phi.unbind(1), validate_args=False).log_prob(z).exp(), phi, z)
    right = q(phi, z)[:, None] * score
    same(left, right)


@pytest.mark.equation(
    "eq-rep-score",
    equivalent={
        "right: opposé": "zéro",
        "right: doublé": "zéro",
        "right_2: f - b → f + b": "b est une constante quelconque : −b convient aussi",
    },
)
def test_the_score_gradient_is_unbiased_whatever_the_baseline(draw: Draw) -> None:
    phi, k, b = law(draw), 1.3, draw.positive(1)
    z, _ = line(edge=30, points=3001)
    f, score = torch.sin(k * z + 1), each(log_q, phi, z)
    weight = q(phi, z)
    right = torch.trapezoid(weight[:, None] * score, z, dim=0)
    same(torch.zeros(2), right)
    left_2 = derivative_of_wave_mean(phi, k)
    right_2 = torch.trapezoid(weight[:, None] * (f - b)[:, None] * score, z, dim=0)
    same(left_2, right_2)
    # Sans b, l'espérance est la même ; avec b, un tirage ne l'est pas : celui du paquet.
    gaussian = Normal(phi[0], phi[1])
    torch.manual_seed(draw.seed)
    left_3 = torch.stack(score_function(lambda z: torch.sin(k * z + 1), gaussian, 4, baseline=b), 1)
    torch.manual_seed(draw.seed)
    z = gaussian.sample((4,))
    right_3 = (torch.sin(k * z + 1) - b)[:, None] * each(log_q, phi, z)
    same(left_3, right_3)


@pytest.mark.equation("eq-rep-reference")
def test_the_best_baseline_minimises_the_variance(draw: Draw) -> None:
    phi, k = law(draw), 1.3
    z, _ = line(edge=30, points=3001)
    weight, f = q(phi, z), torch.sin(k * z + 1)
    s = each(log_q, phi, z)[:, 0]

    def variance(b: Tensor | float) -> Tensor:
        g = (f - b) * s
        return torch.trapezoid(weight * (g - torch.trapezoid(weight * g, z)) ** 2, z)

    low, middle, high = variance(-1.0), variance(0.0), variance(1.0)
    left = (low - high) / (2 * (low - 2 * middle + high))  # le sommet de la parabole
    right = torch.trapezoid(weight * f * s**2, z) / torch.trapezoid(weight * s**2, z)
    same(left, right)
    left_2 = middle - variance(right)
    right_2 = torch.trapezoid(weight * f * s**2, z) ** 2 / torch.trapezoid(weight * s**2, z)
    same(left_2, right_2)
    exact = exact_variances(lambda z: torch.sin(k * z + 1), phi[0], phi[1:])
    same(exact.best_baseline[0], variance(right))


def full(draw: Draw) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """μ (3,), L (3, 3), une direction a (3,), et la règle de Gauss-Hermite de ε ~ N(0, I)."""
    mu, a = draw.normal(3), draw.uniform(3, low=0.3, high=0.7)
    L = torch.linalg.cholesky(draw.spd(3)) / 2
    epsilon, weight = nodes(torch.zeros(3), torch.ones(3), order=16)
    return mu, L, a, epsilon, weight


@pytest.mark.equation(
    "eq-rep-F", equivalent={"right: mu + epsilon @ L.T → mu - epsilon @ L.T": "−ε suit la même loi que ε"}
)
def test_the_noise_moved_follows_the_law_of_the_code(draw: Draw) -> None:
    mu, L, a, epsilon, weight = full(draw)
    left = wave_mean(a @ mu, a @ L @ L.T @ a, 1.0)
    right = mu + epsilon @ L.T
    same(left, weight @ torch.sin(right @ a + 1))


@pytest.mark.equation(
    "eq-rep-gradient",
    equivalent={"right: mu + epsilon @ L.T → mu - epsilon @ L.T": "−ε suit la même loi que ε"},
)
def test_the_reparameterised_gradient_is_unbiased(draw: Draw) -> None:
    mu, L, a, epsilon, weight = full(draw)
    left = gradient(lambda mu: wave_mean(a @ mu, a @ L @ L.T @ a, 1.0), mu)
    left_L = gradient(lambda L: wave_mean(a @ mu, a @ L @ L.T @ a, 1.0), L)

    def f(z: Tensor) -> Tensor:
        return torch.sin(z @ a + 1)

    slope = torch.cos((mu + epsilon @ L.T) @ a + 1)[:, None] * a  # ∇f(z)
    right = weight @ gradient(lambda mu: f(mu + epsilon @ L.T).sum(), mu.expand(len(weight), 3))
    same(left, right)
    right_mu = weight @ slope
    same(left, right_mu)
    right_L = torch.einsum("n, nj, nk -> jk", weight, slope, epsilon)
    same(left_L, right_L)
    # Un tirage du paquet : ∂F/∂μ = 1, ∂F/∂σ = ε.
    sigma = L.diagonal()
    torch.manual_seed(draw.seed)
    left_2 = reparameterised(f, diagonal_gaussian(mu, sigma), 4)
    torch.manual_seed(draw.seed)
    z = diagonal_gaussian(mu, sigma).sample((4,))
    right_2 = torch.cos(z @ a + 1)[:, None] * a
    same(left_2.mu, right_2)
    right_3 = torch.cos(z @ a + 1)[:, None] * a * (z - mu) / sigma
    same(left_2.sigma, right_3)


@pytest.mark.equation("eq-rep-total")
def test_the_gradient_of_the_log_weight_has_two_parts(draw: Draw) -> None:
    model, x = linear(draw), draw.normal(4, 5)
    mu, sigma = draw.normal(4, 3).requires_grad_(), draw.positive(4, 3).requires_grad_()
    epsilon = draw.normal(1, 4, 3)
    guess = SimpleNamespace(
        posterior=lambda x: Prescribed(mu, sigma, epsilon), likelihood=model.likelihood, prior=model.prior
    )

    def parts(kind: str) -> tuple[Tensor, ...]:
        return torch.autograd.grad(log_weights(guess, x, samples=1, gradient=kind).sum(), (mu, sigma))

    left, left_2 = parts("standard")
    z = (mu + sigma * epsilon[0]).detach().requires_grad_()
    log_joint = model.likelihood(z).log_prob(x) + model.prior.log_prob(z)
    log_density = diagonal_gaussian(mu, sigma).log_prob(z)
    (slope_p,) = torch.autograd.grad(log_joint.sum(), z)
    slope_q, score_mu, score_sigma = torch.autograd.grad(log_density.sum(), (z, mu, sigma))
    right = 1 * (slope_p - slope_q) - score_mu
    same(left, right)
    right_2 = epsilon[0] * (slope_p - slope_q) - score_sigma
    same(left_2, right_2)
    # L'estimateur STL ne garde que la première partie.
    path, path_sigma = parts("stl")
    right_3 = slope_p - slope_q
    same(path, right_3)
    right_4 = epsilon[0] * (slope_p - slope_q)
    same(path_sigma, right_4)


@pytest.mark.equation("eq-rep-stl")
def test_three_reparameterised_estimators(draw: Draw) -> None:
    """Le gradient est affine en ε : sa variance est celle d'une cubature de degré 2."""
    axes = torch.linalg.qr(draw.normal(5, 3)).Q
    model, c = PPCA(axes * draw.uniform(3, low=0.5, high=2.0), draw.normal(5), 0.8), draw.positive(1)
    x = draw.normal(1, 5).expand(6, 5)
    s = model.posterior(x).stddev[0]
    mu = draw.normal(3).expand(6, 3).clone().requires_grad_()
    guess = SimpleNamespace(
        posterior=lambda x: Prescribed(mu, (c * s).expand(6, 3), cubature(3).transpose(0, 1)),
        likelihood=model.likelihood,
        prior=model.prior,
    )

    def variance(objective: Tensor) -> Tensor:
        (g,) = torch.autograd.grad(objective.sum(), mu)
        return (g - g.mean(0)).square().mean(0).sum()

    left = variance(elbo(guess, x).value)
    right = (c**2 * (1 - s**2) ** 2 / s**2).sum()
    same(left, right)
    left_2 = variance(iwae_bound(guess, x, samples=1))
    right_2 = (c**2 / s**2).sum()
    same(left_2, right_2)
    left_3 = variance(iwae_bound(guess, x, samples=1, gradient="stl"))
    right_3 = ((c - 1 / c) ** 2 / s**2).sum()
    same(left_3, right_3)

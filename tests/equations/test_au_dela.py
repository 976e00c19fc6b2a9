"""Les équations de « Au-delà du VAE gaussien »."""

import math
from types import SimpleNamespace

import pytest
import torch
from quadrature import Prescribed, cubature, kl, line, nodes
from sides import Draw, at_most, same
from torch import Tensor
from torch.distributions import (
    Categorical,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from vaebook.diffusion import Diffusion
from vaebook.evaluation import GaussianMixtureSampler
from vaebook.exact import PPCA
from vaebook.flows import AffineCoupling, Flow, Parabola
from vaebook.hierarchical import HierarchicalVAE
from vaebook.networks import diagonal_gaussian
from vaebook.sampled import sampled_elbo
from vaebook.vector_quantised import VQVAE, vector_quantised


@pytest.mark.equation("eq-au-dela-pieces")
def test_the_bound_needs_only_three_log_densities(draw: Draw) -> None:
    """Six tirages bien placés : tout étant gaussien, l'espérance de `sampled_elbo` y est exacte."""
    decoder, x, mu, sigma = (
        PPCA(draw.normal(5, 3), draw.normal(5), 0.8),
        draw.normal(1, 5),
        draw.normal(3),
        draw.positive(3),
    )
    prior = diagonal_gaussian(draw.normal(3), draw.positive(3))
    q = Prescribed(mu[None], sigma[None], cubature(3))
    model = SimpleNamespace(posterior=lambda x: q, likelihood=decoder.likelihood, prior=prior)
    left = sampled_elbo(model, x, samples=6).value[0]
    z, weight = nodes(mu, sigma, 3)
    log_q = Normal(mu, sigma).log_prob(z).sum(1)
    right = (weight * (decoder.likelihood(z).log_prob(x) + prior.log_prob(z) - log_q)).sum()
    same(left, right)
    same(left, sampled_elbo(model, x, samples=6).reconstruction[0] - kl_divergence(q, prior)[0])


def small_hierarchy() -> HierarchicalVAE:
    """Trois codes, deux au-dessus, quatre pixels, des poids aléatoires."""
    return HierarchicalVAE((3, 2), (5,), (1, 2, 2), {"name": "gaussian", "sigma": 0.6}, between=(4,))


@pytest.mark.equation("eq-au-dela-deux-niveaux")
def test_the_two_level_model_is_a_product_of_three_laws(draw: Draw) -> None:
    model = small_hierarchy()
    z_1, z_2, x = draw.normal(3), draw.normal(2), draw.uniform(1, 2, 2)
    z = torch.cat([z_1, z_2])
    left = (model.prior.log_prob(z) + model.likelihood(z).log_prob(x)).exp()
    middle, x_hat = model.down(z_2), model.observation(model.decoder(z_1)).mean
    p_2 = (-(z_2**2) / 2).exp().prod() / (2 * math.pi)
    p_1 = Normal(middle.mean, middle.stddev).log_prob(z_1).exp().prod()
    p_x = Normal(x_hat, 0.6).log_prob(x).exp().prod()
    right = p_2 * p_1 * p_x
    same(1.0, right / left)  # ces densités sont petites


@pytest.mark.equation("eq-au-dela-melange")
def test_the_prior_of_the_lower_code_is_a_mixture(draw: Draw) -> None:
    """Un réseau linéaire : le mélange infini est alors une gaussienne, que l'on connaît."""
    slope, shift, scale, z_1 = draw.normal(2), draw.normal(2), draw.positive(2), draw.normal(4, 2)
    z_2, step = line()
    covariance = slope.outer(slope) + (scale**2).diag()
    left = MultivariateNormal(shift, covariance).log_prob(z_1).exp()
    p_1 = Normal(z_2[:, None] * slope + shift, scale).log_prob(z_1[:, None]).sum(-1).exp()
    p_2 = Normal(0.0, 1.0).log_prob(z_2).exp()
    right = (p_1 * p_2).sum(1) * step
    same(left, right)


class Chain:
    """z₂ ~ N(0, 1), z₁|z₂ ~ N(f(z₂), s²), x|z₁ ~ N(g(z₁), t²), f et g courbes ; sur une grille (z₁, z₂)."""

    def __init__(self, draw: Draw) -> None:
        self.z, self.step = line(9.0, 151)
        a, b, self.t = draw.normal(3), draw.normal(3), 0.8
        self.p_2 = Normal(0.0, 1.0).log_prob(self.z).exp()
        middle = Normal(a[0] * torch.tanh(self.z) + a[1], draw.uniform(low=0.6, high=1.1))
        self.p_1_2 = middle.log_prob(self.z[:, None]).exp()  # p(z₁|z₂), une colonne par z₂
        self.p = self.p_1_2 * self.p_2
        self.p_1 = self.p.sum(1) * self.step
        self.p_2_1 = self.p / self.p_1[:, None]
        self.decoded = b[0] * torch.tanh(2 * self.z) + b[1] + a[2]

    def likelihood(self, x: Tensor) -> Tensor:
        """p(x|z₁), (…, Z)."""
        return Normal(self.decoded, self.t).log_prob(x[..., None]).exp()

    def upward(self, draw: Draw, images: int = 1) -> tuple[Tensor, Tensor]:
        """q(z₁|x), (images, Z), et q(z₂|z₁), (Z, Z), au hasard."""
        laws = Normal(draw.normal(images, 1), draw.uniform(images, 1, low=0.5, high=1.0))
        c = draw.uniform(3, low=0.4, high=1.0)
        top = Normal(c[0] * torch.tanh(self.z[:, None]) + c[1], c[2])
        return laws.log_prob(self.z).exp(), top.log_prob(self.z).exp()


@pytest.mark.equation("eq-au-dela-deux-sens")
def test_the_posterior_factorises_both_ways(draw: Draw) -> None:
    chain, x = Chain(draw), draw.normal()
    joint = chain.p * chain.likelihood(x)[:, None]
    left = joint / (joint.sum() * chain.step**2)
    p_1_x = chain.p_1 * chain.likelihood(x) / ((chain.p_1 * chain.likelihood(x)).sum() * chain.step)
    right = p_1_x[:, None] * chain.p_2_1
    same(left, right)
    # p(x|z₂), puis la règle de Bayes pour chaque facteur.
    p_x_2 = (chain.p_1_2 * chain.likelihood(x)[:, None]).sum(0) * chain.step
    p_2_x = chain.p_2 * p_x_2 / ((chain.p_2 * p_x_2).sum() * chain.step)
    right_2 = p_2_x * (chain.p_1_2 * chain.likelihood(x)[:, None] / p_x_2)
    same(left, right_2)


@pytest.mark.equation("eq-au-dela-elbo")
def test_the_two_level_evidence_is_the_bound_plus_a_divergence(draw: Draw) -> None:
    chain, x = Chain(draw), draw.normal()
    q_1, q_2_1 = chain.upward(draw)
    q, area = (q_1[0][:, None] * q_2_1).flatten(), chain.step**2
    p, joint = chain.p.flatten(), (chain.p * chain.likelihood(x)[:, None]).flatten()
    evidence = joint.sum() * area
    left = evidence.log() - kl(q, joint / evidence, area)
    right_reconstruction = (q_1[0] * chain.likelihood(x).log()).sum() * chain.step
    right = right_reconstruction - kl(q, p, area)
    same(left, right)
    at_most(right, evidence.log())
    # L'objet estime les deux termes par tirages : on refait les mêmes.
    model, x = small_hierarchy(), draw.uniform(2, 1, 2, 2)
    torch.manual_seed(draw.seed)
    left = sampled_elbo(model, x, samples=4).value
    torch.manual_seed(draw.seed)
    z = model.posterior(x).rsample((4,))
    z_1, z_2 = z.split((3, 2), -1)
    log_q = model.posterior(x).log_prob(z)
    log_p = Normal(0.0, 1.0).log_prob(z_2).sum(-1) + model.down(z_2).log_prob(z_1)
    right = 1 / 4 * (model.likelihood(z).log_prob(x) - (log_q - log_p)).sum(0)
    same(left, right)


@pytest.mark.equation("eq-au-dela-montante")
def test_the_divergence_of_a_bottom_up_encoder_splits(draw: Draw) -> None:
    chain = Chain(draw)
    (q_1,), q_2_1 = chain.upward(draw)
    left = kl((q_1[:, None] * q_2_1).flatten(), chain.p.flatten(), chain.step**2)
    right = kl(q_1, chain.p_1, chain.step) + (q_1 * kl(q_2_1, chain.p_2_1, chain.step)).sum() * chain.step
    same(left, right)


@pytest.mark.equation("eq-au-dela-descendante")
def test_the_divergence_of_a_top_down_encoder_splits(draw: Draw) -> None:
    chain = Chain(draw)
    (q_2,), q_1_2 = chain.upward(draw)  # les mêmes lois, dans l'autre ordre : q(z₂|x), puis une ligne par z₂
    left = kl((q_2[:, None] * q_1_2).flatten(), chain.p.T.flatten(), chain.step**2)
    right = kl(q_2, chain.p_2, chain.step) + (q_2 * kl(q_1_2, chain.p_1_2.T, chain.step)).sum() * chain.step
    same(left, right)


@pytest.mark.equation("eq-au-dela-haut")
def test_the_upper_level_is_a_vae_of_the_codes(draw: Draw) -> None:
    chain = Chain(draw)
    q_1_x, q_2_1 = chain.upward(draw, images=3)
    q_1, area = q_1_x.mean(0), chain.step**2
    left = kl((q_1_x[:, :, None] * q_2_1).flatten(1), chain.p.flatten(), area).mean()
    right_R = kl((q_1[:, None] * q_2_1).flatten(), chain.p.flatten(), area)
    right = kl(q_1_x, q_1, chain.step).mean() + right_R
    same(left, right)
    gap = kl(q_1, chain.p_1, chain.step)
    at_most(torch.stack([torch.tensor(0.0), gap]), torch.stack([gap, right_R]))
    # Les deux égalités : un encodeur exact du niveau du haut, puis des codes qui suivent leur loi a priori.
    same(gap, kl((q_1[:, None] * chain.p_2_1).flatten(), chain.p.flatten(), area))
    same(kl(chain.p_1, chain.p_1, chain.step), 0.0)


def small_vqvae() -> VQVAE:
    """Un VQ-VAE à sept codes de taille trois, sur une grille de deux fois deux, de poids aléatoires."""
    return VQVAE(7, 3, (1, 4, 4), {"name": "gaussian", "sigma": 0.6}, channels=(5,))


@pytest.mark.equation("eq-au-dela-plus-proche")
def test_quantising_chooses_the_nearest_code(draw: Draw) -> None:
    model, e = small_vqvae(), 0.5 * draw.normal(4, 6, 3)
    left = model.nearest(e)
    right = ((e[..., None, :] - model.codebook) ** 2).sum(-1).argmin(-1)
    same(left, right)


@pytest.mark.equation("eq-au-dela-vq")
def test_the_objective_has_two_squares_of_opposite_gradients(draw: Draw) -> None:
    model, x, gamma = small_vqvae(), draw.uniform(3, 1, 4, 4), 0.4
    e = model.embed(x)
    c = model.codebook[model.nearest(e)]
    terms = vector_quantised(model, x, commitment=gamma)
    reconstruction = model.likelihood(model.codes(x)).log_prob(x)
    right_squares = -((e.detach() - c) ** 2).sum((1, 2, 3)) - gamma * ((e - c.detach()) ** 2).sum((1, 2, 3))
    right = reconstruction + right_squares
    same(terms.value, right)
    # La valeur ne voit pas ce que sg arrête : les gradients, si.
    weights = [model.codebook, *model.encoder.parameters()]
    found = torch.autograd.grad((terms.value - terms.reconstruction).sum(), weights)
    for one, other in zip(found, torch.autograd.grad(right_squares.sum(), weights), strict=True):
        same(one, other)


@pytest.mark.equation("eq-au-dela-entropie")
def test_the_mean_divergence_of_a_deterministic_encoder(draw: Draw) -> None:
    """Deux places, trois codes : p(k) est une loi quelconque des neuf grilles."""
    p, k = draw.simplex(9), torch.tensor([0, 4, 4, 7, 7, 7, 2, 0])
    certain = torch.nn.functional.one_hot(k, 9).double()
    left = kl_divergence(Categorical(probs=certain), Categorical(p)).mean()
    same(left, -p[k].log().mean())
    q = certain.mean(0)
    right = -torch.xlogy(q, q).sum() + kl(q, p, 1.0)
    same(left, right, tol=1e-6)


@pytest.mark.equation("eq-au-dela-parabole")
def test_the_parabola(draw: Draw) -> None:
    z_1, z_2, x = draw.normal(4), draw.normal(4), draw.normal(1)
    left = Parabola().log_joint(x, torch.stack([z_1, z_2], 1))
    right_sigma = 0.3
    right_x = Normal(z_1**2 + z_2, right_sigma).log_prob(x)
    right = Normal(0.0, 1.0).log_prob(z_1) + Normal(0.0, 1.0).log_prob(z_2) + right_x
    same(left, right)


def random_flow(draw: Draw) -> Flow:
    """Un flot de trois couplages en dimension 3, loin de l'identité."""
    flow = Flow(3, layers=3, hidden=4)
    for weight in flow.parameters():
        weight.data = 0.7 * draw.normal(*weight.shape)
    return flow


@pytest.mark.equation("eq-au-dela-changement")
def test_a_density_is_divided_by_the_jacobian(draw: Draw) -> None:
    q, u = random_flow(draw).distribution, draw.normal(3)
    transform = torch.distributions.ComposeTransform(q.transforms)
    z = transform(u)
    left = q.log_prob(z).exp()
    same(transform.inv(z), u)
    J = torch.stack([torch.autograd.functional.jacobian(lambda u, j=j: transform(u)[j], u) for j in range(3)])
    r = Normal(0.0, 1.0).log_prob(u).sum().exp()
    right = r / torch.linalg.det(J).abs()
    same(left, right)


@pytest.mark.equation("eq-au-dela-flot")
def test_the_log_jacobians_of_a_flow_add_up(draw: Draw) -> None:
    q, u_0 = random_flow(draw).distribution, draw.normal(3)
    u, log_jacobians = u_0, []
    for transform in q.transforms:
        J = torch.autograd.functional.jacobian(transform, u)
        log_jacobians.append(torch.linalg.slogdet(J).logabsdet)
        u = transform(u)
    left = q.log_prob(u)
    right = Normal(0.0, 1.0).log_prob(u_0).sum() - sum(log_jacobians)
    same(left, right)


@pytest.mark.equation("eq-au-dela-couplage")
def test_a_coupling_scales_and_shifts_one_half(draw: Draw) -> None:
    weight, u = draw.normal(4, 2), draw.normal(6, 4)
    u_a, u_b = u[:, :2], u[:, 2:]
    raw, t = (torch.tanh(u_a @ weight.T) * 1.3).chunk(2, -1)
    s = torch.tanh(raw)  # le paquet borne la log-échelle
    coupling = AffineCoupling(lambda kept: torch.tanh(kept @ weight.T) * 1.3, 2, first=True)
    left = coupling(u)
    right_b = s.exp() * u_b + t
    right = torch.cat([u_a, right_b], 1)
    same(left, right)
    # L'inverse et le déterminant de la proposition.
    same(coupling.inv(left), torch.cat([u_a, (-s).exp() * (right_b - t)], 1))
    J = torch.autograd.functional.jacobian(coupling, u[0])
    same(torch.linalg.slogdet(J).logabsdet, s[0].sum())
    same(coupling.log_abs_det_jacobian(u, left), s.sum(1))


@pytest.mark.equation("eq-au-dela-etapes")
def test_a_prior_fitted_afterwards_still_gives_a_bound(draw: Draw) -> None:
    z, step = line(8.0, 1001)
    w, x, share = draw.normal(4), draw.normal(4), draw.simplex(2)
    laws = Normal(draw.normal(2), draw.uniform(2, low=0.5, high=1.2))
    mixture = GaussianMixtureSampler(share, laws.mean[:, None], laws.variance[:, None, None])
    p_2 = mixture.log_prob(z[:, None]).exp()
    log_likelihood = Normal(z[:, None] * w, 0.7).log_prob(x).sum(1)
    # Un mélange de gaussiennes et un décodeur linéaire : p(x) est un mélange de gaussiennes.
    covariance = laws.variance[:, None, None] * w.outer(w) + 0.7**2 * torch.eye(4)
    evidence = (MultivariateNormal(laws.mean[:, None] * w, covariance).log_prob(x) + share.log()).logsumexp(0)

    def bound(q: Tensor) -> Tensor:
        right_bound: Tensor = (q * (log_likelihood + p_2.log() - q.log())).sum() * step
        return right_bound

    at_most(bound(Normal(draw.normal(1), draw.positive(1)).log_prob(z).exp()), evidence)
    same(evidence, bound(p_2 * log_likelihood.exp() / evidence.exp()))


@pytest.mark.equation("eq-au-dela-diffusion")
def test_the_diffusion_bound(draw: Draw) -> None:
    """Une dimension, trois niveaux, des retours p(u_{t−1}|u_t) = N(a_t u_t, v_t) : tout est gaussien."""
    alpha = draw.uniform(3, low=0.3, high=0.9)
    alpha_bar, u_0 = alpha.cumprod(0), draw.normal(1)

    def posterior(t: int, u_t: Tensor) -> Normal:
        """q(u_{t−1}|u_t, u₀), par la règle de Bayes : les précisions s'ajoutent."""
        before = alpha_bar[t - 2]
        precision = alpha[t - 1] / (1 - alpha[t - 1]) + 1 / (1 - before)
        mean = alpha[t - 1].sqrt() * u_t / (1 - alpha[t - 1]) + before.sqrt() * u_0 / (1 - before)
        return Normal(mean / precision, precision.rsqrt())

    def bound(a: Tensor, v: Tensor) -> Tensor:
        end = Normal(alpha_bar[2].sqrt() * u_0, (1 - alpha_bar[2]).sqrt())
        u = [nodes(alpha_bar[t].sqrt() * u_0, (1 - alpha_bar[t : t + 1]).sqrt(), 3) for t in range(3)]
        reconstruction = (u[0][1] * Normal(a[0] * u[0][0][:, 0], v[0].sqrt()).log_prob(u_0)).sum()
        levels = [
            (
                weight * kl_divergence(posterior(t, u_t[:, 0]), Normal(a[t - 1] * u_t[:, 0], v[t - 1].sqrt()))
            ).sum()
            for t, (u_t, weight) in ((2, u[1]), (3, u[2]))
        ]
        right_end = kl_divergence(end, Normal(0.0, 1.0))[0]
        right_bound: Tensor = reconstruction - right_end - sum(levels)
        return right_bound

    def evidence(a: Tensor, v: Tensor) -> Tensor:
        variance = ((a[2] ** 2 + v[2]) * a[1] ** 2 + v[1]) * a[0] ** 2 + v[0]
        return Normal(0.0, variance.sqrt()).log_prob(u_0)[0]

    a, v = draw.uniform(3, low=0.4, high=1.2), draw.positive(3)
    at_most(bound(a, v), evidence(a, v))
    # Égalité si les retours sont exacts : ceux de la chaîne stationnaire, de loi N(0, 1) à tout niveau.
    same(evidence(alpha.sqrt(), 1 - alpha), bound(alpha.sqrt(), 1 - alpha))


@pytest.mark.equation("eq-au-dela-diffusion")
def test_the_divergence_of_a_level_of_diffusion(draw: Draw) -> None:
    """La forme que prend un terme quand le réseau devine u₀."""
    model, t = Diffusion(torch.zeros(3), torch.ones(3), levels=6), 4
    u_0, guess, u_t = draw.normal(3), draw.normal(3), draw.normal(3)
    rho = model.alpha_bar[1:] / (1 - model.alpha_bar[1:])  # ρ₁, …, ρ_T
    left = kl_divergence(Normal(*model.step_back(u_t, u_0, t)), Normal(*model.step_back(u_t, guess, t))).sum()
    right = 1 / 2 * (rho[t - 2] - rho[t - 1]) * ((u_0 - guess) ** 2).sum()
    same(left, right)
    # L'objet tire u_t lui-même : on refait le même tirage.
    torch.manual_seed(draw.seed)
    left = model.term(u_0, torch.tensor(t))
    torch.manual_seed(draw.seed)
    u_t = model.alpha_bar[t].sqrt() * u_0 + (1 - model.alpha_bar[t]).sqrt() * torch.randn(3)
    guess = model.predict(u_t, torch.tensor(t))
    right = -1 / 2 * (rho[t - 2] - rho[t - 1]) * ((u_0 - guess) ** 2).sum()
    same(left, right)

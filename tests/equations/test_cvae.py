"""Les équations du « VAE conditionnel »."""

import math
from types import SimpleNamespace

import pytest
import torch
from quadrature import Prescribed, cubature, kl, line
from sides import Draw, at_most, same
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, Normal, kl_divergence

from vaebook.models import ConditionalVAE
from vaebook.networks import diagonal_gaussian
from vaebook.objectives import elbo, marginal_bound

SHAPE = (1, 2, 3)


def small_cvae() -> ConditionalVAE:
    """Un VAE conditionnel à trois codes, six pixels et quatre étiquettes, de poids aléatoires."""
    likelihood = {"name": "gaussian", "sigma": 0.37}
    return ConditionalVAE(3, (5,), SHAPE, likelihood, classes=4, learned_prior=True)


class Labelled:
    """Trois étiquettes, un code, quatre pixels : z|y ~ N(m_y, s_y²), x|z, y ~ N(wz + b_y, σ²I).

    Tout y est exact. L'encodeur q(z|x, y) = N(μ, τ²) est donné, ou c'est la vraie loi a posteriori.
    """

    classes, sigma = 3, 0.7

    def __init__(self, draw: Draw, *, images: int = 2, exact: bool = False) -> None:
        self.m, self.s, self.w, self.b = draw.normal(3), draw.positive(3), draw.normal(4), draw.normal(3, 4)
        self.x = draw.normal(images, 4)
        precision = 1 / self.s**2 + self.w @ self.w / self.sigma**2
        mean = ((self.x[:, None] - self.b) @ self.w / self.sigma**2 + self.m / self.s**2) / precision
        self.exact = Normal(mean, precision.rsqrt().expand_as(mean))  # p(z|x, y), (images, étiquettes)
        self.q = self.exact if exact else Normal(draw.normal(images, 3), draw.positive(images, 3))

    def evidence(self) -> Tensor:
        """log p(x|y), (images, étiquettes)."""
        covariance = self.s[:, None, None] ** 2 * self.w.outer(self.w) + self.sigma**2 * torch.eye(4)
        return MultivariateNormal(self.m[:, None] * self.w + self.b, covariance).log_prob(self.x[:, None])

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z, y), z (…, étiquettes)."""
        return diagonal_gaussian(z[..., None] * self.w + self.b, torch.full((4,), self.sigma))

    def given(self, y: Tensor) -> SimpleNamespace:
        """Le modèle sachant une même étiquette pour toutes les images ; deux tirages donnent l'espérance."""
        k = int(y[0])
        mu, tau = self.q.mean[:, k : k + 1], self.q.stddev[:, k : k + 1]
        return SimpleNamespace(
            posterior=lambda x: Prescribed(mu, tau, cubature(1)),
            likelihood=lambda z: diagonal_gaussian(z * self.w + self.b[k], torch.full((4,), self.sigma)),
            prior=diagonal_gaussian(self.m[k : k + 1], self.s[k : k + 1]),
        )

    def bounds(self) -> Tensor:
        """L(x, y), (images, étiquettes), par `elbo`."""
        every = [torch.full((len(self.x),), k) for k in range(3)]
        return torch.stack([elbo(self.given(y), self.x, samples=2).value for y in every], 1)


@pytest.mark.equation("eq-cvae-modele")
def test_the_three_laws_are_gaussians_given_the_label(draw: Draw) -> None:
    model, y = small_cvae(), torch.tensor([2])
    x, z, D, sigma, label = draw.uniform(*SHAPE), draw.normal(3), 6, 0.37, torch.eye(4)[2]
    given = model.given(y)
    m, log_s2 = model.prior_head.linear(label).split(3)
    left = given.prior.log_prob(z)[0]
    right = -(0.5 * math.log(2 * math.pi) + log_s2 / 2 + (z - m) ** 2 / (2 * log_s2.exp())).sum()
    same(left, right)
    mu, log_v = model.head.linear(model.encoder(x[None], label[None]))[0].split(3)
    left = given.posterior(x[None]).log_prob(z)[0]
    right = -(0.5 * math.log(2 * math.pi) + log_v / 2 + (z - mu) ** 2 / (2 * log_v.exp())).sum()
    same(left, right)
    x_hat = model.observation(model.decoder(z, label)).mean
    left = given.likelihood(z[None]).log_prob(x)[0]
    right = -D / 2 * math.log(2 * math.pi * sigma**2) - ((x - x_hat) ** 2).sum() / (2 * sigma**2)
    same(left, right)


@pytest.mark.equation("eq-cvae-densite")
def test_the_density_given_the_label_is_an_integral_over_codes(draw: Draw) -> None:
    model = Labelled(draw)
    z, step = line(25.0, 601)
    prior = Normal(model.m, model.s).log_prob(z[:, None]).exp()
    likelihood = model.likelihood(z[:, None].expand(-1, 3)).log_prob(model.x[:, None, None]).exp()
    left = model.evidence().exp()
    right = (likelihood * prior).sum(1) * step
    same(left, right)


@pytest.mark.equation("eq-cvae-elbo")
def test_the_conditional_bound_is_reconstruction_minus_divergence(draw: Draw) -> None:
    model = Labelled(draw)
    z, step = line(25.0, 801)
    q = model.q.log_prob(z[:, None, None]).exp()
    log_likelihood = model.likelihood(z[:, None, None].expand(-1, 2, 3)).log_prob(model.x[:, None])
    left = model.bounds()
    right_reconstruction = (q * log_likelihood).sum(0) * step
    right = right_reconstruction - kl_divergence(model.q, Normal(model.m, model.s))
    same(left, right)


@pytest.mark.equation("eq-cvae-ecart")
def test_the_conditional_evidence_is_the_bound_plus_a_divergence(draw: Draw) -> None:
    model = Labelled(draw)
    left = model.evidence()
    right = model.bounds() + kl_divergence(model.q, model.exact)
    same(left, right)
    at_most(model.bounds(), left)
    ideal = Labelled(draw, exact=True)
    same(ideal.evidence(), ideal.bounds())


@pytest.mark.equation("eq-cvae-transfert")
def test_transfer_keeps_the_code_and_changes_the_label(draw: Draw) -> None:
    model, x = small_cvae(), draw.uniform(2, *SHAPE)
    y, new_y = torch.tensor([0, 2]), torch.tensor([3, 1])
    mu, _ = model.head.linear(model.encoder(x, torch.eye(4)[y])).split(3, -1)
    left = model.transfer(x, y, new_y)
    right = model.observation(model.decoder(mu, torch.eye(4)[new_y])).mean
    same(left, right)
    assert not left.allclose(model.reconstruct(x, y))


@pytest.mark.equation("eq-cvae-gain")
def test_a_label_is_worth_at_most_its_own_surprise(draw: Draw) -> None:
    p_y, p_x_y = draw.simplex(4), draw.simplex(4, 5)
    p_x = p_y @ p_x_y
    gain = p_x_y.log() - p_x.log()
    at_most(gain, -p_y.log()[:, None].expand(4, 5))
    # En moyenne : l'information mutuelle, entre 0 et l'entropie.
    information = (p_y[:, None] * p_x_y * gain).sum()
    at_most(
        torch.stack([torch.tensor(0.0), information]), torch.stack([information, -(p_y * p_y.log()).sum()])
    )
    # Égalité si aucune autre étiquette ne donne cette image.
    alone = torch.eye(4)
    left = (alone.diag() / (p_y @ alone)).log()
    right = -p_y.log()
    same(left, right)


@pytest.mark.equation("eq-cvae-marginale")
def test_the_evidence_without_a_label_is_above_the_sum_of_the_bounds(draw: Draw) -> None:
    p_y, model = draw.simplex(3), Labelled(draw)
    left = (model.evidence() + p_y.log()).logsumexp(1)
    right_evidence = (p_y * model.evidence().exp()).sum(1).log()
    same(left, right_evidence)
    # Indépendamment : la densité de x, les deux variables étant intégrées sur une grille.
    z, step = line(25.0, 601)
    likelihood = model.likelihood(z[:, None].expand(-1, 3)).log_prob(model.x[:, None, None]).exp()
    joint = p_y * Normal(model.m, model.s).log_prob(z[:, None]).exp() * likelihood
    same(joint.sum((1, 2)) * step, right_evidence.exp())
    at_most((p_y * model.bounds().exp()).sum(1).log(), left)
    right = (1 / 3 * model.bounds().exp()).sum(1).log()
    same(marginal_bound(model, model.x, samples=2), right)
    # Égalité si l'encodeur est exact, pour chaque étiquette.
    ideal = Labelled(draw, exact=True)
    left = (p_y * ideal.evidence().exp()).sum(1).log()
    right = (p_y * ideal.bounds().exp()).sum(1).log()
    same(left, right)


@pytest.mark.equation("eq-cvae-semi")
def test_any_law_of_the_labels_gives_a_bound(draw: Draw) -> None:
    p_y, q_y, model = draw.simplex(3), draw.simplex(2, 3), Labelled(draw)
    left = (p_y * model.evidence().exp()).sum(1).log()
    at_most((q_y * (model.bounds() + (p_y / q_y).log())).sum(1), left)
    # Égalité si l'encodeur est exact et que q(y|x) est la règle de Bayes.
    model = Labelled(draw, exact=True)
    left = (p_y * model.evidence().exp()).sum(1).log()
    q_y = (model.evidence() + p_y.log()).softmax(1)
    right = (q_y * (model.bounds() + (p_y / q_y).log())).sum(1)
    same(left, right)


@pytest.mark.equation("eq-cvae-bayes")
def test_the_best_law_of_the_labels(draw: Draw) -> None:
    p_y, L = draw.simplex(3), Labelled(draw).bounds()

    def bound(q_y: Tensor) -> Tensor:
        """Le membre de droite de l'inégalité, pour des q(y|x) (images, étiquettes)."""
        return (q_y * (L + (p_y / q_y).log())).sum(1)

    right = p_y * L.exp() / (p_y * L.exp()).sum(1, keepdim=True)
    same(right.sum(1), torch.ones(2))
    same(bound(right), (p_y * L.exp()).sum(1).log())
    # C'est un maximum : toute autre loi fait moins bien, et la dérivée y est nulle.
    at_most(bound(draw.simplex(2, 3)), bound(right))
    slope = torch.func.jacrev(lambda logits: bound(logits.softmax(1)).sum())(right.log())
    same(slope, torch.zeros(2, 3))


class Groups:
    """Cinq images de trois étiquettes, un code : q(z|x, y) gaussiennes, et leurs mélanges sur une grille."""

    def __init__(self, draw: Draw) -> None:
        self.z, self.step = line(15.0, 1201)
        self.labels = torch.tensor([0, 0, 1, 1, 2])
        self.laws = Normal(draw.normal(5), draw.uniform(5, low=0.4, high=1.6))
        self.q = self.laws.log_prob(self.z[:, None]).exp().T  # q(z|x, y), (images, Z)
        self.p_y = torch.tensor([0.4, 0.4, 0.2])
        self.q_y = torch.stack([self.q[self.labels == y].mean(0) for y in range(3)])  # q(z|y)


@pytest.mark.equation("eq-cvae-information")
def test_a_fixed_prior_charges_for_what_the_code_says_of_the_label(draw: Draw) -> None:
    data = Groups(draw)
    q, q_y, p_y, step, aggregate = data.q, data.q_y, data.p_y, data.step, data.q.mean(0)
    p = Normal(0.0, 1.0).log_prob(data.z).exp()
    left = kl_divergence(data.laws, Normal(0.0, 1.0)).mean()
    right_x = kl(q, q_y[data.labels], step).mean()
    right_y = (p_y * kl(q_y, aggregate, step)).sum()
    right = right_x + right_y + kl(aggregate, p, step)
    same(left, right)


@pytest.mark.equation("eq-cvae-information-apprise")
def test_a_learned_prior_does_not(draw: Draw) -> None:
    data, prior = Groups(draw), Normal(draw.normal(3), draw.uniform(3, low=0.6, high=1.6))
    p = prior.log_prob(data.z[:, None]).exp().T
    left = kl_divergence(data.laws, Normal(prior.mean[data.labels], prior.stddev[data.labels])).mean()
    right_x = kl(data.q, data.q_y[data.labels], data.step).mean()
    right = right_x + (data.p_y * kl(data.q_y, p, data.step)).sum()
    same(left, right)

"""Le VAE à deux niveaux : ses lois, et sa borne face à log p(x) exact dans le cas linéaire gaussien."""

import math

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from vaebook.hierarchical import HierarchicalVAE, LadderVAE, Levels, level_kl
from vaebook.likelihoods import Gaussian
from vaebook.objectives import elbo, iwae_bound, log_weights
from vaebook.sampled import sampled_elbo
from vaebook.training import fit

D1, D2, SIGMA = 3, 1, 0.5


def linear(kind):
    """Un modèle sans couche cachée, dont p(z₁|z₂) a une variance fixe : log p(x) y est connu."""
    torch.manual_seed(0)
    model = kind((D1, D2), (), (1, 2, 3), Gaussian(sigma=SIGMA, link="identity"), between=()).double()
    weight, bias = model.down[0].linear.weight, model.down[0].linear.bias
    with torch.no_grad():
        weight[D1:] = 0
        bias[D1:] = -1.0
        weight[:D1] *= 2
    return model


def exact_log_prob(model, x):
    layer = model.decoder.layers[-1]
    W, b = layer.weight, layer.bias
    head = model.down[0].linear
    A, a, variance = head.weight[:D1], head.bias[:D1], head.bias[D1:].exp()
    covariance = W @ (A @ A.T + variance.diag()) @ W.T + SIGMA**2 * torch.eye(6)
    return MultivariateNormal(W @ a + b, covariance).log_prob(x.flatten(1))


@pytest.fixture
def x():
    return torch.rand(4, 1, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", [HierarchicalVAE, LadderVAE])
def test_the_two_level_bound_is_below_the_exact_likelihood(kind, x):
    model = linear(kind)
    with torch.no_grad():
        torch.manual_seed(0)
        exact, value = exact_log_prob(model, x), sampled_elbo(model, x, samples=4000).value
        tighter = iwae_bound(model, x, samples=4000)
    assert (value < exact - 0.1).all()
    assert (tighter > value).all()


def make_ladder_exact(model):
    """Le message de l'encodeur devient la vraisemblance de z₁, et q(z₂|x) la loi a posteriori de z₂."""
    decoder, down = model.decoder.layers[-1], model.down[0].linear
    with torch.no_grad():
        W = torch.linalg.qr(torch.randn(6, D1, dtype=torch.float64))[0] * 1.5  # WᵀW diagonale
        decoder.weight.copy_(W)
        noise = SIGMA**2 / 1.5**2
        head = model.head.linear
        head.weight.zero_(), head.bias.zero_()
        head.weight[:D1] = W.T / 1.5**2
        head.bias[:D1] = -W.T @ decoder.bias / 1.5**2
        head.bias[D1:] = math.log(noise)
        A, a = down.weight[:D1], down.bias[:D1]
        given = 1 / (down.bias[D1:].exp() + noise)  # précision du message sachant z₂
        precision = 1 + (A.T * given) @ A
        up = model.up[0].linear
        up.weight.zero_(), up.bias.zero_()
        up.weight[:D2] = torch.linalg.solve(precision, A.T * given)
        up.bias[:D2] = -up.weight[:D2] @ a
        up.bias[D2:] = -precision.diagonal().log()


def test_the_exact_ladder_has_no_gap(x):
    model = linear(LadderVAE)
    make_ladder_exact(model)
    with torch.no_grad():
        weights = log_weights(model, x, samples=7)
        torch.testing.assert_close(weights, exact_log_prob(model, x).expand(7, -1))


def test_the_density_of_levels_is_the_product_of_its_factors():
    torch.manual_seed(0)
    prior = LadderVAE((3, 2), (4,), (1, 4, 4)).double().prior
    z = prior.sample((6,))
    z1, z2 = z.split([3, 2], -1)
    bottom, top = prior.factors(z)
    torch.testing.assert_close(prior.log_prob(z), bottom.log_prob(z1) + top.log_prob(z2))
    torch.testing.assert_close(top.log_prob(z2), Normal(0.0, 1.0).log_prob(z2).sum(-1))


def test_levels_integrate_to_one():
    first = Independent(Normal(torch.zeros(1).double(), 1.0), 1)
    law = Levels(first, lambda z: Independent(Normal(z.sin(), 0.5 + z.square()), 1), (1, 1), top_first=True)
    line = torch.linspace(-6, 6, 121, dtype=torch.float64)
    other = torch.linspace(-250, 250, 20001, dtype=torch.float64)
    inside = [
        law.log_prob(torch.stack([other, z2.expand(len(other))], -1)).exp().sum() * (other[1] - other[0])
        for z2 in line
    ]
    assert float(torch.stack(inside).sum() * (line[1] - line[0])) == pytest.approx(1, abs=1e-4)


def test_the_order_of_the_levels_is_that_of_the_draw():
    one = Independent(Normal(torch.full((1,), 5.0), 1e-6), 1)
    up = Levels(one, lambda z: Independent(Normal(2 * z, 1e-6), 1), (1, 1), top_first=False)
    down = Levels(one, lambda z: Independent(Normal(2 * z, 1e-6), 1), (1, 1), top_first=True)
    torch.testing.assert_close(up.sample((2,)), torch.tensor([[5.0, 10.0]] * 2))
    torch.testing.assert_close(down.sample((2,)), torch.tensor([[10.0, 5.0]] * 2))
    torch.testing.assert_close(up.path(), torch.tensor([5.0, 10.0]))
    torch.testing.assert_close(down.path(), torch.tensor([10.0, 5.0]))


def test_the_ladder_adds_precisions(x):
    torch.manual_seed(0)
    model = LadderVAE((3, 2), (4,), (1, 2, 3)).double()
    q = model.posterior(x)
    z = q.sample()
    bottom, _ = q.factors(z)
    message = super(LadderVAE, model).posterior(x).first
    prior, _ = model.prior.factors(z)
    torch.testing.assert_close(1 / bottom.variance, 1 / message.variance + 1 / prior.variance)
    balance = bottom.mean / bottom.variance
    torch.testing.assert_close(balance, message.mean / message.variance + prior.mean / prior.variance)


@pytest.mark.parametrize("kind", [HierarchicalVAE, LadderVAE])
def test_the_parts_of_the_kl(kind, x):
    torch.manual_seed(0)
    model = kind((3, 2), (4,), (1, 2, 3)).double()
    with torch.no_grad():
        total, top = level_kl(model, x, samples=2000)
        terms = sampled_elbo(model, x, samples=2000)
        q = model.posterior(x)
        z = q.sample((2000,))
        expected = kl_divergence(q.factors(z)[1], model.prior.factors(z)[1])
    torch.testing.assert_close(total, terms.kl, rtol=0.1, atol=0.05)
    torch.testing.assert_close(top, expected.expand(2000, 4).mean(0), rtol=0.1, atol=0.02)
    assert (top > 0).all()
    if kind is LadderVAE:
        assert (total > top).all()


def test_a_dead_top_level_is_a_stationary_point(x):
    """Si p(z₁|z₂) et q(z₂|z₁) ne lisent rien, leurs poids n'ont pas de gradient, en moyenne."""
    model = linear(HierarchicalVAE)
    with torch.no_grad():
        for network in (model.up, model.down):
            network[0].linear.weight.zero_()
        model.up[0].linear.bias.zero_()
    torch.manual_seed(0)
    value = sampled_elbo(model, x, samples=20_000).value.mean()
    weights = [model.up[0].linear.weight, model.down[0].linear.weight, model.head.linear.weight]
    *dead, alive = (gradient.abs().max() for gradient in torch.autograd.grad(value, weights))
    assert max(dead) < 0.05 * alive


def test_only_the_first_level_is_decoded(x):
    model = linear(HierarchicalVAE)
    z = torch.randn(4, D1 + D2, dtype=torch.float64)
    other = torch.cat([z[:, :D1], torch.randn(4, D2, dtype=torch.float64)], 1)
    assert torch.equal(model.likelihood(z).mean, model.likelihood(other).mean)
    assert model.reconstruct(x).shape == x.shape
    assert model.sample(2).shape == (2, 1, 2, 3)


@pytest.mark.parametrize("kind", [HierarchicalVAE, LadderVAE])
def test_it_learns_and_its_config_rebuilds_it(kind):
    torch.manual_seed(0)
    model = kind((3, 2), (8,), (1, 4, 4), "gaussian", between=(5,))
    history = fit(
        model,
        torch.rand(64, 1, 4, 4),
        epochs=8,
        lr=1e-2,
        batch_size=16,
        device="cpu",
        progress=False,
        objective=sampled_elbo,
    )
    assert history.value[-1] > history.value[0]
    again = kind(**model.config)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.reconstruct(torch.ones(1, 1, 4, 4)), model.reconstruct(torch.ones(1, 1, 4, 4)))


def test_its_kl_has_no_closed_form(x):
    with pytest.raises(NotImplementedError):
        elbo(linear(HierarchicalVAE), x)

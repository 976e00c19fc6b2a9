"""L'ELBO par tirages et la boucle `climb`."""

import pytest
import torch

from vaebook.models import VAE
from vaebook.objectives import elbo, iwae_bound
from vaebook.sampled import climb, sampled_elbo


@pytest.fixture
def model():
    torch.manual_seed(0)
    return VAE(latent_dim=3, hidden=(8,), image_shape=(1, 4, 4), likelihood="gaussian").double()


@pytest.fixture
def x():
    return torch.rand(5, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_the_sampled_terms_estimate_those_of_the_elbo(model, x):
    with torch.no_grad():
        torch.manual_seed(2)
        drawn = sampled_elbo(model, x, samples=4000)
        torch.manual_seed(2)
        exact = elbo(model, x, samples=4000)
    torch.testing.assert_close(drawn.reconstruction, exact.reconstruction)
    torch.testing.assert_close(drawn.kl, exact.kl, rtol=0.1, atol=0.05)
    torch.testing.assert_close(drawn.value, drawn.reconstruction - drawn.kl)


def test_with_one_sample_it_is_the_importance_weighted_bound(model, x):
    torch.manual_seed(3)
    value = sampled_elbo(model, x).value
    torch.manual_seed(3)
    torch.testing.assert_close(value, iwae_bound(model, x, samples=1))


def test_beta_weighs_the_kl(model, x):
    torch.manual_seed(4)
    terms = sampled_elbo(model, x, beta=3.0)
    torch.testing.assert_close(terms.value, terms.reconstruction - 3 * terms.kl)


def test_its_gradient_estimates_that_of_the_elbo(model, x):
    def gradient(objective):
        torch.manual_seed(5)
        value = objective(model, x, samples=5000).value.mean()
        return torch.autograd.grad(value, model.head.linear.bias)[0]

    torch.testing.assert_close(gradient(sampled_elbo), gradient(elbo), rtol=0.1, atol=0.02)


def test_climb_reaches_a_maximum_and_returns_the_path():
    at = torch.zeros(2, requires_grad=True)
    goal = torch.tensor([1.0, -2.0])
    values = climb(lambda: -(at - goal).square().sum(), [at], steps=200, lr=0.1)
    assert values.shape == (200,)
    assert values[0] == -5
    torch.testing.assert_close(at.detach(), goal, atol=1e-3, rtol=0)


def test_climb_refuses_no_step_and_a_value_that_is_not_finite():
    at = torch.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match="au moins un pas"):
        climb(lambda: at.sum(), [at], steps=0)
    with pytest.raises(FloatingPointError, match="au pas 1"):
        climb(lambda: at.sum() / 0, [at], steps=3)


def test_climb_is_short_in_quick_mode_and_says_so(monkeypatch, capsys):
    monkeypatch.setenv("VAEBOOK_QUICK", "1")
    at = torch.ones(1, requires_grad=True)
    assert len(climb(lambda: at.sum(), [at], steps=500)) == 20
    assert "20 pas au lieu de 500" in capsys.readouterr().out

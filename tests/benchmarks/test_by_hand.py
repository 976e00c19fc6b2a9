"""Le pas écrit à la main calcule les gradients qu'autograd trouve par `elbo`."""

import torch
from by_hand import ByHand
from torch.distributions import kl_divergence

from vaebook.models import VAE


def test_the_gradients_are_those_of_autograd():
    torch.manual_seed(0)
    model, x, noise = VAE(3, (7,)).double(), torch.rand(5, 1, 28, 28).double(), torch.randn(5, 3).double()
    hand = ByHand(model)
    found, value = hand.gradients(x.flatten(1), noise)
    q = model.posterior(x)
    expected = model.likelihood(q.mean + q.stddev * noise).log_prob(x) - kl_divergence(q, model.prior)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(found, list(torch.autograd.grad(-expected.mean(), hand.parameters)))


def test_its_steps_raise_the_bound():
    torch.manual_seed(0)
    hand, x = ByHand(VAE(3, (7,)), lr=1e-2), torch.rand(64, 784) / 10
    values = torch.stack([hand.step(x) for _ in range(30)])
    assert values[-5:].mean() > values[:5].mean() + 100

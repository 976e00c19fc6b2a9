"""Le VQ-VAE : le plus proche vecteur, le gradient qui traverse, la KL d'un encodeur déterministe."""

import itertools
import math

import pytest
import torch
from torch.distributions import kl_divergence

from vaebook.objectives import elbo
from vaebook.sampled import sampled_elbo
from vaebook.training import fit
from vaebook.vector_quantised import (
    VQVAE,
    AutoregressivePrior,
    code_frequencies,
    perplexity,
    straight_through,
    vector_quantised,
)

SHAPE = (1, 8, 8)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return VQVAE(5, 3, SHAPE, channels=(4, 6))


@pytest.fixture
def x():
    return torch.rand(7, *SHAPE, generator=torch.Generator().manual_seed(1))


def test_each_vector_takes_the_nearest_code(model):
    vectors = torch.randn(4, 2, 2, 3)
    expected = torch.cdist(vectors.reshape(-1, 3), model.codebook).argmin(1).reshape(4, 2, 2)
    assert torch.equal(model.nearest(vectors), expected)
    assert torch.equal(model.nearest(model.codebook), torch.arange(5))


def test_the_gradient_goes_straight_through():
    vectors = torch.randn(3, requires_grad=True)
    quantised = torch.randn(3, requires_grad=True)
    passed = straight_through(vectors, quantised)
    torch.testing.assert_close(passed.detach(), quantised.detach())
    slope = torch.tensor([1.0, -2.0, 3.0])
    (passed * slope).sum().backward()
    assert torch.equal(vectors.grad, slope)
    assert quantised.grad is None


def test_each_term_of_the_objective_trains_its_own_part(model, x):
    vectors, codes = model.embed(x), model.codes(x)
    quantised = model.codebook[codes]
    square = (vectors - quantised).square().sum((1, 2, 3))
    terms = vector_quantised(model, x, commitment=0.5)
    torch.testing.assert_close(terms.reconstruction, model.decode(quantised).log_prob(x))
    torch.testing.assert_close(terms.value, terms.reconstruction - 1.5 * square)
    # Le tableau ne reçoit que le premier carré ; les codes non choisis, rien.
    (gradient,) = torch.autograd.grad(terms.value.sum(), model.codebook, retain_graph=True)
    expected = torch.zeros(5, 3).index_add_(
        0, codes.flatten(), 2 * (vectors - quantised).detach().reshape(-1, 3)
    )
    torch.testing.assert_close(gradient, expected)


def test_the_commitment_only_holds_the_encoder(model, x):
    def gradient(commitment, weight):
        return torch.autograd.grad(vector_quantised(model, x, commitment=commitment).value.sum(), weight)[0]

    assert torch.equal(gradient(0.0, model.codebook), gradient(9.0, model.codebook))
    encoder = model.encoder[0].weight
    assert not torch.allclose(gradient(0.0, encoder), gradient(9.0, encoder))
    with pytest.raises(ValueError, match="commitment=-1"):
        vector_quantised(model, x, commitment=-1)


def test_a_deterministic_encoder_pays_log_k_for_each_place(model, x):
    kl = kl_divergence(model.posterior(x), model.prior)
    torch.testing.assert_close(kl, torch.full((7,), 4 * math.log(5)))
    torch.testing.assert_close(vector_quantised(model, x).kl, kl)
    torch.testing.assert_close(sampled_elbo(model, x).kl, kl, rtol=1e-4, atol=1e-4)


def test_its_elbo_is_one(model, x):
    torch.manual_seed(0)
    terms = elbo(model, x)
    torch.testing.assert_close(terms.reconstruction, model.likelihood(model.codes(x)).log_prob(x))
    torch.testing.assert_close(terms.value, terms.reconstruction - 4 * math.log(5))


def test_the_posterior_draws_the_codes(model, x):
    assert torch.equal(model.posterior(x).sample((3,)), model.codes(x).expand(3, -1, -1, -1))
    assert model.reconstruct(x).shape == x.shape
    assert model.likelihood(torch.zeros(2, 3, 2, 2, dtype=torch.long)).mean.shape == (2, 3, *SHAPE)


def test_perplexity_counts_codes_of_equal_use():
    assert perplexity(torch.arange(8).view(2, 4), 16) == pytest.approx(8)
    assert perplexity(torch.zeros(5, dtype=torch.long), 16) == pytest.approx(1)


def test_frequencies_are_counted_place_by_place():
    k = torch.tensor([[[0, 1]], [[0, 2]], [[0, 1]]])
    law = code_frequencies(k, 3, smoothing=1.0)
    assert law.log_prob(torch.tensor([[0, 1]])).exp() == pytest.approx(4 / 6 * 3 / 6)
    with pytest.raises(ValueError, match="strictement positif"):
        code_frequencies(k, 3, smoothing=0)


def test_the_autoregressive_law_sums_to_one_and_draws_what_it_says():
    torch.manual_seed(0)
    law = AutoregressivePrior(3, (2, 2), hidden=8)
    every = torch.tensor(list(itertools.product(range(3), repeat=4))).view(-1, 2, 2)
    with torch.no_grad():
        log_probability = law.log_prob(every)
    assert log_probability.exp().sum() == pytest.approx(1, abs=1e-5)
    drawn = law.sample((20_000,)).flatten(1) @ torch.tensor([27, 9, 3, 1])
    frequency = drawn.bincount(minlength=81) / 20_000
    assert (frequency - log_probability.exp()).abs().max() < 0.01


def test_the_autoregressive_law_only_reads_what_precedes():
    torch.manual_seed(0)
    law = AutoregressivePrior(3, (1, 4), hidden=8)
    k = torch.tensor([[0, 1, 2, 0]])
    changed = torch.tensor([[0, 1, 2, 1]])
    with torch.no_grad():
        gap = law.log_prob(k) - law.log_prob(changed)
        states, _ = law.network(law.embedding(torch.tensor([[3, 0, 1, 2]])) + law.place)
        logits = law.head(states)[0, 3].log_softmax(-1)
    torch.testing.assert_close(gap, logits[0] - logits[1])


def test_it_learns(x):
    torch.manual_seed(0)
    model = VQVAE(5, 3, SHAPE, channels=(4,))
    options = {"epochs": 20, "batch_size": 7, "device": "cpu", "progress": False, "lr": 1e-2}
    history = fit(model, x, objective=vector_quantised, **options)
    assert history.reconstruction[-1] > history.reconstruction[0] + 1


@pytest.mark.parametrize("wrong", [{"codes": 1}, {"channels": ()}, {"channels": (2, 2, 2, 2)}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ValueError, match="au moins deux codes"):
        VQVAE(**wrong)

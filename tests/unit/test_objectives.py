"""Les objectifs : cas calculés à la main, identités, gradients."""

import math

import pytest
import scipy.integrate
import scipy.stats
import torch
from torch.distributions import Independent, Normal, kl_divergence

from vaebook import objectives
from vaebook.exact import BernoulliGaussianMixture
from vaebook.likelihoods import Gaussian
from vaebook.models import VAE, Autoencoder, ConditionalVAE, LinearVAE
from vaebook.networks import diagonal_gaussian
from vaebook.objectives import elbo, free_bits, iwae_bound

SHAPE = (1, 4, 4)


def small(likelihood: str = "gaussian", seed: int = 0) -> VAE:
    torch.manual_seed(seed)
    return VAE(2, (6,), SHAPE, likelihood).double()


def images(n: int = 5) -> torch.Tensor:
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class OneDimension:
    """z ~ N(0, 1), x | z ~ N(z, 1), q(z|x) = N(m, s²) : tout se calcule à la main."""

    def __init__(self, m: float, s: float) -> None:
        self.m, self.s = m, s

    def posterior(self, x):
        return diagonal_gaussian(torch.full_like(x, self.m), torch.full_like(x, self.s))

    def likelihood(self, z):
        return Independent(Normal(z, 1.0), 1)

    @property
    def prior(self):
        return diagonal_gaussian(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))


def test_elbo_on_a_case_computed_by_hand():
    # x = 2, q = N(½, ¼) : E log p = −½ log 2π − ½((2 − ½)² + ¼) ; KL = ½(¼ + ¼ − 1 − log ¼).
    x = torch.tensor([[2.0]], dtype=torch.float64)
    torch.manual_seed(0)
    draws = 400_000
    value, reconstruction, kl = elbo(OneDimension(0.5, 0.5), x, samples=draws, beta=3.0)
    by_hand = -0.5 * math.log(2 * math.pi) - 0.5 * (1.5**2 + 0.25)
    spread = math.sqrt((1.5 * 0.5) ** 2 + 0.5 * 0.25**2)  # écart-type de −(x − z)²/2 sous q
    assert reconstruction.item() == pytest.approx(by_hand, abs=4 * spread / math.sqrt(draws))
    assert kl.item() == pytest.approx(0.5 * (0.25 + 0.25 - 1 - math.log(0.25)), abs=1e-12)
    assert value.item() == pytest.approx(reconstruction.item() - 3 * kl.item(), abs=1e-12)


def test_elbo_terms_are_those_of_scipy_for_the_same_draw():
    model, x = small("laplace"), images()
    torch.manual_seed(3)
    _, reconstruction, _ = elbo(model, x)
    torch.manual_seed(3)
    z = model.posterior(x).rsample()
    mean = model.decoder(z)[:, 0].sigmoid().detach()
    expected = scipy.stats.laplace.logpdf(x, mean, 1.0).sum((1, 2, 3))
    torch.testing.assert_close(reconstruction.detach(), torch.as_tensor(expected))


# Identité 1 : la KL de `elbo`, contre la quadrature, torch et Monte-Carlo.


def trained_looking(model: torch.nn.Module) -> torch.nn.Module:
    """Des poids assez grands pour que q ne soit pas la loi a priori."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3)
    return model


def models_with_gaussian_posteriors():
    torch.manual_seed(0)
    labels = torch.arange(5) % 3
    conditional = ConditionalVAE(2, (6,), SHAPE, "gaussian", classes=3, learned_prior=True).double()
    yield "VAE", trained_looking(small())
    yield "VAE conditionnel", trained_looking(conditional).given(labels)
    yield "VAE linéaire", trained_looking(LinearVAE(2, SHAPE).double())


@pytest.mark.parametrize(("name", "model"), list(models_with_gaussian_posteriors()))
def test_closed_form_kl(name, model):
    x = images()
    kl = elbo(model, x).kl.detach()
    q, p = model.posterior(x), model.prior
    mu, sigma = q.mean.detach(), q.stddev.detach()
    prior_mu, prior_sigma = (t.detach().expand(mu.shape) for t in (p.mean, p.stddev))

    def integrand(z, m, s, m0, s0):
        log_q, log_p = scipy.stats.norm.logpdf(z, m, s), scipy.stats.norm.logpdf(z, m0, s0)
        return math.exp(log_q) * (log_q - log_p)

    for i in range(len(x)):
        total = 0.0
        for m, s, m0, s0 in zip(mu[i], sigma[i], prior_mu[i], prior_sigma[i], strict=True):
            arguments = (m.item(), s.item(), m0.item(), s0.item())
            low, high = m.item() - 12 * s.item(), m.item() + 12 * s.item()
            total += scipy.integrate.quad(integrand, low, high, args=arguments, epsabs=1e-12)[0]
        assert kl[i].item() == pytest.approx(total, abs=1e-8)
    torch.manual_seed(1)
    z = q.sample(torch.Size((100_000,)))
    ratio = (q.log_prob(z) - p.log_prob(z)).detach()
    assert ((ratio.mean(0) - kl).abs() < 4 * ratio.std(0) / math.sqrt(len(z))).all()
    assert (kl > 1e-3).all()


def test_kl_is_zero_exactly_at_the_prior():
    p = diagonal_gaussian(torch.zeros(1, 3), torch.ones(1, 3))
    assert kl_divergence(p, p).item() == 0


def test_derivative_of_the_loss_in_beta_is_the_kl():
    """Identité 17."""
    model, x = small(), images()
    beta = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    value, _, kl = elbo(model, x, beta=beta)
    (gradient,) = torch.autograd.grad(-value.sum(), beta)
    assert gradient.item() == pytest.approx(kl.sum().item(), rel=1e-12)


def test_beta_is_a_rescaled_variance():
    """Identité 13 : σ² fixé et β donnent le gradient de βσ² et 1, multiplié par β."""
    x, beta = images(), 4.0
    torch.manual_seed(0)
    narrow = VAE(2, (6,), SHAPE, "gaussian").double()
    wide = VAE(2, (6,), SHAPE, Gaussian(math.sqrt(beta))).double()
    wide.load_state_dict(narrow.state_dict())
    for model, weight in ((narrow, beta), (wide, 1.0)):
        torch.manual_seed(1)
        elbo(model, x, beta=weight).value.mean().backward()
    for a, b in zip(narrow.parameters(), wide.parameters(), strict=True):
        torch.testing.assert_close(a.grad, beta * b.grad, rtol=1e-9, atol=1e-12)


def test_more_samples_lower_the_variance_and_keep_the_mean():
    model, x = small(), images(1)
    torch.manual_seed(0)
    with torch.no_grad():
        one = torch.stack([elbo(model, x).reconstruction for _ in range(2000)])
        many = torch.stack([elbo(model, x, samples=16).reconstruction for _ in range(500)])
    assert many.var() < one.var() / 8
    assert abs(one.mean() - many.mean()) < 4 * (one.var() / 2000 + many.var() / 500).sqrt()


# Identité 18 : sous le seuil, la KL n'a pas de gradient.


def test_free_bits_below_and_above_the_threshold():
    model, x = small(), images()
    kl_by_dim = kl_divergence(model.posterior(x).base_dist, model.prior.base_dist).mean(0).detach()
    for threshold, expect_gradient in (
        (2 * kl_by_dim.max().item(), False),
        (kl_by_dim.min().item() / 2, True),
    ):
        value, reconstruction, kl = free_bits(model, x, threshold=threshold)
        penalty = (reconstruction - value).mean()
        expected = 2 * threshold if not expect_gradient else kl_by_dim.sum().item()
        assert penalty.item() == pytest.approx(expected, rel=1e-9)
        gradients = torch.autograd.grad(penalty, model.head.parameters(), allow_unused=True)
        size = sum(float(g.abs().sum()) for g in gradients if g is not None)
        assert (size > 1e-6) is expect_gradient
        assert kl.mean().item() == pytest.approx(kl_by_dim.sum().item(), rel=1e-12)


def test_free_bits_threshold_applies_to_the_mean_over_the_batch():
    class TwoImages(OneDimension):
        def __init__(self):
            pass

        def posterior(self, x):  # KL = ½μ² : 0 et 2 nats, 1 en moyenne
            return diagonal_gaussian(torch.tensor([[0.0], [2.0]]).double(), torch.ones(2, 1).double())

    x = torch.zeros(2, 1, dtype=torch.float64)
    value, reconstruction, kl = free_bits(TwoImages(), x, threshold=0.5)
    torch.testing.assert_close(kl, torch.tensor([0.0, 2.0], dtype=torch.float64))
    # La moyenne, 1, dépasse ½ : aucun seuil ne joue. Image par image, on aurait ½ et 2.
    torch.testing.assert_close(reconstruction - value, torch.ones(2, dtype=torch.float64))


def test_discrete_latents_are_drawn_without_a_pathwise_gradient():
    mixture = BernoulliGaussianMixture(0.3, (-1.0, 2.0), (0.5, 0.7))
    x = torch.tensor([0.1, 1.5], dtype=torch.float64)
    torch.manual_seed(0)
    bound = iwae_bound(mixture, x, samples=3)
    torch.testing.assert_close(
        bound, mixture.log_prob(x)
    )  # q est la vraie loi a posteriori : poids constants


def test_a_lost_gradient_is_refused():
    class Mixture(OneDimension):
        def posterior(self, x):
            weights = torch.distributions.Categorical(torch.ones(len(x), 2, dtype=torch.float64))
            parts = diagonal_gaussian(torch.zeros(len(x), 2, 1).double(), torch.ones(len(x), 2, 1).double())
            return torch.distributions.MixtureSameFamily(weights, parts)

    with pytest.raises(TypeError, match="reparamétrisation"):
        iwae_bound(Mixture(0, 1), torch.zeros(3, 1, dtype=torch.float64), samples=2)


def test_free_bits_needs_diagonal_gaussians():
    class Correlated(OneDimension):
        def posterior(self, x):
            return torch.distributions.MultivariateNormal(x, torch.eye(1, dtype=torch.float64))

    with pytest.raises(TypeError, match="gaussienne diagonale"):
        free_bits(Correlated(0, 1), torch.zeros(1, 1, dtype=torch.float64), threshold=0.1)


def test_capacity_pulls_the_kl_towards_its_target():
    model, x = small(), images()
    torch.manual_seed(2)
    value, reconstruction, kl = objectives.capacity(model, x, target=3.0, beta=5.0)
    torch.testing.assert_close(value, reconstruction - 5 * (kl - 3).abs())


# La borne pondérée.


def test_iwae_with_one_sample_is_the_log_weight():
    model, x = small(), images()
    torch.manual_seed(4)
    bound = iwae_bound(model, x, samples=1)
    torch.manual_seed(4)
    q = model.posterior(x)
    z = q.rsample()
    expected = model.likelihood(z).log_prob(x) + model.prior.log_prob(z) - q.log_prob(z)
    torch.testing.assert_close(bound, expected)


def test_bound_and_its_gradient_are_those_of_weights_computed_by_hand():
    """Identité 8 : L_k = log moyenne des poids, et ∇ Σ w̃ log w, poids détachés, est ∇L_k."""
    model, x = small(), images()
    parameters = list(model.parameters())
    torch.manual_seed(5)
    bound = iwae_bound(model, x, samples=7)
    torch.manual_seed(5)
    q = model.posterior(x)
    z = q.rsample((7,))
    x_hat = model.decoder(z)[..., 0, :, :, :].sigmoid()
    log_w = Normal(x_hat, 1.0).log_prob(x).sum((-1, -2, -3))
    log_w = log_w + Normal(0.0, 1.0).log_prob(z).sum(-1) - Normal(q.mean, q.stddev).log_prob(z).sum(-1)
    torch.testing.assert_close(bound, log_w.exp().mean(0).log())
    surrogate = (torch.softmax(log_w.detach(), 0) * log_w).sum()
    direct = torch.autograd.grad(bound.sum(), parameters)
    for a, b in zip(direct, torch.autograd.grad(surrogate, parameters), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("gradient", ["stl", "dreg"])
def test_other_gradients_keep_the_value_and_the_decoder_gradient(gradient):
    model, x = small(), images()
    decoder = list(model.decoder.parameters())
    results = []
    for kind in ("standard", gradient):
        torch.manual_seed(6)
        bound = iwae_bound(model, x, samples=5, gradient=kind)
        results.append((bound.detach(), torch.autograd.grad(bound.sum(), decoder)))
    (value, standard), (other_value, other) = results
    assert torch.equal(value, other_value)
    for a, b in zip(standard, other, strict=True):
        torch.testing.assert_close(a, b)


class Free(OneDimension):
    """Le même modèle, dont m et s sont des paramètres : un couple par ligne, donc un gradient par tirage."""

    def __init__(self, m: float, s: float, rows: int) -> None:
        self.m = torch.full((rows, 1), m, dtype=torch.float64, requires_grad=True)
        self.s = torch.full((rows, 1), s, dtype=torch.float64, requires_grad=True)

    def posterior(self, x):
        return diagonal_gaussian(self.m, self.s)

    def gradients(self, gradient: str, samples: int, x: float = 2.0) -> torch.Tensor:
        torch.manual_seed(7)
        bound = iwae_bound(self, torch.full_like(self.m, x).detach(), samples=samples, gradient=gradient)
        return torch.cat(torch.autograd.grad(bound.sum(), (self.m, self.s)), dim=1)


@pytest.mark.parametrize(("gradient", "samples"), [("stl", 1), ("dreg", 1), ("dreg", 6)])
def test_unbiased_encoder_gradients_share_the_mean_of_the_standard_one(gradient, samples):
    rows = 200_000
    standard, other = (Free(0.4, 0.8, rows).gradients(kind, samples) for kind in ("standard", gradient))
    error = ((standard.var(0) + other.var(0)) / rows).sqrt()
    assert ((standard.mean(0) - other.mean(0)).abs() < 4 * error).all()
    assert (other.var(0) < standard.var(0)).any()


def test_sticking_the_landing_is_biased_beyond_one_sample():
    rows = 200_000
    standard, other = (Free(0.4, 0.8, rows).gradients(kind, 6) for kind in ("standard", "stl"))
    error = ((standard.var(0) + other.var(0)) / rows).sqrt()
    assert ((standard.mean(0) - other.mean(0)).abs() > 6 * error).any()


def test_sticking_the_landing_has_no_variance_at_the_exact_posterior():
    exact = Free(1.0, math.sqrt(0.5), 10)  # x = 2 : la vraie loi a posteriori est N(1, ½)
    assert exact.gradients("stl", 1).abs().max() < 1e-12
    assert exact.gradients("standard", 1).abs().max() > 1e-3


def test_importance_weighted_objective_reports_the_terms_of_the_elbo():
    model, x = small(), images()
    torch.manual_seed(9)
    terms = objectives.importance_weighted(model, x, samples=4)
    torch.manual_seed(9)
    torch.testing.assert_close(terms.value, iwae_bound(model, x, samples=4))
    torch.testing.assert_close(terms.kl, kl_divergence(model.posterior(x), model.prior))
    assert terms.value.requires_grad
    assert not terms.kl.requires_grad


def test_marginal_bound_sums_over_labels():
    torch.manual_seed(0)
    model, x = ConditionalVAE(2, (6,), SHAPE, "gaussian", classes=3).double(), images()
    torch.manual_seed(1)
    bound = objectives.marginal_bound(model, x)
    torch.manual_seed(1)
    by_label = [elbo(model.given(torch.full((5,), y)), x).value for y in range(3)]
    expected = torch.log(torch.stack(by_label).exp().mean(0))
    torch.testing.assert_close(bound, expected)


# Le débruitage.


def test_denoising_aims_at_the_clean_image():
    torch.manual_seed(0)
    model, x = Autoencoder(2, (6,), SHAPE).double(), images()
    terms = objectives.denoising(model, x, noise=lambda image: image + 1)
    torch.testing.assert_close(terms.value, -((model.reconstruct(x + 1) - x) ** 2).sum((1, 2, 3)))
    assert terms.kl.abs().max() == 0
    torch.testing.assert_close(objectives.reconstruction(model, x).value, -model.error(x))


def test_noises():
    x = torch.full((1, 1, 400, 400), 0.5)
    torch.manual_seed(0)
    added = objectives.gaussian_noise(0.3)(x) - x
    assert added.std().item() == pytest.approx(0.3, rel=0.01)
    masked = objectives.masking_noise(0.25)(x)
    assert set(masked.unique().tolist()) == {0.0, 0.5}
    assert (masked == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert torch.equal(objectives.masking_noise(0.0)(x), x)
    assert objectives.masking_noise(1.0)(x).abs().max() == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: elbo(small(), images(), samples=0),
        lambda: iwae_bound(small(), images(), samples=0),
        lambda: iwae_bound(small(), images(), samples=2, gradient="faux"),
        lambda: free_bits(small(), images(), threshold=-1.0),
        lambda: objectives.gaussian_noise(-0.1),
        lambda: objectives.masking_noise(1.5),
    ],
)
def test_impossible_requests_are_refused(call):
    with pytest.raises(ValueError, match=r"il faut|inconnu|doit être|est un"):
        call()

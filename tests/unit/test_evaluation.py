"""Les mesures contre des modèles dont la réponse est connue : ACP probabiliste, quadrature, scipy."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    Laplace,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from vaebook import evaluation
from vaebook.evaluation import (
    Estimate,
    FeatureClassifier,
    GaussianMixtureSampler,
    active_units,
    aggregate_posterior,
    bits_per_dim,
    elbo_on,
    frechet_distance,
    generalisation_gap,
    inference_gaps,
    log_likelihood,
    mutual_information_gap,
    posteriors,
    rate_distortion,
    refine,
)
from vaebook.exact import PPCA
from vaebook.models import VAE, ConditionalVAE


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def diagonal(mean: Tensor, stddev: Tensor) -> Independent:
    return Independent(Normal(mean, stddev), 1)


@dataclass
class Data:
    images: Tensor
    labels: Tensor


class Encoder(PPCA):
    """Le modèle exact, muni d'un encodeur faux : moyenne décalée, écart-type multiplié."""

    shift, scale = 0.0, 1.0

    def posterior(self, x: Tensor) -> Distribution:  # type: ignore[override]
        best = self.best_diagonal(x)
        return diagonal(best.mean + self.shift * best.stddev, best.stddev * self.scale)


class Table:
    """Un modèle sans décodeur : le posterior de l'image i est la ligne i de deux tables."""

    def __init__(self, means: Tensor, stddevs: Tensor, prior: Distribution | None = None) -> None:
        self.means, self.stddevs = means, stddevs
        d = means.shape[1]
        self.prior = prior or diagonal(torch.zeros(d).double(), torch.ones(d).double())

    @property
    def images(self) -> Tensor:
        return torch.arange(len(self.means), dtype=torch.float64).unsqueeze(1)

    def posterior(self, x: Tensor) -> Distribution:
        rows = x.squeeze(1).long()
        return diagonal(self.means[rows], self.stddevs[rows])

    def likelihood(self, z: Tensor) -> Distribution:
        raise AssertionError("ces mesures ne décodent pas")


def ppca(size: int = 6, latent_dim: int = 2, kind: type[PPCA] = PPCA) -> PPCA:
    return kind(randn(size, latent_dim), randn(size, seed=1), 0.5)


def vae() -> VAE:
    torch.manual_seed(0)
    return VAE(latent_dim=3, hidden=(8,), image_shape=(1, 4, 4), likelihood="gaussian").double()


IMAGES = torch.rand(11, 1, 4, 4, generator=generator(2), dtype=torch.float64)


# ---------------------------------------------------------------- bornes


def test_estimate_is_a_mean_and_its_standard_error() -> None:
    estimate = Estimate.of(torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert estimate.mean == 3
    assert estimate.error == pytest.approx(math.sqrt(14 / 3) / 2)
    assert str(estimate) == "3,00 ± 1,08"
    assert math.isnan(Estimate.of(torch.tensor([1.0])).error)


def test_elbo_and_its_terms_are_those_of_the_exact_model() -> None:
    model = ppca(kind=Encoder)
    model.shift, model.scale = 0.5, 1.4  # type: ignore[attr-defined]
    x = randn(40, 6, seed=11)
    q = model.posterior(x)
    bounds = elbo_on(model, x, samples=4000)
    exact, kl = model.elbo(x, q), kl_divergence(q, model.prior)
    assert bounds.value.mean == pytest.approx(float(exact.mean()), abs=0.03)
    assert bounds.kl.mean == pytest.approx(float(kl.mean()), abs=1e-12)
    assert bounds.kl.error == pytest.approx(float(kl.std()) / math.sqrt(40), abs=1e-12)
    assert bounds.value.mean == pytest.approx(bounds.reconstruction.mean - bounds.kl.mean, abs=1e-12)
    assert bounds.value.error == pytest.approx(float(exact.std()) / math.sqrt(40), rel=0.05)
    point = rate_distortion(model, x, samples=4000)
    assert point.rate == bounds.kl
    assert point.distortion == (-bounds.reconstruction.mean, bounds.reconstruction.error)


@pytest.mark.parametrize("samples", [1, 50, 120])
def test_log_likelihood_is_exact_at_the_exact_posterior(samples: int) -> None:
    model = ppca()
    x = randn(7, 6, seed=3)
    measured = log_likelihood(model, x, samples=samples, batch_size=3)
    torch.testing.assert_close(measured, model.log_prob(x), rtol=1e-11, atol=1e-11)


def test_log_likelihood_of_a_wrong_encoder_tends_to_log_prob_and_beats_the_elbo() -> None:
    model = ppca(kind=Encoder)
    model.scale = 1.3  # type: ignore[attr-defined]
    x = randn(30, 6, seed=4)
    measured = log_likelihood(model, x, samples=3000)
    torch.testing.assert_close(measured.mean(), model.log_prob(x).mean(), rtol=0, atol=0.02)
    assert float(measured.mean()) > elbo_on(model, x, samples=100).value.mean + 0.05


@settings(deadline=None, max_examples=20)
@given(batch_size=st.integers(1, 15), seed=st.integers(0, 100))
def test_identity_20_batch_size_and_order_change_nothing(batch_size: int, seed: int) -> None:
    model = vae()
    order = torch.randperm(11, generator=generator(seed))
    reference, shuffled = (
        elbo_on(model, x, samples=3, batch_size=size)
        for x, size in ((IMAGES, 11), (IMAGES[order], batch_size))
    )
    for a, b in zip(reference, shuffled, strict=True):
        assert a == pytest.approx(b, abs=1e-10)
    per_image = log_likelihood(model, IMAGES, samples=60)
    torch.testing.assert_close(
        log_likelihood(model, IMAGES[order], samples=60, batch_size=batch_size),
        per_image[order],
        rtol=0,
        atol=1e-10,
    )


def test_noise_differs_between_images_seeds_and_samples_but_not_between_calls() -> None:
    model = vae()
    first, second = (log_likelihood(model, IMAGES, samples=2, seed=seed) for seed in (0, 1))
    assert (first != second).all()
    assert torch.equal(first, log_likelihood(model, IMAGES, samples=2, seed=0))
    noise = evaluation._noise(evaluation._generators(IMAGES, 0), 1000, torch.zeros(11, 3))
    flat = noise.permute(1, 2, 0).reshape(33, 1000)
    correlations = torch.corrcoef(flat) - torch.eye(33)
    assert float(correlations.abs().max()) < 0.2
    assert float(flat.std()) == pytest.approx(1, abs=0.02)


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    elbo_on(vae_ := vae(), IMAGES)
    torch.set_rng_state(state)
    elbo_on(vae_, IMAGES)
    aggregate_posterior(vae_, IMAGES)
    assert torch.equal(torch.get_rng_state(), state)


def test_conditional_models_read_the_labels() -> None:
    torch.manual_seed(6)
    model = ConditionalVAE(2, (8,), (1, 4, 4), "gaussian", classes=3, learned_prior=True).double()
    labels = torch.arange(11) % 3
    whole = elbo_on(model, Data(IMAGES, labels), batch_size=4)
    by_label = [elbo_on(model.given(labels[i : i + 1]), IMAGES[i : i + 1]).value.mean for i in range(11)]
    assert whole.value.mean == pytest.approx(sum(by_label) / 11, abs=1e-10)
    assert whole.value.mean != pytest.approx(
        elbo_on(model, Data(IMAGES, (labels + 1) % 3)).value.mean, abs=1e-4
    )
    with pytest.raises(ValueError, match="conditionnel"):
        elbo_on(model, IMAGES)
    with pytest.raises(TypeError, match="par étiquette"):
        aggregate_posterior(model, Data(IMAGES, labels))


def test_unlabelled_models_ignore_the_labels() -> None:
    assert elbo_on(vae(), Data(IMAGES, torch.zeros(11).long())) == elbo_on(vae(), IMAGES)


def test_bits_per_dim_of_known_densities() -> None:
    assert bits_per_dim(0.0, 784) == 8  # l'uniforme sur [0, 1]
    assert bits_per_dim(784 * math.log(0.5), 784, levels=1) == pytest.approx(1)
    # Une densité constante par niveau : la conversion est exacte.
    probabilities = torch.softmax(randn(4), 0)
    nats = (4 * probabilities).log()
    torch.testing.assert_close(bits_per_dim(nats, 1, levels=4), -probabilities.log2())
    with pytest.raises(ValueError, match="au moins égaux à 1"):
        bits_per_dim(0.0, 0)


@pytest.mark.parametrize(
    "measure",
    [
        lambda: elbo_on(vae(), IMAGES, samples=0),
        lambda: log_likelihood(vae(), IMAGES, samples=0),
        lambda: aggregate_posterior(vae(), IMAGES, samples=0),
        lambda: inference_gaps(vae(), IMAGES, samples=0),
        lambda: refine(vae(), IMAGES, samples=0),
        lambda: elbo_on(vae(), IMAGES[:0]),
        lambda: elbo_on(vae(), IMAGES, batch_size=0),
        lambda: active_units(vae(), IMAGES[:1]),
    ],
)
def test_refused_arguments(measure) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="au moins"):
        measure()


def test_only_gaussian_posteriors_are_measured() -> None:
    class Other(Table):
        def posterior(self, x: Tensor) -> Distribution:
            return Independent(Laplace(torch.zeros(len(x), 2), torch.ones(len(x), 2)), 1)

    model = Other(torch.zeros(3, 2), torch.ones(3, 2))
    for measure in (elbo_on, posteriors):
        with pytest.raises(TypeError, match="gaussiennes"):
            measure(model, model.images)


# ---------------------------------------------------------------- espace latent


def test_posteriors_are_those_of_the_model() -> None:
    q = posteriors(vae(), IMAGES, batch_size=4)
    expected = vae().posterior(IMAGES)
    torch.testing.assert_close(q.mean, expected.mean.detach())
    torch.testing.assert_close(q.stddev, expected.stddev.detach())
    model, x = ppca(), randn(5, 6)
    full = posteriors(model, x, batch_size=2)
    torch.testing.assert_close(full.covariance_matrix, model.posterior(x).covariance_matrix)  # type: ignore[attr-defined]


def test_active_units_count_the_means_that_vary() -> None:
    means = torch.stack(
        [torch.zeros(50), 0.05 * randn(50), 0.2 * randn(50, seed=1), randn(50, seed=2)], 1
    ).double()
    model = Table(means, torch.full_like(means, 10.0))
    units = active_units(model, model.images)
    assert units.count == 2
    torch.testing.assert_close(units.variance, means.var(0))
    assert active_units(model, model.images, threshold=0.0005).count == 3


def components(n: int, d: int) -> tuple[Tensor, Tensor]:
    return randn(n, d, seed=7), 0.3 + torch.rand(n, d, generator=generator(8), dtype=torch.float64)


@settings(deadline=None, max_examples=20)
@given(n=st.integers(1, 6), d=st.integers(1, 4), m=st.integers(1, 9), pairs=st.sampled_from([1, 7, 2**20]))
def test_mixture_density_is_exact(n: int, d: int, m: int, pairs: int) -> None:
    means, stddevs = components(n, d)
    z = randn(2, m, d, seed=9)
    roots = randn(n, d, d, seed=10)
    full = MultivariateNormal(means, roots @ roots.mT + 0.2 * torch.eye(d))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "_PAIRS_AT_ONCE", pairs)
        for q in (diagonal(means, stddevs), full):
            expected = MixtureSameFamily(Categorical(torch.ones(n).double()), q).log_prob(z)
            torch.testing.assert_close(evaluation._mixture_log_prob(q, z), expected, rtol=1e-9, atol=1e-9)


def test_mixture_density_far_from_every_component_does_not_underflow() -> None:
    means, stddevs = components(3, 2)
    far = torch.full((1, 2), 1e4, dtype=torch.float64)
    expected = MixtureSameFamily(Categorical(torch.ones(3).double()), diagonal(means, stddevs)).log_prob(far)
    torch.testing.assert_close(evaluation._mixture_log_prob(diagonal(means, stddevs), far), expected)


def test_identities_10_and_11_against_quadrature() -> None:
    means, stddevs = components(3, 2)
    model = Table(2 * means, stddevs)
    found = aggregate_posterior(model, model.images, samples=4000, batch_size=2)

    grid = torch.linspace(-12, 12, 801, dtype=torch.float64)
    cell = float(grid[1] - grid[0])
    z = torch.cartesian_prod(grid, grid)
    q = diagonal(2 * means, stddevs)
    log_q = MixtureSameFamily(Categorical(torch.ones(3).double()), q).log_prob(z)
    log_each = q.log_prob(z.unsqueeze(1))
    log_marginals = [
        MixtureSameFamily(
            Categorical(torch.ones(3).double()), Normal(2 * means[:, j], stddevs[:, j])
        ).log_prob(z[:, j])
        for j in range(2)
    ]
    log_priors = [Normal(0, 1).log_prob(z[:, j]) for j in range(2)]
    mass = log_q.exp() * cell**2
    exact = {
        "mutual_information": (log_each.exp() * (log_each - log_q.unsqueeze(1))).sum() * cell**2 / 3,
        "marginal_kl": (mass * (log_q - sum(log_priors))).sum(),
        "total_correlation": (mass * (log_q - sum(log_marginals))).sum(),
        "dimension_wise_kl": (mass * (sum(log_marginals) - sum(log_priors))).sum(),
    }
    assert float(mass.sum()) == pytest.approx(1, abs=1e-10)
    for name, value in exact.items():
        estimate = getattr(found, name)
        assert 0 < estimate.error < 0.02
        assert estimate.mean == pytest.approx(float(value), abs=4 * estimate.error), name
    # Identité 10 : exacte pour les intégrales, à l'erreur type près pour l'estimation.
    assert found.rate == pytest.approx(float(exact["mutual_information"] + exact["marginal_kl"]), abs=1e-9)
    error = found.mutual_information.error + found.marginal_kl.error
    assert found.mutual_information.mean + found.marginal_kl.mean == pytest.approx(found.rate, abs=4 * error)
    assert 0 < found.mutual_information.mean < math.log(3)
    # Identité 11 : exacte, tirage par tirage.
    parts = found.total_correlation.mean + found.dimension_wise_kl.mean
    assert parts == pytest.approx(found.marginal_kl.mean, abs=1e-10)
    assert float(found.by_dimension.sum()) == pytest.approx(found.dimension_wise_kl.mean, abs=1e-10)


def test_distinct_codes_carry_log_n_and_equal_codes_nothing() -> None:
    means = 1000 * torch.arange(8, dtype=torch.float64).unsqueeze(1)
    distinct = Table(means, torch.ones(8, 1).double())
    assert aggregate_posterior(distinct, distinct.images).mutual_information.mean == pytest.approx(
        math.log(8)
    )
    same = Table(torch.zeros(8, 2).double(), torch.ones(8, 2).double())
    collapsed = aggregate_posterior(same, same.images)
    assert collapsed.rate == 0
    for name in ("mutual_information", "marginal_kl", "total_correlation", "dimension_wise_kl"):
        assert getattr(collapsed, name).mean == pytest.approx(0, abs=1e-12)


def test_aggregate_of_full_posteriors_and_other_priors() -> None:
    model = ppca()
    torch.manual_seed(0)
    x = model.sample(300)
    full = aggregate_posterior(model, x, samples=20)
    assert full.rate == pytest.approx(float(kl_divergence(model.posterior(x), model.prior).mean()))
    total = full.mutual_information.mean + full.marginal_kl.mean
    assert total == pytest.approx(full.rate, abs=4 * (full.mutual_information.error + full.marginal_kl.error))
    means, stddevs = components(4, 2)
    prior = diagonal(torch.ones(2).double(), torch.full((2,), 0.5).double())
    shifted = Table(1 + 0.5 * means, 0.5 * stddevs, prior)
    plain = Table(means, stddevs)
    a, b = (aggregate_posterior(m, m.images, samples=50) for m in (shifted, plain))
    assert a.rate == pytest.approx(b.rate)
    assert a.marginal_kl.mean == pytest.approx(b.marginal_kl.mean)
    correlated = MultivariateNormal(torch.zeros(2).double(), torch.tensor([[1.0, 0.5], [0.5, 1.0]]).double())
    table = Table(means, stddevs, correlated)
    with pytest.raises(TypeError, match="indépendantes"):
        aggregate_posterior(table, table.images)


def test_standard_error_of_stratified_samples_is_calibrated() -> None:
    means, stddevs = components(5, 1)
    model = Table(3 * means, stddevs)
    runs = [
        aggregate_posterior(model, model.images, samples=20, seed=seed).marginal_kl for seed in range(200)
    ]
    spread = float(torch.tensor([run.mean for run in runs]).std())
    assert sum(run.error for run in runs) / 200 == pytest.approx(spread, rel=0.2)
    one = [aggregate_posterior(model, model.images, seed=seed).marginal_kl for seed in range(200)]
    assert sum(run.error for run in one) / 200 > 0.9 * float(torch.tensor([run.mean for run in one]).std())


# ---------------------------------------------------------------- écarts d'inférence


def test_inference_gaps_have_their_closed_form() -> None:
    torch.manual_seed(0)
    angle = torch.tensor(0.6, dtype=torch.float64)
    rotation = torch.stack(
        [torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])]
    )
    fitted = PPCA.fit(ppca().sample(2000) * torch.tensor([3.0, 1, 1, 1, 1, 1]), 2).rotate(rotation)
    model = Encoder(fitted.W, fitted.mu, fitted.sigma2)
    model.shift, model.scale = 0.7, 1.5
    x = model.sample(12)
    q, best = model.posterior(x), model.best_diagonal(x)
    approximation = float((model.log_prob(x) - model.elbo(x, best)).mean())
    amortisation = float((model.elbo(x, best) - model.elbo(x, q)).mean())
    assert approximation > 0.05
    assert amortisation > 0.3

    gaps = inference_gaps(model, x, samples=4000, batch_size=5)
    assert gaps.approximation.mean == pytest.approx(approximation, abs=0.04)
    assert gaps.amortisation.mean == pytest.approx(amortisation, abs=0.05)
    assert gaps.inference.mean == pytest.approx(gaps.log_likelihood.mean - gaps.elbo.mean, abs=1e-10)
    assert gaps.log_likelihood.mean == pytest.approx(float(model.log_prob(x).mean()), abs=0.03)
    quick = [inference_gaps(model, x, steps=5, samples=20, batch_size=size) for size in (5, 12)]
    assert quick[0].amortisation.mean == pytest.approx(quick[1].amortisation.mean, abs=1e-9)


def test_refining_a_perfect_encoder_changes_little_and_leaves_the_model_alone() -> None:
    model = vae()
    before = [p.clone() for p in model.parameters()]
    q = refine(model, IMAGES, steps=3)
    assert q.batch_shape == (11,)
    assert not q.mean.requires_grad
    for p, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(p, old)
        assert p.grad is None
        assert p.requires_grad
    perfect = ppca(kind=Encoder)
    x = randn(5, 6, seed=12)
    refined = refine(perfect, x, steps=200)
    assert float((perfect.elbo(x, perfect.posterior(x)) - perfect.elbo(x, refined)).max()) < 0.01


def test_generalisation_gap_adds_up() -> None:
    model = vae()
    train, test = (inference_gaps(model, part, steps=5, samples=20) for part in (IMAGES[:5], IMAGES[5:]))
    gap = generalisation_gap(train, test)
    assert gap.elbo.mean == pytest.approx(gap.likelihood.mean + gap.inference.mean, abs=1e-10)
    assert gap.elbo.mean == pytest.approx(train.elbo.mean - test.elbo.mean)
    assert gap.elbo.error == pytest.approx(math.hypot(train.elbo.error, test.elbo.error))


# ---------------------------------------------------------------- MIG


FACTORS = torch.cartesian_prod(torch.arange(4), torch.arange(3), torch.arange(5))


def test_mig_of_a_perfect_code_is_one_and_of_a_duplicated_one_zero() -> None:
    perfect = mutual_information_gap(FACTORS.double(), FACTORS)
    assert perfect.value == pytest.approx(1)
    entropies = torch.tensor([math.log(4), math.log(3), math.log(5)], dtype=torch.float64)
    torch.testing.assert_close(perfect.information, entropies.diag(), rtol=1e-12, atol=1e-12)
    duplicated = mutual_information_gap(FACTORS.double().repeat(1, 2), FACTORS)
    assert duplicated.value == pytest.approx(0, abs=1e-12)


def test_mig_ignores_scale_sign_and_order_of_the_latents() -> None:
    latents = FACTORS.double()[:, [2, 0, 1]] * torch.tensor([-3.0, 0.01, 1e6]) + 7
    assert mutual_information_gap(latents, FACTORS).value == pytest.approx(1)


def test_mig_of_independent_noise_is_nearly_zero() -> None:
    factors = torch.randint(4, (50_000, 2), generator=generator(0))
    assert mutual_information_gap(randn(50_000, 5), factors).value == pytest.approx(0, abs=0.002)


def test_mig_of_a_partial_code() -> None:
    factor = torch.arange(4).repeat(25).unsqueeze(1)
    # z₀ dit tout (log 4), z₁ la moitié (log 2), z₂, constant, rien : (log 4 − log 2) / log 4 = ½.
    latents = torch.cat([factor, factor // 2, torch.zeros_like(factor)], 1).double()
    found = mutual_information_gap(latents, factor)
    assert found.value == pytest.approx(0.5)
    torch.testing.assert_close(found.information[:, 0], torch.tensor([4.0, 2.0, 1.0]).double().log())
    alone = mutual_information_gap(factor.double(), factor)
    assert alone.value == pytest.approx(1)


@pytest.mark.parametrize(
    ("latents", "factors", "message"),
    [
        (torch.zeros(4, 2), torch.zeros(5, 1).long(), "Il faut"),
        (torch.zeros(4), torch.zeros(4, 1).long(), "Il faut"),
        (torch.zeros(4, 2), torch.zeros(4, 1), "entiers"),
        (torch.zeros(4, 2), torch.zeros(4, 1).long(), "constant"),
    ],
)
def test_mig_refusals(latents: Tensor, factors: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mutual_information_gap(latents, factors)


# ---------------------------------------------------------------- tirages


def clusters() -> Tensor:
    centres = torch.tensor([[-4.0, 0.0], [4.0, 1.0], [0.0, 6.0]], dtype=torch.float64)
    return (centres[:, None] + 0.5 * randn(3, 400, 2)).reshape(-1, 2)


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_mixture_sampler_finds_the_clusters(covariance: str) -> None:
    z = clusters()
    sampler = GaussianMixtureSampler.fit(z, 3, covariance=covariance, floor=1e-6)  # type: ignore[arg-type]
    order = sampler.means[:, 0].argsort()
    expected = torch.stack([z[:400].mean(0), z[800:].mean(0), z[400:800].mean(0)])
    torch.testing.assert_close(sampler.means[order], expected, rtol=0, atol=0.02)
    torch.testing.assert_close(sampler.weights, torch.full((3,), 1 / 3).double(), rtol=0, atol=0.01)
    torch.testing.assert_close(
        sampler.covariances, 0.25 * torch.eye(2).double().expand(3, 2, 2), rtol=0, atol=0.05
    )
    if covariance == "diagonal":
        assert torch.equal(sampler.covariances, sampler.covariances.diagonal(dim1=-2, dim2=-1).diag_embed())
    torch.manual_seed(0)
    drawn = sampler.sample(20_000)
    assert drawn.shape == (20_000, 2)
    assert drawn.dtype == torch.float32
    torch.testing.assert_close(drawn.double().mean(0), z.mean(0), rtol=0, atol=0.1)
    torch.testing.assert_close(torch.cov(drawn.double().T), torch.cov(z.T), rtol=0.05, atol=0.2)


def test_one_component_is_the_gaussian_of_the_data() -> None:
    z = randn(200, 3) @ randn(3, 3, seed=1)
    sampler = GaussianMixtureSampler.fit(z, 1, floor=0.0)
    expected = MultivariateNormal(z.mean(0), torch.cov(z.T, correction=0))
    torch.testing.assert_close(sampler.log_prob(z), expected.log_prob(z), rtol=1e-9, atol=1e-9)


def test_mixture_sampler_likelihood_never_falls() -> None:
    z = randn(300, 2).exp()
    values = [
        float(GaussianMixtureSampler.fit(z, 4, steps=steps, floor=1e-9).log_prob(z).mean())
        for steps in range(15)
    ]
    assert (np.diff(values) > -1e-6).all()
    assert values[-1] > values[0] + 0.3


def test_mixture_sampler_survives_duplicates_and_refuses_the_impossible() -> None:
    z = torch.tensor([[0.0, 0.0]] * 5 + [[1.0, 1.0]] * 5)
    assert GaussianMixtureSampler.fit(z, 4).log_prob(z).isfinite().all()
    for arguments, message in (
        ((torch.zeros(5), 1), "codes"),
        ((z, 11), "components"),
        ((torch.zeros(5, 2), 1), "égaux"),
    ):
        with pytest.raises(ValueError, match=message):
            GaussianMixtureSampler.fit(*arguments)
    with pytest.raises(ValueError, match="Covariance inconnue"):
        GaussianMixtureSampler.fit(z, 1, covariance="tied")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 4])
def test_frechet_distance_is_the_one_of_scipy(size: int) -> None:
    a = randn(50, size) @ randn(size, size, seed=1)
    b = 1 + randn(60, size, seed=2) @ randn(size, size, seed=3)
    cov_a, cov_b = (np.atleast_2d(np.cov(t.numpy().T)) for t in (a, b))
    root = sqrtm(cov_a @ cov_b).real
    expected = float((a.mean(0) - b.mean(0)).square().sum()) + np.trace(cov_a + cov_b - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 3) == pytest.approx(9 * size, rel=1e-9)


def test_frechet_distance_of_few_points() -> None:
    a = randn(3, 10)  # covariance singulière
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    for x, y in ((a, randn(3, 9)), (a, randn(10)), (a, a[:1])):
        with pytest.raises(ValueError, match="nuage"):
            frechet_distance(x, y)


def test_classifier_learns_and_its_features_tell_the_classes_apart() -> None:
    labels = torch.arange(400) % 2
    images = 0.2 * torch.rand(400, 1, 8, 6, generator=generator(0))
    images[labels == 0, :, :, :3] += 0.7
    images[labels == 1, :, :, 3:] += 0.7
    data = Data(images, labels)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    classifier = FeatureClassifier.trained(data, epochs=4, features=8, device="cpu", progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert classifier.accuracy(data) == 1
    assert classifier(images[:3]).shape == (3, 2)
    features = classifier.features(images, batch_size=64)
    assert features.shape == (400, 8)
    torch.testing.assert_close(features, classifier.features(images, batch_size=400))
    on, off = features[labels == 1], features[labels == 0]
    assert frechet_distance(on, off) > 20 * frechet_distance(on[::2], on[1::2])
    again = FeatureClassifier.trained(data, epochs=4, features=8, device="cpu", progress=False)
    assert torch.equal(again.features(images), features)


def test_classifier_likelihood_is_the_one_of_the_label() -> None:
    classifier = FeatureClassifier(2, 4, (1, 4, 4)).double()
    log_odds = classifier(IMAGES)[:, 1] - classifier(IMAGES)[:, 0]
    labels = torch.arange(11) % 2
    expected = Bernoulli(logits=log_odds).log_prob(labels.double())
    torch.testing.assert_close(classifier.given(labels)(IMAGES), expected)

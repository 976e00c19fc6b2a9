"""Les modèles : formes, gradients, conditionnement, refus."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vaebook.exact import PPCA
from vaebook.likelihoods import LIKELIHOODS, Gaussian
from vaebook.models import VAE, Autoencoder, ConditionalVAE, LinearVAE
from vaebook.objectives import elbo, iwae_bound

SHAPE = (1, 8, 8)


def images(n: int = 6, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(0))


@settings(max_examples=30, deadline=None)
@given(
    latent_dim=st.integers(1, 5),
    hidden=st.lists(st.integers(1, 9), max_size=2),
    channels=st.lists(st.integers(1, 4), max_size=2),
    image_channels=st.integers(1, 3),
    batch=st.integers(1, 4),
    lead=st.lists(st.integers(1, 3), max_size=2),
    likelihood=st.sampled_from(sorted(LIKELIHOODS)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_vae_shapes(latent_dim, hidden, channels, image_channels, batch, lead, likelihood, dtype):
    shape = (image_channels, 8, 8)
    model = VAE(latent_dim, hidden, shape, likelihood, channels=channels).to(dtype)
    x = images(batch, shape).to(dtype)
    q = model.posterior(x)
    assert (q.batch_shape, q.event_shape) == ((batch,), (latent_dim,))
    z = q.rsample(torch.Size(lead))
    p = model.likelihood(z)
    assert (p.batch_shape, p.event_shape) == ((*lead, batch), shape)
    assert p.log_prob(x).shape == (*lead, batch)
    assert p.log_prob(x).dtype == dtype
    assert model.prior.event_shape == (latent_dim,)
    assert model.sample(3).shape == (3, *shape)
    assert model.reconstruct(x).shape == x.shape


def test_c25_architecture():
    model = VAE()
    assert {name: tuple(p.shape) for name, p in model.named_parameters() if name.endswith("weight")} == {
        "encoder.dense.0.0.weight": (400, 784),
        "head.linear.weight": (40, 400),  # moyenne et log-variance, 20 chacune
        "decoder.layers.0.0.weight": (400, 20),
        "decoder.layers.1.weight": (784, 400),
    }


def test_posterior_is_the_mean_and_half_the_log_variance_of_the_head():
    model, x = VAE(3, (5,), SHAPE), images()
    mu, logvar = model.head.linear(model.encoder(x)).chunk(2, -1)
    q = model.posterior(x)
    torch.testing.assert_close(q.mean, mu)
    torch.testing.assert_close(q.variance, logvar.exp())


def test_gradient_flows_through_rsample_to_both_heads():
    model, x = VAE(3, (5,), SHAPE), images()
    z = model.posterior(x).rsample()
    model.likelihood(z).log_prob(x).mean().backward()
    gradient = model.head.linear.weight.grad
    assert gradient[:3].norm() > 0  # moyenne
    assert gradient[3:].norm() > 0  # log-variance
    with torch.no_grad():
        assert not model.posterior(x).sample().requires_grad


def test_sample_and_reconstruct_are_means_of_the_likelihood():
    model, x = VAE(3, (5,), SHAPE, "continuous_bernoulli"), images()
    torch.testing.assert_close(model.reconstruct(x), model.likelihood(model.posterior(x).mean).mean)
    torch.manual_seed(1)
    drawn = model.sample(4)
    torch.manual_seed(1)
    z = model.prior.sample(torch.Size((4,)))
    assert torch.equal(drawn, model.likelihood(z).mean)


def test_prior_is_the_standard_normal():
    z = torch.randn(7, 3)
    expected = torch.distributions.MultivariateNormal(torch.zeros(3), torch.eye(3)).log_prob(z)
    torch.testing.assert_close(VAE(3, (5,), SHAPE).prior.log_prob(z), expected)


def test_linear_vae_shares_its_variance_and_has_no_hidden_layer():
    model, x = LinearVAE(3, SHAPE), images()
    q = model.posterior(x)
    assert torch.equal(q.variance[0], q.variance[-1])
    middle = model.posterior((x[:1] + x[1:2]) / 2).mean
    torch.testing.assert_close(middle, (q.mean[:1] + q.mean[1:2]) / 2)
    codes = torch.randn(2, 3)
    decoded = model.likelihood(codes).mean
    torch.testing.assert_close(model.likelihood(codes.mean(0)).mean, decoded.mean(0))


def test_linear_vae_set_to_ppca_has_its_exact_likelihood():
    """Identités 2 et 4 : chargé de l'ACP probabiliste, le VAE linéaire rend log p(x) à chaque tirage."""
    x = torch.rand(200, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ppca = PPCA.fit(x, latent_dim=3)
    model = LinearVAE(3, (1, 4, 4)).double()
    M = ppca.W.T @ ppca.W + ppca.sigma2 * torch.eye(3, dtype=torch.float64)
    with torch.no_grad():
        model.decoder.layers[-1].weight.copy_(ppca.W)
        model.decoder.layers[-1].bias.copy_(ppca.mu)
        model.head.linear.weight.copy_(torch.linalg.solve(M, ppca.W.T))
        model.head.linear.bias.copy_(-torch.linalg.solve(M, ppca.W.T @ ppca.mu))
        model.head.logvar.copy_((ppca.sigma2 * torch.linalg.inv(M).diagonal()).log())
        model.observation.log_sigma.fill_(math.log(ppca.sigma2) / 2)
        bound = iwae_bound(model, x.view(-1, 1, 4, 4), samples=1)
    torch.testing.assert_close(bound, ppca.log_prob(x), rtol=0, atol=1e-9)


def test_linear_vae_refuses_a_nonlinear_link():
    with pytest.raises(ValueError, match="lien identité"):
        LinearVAE(3, SHAPE, Gaussian(0.1))


@settings(max_examples=30, deadline=None)
@given(labels=st.lists(st.integers(-3, 7), min_size=1, max_size=6))
def test_any_label_is_either_used_or_refused(labels):
    model, x = conditional(), images(len(labels))
    if all(0 <= label < 4 for label in labels):
        q = model.given(torch.tensor(labels)).posterior(x)
        assert q.mean.isfinite().all()
        one_hot = torch.eye(4)[torch.tensor(labels)]
        torch.testing.assert_close(q.mean, model.head(model.encoder(x, one_hot)).mean)
    else:
        with pytest.raises(ValueError, match="de 0 à 3"):
            model.given(torch.tensor(labels))


# Identité 19 : changer y change les sorties de l'encodeur, du décodeur et de la loi a priori apprise.


def conditional(**options) -> ConditionalVAE:
    torch.manual_seed(0)
    return ConditionalVAE(3, (5,), SHAPE, classes=4, **options)


def test_label_reaches_encoder_decoder_and_prior():
    model, x = conditional(learned_prior=True), images()
    here, there = model.given(torch.zeros(6, dtype=torch.long)), model.given(torch.ones(6, dtype=torch.long))
    z = torch.randn(6, 3)
    assert (here.posterior(x).mean - there.posterior(x).mean).abs().amax(1).min() > 1e-3
    assert (here.likelihood(z).mean - there.likelihood(z).mean).flatten(1).abs().amax(1).min() > 1e-3
    assert (here.prior.mean - there.prior.mean).abs().amax(1).min() > 1e-3


def test_label_stops_where_it_is_not_asked_for():
    model, x = conditional(conditional_encoder=False), images()
    here, there = model.given(torch.zeros(6, dtype=torch.long)), model.given(torch.ones(6, dtype=torch.long))
    assert torch.equal(here.posterior(x).mean, there.posterior(x).mean)
    assert torch.equal(here.prior.mean, torch.zeros(6, 3))


def test_conditional_convolutional_model_and_class_grid():
    torch.manual_seed(0)
    model = ConditionalVAE(3, (5,), SHAPE, channels=(2, 3), classes=4)
    grid = model.given(torch.arange(4)).likelihood(torch.randn(7, 1, 3)).mean
    assert grid.shape == (7, 4, *SHAPE)  # un même z par ligne, une classe par colonne
    assert (grid[:, 0] - grid[:, 1]).abs().max() > 1e-4


def test_transfer_keeps_z_and_changes_the_label():
    model, x = conditional(), images()
    y, new_y = torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([1, 1, 1, 1, 1, 1])
    z = model.given(y).posterior(x).mean
    torch.testing.assert_close(model.transfer(x, y, new_y), model.given(new_y).likelihood(z).mean)
    torch.testing.assert_close(model.transfer(x, y, y), model.reconstruct(x, y))


def test_sample_of_one_label():
    model = conditional(learned_prior=True)
    assert model.sample(5, 2).shape == (5, *SHAPE)


def test_missing_or_wrong_labels_are_refused():
    model, x = conditional(), images()
    with pytest.raises(TypeError, match=r"model\.given\(y\)"):
        elbo(model, x)
    with pytest.raises(ValueError, match="de 0 à 3"):
        model.given(torch.tensor([0, 4]))
    with pytest.raises(ValueError, match="de 0 à 3"):
        model.given(torch.tensor([-1]))
    with pytest.raises(ValueError, match="entières"):
        model.given(torch.tensor([0.5]))
    with pytest.raises(ValueError, match="une par image"):
        model.given(torch.tensor([1, 2])).posterior(x)


# L'auto-encodeur.


@pytest.mark.parametrize("channels", [(), (2,)])
@pytest.mark.parametrize("loss", ["squared", "absolute", "cross_entropy"])
def test_autoencoder_errors(loss, channels):
    torch.manual_seed(0)
    model, x = Autoencoder(3, (5,), SHAPE, loss, channels=channels), images()
    x_hat = model.reconstruct(x)
    assert model.encode(x).shape == (6, 3)
    assert x_hat.shape == x.shape
    assert model.decode(torch.randn(2, 4, 3)).shape == (2, 4, *SHAPE)
    expected = {
        "squared": lambda: torch.nn.functional.mse_loss(x_hat, x, reduction="none"),
        "absolute": lambda: torch.nn.functional.l1_loss(x_hat, x, reduction="none"),
        "cross_entropy": lambda: torch.nn.functional.binary_cross_entropy(x_hat, x, reduction="none"),
    }[loss]()
    torch.testing.assert_close(model.error(x), expected.flatten(1).sum(1))


def test_autoencoder_error_can_aim_at_another_image():
    model, x = Autoencoder(3, (5,), SHAPE), images()
    noisy = x + 0.1
    expected = ((model.reconstruct(noisy) - x) ** 2).flatten(1).sum(1)
    torch.testing.assert_close(model.error(noisy, target=x), expected)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: VAE(0), "latent_dim=0"),
        (lambda: VAE(2.5), "latent_dim=2.5"),
        (lambda: VAE(hidden=(0,)), "au moins 1"),
        (lambda: VAE(image_shape=(28, 28)), "canaux, hauteur, largeur"),
        (lambda: VAE(channels=(4, 4, 4)), "multiples de 8"),
        (lambda: VAE(likelihood="inconnue"), "Vraisemblance inconnue"),
        (lambda: Autoencoder(loss="hinge"), "Perte inconnue : « hinge »"),
        (lambda: ConditionalVAE(classes=0), "au moins une étiquette"),
        (lambda: VAE().posterior(torch.rand(3, 784)), r"\(B, 1, 28, 28\)"),
        (lambda: VAE().likelihood(torch.rand(3, 19)), "doit être 20"),
    ],
)
def test_impossible_requests_are_refused_in_french(build, message):
    with pytest.raises(ValueError, match=message):
        build()

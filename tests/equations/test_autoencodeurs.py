"""Les équations du chapitre « Les auto-encodeurs »."""

import pytest
import torch
from sides import Draw, same
from torch import Tensor
from torch.distributions import Normal

from vaebook.models import Autoencoder
from vaebook.objectives import denoising, gaussian_noise, reconstruction

SHAPE = (1, 2, 3)


def images(draw: Draw, n: int) -> Tensor:
    return draw.uniform(n, *SHAPE, low=0.1, high=0.9)


@pytest.mark.equation("eq-ae-objectif")
def test_the_objective_is_the_mean_loss_between_an_image_and_its_reconstruction(draw: Draw) -> None:
    x, n = images(draw, 4), 4
    squared, absolute, entropy = (
        Autoencoder(2, hidden=(5,), image_shape=SHAPE, loss=loss)
        for loss in ("squared", "absolute", "cross_entropy")
    )
    left = -reconstruction(squared, x).value.mean()
    right = 1 / n * ((squared.decode(squared.encode(x)) - x) ** 2).sum()
    same(left, right)
    left_2 = -reconstruction(absolute, x).value.mean()
    right_2 = 1 / n * (absolute.decode(absolute.encode(x)) - x).abs().sum()
    same(left_2, right_2)
    left_3 = -reconstruction(entropy, x).value.mean()
    guess = entropy.decode(entropy.encode(x))
    right_3 = -1 / n * (x * torch.log(guess) + (1 - x) * torch.log(1 - guess)).sum()
    same(left_3, right_3)


@pytest.mark.equation("eq-ae-lineaire")
def test_the_error_of_the_linear_autoencoder(draw: Draw) -> None:
    model, x, n = Autoencoder(2, hidden=(), image_shape=SHAPE), images(draw, 4), 4
    A, a = model.head.weight, model.head.bias
    B, b = model.decoder.layers[-1].weight, model.decoder.layers[-1].bias
    rows = x.flatten(1)
    left = model.error(x).mean()
    right = 1 / n * sum(torch.linalg.norm(rows[i] - B @ (A @ rows[i] + a) - b) ** 2 for i in range(n))
    same(left, right)


@pytest.mark.equation("eq-ae-debruitage")
def test_the_denoising_loss_compares_with_the_clean_image(draw: Draw) -> None:
    model, x, n = Autoencoder(2, hidden=(5,), image_shape=SHAPE), images(draw, 4), 4
    noise = gaussian_noise(0.7)
    torch.manual_seed(draw.seed)
    left = -denoising(model, x, noise=noise).value.mean()
    torch.manual_seed(draw.seed)
    noisy = noise(x)
    right = 1 / n * ((model.decode(model.encode(noisy)) - x) ** 2).sum()
    same(left, right)


@pytest.mark.equation("eq-ae-debruiteur-exact")
def test_the_best_denoiser_of_a_binary_pixel(draw: Draw) -> None:
    sigma, noisy = draw.positive(1), draw.normal(7).requires_grad_()
    black, white = Normal(0.0, sigma).log_prob(noisy).exp(), Normal(1.0, sigma).log_prob(noisy).exp()
    # Le membre de gauche par la formule de Tweedie : x̃ + σ² (log p_σ)'.
    (score,) = torch.autograd.grad(torch.log(0.5 * black + 0.5 * white).sum(), noisy)
    left = noisy + sigma**2 * score
    right = 0.5 * white / (0.5 * black + 0.5 * white)
    same(left, right)
    right_2 = torch.exp(-((noisy - 1) ** 2) / (2 * sigma**2)) / (
        torch.exp(-(noisy**2) / (2 * sigma**2)) + torch.exp(-((noisy - 1) ** 2) / (2 * sigma**2))
    )
    same(left, right_2)
    right_3 = 1 / (1 + torch.exp(-(noisy - 1 / 2) / sigma**2))
    same(left, right_3)

"""Le plancher des mesures de vitesse : ce sont bien les produits du pas, tous, et rien d'autre."""

import pytest
import torch
from products import step_products
from torch.utils.flop_counter import FlopCounterMode
from tutorial import TutorialVAE, loss_function

from vaebook.models import VAE
from vaebook.objectives import elbo


@pytest.mark.parametrize(
    ("options", "count"), [({"hidden": (400,)}, 11), ({"hidden": (9,), "channels": (4, 6)}, 20)]
)
def test_the_floor_does_the_operations_of_a_step_and_no_other(options, count):
    torch.manual_seed(0)
    model, x = VAE(20, **options), torch.rand(8, 1, 28, 28)
    products, operations = step_products(lambda: elbo(model, x), model)
    with FlopCounterMode(display=False) as step:
        (-elbo(model, x).value.mean()).backward()
    with FlopCounterMode(display=False) as floor, torch.no_grad():
        for product in products:
            product()
    assert operations == step.get_total_flops() == floor.get_total_flops()
    # Une rétropropagation de convolution fait ses deux produits d'un seul appel.
    assert len(products) == count


def test_the_tutorial_and_the_book_compute_the_same_loss():
    torch.manual_seed(0)
    usual, x = TutorialVAE(), torch.rand(5, 1, 28, 28)
    book = usual.in_the_book()
    torch.manual_seed(1)
    x_hat, mu, logvar = usual(x)
    torch.manual_seed(1)
    ours = -elbo(book, x).value.sum()
    torch.testing.assert_close(loss_function(x_hat, x, mu, logvar), ours, rtol=1e-5, atol=1e-3)

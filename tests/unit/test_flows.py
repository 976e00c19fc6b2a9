"""Le flot : bijection, jacobien, densité ; et l'exemple de la parabole, contre une autre quadrature."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal

from vaebook.flows import Flow, FreeGaussian, Parabola, fit_posterior, grid
from vaebook.networks import diagonal_gaussian


@pytest.fixture
def flow():
    torch.manual_seed(0)
    flow = Flow(2, layers=3, hidden=8).double()
    with torch.no_grad():
        for weight in flow.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return flow


def test_inverse_then_forward_is_the_identity():
    torch.manual_seed(0)
    flow = Flow(5, layers=4).double()
    with torch.no_grad():
        for weight in flow.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    u = torch.randn(6, 5, dtype=torch.float64)
    for transform in flow.distribution.transforms:
        y = transform(u)
        torch.testing.assert_close(transform.inv(y.clone()), u)
        assert not torch.allclose(y, u)


def test_the_log_determinant_is_that_of_the_jacobian(flow):
    u = torch.randn(2, dtype=torch.float64)
    for transform in flow.distribution.transforms:
        jacobian = torch.autograd.functional.jacobian(transform, u)
        torch.testing.assert_close(
            transform.log_abs_det_jacobian(u, transform(u)), torch.linalg.slogdet(jacobian).logabsdet
        )


def test_half_of_the_coordinates_pass_unchanged(flow):
    u = torch.randn(4, 2, dtype=torch.float64)
    first, second, *_ = flow.distribution.transforms
    assert torch.equal(first(u)[:, 0], u[:, 0])
    assert torch.equal(second(u)[:, 1], u[:, 1])


def test_the_density_of_a_flow_integrates_to_one_and_is_that_of_its_draws(flow):
    law = flow.distribution
    z = grid(12.0, 801)
    with torch.no_grad():
        mass = law.log_prob(z).exp() * (24 / 800) ** 2
        torch.manual_seed(0)
        drawn = law.sample((50_000,))
    assert float(mass.sum()) == pytest.approx(1, abs=1e-3)
    inside = (drawn[:, 0] > 0.5) & (drawn[:, 1] < 0.0)
    expected = mass[(z[..., 0] > 0.5) & (z[..., 1] < 0.0)].sum()
    assert float(inside.double().mean()) == pytest.approx(float(expected), abs=0.01)


def test_the_cached_density_of_a_draw_is_that_of_a_fresh_point(flow):
    law = flow.distribution
    z = law.rsample((5,))
    torch.testing.assert_close(law.log_prob(z), flow.distribution.log_prob(z.clone()))


def test_a_new_flow_is_standard_and_its_family_holds_the_diagonal_gaussians():
    flow = Flow(2)
    z = torch.randn(5, 2)
    torch.testing.assert_close(flow.distribution.log_prob(z), Normal(0.0, 1.0).log_prob(z).sum(-1))
    with torch.no_grad():
        flow.mu.copy_(torch.tensor([1.0, 2.0]))
        flow.log_scale.copy_(torch.tensor([0.0, -1.0]))
    gaussian = diagonal_gaussian(flow.mu, flow.log_scale.exp())
    torch.testing.assert_close(flow.distribution.log_prob(z), gaussian.log_prob(z))


@pytest.mark.parametrize("wrong", [{"dim": 1}, {"layers": 0}])
def test_an_impossible_flow_is_refused(wrong):
    with pytest.raises(ValueError, match="deux dimensions"):
        Flow(**wrong)


@pytest.mark.parametrize("x", [-1.0, 0.0, 2.0, 3.0])
def test_the_normaliser_of_the_parabola_is_right(x):
    """z₂ s'intègre à la main : p(x) = E[N(x ; z₁², 1 + σ²)]."""
    model = Parabola(0.3)
    line = torch.linspace(-9, 9, 20001, dtype=torch.float64)
    log_terms = Normal(line.square(), math.sqrt(1.09)).log_prob(torch.tensor(x))
    expected = (log_terms + Normal(0.0, 1.0).log_prob(line)).logsumexp(0) + math.log(18 / 20000)
    observed = torch.tensor([x], dtype=torch.float64)
    torch.testing.assert_close(model.log_prob(observed), expected)
    mass = model.posterior_density(observed, grid()).sum() * 0.03**2
    assert float(mass) == pytest.approx(1, abs=1e-9)


def test_the_gap_of_the_bound_is_the_posterior_kl():
    model, x = Parabola(0.3), torch.tensor([0.5]).double()
    q = FreeGaussian(full=True).double().distribution
    z = grid()
    density = q.log_prob(z).exp()
    elbo = (density * (model.log_joint(x, z) - q.log_prob(z))).sum() * 0.03**2
    torch.testing.assert_close(model.log_prob(x) - elbo, model.posterior_kl(x, q))


def test_a_wider_family_is_closer():
    model, x = Parabola(0.3), torch.tensor([0.0]).double()
    torch.manual_seed(0)
    families = (FreeGaussian(), FreeGaussian(full=True), Flow(2, layers=4, hidden=16))
    diagonal, full, flow = (
        model.posterior_kl(x, fit_posterior(family, model, x, steps=300, samples=32, lr=0.02))
        for family in families
    )
    assert 0 < flow < 0.2 < diagonal
    assert full == pytest.approx(float(diagonal), abs=0.05)


def test_the_free_gaussians_are_what_they_say():
    full = FreeGaussian(full=True, start=1.0)
    with torch.no_grad():
        full.lower.copy_(torch.tensor([[9.0, 9.0], [0.5, 9.0]]))
    law = full.distribution
    torch.testing.assert_close(law.covariance_matrix, torch.tensor([[1.0, 0.5], [0.5, 1.25]]))
    assert torch.equal(law.mean, torch.ones(2))
    assert isinstance(FreeGaussian().distribution, Independent)


def test_a_sigma_too_small_for_the_grid_is_refused():
    with pytest.raises(ValueError, match="0,1"):
        Parabola(0.01)

"""La diffusion : ses niveaux sont ceux de la règle de Bayes, et sa borne est sous log p(z) exact."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vaebook.diffusion import Diffusion


class Known(Diffusion):
    """Une diffusion dont le réseau est remplacé par la réponse exacte, pour u₀ ~ N(0, 1)."""

    def predict(self, u, t):
        signal, _ = self.signal_and_noise(t)
        return signal * u


def known(levels):
    return Known(torch.tensor([2.0]).double(), torch.tensor([3.0]).double(), levels=levels).double()


def test_the_bound_is_below_the_exact_density_and_tightens_with_the_levels():
    torch.manual_seed(0)
    z = Normal(2.0, 3.0).sample((20_000, 1)).double()
    exact = Normal(2.0, 3.0).log_prob(z).sum(-1)
    with torch.no_grad():
        gaps = [float((exact - known(levels).log_prob_bound(z)).mean()) for levels in (5, 20, 200)]
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[2] < 0.15


def test_a_step_back_is_that_of_bayes():
    """q(u_{t−1}|u_t, u₀) ∝ q(u_t|u_{t−1}) q(u_{t−1}|u₀), par les précisions."""
    model = known(10)
    u0, u = torch.tensor([0.7]).double(), torch.tensor([-0.4]).double()
    for t in (2, 5, 10):
        before, now = model.alpha_bar[t - 1], model.alpha_bar[t]
        alpha = now / before
        precision = alpha / (1 - alpha) + 1 / (1 - before)
        mean = (alpha.sqrt() * u / (1 - alpha) + before.sqrt() * u0 / (1 - before)) / precision
        center, spread = model.step_back(u, u0, t)
        torch.testing.assert_close(center, mean)
        torch.testing.assert_close(spread, precision.rsqrt())


def test_each_term_is_minus_the_kl_of_two_steps_back():
    torch.manual_seed(0)
    model = Diffusion(torch.zeros(2), torch.ones(2), levels=6, hidden=8).double()
    u0 = torch.randn(4, 2, dtype=torch.float64)
    for t in (2, 4, 6):
        at = torch.full((4,), t)
        signal, noise = model.signal_and_noise(at)
        torch.manual_seed(t)
        u = signal * u0 + noise * torch.randn_like(u0)
        mean, spread = model.step_back(u, u0, t)
        guess, same = model.step_back(u, model.predict(u, at), t)
        assert spread == same
        expected = -kl_divergence(Normal(mean, spread), Normal(guess, spread)).sum(-1)
        torch.manual_seed(t)
        torch.testing.assert_close(model.term(u0, at), expected, rtol=1e-5, atol=1e-6)


def test_the_first_term_is_a_log_density():
    torch.manual_seed(0)
    model = Diffusion(torch.zeros(2), torch.ones(2), levels=6, hidden=8).double()
    u0, first = torch.randn(4, 2, dtype=torch.float64), torch.ones(4, dtype=torch.long)
    signal, noise = model.signal_and_noise(first)
    torch.manual_seed(1)
    u1 = signal * u0 + noise * torch.randn_like(u0)
    center, spread = model.step_back(u1, model.predict(u1, first), 1)
    torch.manual_seed(1)
    torch.testing.assert_close(
        model.term(u0, first), Normal(center, spread).log_prob(u0).sum(-1), rtol=1e-5, atol=1e-5
    )


def test_the_signal_fades():
    model = known(50)
    assert model.alpha_bar[0] == 1
    assert (model.alpha_bar.diff() < 0).all()
    assert model.alpha_bar[-1] < 1e-3


def test_it_finds_two_modes():
    torch.manual_seed(0)
    side = torch.randint(2, (4000, 1)) * 2 - 1
    z = torch.cat([3.0 * side + 0.3 * torch.randn(4000, 1), torch.randn(4000, 1)], 1) + 5
    model = Diffusion.fit(z, levels=30, hidden=64, steps=400, lr=5e-3)
    drawn = model.sample(2000) - 5
    away = (drawn[:, 0].abs() - 3).abs() < 1.2  # la gaussienne de même variance n'y met que la moitié
    assert float(away.float().mean()) > 0.9
    assert float((drawn[:, 0] > 0).float().mean()) == pytest.approx(0.5, abs=0.1)
    assert float(drawn[:, 1].std()) == pytest.approx(1, abs=0.2)


def test_at_least_two_levels():
    with pytest.raises(ValueError, match="deux niveaux"):
        Diffusion(torch.zeros(1), torch.ones(1), levels=1)

"""Les équations du chapitre « Les modèles à variables latentes »."""

import math
from itertools import product
from types import SimpleNamespace

import pytest
import torch
from quadrature import line, nodes
from sides import Draw, at_most, same
from torch import Tensor
from torch.distributions import Categorical, Independent, MultivariateNormal, Normal, kl_divergence

from vaebook.exact import PPCA, BernoulliGaussianMixture
from vaebook.objectives import importance_terms, iwae_bound
from vaebook.running_example import RunningExample


def density(x: Tensor, mean: float | Tensor, variance: float | Tensor) -> Tensor:
    """N(x ; m, v), par torch."""
    return Normal(mean, torch.as_tensor(variance).sqrt()).log_prob(x).exp()


def linear(draw: Draw, size: int = 5, d: int = 3) -> PPCA:
    """Un modèle linéaire gaussien au hasard, dont les axes ne sont pas orthogonaux."""
    return PPCA(draw.normal(size, d), draw.normal(size), draw.uniform(1, low=1.5, high=3.0)[0])


def a_mixture(draw: Draw) -> BernoulliGaussianMixture:
    return BernoulliGaussianMixture(draw.uniform(1, low=0.2, high=0.4)[0], draw.normal(2), draw.positive(2))


def joint(model: PPCA, x: Tensor, z: Tensor) -> Tensor:
    """log p(x, z) du modèle linéaire, sans passer par p(x|z) : la gaussienne du couple. x, z : (N, …)."""
    size, d = model.W.shape
    top = torch.cat([model.W @ model.W.T + model.sigma2 * torch.eye(size), model.W], 1)
    bottom = torch.cat([model.W.T, torch.eye(d)], 1)
    mean = torch.cat([model.mu, torch.zeros(d)])
    return MultivariateNormal(mean, torch.cat([top, bottom])).log_prob(torch.cat([x, z], 1))


@pytest.mark.equation("eq-latentes-jointe")
def test_the_joint_density_is_the_prior_times_the_likelihood(draw: Draw) -> None:
    model, x, z = linear(draw), draw.normal(6, 5), draw.normal(6, 3)
    left = joint(model, x, z).exp() * 1e4  # pour que l'écart relatif compte
    p_z, p_x_given_z = model.prior.log_prob(z).exp() * 1e2, model.likelihood(z).log_prob(x).exp() * 1e2
    right = p_z * p_x_given_z
    same(left, right)


@pytest.mark.equation("eq-latentes-evidence")
def test_the_evidence_integrates_the_code_out(draw: Draw) -> None:
    model, x = linear(draw, size=4, d=2), draw.normal(5, 4)
    side, step = line(edge=8, points=81)
    z = torch.cartesian_prod(side, side).unsqueeze(1)
    left = model.log_prob(x).exp()
    right = (model.prior.log_prob(z).exp() * model.likelihood(z).log_prob(x).exp()).sum(0) * step**2
    same(left.log(), right.log())


@pytest.mark.equation("eq-latentes-bayes")
def test_bayes_gives_the_posterior(draw: Draw) -> None:
    model, x, z = linear(draw), draw.normal(6, 5), draw.normal(6, 3)
    p_x = model.log_prob(x).exp()
    p_z, p_x_given_z = model.prior.log_prob(z).exp(), model.likelihood(z).log_prob(x).exp()
    left = model.posterior(x).log_prob(z).exp()
    right = p_x_given_z * p_z / p_x
    same(left.log(), right.log())


@pytest.mark.equation("eq-latentes-candidat")
def test_one_code_where_the_posterior_is_known_gives_the_evidence(draw: Draw) -> None:
    model, x, z = linear(draw), draw.normal(6, 5), draw.normal(6, 3)
    p_z, p_x_given_z = model.prior.log_prob(z).exp(), model.likelihood(z).log_prob(x).exp()
    posterior = model.posterior(x).log_prob(z).exp()
    left = model.log_prob(x).exp()
    right = p_x_given_z * p_z / posterior
    same(left.log(), right.log())


@pytest.mark.equation("eq-latentes-melange")
def test_the_mixture_is_a_coin_then_a_gaussian(draw: Draw) -> None:
    mixture, x, z = a_mixture(draw), draw.normal(6), torch.tensor([0, 1, 1, 0, 1, 0])
    p, mu, sigma = mixture.p, mixture.means, mixture.sigmas
    left = (mixture.prior.log_prob(z.double()) + mixture.likelihood(z).log_prob(x)).exp()
    right_z = p**z * (1 - p) ** (1 - z)
    right_x = torch.exp(-((x - mu[z]) ** 2) / (2 * sigma[z] ** 2)) / (2 * math.pi * sigma[z] ** 2) ** 0.5
    same(left, right_z * right_x)


@pytest.mark.equation("eq-latentes-melange-marginale")
def test_the_mixture_density_is_a_sum_of_two_terms(draw: Draw) -> None:
    mixture, x = a_mixture(draw), draw.normal(6)
    p, mu, sigma = mixture.p, mixture.means, mixture.sigmas
    left = mixture.log_prob(x).exp()
    right = (1 - p) * density(x, mu[0], sigma[0] ** 2) + p * density(x, mu[1], sigma[1] ** 2)
    same(left, right)


@pytest.mark.equation("eq-latentes-melange-posterior")
def test_the_prior_odds_and_the_evidence_add_up(draw: Draw) -> None:
    mixture, x = a_mixture(draw), draw.normal(6)
    p, mu, sigma = mixture.p, mixture.means, mixture.sigmas
    probability = mixture.posterior(x).probs
    left = torch.log(probability / (1 - probability))
    right = torch.log(p / (1 - p)) + torch.log(
        density(x, mu[1], sigma[1] ** 2) / density(x, mu[0], sigma[0] ** 2)
    )
    same(left, right)


@pytest.mark.equation("eq-latentes-mv")
def test_the_estimator_maximises_the_mean_log_likelihood(draw: Draw) -> None:
    mixture = BernoulliGaussianMixture(0.4, [-1.5, 1.5], draw.uniform(2, low=0.6, high=1.4))
    x, n = mixture.sample(40), 40
    fitted, history = mixture.em(x, steps=60, update=("p",))
    left = history[-1]
    theta = fitted.p + torch.linspace(-0.1, 0.1, 41)
    models = [BernoulliGaussianMixture(p, mixture.means, mixture.sigmas) for p in theta]
    right = 1 / n * torch.stack([model.log_prob(x) for model in models]).sum(1)
    same(left, right.max())
    same(fitted.p, theta[right.argmax()])


@pytest.mark.equation("eq-latentes-kl")
def test_the_divergence_is_the_mean_log_ratio_under_the_first_law(draw: Draw) -> None:
    (m_1, m_2), (s_1, s_2) = draw.normal(2), draw.uniform(2, low=0.6, high=1.5)
    x, _ = line(edge=25, points=4001)
    left = kl_divergence(Normal(m_1, s_1), Normal(m_2, s_2))
    p, log_p, log_q = density(x, m_1, s_1**2), Normal(m_1, s_1).log_prob(x), Normal(m_2, s_2).log_prob(x)
    right = torch.trapezoid(p * (log_p - log_q), x)
    same(left, right)
    p, q = draw.simplex(5), draw.simplex(5)
    left_2 = kl_divergence(Categorical(p), Categorical(q))
    right_2 = (p * torch.log(p / q)).sum()
    same(left_2, right_2)


@pytest.mark.equation("eq-latentes-limite")
def test_the_mean_log_likelihood_tends_to_minus_the_entropy_minus_the_divergence(draw: Draw) -> None:
    """L'échantillon est fait des quantiles de la loi des données : sa moyenne tend sans hasard."""
    data, model = Normal(*draw.positive(2)), a_mixture(draw)
    grid, _ = line(edge=30, points=6001)
    n = 20_000
    sample = data.icdf((torch.arange(n) + 0.5) / n)
    p, log_model = data.log_prob(grid).exp(), model.log_prob(grid)
    left = model.log_prob(sample).sum() / n
    right = torch.trapezoid(p * log_model, grid)
    same(left, right, tol=2e-3)
    entropy, kl = data.entropy(), torch.trapezoid(p * (data.log_prob(grid) - log_model), grid)
    right_2 = -entropy - kl
    same(right, right_2)


@pytest.mark.equation("eq-latentes-derivee")
def test_the_derivative_in_p_is_the_gap_to_the_mean_posterior(draw: Draw) -> None:
    x, n = draw.normal(7), 7
    p = draw.uniform(1, low=0.2, high=0.4)[0].requires_grad_()
    mixture = BernoulliGaussianMixture(p, draw.normal(2), draw.positive(2))
    (left,) = torch.autograd.grad(mixture.log_prob(x).sum(), p)
    r = mixture.posterior(x).probs.mean()
    right = n * (r - p) / (p * (1 - p))
    same(left, right)


@pytest.mark.equation("eq-latentes-exemple")
def test_the_running_example(draw: Draw) -> None:
    example, z, x = RunningExample(), draw.normal(6, 1), draw.normal(6, 1)
    left = example.decoder(z)
    right = 2 * torch.tanh(2 * z)
    same(left, right)
    left_2 = (example.prior.log_prob(z) + example.likelihood(z).log_prob(x)).exp()
    right_2 = (density(z, 0, 1) * density(x, 2 * torch.tanh(2 * z), (1 / 2) ** 2)).squeeze(1)
    same(left_2 * 100, right_2 * 100)


@pytest.mark.equation("eq-latentes-naif")
def test_the_naive_estimator_averages_the_likelihood_over_the_prior(draw: Draw) -> None:
    model, x, draws = linear(draw), draw.normal(4, 5), 3
    naive = SimpleNamespace(
        posterior=lambda x: model.prior.expand((len(x),)), likelihood=model.likelihood, prior=model.prior
    )
    torch.manual_seed(draw.seed)
    left = iwae_bound(naive, x, samples=draws).exp()
    torch.manual_seed(draw.seed)
    z = model.prior.expand((len(x),)).sample((draws,))
    right = 1 / draws * sum(model.likelihood(z[k]).log_prob(x).exp() for k in range(draws))
    same(left.log(), right.log())


@pytest.mark.equation("eq-latentes-chi2")
def test_the_chi_squared_divergence_is_the_variance_of_the_ratio(draw: Draw) -> None:
    (shift,), (s,) = draw.normal(1), draw.uniform(1, low=1.1, high=2.0)
    z, _ = line(edge=30, points=4001)
    r, q = density(z, 0, 1), density(z, shift, s**2)
    left = torch.trapezoid(torch.where(q > 0, (r - q) ** 2 / q, 0), z)
    ratio = torch.exp(Normal(0.0, 1.0).log_prob(z) - Normal(shift, s).log_prob(z))
    right = torch.trapezoid(q * ratio**2, z) - 1
    same(left, right)
    closed = s**2 / (2 * s**2 - 1) ** 0.5 * torch.exp(shift**2 / (2 * s**2 - 1)) - 1
    same(closed, right)


@pytest.mark.equation("eq-latentes-importance")
def test_importance_sampling_averages_the_weights(draw: Draw) -> None:
    model, x, draws = linear(draw), draw.normal(4, 5), 3
    q = Independent(Normal(draw.normal(4, 3), draw.positive(4, 3)), 1)
    guess = SimpleNamespace(posterior=lambda x: q, likelihood=model.likelihood, prior=model.prior)
    torch.manual_seed(draw.seed)
    left = iwae_bound(guess, x, samples=draws)
    torch.manual_seed(draw.seed)
    z = q.sample((draws,))
    _, log_w = importance_terms(model, x, q, z)
    right = 1 / draws * sum(log_w[k].exp() for k in range(draws))
    same(left, right.log())
    p_z, p_x_given_z = model.prior.log_prob(z).exp(), model.likelihood(z).log_prob(x).exp()
    left_2 = log_w
    right_2 = p_x_given_z * p_z / q.log_prob(z).exp()
    same(left_2, right_2.log())


@pytest.mark.equation("eq-latentes-trop-peu")
def test_too_few_draws_are_almost_always_too_low(draw: Draw) -> None:
    """Les lois sont discrètes, la probabilité de gauche est une somme sur tous les tirages possibles.

    L'inégalité de Markov y sert deux fois : il n'y a pas de cas d'égalité. La dernière loi est celle où,
    sans le facteur 2, l'inégalité serait fausse.
    """
    laws = [(torch.softmax(4 * draw.normal(5), 0), torch.softmax(4 * draw.normal(5), 0)) for _ in range(20)]
    laws.append((torch.tensor([0.6, 0.4]), torch.tensor([1 - 1e-6, 1e-6])))
    smaller, larger = [], []
    for (r, q), draws in product(laws, (1, 2, 3)):
        log_ratio = torch.log(r / q)
        gain = (r * log_ratio).sum()
        t = (gain - math.log(draws)) / 2  # le plus grand t tel que K ≤ exp(L − 2t)
        if t <= 0:
            continue
        outcomes = torch.cartesian_prod(*[torch.arange(len(q))] * draws).view(-1, draws)
        estimate = torch.exp(log_ratio)[outcomes].mean(1)  # p̂_K / p(x)
        smaller.append(q[outcomes].prod(1)[estimate >= 1 / 2].sum())
        larger.append(torch.exp(-t) + 2 * r[log_ratio <= gain - t].sum())
    at_most(torch.stack(smaller), torch.stack(larger))
    assert smaller[-1] > torch.exp(-t) + r[log_ratio <= gain - t].sum()


@pytest.mark.equation("eq-latentes-variance")
def test_the_relative_variance_of_the_naive_estimator(draw: Draw) -> None:
    model, x, d = PPCA(draw.normal(5, 2) / 2, draw.normal(5), 1.7), draw.normal(4, 5), 2
    z, weight = nodes(torch.zeros(d), torch.ones(d), order=50)
    ratio = torch.exp(model.likelihood(z.unsqueeze(1)).log_prob(x) - model.log_prob(x))
    left = weight @ ratio.square()
    ascending, vectors = torch.linalg.eigh(model.W @ model.W.T)
    rho, u = ascending[-d:] / model.sigma2, vectors[:, -d:]
    right_t2 = ((x - model.mu) @ u / (model.sigma2**0.5 * (1 + rho) ** 0.5)) ** 2
    right = torch.prod((1 + rho) / (1 + 2 * rho) ** 0.5 * torch.exp(rho * right_t2 / (1 + 2 * rho)), 1)
    same(left, right)


@pytest.mark.equation("eq-latentes-variance-moyenne")
def test_the_mean_relative_variance_is_a_determinant(draw: Draw) -> None:
    model, d = PPCA(draw.normal(5, 3) / 2, draw.normal(5), 1.7), 3
    ascending, vectors = torch.linalg.eigh(model.W @ model.W.T)
    rho, u = ascending[-d:] / model.sigma2, vectors[:, -d:]
    side, step = line(edge=14, points=36)
    t = torch.cartesian_prod(side, side, side)
    weight = Normal(0.0, 1.0).log_prob(t).sum(1)
    # χ² depuis la loi a posteriori exacte : le rapport de deux gaussiennes, au carré, s'intègre.
    posterior = model.posterior(model.mu + (t * (model.sigma2 * (1 + rho)).sqrt()) @ u.T)
    precision = posterior.precision_matrix[0]
    tilted = precision @ posterior.mean.T
    inverse = torch.linalg.inv(2 * precision - torch.eye(d))
    exponent = 2 * (tilted * (inverse @ tilted)).sum(0) - (tilted * posterior.mean.T).sum(0)
    log_moment = torch.logdet(precision) + torch.logdet(inverse) / 2 + exponent
    left = torch.exp(weight + log_moment).sum() * step**d
    right = torch.prod(1 + rho)
    same(left, right)
    right_2 = torch.linalg.det(torch.eye(d) + model.W.T @ model.W / model.sigma2)
    same(left, right_2)


@pytest.mark.equation("eq-latentes-ppca")
def test_probabilistic_pca_is_affine_and_gaussian(draw: Draw) -> None:
    model, x, z = linear(draw), draw.normal(6, 5), draw.normal(6, 3)
    left = model.prior.log_prob(z)
    right = -(z.square().sum(1)) / 2 - 3 * math.log(2 * math.pi) / 2
    same(left, right)
    left_2 = model.likelihood(z).log_prob(x)
    error = x - (z @ model.W.T + model.mu)
    right_2 = -error.square().sum(1) / (2 * model.sigma2) - 5 * torch.log(2 * math.pi * model.sigma2) / 2
    same(left_2, right_2)
    left_3 = model.likelihood(z).mean
    right_3 = z @ model.W.T + model.mu
    same(left_3, right_3)


@pytest.mark.equation("eq-latentes-ppca-lois")
def test_the_evidence_and_the_posterior_of_probabilistic_pca(draw: Draw) -> None:
    model, x = linear(draw), draw.normal(6, 5)
    W, mu, sigma2 = model.W, model.mu, model.sigma2
    left = model.log_prob(x)
    right = W @ W.T + sigma2 * torch.eye(5)
    same(left, MultivariateNormal(mu, right).log_prob(x))
    # La loi de z sachant x dans le couple gaussien, par l'inverse (D, D) : l'autre formule.
    gain = W.T @ torch.linalg.inv(W @ W.T + sigma2 * torch.eye(5))
    left_2, left_3 = (x - mu) @ gain.T, torch.eye(3) - gain @ W
    right_2 = (x - mu) @ (torch.linalg.inv(W.T @ W + sigma2 * torch.eye(3)) @ W.T).T
    same(left_2, right_2)
    same(model.posterior(x).mean, right_2)
    right_3 = sigma2 * torch.linalg.inv(W.T @ W + sigma2 * torch.eye(3))
    same(left_3, right_3)
    same(model.posterior(x).covariance_matrix[0], right_3)


def fitted_pca(draw: Draw) -> tuple[Tensor, PPCA, Tensor, Tensor]:
    """Des données (30, 6), le modèle à trois axes, les valeurs et vecteurs propres de leur covariance."""
    x = draw.normal(30, 6) @ draw.spd(6) + draw.normal(6)
    ascending, vectors = torch.linalg.eigh((x - x.mean(0)).T @ (x - x.mean(0)) / 30)
    return x, PPCA.fit(x, 3), ascending.flip(0), vectors.flip(1)


@pytest.mark.equation("eq-latentes-ppca-mv")
def test_the_maximum_likelihood_of_probabilistic_pca(draw: Draw) -> None:
    x, model, eigenvalues, vectors = fitted_pca(draw)
    n, D, d = 30, 6, 3
    left = model.mu
    right = sum(x[i] for i in range(n)) / n
    same(left, right)
    left_2 = model.sigma2
    right_2 = 1 / (D - d) * sum(eigenvalues[i] for i in range(d, D))
    same(left_2, right_2)
    R = torch.linalg.qr(draw.normal(d, d)).Q
    U = vectors[:, :d] * (vectors[:, :d] * model.W).sum(0).sign()  # le signe d'un vecteur propre est libre
    left_3 = model.rotate(R).W
    right_3 = U @ torch.diag(eigenvalues[:d] - model.sigma2) ** 0.5 @ R
    same(left_3, right_3)
    around = [(0.05, 0, 0), (-0.05, 0, 0), (0, 0.1, 0), (0, -0.1, 0), (0, 0, 0.1), (0, 0, -0.1)]
    noise = draw.normal(D, d), draw.normal(D)
    worse = [PPCA(left_3 + a * noise[0], left + b * noise[1], left_2 * (1 + c)) for a, b, c in around]
    best = model.rotate(R).log_prob(x).mean()
    at_most(torch.stack([other.log_prob(x).mean() for other in worse]), best.expand(len(worse)))


@pytest.mark.equation("eq-latentes-ppca-max")
def test_the_largest_log_likelihood_of_probabilistic_pca(draw: Draw) -> None:
    x, model, eigenvalues, _ = fitted_pca(draw)
    D, d, s2 = 6, 3, eigenvalues[3:].mean()
    left = model.log_prob(x).mean()
    log_signal = sum(eigenvalues[i].log() for i in range(d))
    right = -1 / 2 * (D * math.log(2 * math.pi) + log_signal + (D - d) * torch.log(s2) + D)
    same(left, right)


@pytest.mark.equation("eq-latentes-ppca-retrait")
def test_the_reconstruction_shrinks_the_projection(draw: Draw) -> None:
    x, model, eigenvalues, u = fitted_pca(draw)
    mu, s2 = model.mu, model.sigma2
    left = model.posterior(x).mean @ model.W.T + mu
    right = mu + sum((1 - s2 / eigenvalues[j]) * ((x - mu) @ u[:, j])[:, None] * u[:, j] for j in range(3))
    same(left, right)


@pytest.mark.equation("eq-latentes-pont")
def test_a_proposal_bounds_the_evidence_from_below(draw: Draw) -> None:
    example, x = RunningExample(), draw.normal(3, 1)
    m, s = draw.normal(), draw.uniform(low=0.5, high=1.5)
    z, _ = line(edge=8, points=3201)
    log_prior = example.prior.log_prob(z[:, None])
    log_joint = example.likelihood(z[:, None, None]).log_prob(x).T + log_prior
    q = density(z, m, s**2)
    at_most(torch.trapezoid(q * (log_joint - Normal(m, s).log_prob(z)), z), example.log_prob(x))
    # L'égalité : q est la loi a posteriori.
    posterior = example.posterior_density(x, z)
    p_x_given_z, p_z = example.likelihood(z[:, None, None]).log_prob(x).T.exp(), log_prior.exp()
    left = example.log_prob(x)
    right = torch.trapezoid(posterior * torch.log(p_x_given_z * p_z / posterior), z)
    same(left, right)


@pytest.mark.equation("eq-latentes-kl-normale")
def test_the_divergence_of_a_gaussian_to_the_standard_one(draw: Draw) -> None:
    m, tau = draw.normal(4), draw.positive(4)
    left = kl_divergence(Normal(m, tau), Normal(torch.zeros(4), torch.ones(4)))
    right = 1 / 2 * (m**2 + tau**2 - 1 - torch.log(tau**2))
    same(left, right)

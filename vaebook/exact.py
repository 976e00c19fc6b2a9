"""Les modèles où tout se calcule : ils servent d'oracle au livre et aux tests.

`PPCA` est le modèle linéaire gaussien, de vraisemblance et de loi a posteriori connues ;
`BernoulliGaussianMixture` est le mélange de deux gaussiennes. Calculs et réponses sont en float64, quel que
soit le type des données.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
    register_kl,
)

_ROWS = 4096  # images converties à la fois en float64 : la mémoire ne croît pas avec leur nombre


class RateDistortion(NamedTuple):
    """Un point de la courbe débit-distorsion, en nats par image."""

    rate: Tensor
    distortion: Tensor


class PPCA:
    """L'ACP probabiliste, et tout modèle linéaire gaussien : z ~ N(0, I), x|z ~ N(Wz + μ, σ²I).

    Elle se construit de ses paramètres, ``PPCA(W, mu, sigma2)``, ou s'ajuste à des données,
    ``PPCA.fit(x, d)``. Une image est ici une ligne : des images (N, 1, 28, 28) passent par ``flatten(1)``.

    Paramètres :
        W : (D, d), les colonnes engendrent le sous-espace latent.
        mu : (D,), la moyenne de x.
        sigma2 : la variance du bruit, strictement positive.
        eigenvalues : (D,), décroissantes, celles de la covariance des données auxquelles `rate_distortion` se
            rapporte ; par défaut celles du modèle lui-même, WWᵀ + σ²I.

    Lève :
        ValueError : si les formes ne s'accordent pas, ou si sigma2 n'est pas strictement positif.

    Source :
        Tipping et Bishop (1999), « Probabilistic Principal Component Analysis », éq. 2 à 9.
    """

    def __init__(
        self, W: Tensor, mu: Tensor, sigma2: float | Tensor, *, eigenvalues: Tensor | None = None
    ) -> None:
        if W.dim() != 2 or mu.shape != W.shape[:1]:
            raise ValueError(
                f"W doit être de forme (D, d) et mu (D,) : reçu {tuple(W.shape)} et {tuple(mu.shape)}."
            )
        self.W = W.double()
        self.mu = mu.double()
        self.sigma2 = torch.as_tensor(sigma2, dtype=torch.float64, device=W.device)
        if not bool(self.sigma2 > 0):
            raise ValueError(f"sigma2 doit être strictement positif : reçu {float(self.sigma2)}.")
        self._eigenvalues = eigenvalues

    @classmethod
    def fit(cls, x: Tensor, latent_dim: int) -> Self:
        """Maximum de vraisemblance, par les valeurs propres λ₁ ≥ … ≥ λ_D de la covariance empirique (en 1/N).

        σ² est la moyenne des D − d dernières et W = U_d (Λ_d − σ²I)^½ : dans ce repère, WᵀW est diagonale.

        Paramètres :
            x : (N, D), réels.
            latent_dim : d, de 1 à D − 1.

        Renvoie :
            le modèle ajusté.

        Lève :
            ValueError : si d est hors de [1, D − 1], ou si d composantes reproduisent x (σ² serait nul).

        Source :
            Tipping et Bishop (1999), éq. 7 et 8.
        """
        if x.dim() != 2:
            raise ValueError(
                f"x doit être de forme (N, D), une image par ligne : reçu {tuple(x.shape)}. "
                "Essayez x.flatten(1)."
            )
        count, size = x.shape
        if not 1 <= latent_dim < size:
            raise ValueError(f"latent_dim doit aller de 1 à D − 1 = {size - 1} : reçu {latent_dim}.")
        mu = x.mean(0, dtype=torch.float64)
        covariance = mu.new_zeros(size, size)
        for rows in x.split(_ROWS):
            centred = rows - mu
            covariance.addmm_(centred.T, centred, alpha=1 / count)
        ascending, vectors = torch.linalg.eigh(covariance)
        eigenvalues, vectors = ascending.flip(0).clamp(min=0), vectors.flip(1)[:, :latent_dim]
        sigma2 = eigenvalues[latent_dim:].mean()
        if sigma2 <= eigenvalues[0] * torch.finfo(torch.float64).eps * size:
            raise ValueError(
                f"{latent_dim} composantes reproduisent x exactement : la variance du bruit serait nulle et "
                "la vraisemblance infinie. Diminuez latent_dim ou donnez plus d'images."
            )
        # Le signe d'un vecteur propre est arbitraire : on rend positive sa plus grande coordonnée.
        largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
        W = vectors * largest.sign() * (eigenvalues[:latent_dim] - sigma2).clamp(min=0).sqrt()
        return cls(W, mu, sigma2, eigenvalues=eigenvalues)

    @property
    def latent_dim(self) -> int:
        """La dimension d de l'espace latent."""
        return self.W.shape[1]

    @property
    def eigenvalues(self) -> Tensor:
        """(D,), décroissantes : celles de la covariance des données, ou du modèle s'il n'a pas été ajusté."""
        if self._eigenvalues is not None:
            return self._eigenvalues
        signal = torch.linalg.eigvalsh(self.W.T @ self.W).flip(0)
        return torch.cat([signal, signal.new_zeros(self.W.shape[0] - self.latent_dim)]) + self.sigma2

    @property
    def prior(self) -> MultivariateNormal:
        """p(z) = N(0, I), d'événement (d,)."""
        identity = torch.eye(self.latent_dim, dtype=torch.float64, device=self.W.device)
        return MultivariateNormal(identity.new_zeros(self.latent_dim), scale_tril=identity)

    def likelihood(self, z: Tensor) -> Distribution:
        """p(x|z) = N(Wz + μ, σ²I).

        Paramètres :
            z : (..., d).

        Renvoie :
            une distribution de lot (...) et d'événement (D,) ; ``log_prob`` en nats.
        """
        mean = z.double() @ self.W.T + self.mu
        return Independent(Normal(mean, self.sigma2.sqrt(), validate_args=False), 1, validate_args=False)

    @property
    def _precision(self) -> Tensor:
        """M/σ² = I + WᵀW/σ² (d, d), la précision de la loi a posteriori : elle ne dépend pas de x."""
        identity = torch.eye(self.latent_dim, dtype=torch.float64, device=self.W.device)
        return identity + self.W.T @ self.W / self.sigma2

    def _centred(self, x: Tensor) -> Iterator[Tensor]:
        """x − μ, en float64, par blocs de lignes."""
        if x.dim() != 2 or x.shape[1] != len(self.mu):
            raise ValueError(
                f"x doit être de forme (N, {len(self.mu)}), une image par ligne : reçu {tuple(x.shape)}."
            )
        return (rows - self.mu for rows in x.split(_ROWS))

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), p(x) = N(μ, WWᵀ + σ²I), sans jamais former cette matrice (D, D) : formule de Woodbury.

        Paramètres :
            x : (N, D).

        Renvoie :
            (N,), en nats par image.

        Lève :
            ValueError : si x n'est pas de forme (N, D).

        Source :
            Tipping et Bishop (1999), éq. 4.
        """
        root = torch.linalg.cholesky(self._precision)
        logdet = len(self.mu) * (2 * math.pi * self.sigma2).log() + 2 * root.diagonal().log().sum()

        def mahalanobis(centred: Tensor) -> Tensor:
            explained = torch.linalg.solve_triangular(root, (centred @ self.W).T / self.sigma2, upper=False)
            return centred.square().sum(1) / self.sigma2 - explained.square().sum(0)

        return -0.5 * (logdet + torch.cat([mahalanobis(centred) for centred in self._centred(x)]))

    def _posterior_mean(self, x: Tensor) -> Tensor:
        root = torch.linalg.cholesky(self._precision)
        projected = torch.cat([centred @ self.W for centred in self._centred(x)]) / self.sigma2
        return torch.cholesky_solve(projected.T, root).T

    def posterior(self, x: Tensor) -> MultivariateNormal:
        """p(z|x) = N(M⁻¹Wᵀ(x − μ), σ²M⁻¹), M = WᵀW + σ²I : la loi a posteriori exacte.

        Paramètres :
            x : (N, D).

        Renvoie :
            une distribution de lot (N,) et d'événement (d,).

        Lève :
            ValueError : si x n'est pas de forme (N, D).

        Source :
            Tipping et Bishop (1999), éq. 6.
        """
        # La covariance est partagée ; la vérifier image par image la recopierait N fois.
        scale_tril = torch.linalg.cholesky(torch.linalg.inv(self._precision))
        return MultivariateNormal(self._posterior_mean(x), scale_tril=scale_tril, validate_args=False)

    def best_diagonal(self, x: Tensor) -> Distribution:
        """La gaussienne à covariance diagonale de plus grand ELBO : même moyenne que la loi a posteriori.

        Ses variances sont σ²/M_jj, les inverses de la diagonale de sa *précision* ; elles sont
        plus petites que ses variances marginales, sauf si WᵀW est diagonale.

        Paramètres :
            x : (N, D).

        Renvoie :
            une distribution de lot (N,) et d'événement (d,).

        Lève :
            ValueError : si x n'est pas de forme (N, D).

        Source :
            Bishop (2006), « Pattern Recognition and Machine Learning », § 10.1.2.
        """
        mean = self._posterior_mean(x)
        stddev = self._precision.diagonal().rsqrt().expand_as(mean)
        return Independent(Normal(mean, stddev, validate_args=False), 1, validate_args=False)

    def elbo(self, x: Tensor, q: Distribution) -> Tensor:
        """L'ELBO exact, E_q[log p(x|z)] − KL(q‖p(z)), pour n'importe quelle gaussienne q ; aucun tirage.

        E_q[log p(x|z)] = log p(x|E_q[z]) − tr(WᵀW Cov_q) / 2σ², car le décodeur est linéaire.

        Paramètres :
            x : (N, D).
            q : une distribution de lot (N,) ou () et d'événement (d,), `MultivariateNormal` ou
                `Independent(Normal, 1)`.

        Renvoie :
            (N,), en nats par image.

        Lève :
            TypeError : si q n'est pas l'une de ces gaussiennes.

        Source :
            Kingma et Welling (2014), éq. 3.
        """
        gram = self.W.T @ self.W
        if isinstance(q, MultivariateNormal):
            spread = (gram * q.covariance_matrix).sum((-2, -1))
        elif _is_diagonal_normal(q):
            spread = (gram.diagonal() * q.variance).sum(-1)
        else:
            raise TypeError(f"q doit être une gaussienne sur z : reçu {q}.")
        reconstruction = self.likelihood(q.mean).log_prob(x) - spread / (2 * self.sigma2)
        return reconstruction - kl_divergence(q, self.prior)

    def rotate(self, R: Tensor) -> Self:
        """Le même modèle, p(x) compris, dans un autre repère latent : W devient WR.

        Paramètres :
            R : (d, d), orthogonale.

        Renvoie :
            le modèle tourné.

        Lève :
            ValueError : si R n'est pas orthogonale.
        """
        R = R.double()
        identity = torch.eye(self.latent_dim, dtype=torch.float64, device=R.device)
        if R.shape != identity.shape or not torch.allclose(R @ R.T, identity, atol=1e-6):
            raise ValueError(f"R doit être une matrice orthogonale de forme {tuple(identity.shape)}.")
        return type(self)(self.W @ R, self.mu, self.sigma2, eigenvalues=self._eigenvalues)

    def sample(self, n: int) -> Tensor:
        """n tirages de p(x), bruit compris ; ``likelihood(prior.sample((n,))).mean`` les donne sans bruit.

        Paramètres :
            n : le nombre de tirages, faits par le générateur global de torch.

        Renvoie :
            (n, D), float64.
        """
        return self.likelihood(self.prior.sample((n,))).sample()

    def rate_distortion(self, beta: float | Tensor) -> RateDistortion:
        """La courbe débit-distorsion optimale, en forme close.

        Le minimum de D + βR est pris sur *tous* les décodeurs linéaires W et sur *toutes* les lois q,
        image par image ; σ² (celui de ce modèle), μ, d et la loi a priori N(0, I) sont fixes. R est la KL
        moyenne, D l'opposé de E_q[log p(x|z)], constante de normalisation comprise, moyennés sur les
        données de valeurs propres `eigenvalues`. Peser la KL par β revient à donner au décodeur la
        variance s = βσ² avec β = 1 : au minimum, W est donc celle de l'ACP probabiliste de variance s,
        et, λ parcourant les d plus grandes valeurs propres,

            R = ½ Σ max(0, log(λ / s)),    D = (Σ min(λ, s) + Σ des D − d autres) / 2σ² + D/2 log(2πσ²).

        Le long de cette courbe dD/dR = −β (tant que R > 0). Si le modèle est ajusté, β = 1 le redonne.

        Paramètres :
            beta : strictement positif, de forme quelconque (...).

        Renvoie :
            ``rate`` et ``distortion``, de forme (...), en nats par image.

        Lève :
            ValueError : si un beta n'est pas strictement positif.

        Source :
            Tipping et Bishop (1999), annexe A, pour W à variance fixée ; Alemi et al. (2018) pour dD/dR = −β.
        """
        beta = torch.as_tensor(beta, dtype=torch.float64, device=self.W.device)
        if not bool((beta > 0).all()):
            raise ValueError("beta doit être strictement positif.")
        kept, lost = self.eigenvalues.split([self.latent_dim, len(self.mu) - self.latent_dim])
        s = (beta * self.sigma2).unsqueeze(-1)
        squared_error = torch.minimum(kept, s).sum(-1) + lost.sum()
        normaliser = len(self.mu) / 2 * (2 * math.pi * self.sigma2).log()
        rate = 0.5 * (kept / s).clamp(min=1).log().sum(-1)
        return RateDistortion(rate, squared_error / (2 * self.sigma2) + normaliser)


class BernoulliGaussianMixture:
    """Le plus petit modèle à variable latente : z ~ Bernoulli(p), x|z ~ N(μ_z, σ_z²), x réel.

    Les paramètres donnés comme tenseurs gardent leur gradient : ``-mixture.log_prob(x).mean()`` s'apprend.

    Paramètres :
        p : la probabilité de z = 1, dans ]0, 1[.
        means : (2,), μ₀ et μ₁.
        sigmas : (2,), σ₀ et σ₁, strictement positifs.

    Lève :
        ValueError : si un paramètre sort de son domaine.

    Source :
        Bishop (2006), « Pattern Recognition and Machine Learning », § 9.2.
    """

    def __init__(
        self, p: float | Tensor, means: Sequence[float] | Tensor, sigmas: Sequence[float] | Tensor
    ) -> None:
        self.p = torch.as_tensor(p, dtype=torch.float64)
        self.means = torch.as_tensor(means, dtype=torch.float64)
        self.sigmas = torch.as_tensor(sigmas, dtype=torch.float64)
        if self.means.shape != (2,) or self.sigmas.shape != (2,):
            raise ValueError("means et sigmas doivent avoir deux éléments, un par valeur de z.")
        if not 0 < self.p < 1 or not bool((self.sigmas > 0).all()):
            raise ValueError("p doit être dans ]0, 1[ et les deux sigmas strictement positifs.")

    @property
    def prior(self) -> Bernoulli:
        """p(z) = Bernoulli(p)."""
        return Bernoulli(self.p)

    def likelihood(self, z: Tensor) -> Normal:
        """p(x|z).

        Paramètres :
            z : (...), de valeurs 0 ou 1.

        Renvoie :
            une loi normale de lot (...).
        """
        return Normal(self.means[z.long()], self.sigmas[z.long()])

    @property
    def marginal(self) -> MixtureSameFamily:
        """p(x) = (1 − p) N(μ₀, σ₀²) + p N(μ₁, σ₁²)."""
        weights = Categorical(torch.stack([1 - self.p, self.p]))
        return MixtureSameFamily(weights, Normal(self.means, self.sigmas))

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), z étant sommé.

        Paramètres :
            x : (N,).

        Renvoie :
            (N,), en nats.
        """
        return self.marginal.log_prob(x.double())

    def posterior(self, x: Tensor) -> Bernoulli:
        """p(z|x) exact, par la formule de Bayes.

        Paramètres :
            x : (N,).

        Renvoie :
            une Bernoulli de lot (N,) : la probabilité que z = 1.
        """
        log_off, log_on = Normal(self.means, self.sigmas).log_prob(x.double().unsqueeze(-1)).unbind(-1)
        return Bernoulli(logits=torch.logit(self.p) + log_on - log_off)

    def sample(self, n: int) -> Tensor:
        """n tirages de p(x), par le générateur global de torch.

        Paramètres :
            n : le nombre de tirages.

        Renvoie :
            (n,), float64.
        """
        return self.likelihood(self.prior.sample((n,))).sample()

    def em(
        self,
        x: Tensor,
        *,
        steps: int = 100,
        update: Sequence[Literal["p", "means", "sigmas"]] = ("p", "means", "sigmas"),
        min_sigma: float = 1e-3,
    ) -> tuple[Self, Tensor]:
        """Maximum de vraisemblance par l'algorithme EM, à partir de ce mélange ; celui-ci n'est pas modifié.

        Paramètres :
            x : (N,).
            steps : le nombre d'itérations.
            update : les paramètres appris ; ``("p",)`` n'apprend que p.
            min_sigma : plancher des σ, sans lequel la vraisemblance n'est pas bornée (une gaussienne posée
                sur un seul point).

        Renvoie :
            le mélange ajusté et (steps + 1,) log-vraisemblances moyennes, en nats, qui ne décroissent jamais.

        Lève :
            ValueError : si `update` nomme un autre paramètre.

        Source :
            Dempster, Laird et Rubin (1977) ; Bishop (2006), § 9.2.2.
        """
        if unknown := set(update) - {"p", "means", "sigmas"}:
            raise ValueError(f"update ne connaît que p, means et sigmas : reçu {sorted(unknown)}.")
        x = x.detach().double()
        sigmas = self.sigmas.detach()
        if "sigmas" in update:
            sigmas = sigmas.clamp(min=min_sigma)
        mixture = type(self)(self.p.detach(), self.means.detach(), sigmas)
        history = [mixture.log_prob(x).mean()]
        for _ in range(steps):
            logits = mixture.posterior(x).logits
            weights = torch.stack([-logits, logits]).sigmoid()  # étape E : p(z|x), (2, N)
            total = weights.sum(1)
            # Une composante que plus aucun x ne réclame reste où elle est.
            share = weights / torch.where(total > 0, total, 1).unsqueeze(1)
            p, means, sigmas = mixture.p, mixture.means, mixture.sigmas
            if "p" in update:  # étape M ; p reste dans ]0, 1[ malgré les arrondis
                p = (total[1] / len(x)).clamp(1e-12, 1 - 1e-12)
            if "means" in update:
                means = torch.where(total > 0, share @ x, means)
            if "sigmas" in update:
                spread = (share * (x - means.unsqueeze(1)).square()).sum(1).sqrt().clamp(min=min_sigma)
                sigmas = torch.where(total > 0, spread, sigmas)
            mixture = type(self)(p, means, sigmas)
            history.append(mixture.log_prob(x).mean())
        return mixture, torch.stack(history)


def _is_diagonal_normal(q: Distribution) -> bool:
    return isinstance(q, Independent) and isinstance(q.base_dist, Normal) and len(q.event_shape) == 1


# torch sait comparer deux gaussiennes diagonales, ou deux pleines, mais pas l'une à l'autre.
@register_kl(Independent, MultivariateNormal)  # type: ignore[untyped-decorator]
def _kl_diagonal_full(q: Distribution, p: MultivariateNormal) -> Tensor:
    if not _is_diagonal_normal(q):
        raise NotImplementedError
    trace = (q.variance * p.precision_matrix.diagonal(dim1=-2, dim2=-1)).sum(-1)
    return -p.log_prob(q.mean) + trace / 2 - q.entropy()


@register_kl(MultivariateNormal, Independent)  # type: ignore[untyped-decorator]
def _kl_full_diagonal(q: MultivariateNormal, p: Distribution) -> Tensor:
    if not _is_diagonal_normal(p):
        raise NotImplementedError
    return -p.log_prob(q.mean) + (q.variance / p.variance).sum(-1) / 2 - q.entropy()

"""The posterior of a surface: weighted thetas, and draws of the surface given each.

| symbol | meaning                                                                    | shape   |
|--------|----------------------------------------------------------------------------|---------|
| T, N   | thetas; observations                                                       |         |
| K      | prior covariance of z given theta: Phi V Phi' + discrepancy + noise        | T, N, N |
| m      | prior mean of z given theta: Phi b                                         | T, N    |
| b, V   | prior mean and (diagonal) covariance of beta, F weights                    | F; F, F |
| log_like | log N(z; m, K): beta and the discrepancy are integrated out exactly      | T       |
| w      | importance weights of the thetas, summing to 1                             | T       |

theta is sampled by adaptive multiple importance sampling (Cornuet et al. 2012, arXiv 0907.1254):
first from the prior, then in rounds from a Gaussian mixture fitted to the weighted sample so far,
each theta weighted by the mixture of all proposals used; more rounds where few carry the weight.
Given theta everything is Gaussian, so a draw of the surface at any points is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from apportion.surface.observe import Observations
from apportion.surface.shape import (
    Floats,
    Prior,
    discrepancy,
    features,
    of_distances,
    places,
)

FIRST, ROUNDS, EACH = 1024, 4, 512
GLANCE = 1  # rounds after which a prior that explains nothing is given up
ENOUGH, MOST_ROUNDS = 60.0, 24  # more rounds while fewer effective thetas than that
_CHUNK_NUMBERS = 250_000  # numbers in one batch of matrices: some megabytes, so caches serve them
_CENTRES = 5
_FREEDOM = 5.0  # of the proposals' multivariate t: tails heavier than the posterior's


@dataclass(frozen=True, eq=False)
class Posterior:
    """Weighted thetas of one prior; `log_evidence` compares priors."""

    prior: Prior
    seen: Observations
    theta: Floats
    weight: Floats
    log_evidence: float

    @property
    def effective(self) -> float:
        """Effective number of thetas: 1 / sum w²."""
        return effective_number(self.weight)


def prior_moments(prior: Prior, seen: Observations, theta: Floats) -> tuple[Floats, Floats, Floats]:
    """m (T, N), K (T, N, N), Phi (T, N, F) of thetas (T, 14)."""
    phi = features(theta, seen.n_sft, seen.n_pref, prior.stepped)
    mean, sd = map(np.asarray, prior.beta)
    scaled = phi * sd
    # The kernel's exponentials are most of a fit, so once for each pair of places.
    far, pair = seen.apart
    covariance = scaled @ np.swapaxes(scaled, 1, 2)
    covariance += of_distances(theta, far).take(pair, axis=1).reshape(covariance.shape)
    covariance += seen.noise(theta)
    return phi @ mean, covariance, phi


def log_likelihood(prior: Prior, seen: Observations, theta: Floats) -> Floats:
    """log p(z | theta) of thetas (T, 14); beta and the discrepancy integrated out."""
    n = len(seen.z)
    size = max(1, _CHUNK_NUMBERS // max(n * n, 1))
    parts = []
    for start in range(0, len(theta), size):
        mean, covariance, _ = prior_moments(prior, seen, theta[start : start + size])
        solved, log_det = _whitened(covariance, seen.z - mean)
        parts.append(-0.5 * (solved**2).sum(axis=1) - log_det - 0.5 * n * np.log(2 * np.pi))
    return np.concatenate(parts)


def _whitened(covariance: Floats, residual: Floats) -> tuple[Floats, Floats]:
    """L^-1 r (T, N) and log det L (T,) of K = L L^T (T, N, N), r (T, N).

    With r as one more row of K, the last row of the root is (L^-1 r)^T, whatever stands in the
    corner as long as it is large: NumPy has no triangular solve for batches.
    """
    t, n = residual.shape
    bordered = np.empty((t, n + 1, n + 1))
    bordered[:, :n, :n] = covariance
    bordered[:, n, :n] = bordered[:, :n, n] = residual
    bordered[:, n, n] = 1e300
    root = np.linalg.cholesky(bordered)
    log_det = np.log(np.diagonal(root, axis1=1, axis2=2)[:, :n]).sum(axis=1)
    return root[:, n, :n], np.asarray(log_det)


@dataclass(frozen=True, eq=False)
class _Mixture:
    """Multivariate t kernels of one shape around chosen thetas."""

    centres: Floats  # (C, P)
    root: Floats  # Cholesky root of the common shape

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        which = rng.integers(len(self.centres), size=n)
        normal = rng.standard_normal((n, self.centres.shape[1])) @ self.root.T
        stretch = np.sqrt(_FREEDOM / rng.chisquare(_FREEDOM, n))[:, None]
        drawn: Floats = self.centres[which] + normal * stretch
        return drawn

    def log_density(self, theta: Floats) -> Floats:
        from scipy.special import gammaln, logsumexp

        p = theta.shape[1]
        constant = gammaln((_FREEDOM + p) / 2) - gammaln(_FREEDOM / 2)
        constant -= 0.5 * p * np.log(_FREEDOM * np.pi) + np.log(np.diag(self.root)).sum()
        each = []
        for centre in self.centres:
            x = solve_triangular(self.root, (theta - centre).T, lower=True)
            square = (x**2).sum(axis=0)
            each.append(constant - 0.5 * (_FREEDOM + p) * np.log1p(square / _FREEDOM))
        value: Floats = logsumexp(np.stack(each), axis=0) - np.log(len(self.centres))
        return value


def _fitted(prior: Prior, theta: Floats, weight: Floats, rng: np.random.Generator) -> _Mixture:
    """Kernels around likely thetas; the shape is the weighted sample's, mixed with the prior's."""
    effective = effective_number(weight)
    mean = weight @ theta
    spread = (theta - mean).T @ ((theta - mean) * weight[:, None])
    wide = np.diag(np.asarray(prior.theta[1]) ** 2)
    trust = effective / (effective + 2 * theta.shape[1])
    shape = trust * spread + (1 - trust) * 0.25 * wide + 1e-8 * wide
    some = theta[rng.choice(len(theta), size=_CENTRES, p=weight)]
    centres = mean + 0.7 * (some - mean)
    return _Mixture(np.concatenate([centres, mean[None]]), np.linalg.cholesky(0.7 * shape))


def sample(prior: Prior, seen: Observations, *, seed: int, least: float = -np.inf) -> Posterior:
    """Weighted thetas; the same for the same observations and seed.

    Rounds beyond `ROUNDS` are for priors whose log evidence is at least `least`; where no theta
    comes near that in `GLANCE` rounds, they are all.
    """
    theta, weight, evidence = weighted(
        prior,
        lambda theta: log_likelihood(prior, seen, theta),
        np.random.default_rng(seed),
        most_rounds=MOST_ROUNDS,
        least=least,
    )
    return Posterior(prior, seen, theta, weight, evidence)


def weighted(
    prior: Prior,
    log_like: Callable[[Floats], Floats],
    rng: np.random.Generator,
    *,
    most_rounds: int,
    least: float = -np.inf,
) -> tuple[Floats, Floats, float]:
    """Thetas (T, P), their weights (T,) and the log evidence, of any likelihood of theta."""
    from scipy.special import logsumexp

    theta = prior.draw(FIRST, rng)
    like = log_like(theta)
    proposals: list[tuple[int, Prior | _Mixture]] = [(FIRST, prior)]
    densities = [prior.log_density(theta)]  # of every theta under each proposal
    while True:
        parts = np.log([count / len(theta) for count, _ in proposals])
        spread = logsumexp(np.stack(densities) + parts[:, None], axis=0)
        log_w = like + densities[0] - spread
        evidence = float(logsumexp(log_w) - np.log(len(theta)))
        weight = np.exp(log_w - logsumexp(log_w))
        rounds = len(proposals) - 1
        enough = evidence < least or effective_number(weight) >= ENOUGH
        if rounds >= most_rounds or (rounds >= ROUNDS and enough):
            break
        if rounds >= GLANCE and like.max() < least:  # no evidence is above the largest likelihood
            break
        # Early on one theta may hold all the weight; a tempered sample shows where to look.
        tempered = _tempered(log_w)
        proposal = _fitted(prior, theta, tempered, rng)
        more = proposal.draw(EACH, rng)
        densities = [
            np.concatenate([known, q.log_density(more)])
            for known, (_, q) in zip(densities, proposals, strict=True)
        ]
        proposals.append((EACH, proposal))
        theta = np.concatenate([theta, more])
        densities.append(proposal.log_density(theta))
        like = np.concatenate([like, log_like(more)])
    return theta, weight, evidence


def effective_number(weight: Floats) -> float:
    """1 / sum w² of weights that sum to 1."""
    return float(1 / (weight**2).sum())


def _tempered(log_w: Floats) -> Floats:
    """Weights raised to the largest power up to 1 that leaves `ENOUGH` effective thetas."""
    low, high = 0.0, 1.0
    shifted = log_w - log_w.max()

    def weights(power: float) -> Floats:
        w = np.exp(power * shifted)
        return np.asarray(w / w.sum())

    if effective_number(weights(1.0)) >= ENOUGH:
        return weights(1.0)
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if effective_number(weights(middle)) >= ENOUGH else (low, middle)
    return weights(low)


def draw(
    posterior: Posterior, n_sft: Floats, n_pref: Floats, n_draws: int, rng: np.random.Generator
) -> Floats:
    """Draws (D, M) of z at counts (M,): beta and the discrepancy from their exact conditionals."""
    picked, times = np.unique(
        rng.choice(len(posterior.weight), size=n_draws, p=posterior.weight), return_counts=True
    )
    n, m = len(posterior.seen.z), len(n_sft)
    size = max(1, _CHUNK_NUMBERS // max(n * n + n * m + m * m, 1))
    parts = []
    for start in range(0, len(picked), size):
        some, many = picked[start : start + size], times[start : start + size]
        mean, root = conditional(posterior, posterior.theta[some], n_sft, n_pref)
        for k, count in enumerate(many):
            parts.append(mean[k] + rng.standard_normal((count, m)) @ root[k].T)
    drawn = np.concatenate(parts)
    return np.asarray(drawn[rng.permutation(len(drawn))])


def conditional(
    posterior: Posterior, theta: Floats, n_sft: Floats, n_pref: Floats
) -> tuple[Floats, Floats]:
    """Mean (T, M) of z at counts (M,) given theta and the data, and a root (T, M, M)."""
    prior, seen = posterior.prior, posterior.seen
    mean, covariance, phi = prior_moments(prior, seen, theta)
    b, sd = map(np.asarray, prior.beta)
    asked = features(theta, n_sft, n_pref, prior.stepped)
    here, there = places(seen.n_sft, seen.n_pref), places(n_sft, n_pref)
    across = (phi * sd) @ np.swapaxes(asked * sd, 1, 2) + discrepancy(theta, here, there)
    own = (asked * sd) @ np.swapaxes(asked * sd, 1, 2) + discrepancy(theta, there, there)
    solved = np.linalg.solve(covariance, across)
    centre = asked @ b + (np.swapaxes(solved, 1, 2) @ (seen.z - mean)[:, :, None])[:, :, 0]
    left = own - np.swapaxes(across, 1, 2) @ solved
    left = (left + np.swapaxes(left, 1, 2)) / 2 + 1e-8 * np.eye(left.shape[1])
    try:
        root = np.linalg.cholesky(left)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(left)
        root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    return centre, root


def beta_moments(posterior: Posterior) -> tuple[Floats, Floats]:
    """Mean and sd (F,) of beta."""
    prior, seen = posterior.prior, posterior.seen
    keep = np.flatnonzero(posterior.weight > 1e-4 * posterior.weight.max())
    theta, weight = posterior.theta[keep], posterior.weight[keep] / posterior.weight[keep].sum()
    mean, covariance, phi = prior_moments(prior, seen, theta)
    b, sd = map(np.asarray, prior.beta)
    gain_ = np.linalg.solve(covariance, phi * sd**2)
    centre = b + (np.swapaxes(gain_, 1, 2) @ (seen.z - mean)[:, :, None])[:, :, 0]
    left = np.diag(sd**2) - np.swapaxes(phi * sd**2, 1, 2) @ gain_
    middle = weight @ centre
    square = weight @ (np.diagonal(left, axis1=1, axis2=2) + (centre - middle) ** 2)
    return middle, np.sqrt(square)

"""The mean law of a surface: a few saturating features, linear in their weights.

| symbol        | meaning                                                            | shape |
|---------------|--------------------------------------------------------------------|-------|
| n_s, n_p      | demonstrations, preference units                                   | N     |
| z             | arcsin(sqrt(score)): 0 to pi/2, of nearly constant binomial noise   | N     |
| G(n; k, a)    | 1 - (1 + n / k)^-a: saturating gain of n examples                  | N     |
| g             | 1 - exp(-(n_s / k_g)^h): how far the gate that pairs need is open  | N     |
| h             | 1; where the law is stepped `STEP_POWER`: opens within a doubling  | scalar |
| Phi           | features: 1, G_s, g G_p, -G_s G_p, -exp(-n_s / k_c) G_p, -o         | N, 6  |
|               | where stepped: 1, g G_s, g G_p, -g G_s G_p, the last two, g         | N, 7  |
| o             | max(log1p n_p - log1p k_o, 0)²: too many pairs                     | N     |
| beta          | weights of the features, Gaussian a priori                         | F     |
| theta         | logarithms of k_s a_s k_p a_p k_g k_c k_o, of the discrepancy's sd  | 14    |
|               | and two lengths, and of the noise's tau_d, tau_s, tau_p and early  |       |
| early         | noise is (1 + early 2^(-n_s / `EARLY_HALF`)) times as large         | scalar |
| u             | (log1p n_s, log1p n_p): where the discrepancy lives                | N, 2  |

z = Phi(theta) beta + discrepancy(u) + noise. The discrepancy is a Gaussian process with a
Matérn-5/2 kernel, so the surface can go where no term of the law goes, down in n_p included. The
stepped law is that of a task whose format must be learnt before any skill can show: until then
nothing counts, then what is known counts at once, and more comes slowly.
All functions take a batch of thetas (T, 14) and return arrays with T in front.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEATURES = ("base", "sft", "pref", "common", "cold", "over")  # and "step", where stepped
STEP_POWER = 2.5  # h of the stepped law
PARAMETERS = (
    "k_s", "a_s", "k_p", "a_p", "k_g", "k_c", "k_o",
    "sd", "length_s", "length_p", "tau_d", "tau_s", "tau_p", "early",
)  # fmt: skip
LAW = 7  # the first so many parameters belong to the law, and can be learnt from other tasks
K_S, A_S, K_P, A_P, K_G, K_C, K_O, SD, LENGTH_S, LENGTH_P, TAU_D, TAU_S, TAU_P, EARLY = range(14)
EARLY_HALF = 200.0


@dataclass(frozen=True)
class Prior:
    """Independent Gaussians: of theta (means and sds, 14 each) and of beta (6, or 7 if stepped)."""

    name: str
    theta: tuple[tuple[float, ...], tuple[float, ...]]
    beta: tuple[tuple[float, ...], tuple[float, ...]]

    @property
    def stepped(self) -> bool:
        """Whether beta has a weight for the gate itself."""
        return len(self.beta[0]) > len(FEATURES)

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Thetas (n, 14)."""
        mean, sd = map(np.asarray, self.theta)
        drawn: Floats = mean + sd * rng.standard_normal((n, len(mean)))
        return drawn

    def log_density(self, theta: Floats) -> Floats:
        """Of thetas (T, 14): (T,)."""
        mean, sd = map(np.asarray, self.theta)
        square = (((theta - mean) / sd) ** 2).sum(axis=1)
        constant = np.log(sd).sum() + 0.5 * len(mean) * np.log(2 * np.pi)
        return np.asarray(-0.5 * square - constant)


def _log_normal(**middles: tuple[float, float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    means = tuple(float(np.log(middles[name][0])) for name in PARAMETERS)
    return means, tuple(middles[name][1] for name in PARAMETERS)


# Wide: what is known before any surface was seen. A middle, and an sd of the logarithm.
BROAD = Prior(
    "broad",
    _log_normal(
        k_s=(300.0, 1.5), a_s=(0.8, 0.5), k_p=(700.0, 1.5), a_p=(0.8, 0.5),
        k_g=(40.0, 1.3), k_c=(30.0, 1.3), k_o=(1500.0, 1.3),
        sd=(0.04, 0.7), length_s=(2.5, 0.5), length_p=(2.5, 0.5),
        tau_d=(0.009, 0.7), tau_s=(0.01, 0.7), tau_p=(0.01, 0.7), early=(0.3, 1.2),
    ),
    ((0.45, 0.35, 0.15, 0.03, 0.05, 0.0), (0.35, 0.30, 0.20, 0.10, 0.12, 0.02)),
)  # fmt: skip


def gain(n: Floats, k: Floats, a: Floats) -> Floats:
    """G(n; k, a)."""
    value: Floats = -np.expm1(-a * np.log1p(n / k))
    return value


def features(theta: Floats, n_sft: Floats, n_pref: Floats, stepped: bool = False) -> Floats:
    """Phi (T, N, 6), or (T, N, 7) where stepped, at counts (N,)."""
    p = np.exp(theta[:, :LAW, None])
    n_s, n_p = n_sft[None], n_pref[None]
    from_sft, from_pairs = gain(n_s, p[:, K_S], p[:, A_S]), gain(n_p, p[:, K_P], p[:, A_P])
    gate = n_s / p[:, K_G]
    opened, cold = -np.expm1(-(gate**STEP_POWER if stepped else gate)), np.exp(-n_s / p[:, K_C])
    over = np.maximum(np.log1p(n_p) - np.log1p(p[:, K_O]), 0.0) ** 2
    if stepped:
        from_sft = opened * from_sft
    columns = [
        np.ones_like(from_sft),
        from_sft + 0 * n_p,
        opened * from_pairs,
        -from_sft * from_pairs,
        -cold * from_pairs,
        -over + 0 * n_s,
    ]
    if stepped:
        columns.append(opened + 0 * n_p)
    return np.stack(np.broadcast_arrays(*columns), axis=2)


def discrepancy(theta: Floats, a: Floats, b: Floats) -> Floats:
    """Prior covariance (T, N, M) of the discrepancy between places u (N, 2) and (M, 2)."""
    far = (a[:, None] - b[None]) ** 2
    return of_distances(theta, far.reshape(-1, 2)).reshape(len(theta), len(a), len(b))


def of_distances(theta: Floats, far: Floats) -> Floats:
    """The same (T, K) for pairs of places whose squared distances are `far` (K, 2)."""
    p = np.exp(theta)
    scaled = far[:, 0] / p[:, LENGTH_S, None] ** 2 + far[:, 1] / p[:, LENGTH_P, None] ** 2
    distance = np.sqrt(5 * scaled)
    value: Floats = (1 + distance + distance**2 / 3) * np.exp(-distance)
    return p[:, SD, None] ** 2 * value


def places(n_sft: Floats, n_pref: Floats) -> Floats:
    """u (N, 2) of counts (N,)."""
    return np.stack([np.log1p(n_sft), np.log1p(n_pref)], axis=1)


def to_z(score: Any) -> Any:
    """Score in [0, 1] to z."""
    return np.arcsin(np.sqrt(np.clip(score, 0.0, 1.0)))


def to_score(z: Any) -> Any:
    """z to score; beyond the ends of the scale the score stays at its bound."""
    return np.sin(np.clip(z, 0.0, np.pi / 2)) ** 2

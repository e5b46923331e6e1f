"""What one more run is worth: how far it is expected to bring regret down.

| symbol | meaning                                                                       | shape |
|--------|-------------------------------------------------------------------------------|-------|
| mu     | drawn scores at every target's shares, one block of columns per target         | D, P  |
| c      | drawn score of each candidate, on the same draws                               | D, C  |
| m      | mean of mu                                                                    | P     |
| r      | noise variance of one more run of a candidate                                  | C     |
| q      | runs of a candidate that are thought of together: 1, 2 or 4                    |       |
| s      | Cov(mu, c) / sqrt(Var c + r / q): how q more runs would move the means, per     | P, C  |
|        | standard deviation of what they will say                                       |       |
| gain   | sum over targets of E max(m + s e) - max m, e ~ N(0, 1)                         | C     |
| rate   | the largest gain / (q cost) over q: a single run may flip no decision           | C     |

The expected regret of the best share is E max f - max E f. One more run does not move the first
term in expectation, so it lowers expected regret by what it adds to the second: the knowledge
gradient (Frazier, Powell and Dayanik 2009), for points whose errors go together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

Floats = NDArray[np.float64]

TOGETHER = (1, 2, 4)
_E = norm.ppf((np.arange(64) + 0.5) / 64)  # equal parts of a standard normal


@dataclass(frozen=True, eq=False)
class Beliefs:
    """Draws at targets and candidates. `blocks`: (first, last) columns of each target."""

    mu: Floats
    blocks: tuple[tuple[int, int], ...]
    candidates: Floats
    noise: Floats


@dataclass(frozen=True)
class Worth:
    """A candidate's expected gain (score units, summed over the targets), per run and per cost."""

    candidate: int
    gain: float
    rate: float


def gains(m: Floats, s: Floats) -> Floats:
    """E max(m + s e) - max m for each column of `s` (K, C): (C,)."""
    moved = m[:, None, None] + s[:, :, None] * _E
    return np.asarray(np.maximum(moved.max(axis=0).mean(axis=1) - m.max(), 0.0))


def worths(beliefs: Beliefs, costs: Sequence[float]) -> list[Worth]:
    """Every candidate's worth, in their order."""
    return _worths(*_moments(beliefs), beliefs, np.asarray(costs, dtype=float))


def _moments(beliefs: Beliefs) -> tuple[Floats, Floats]:
    """Means (P + C,) and covariance (P + C, P + C) of targets and candidates together."""
    together = np.concatenate([beliefs.mu, beliefs.candidates], axis=1)
    return together.mean(axis=0), np.cov(together.T)


def _worths(mean: Floats, covariance: Floats, beliefs: Beliefs, costs: Floats) -> list[Worth]:
    p = beliefs.mu.shape[1]
    variance = np.maximum(np.diag(covariance)[p:], 0.0)
    rate, gain = np.zeros(len(costs)), np.zeros(len(costs))
    for q in TOGETHER:
        s = covariance[:p, p:] / np.sqrt(np.maximum(variance + beliefs.noise / q, 1e-12))
        total = sum(gains(mean[a:b], s[a:b]) for a, b in beliefs.blocks)
        total = np.asarray(total)
        better = total / (q * costs) > rate
        rate = np.where(better, total / (q * costs), rate)
        gain = np.where(better, total / q, gain)
    return [Worth(k, float(gain[k]), float(rate[k])) for k in range(len(costs))]


def choose(
    beliefs: Beliefs, costs: Sequence[float], batch: int, *, least: float = 0.0
) -> list[Worth]:
    """Up to `batch` candidates, the best rate first, of those that gain `least` a run or more: what
    is nearly free and tells nearly nothing has a good rate, too.

    After each choice the covariance is what it will be once that run is known, whatever it says, so
    a batch does not buy the same knowledge twice. Candidates without worth are not chosen.
    """
    mean, covariance = _moments(beliefs)
    p, left = beliefs.mu.shape[1], np.asarray(costs, dtype=float).copy()
    chosen: list[Worth] = []
    for _ in range(min(batch, len(left))):
        able = [one for one in _worths(mean, covariance, beliefs, left) if one.gain >= least]
        best = max(able, key=lambda worth: worth.rate, default=None)
        if best is None or best.rate <= 0:
            break
        chosen.append(best)
        k = p + best.candidate
        column = covariance[:, k] / np.sqrt(covariance[k, k] + beliefs.noise[best.candidate])
        covariance = covariance - np.outer(column, column)
        left[best.candidate] = np.inf
    return chosen

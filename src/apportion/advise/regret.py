"""What posterior draws along one budget line say of each share.

| symbol | meaning                                                     | shape |
|--------|-------------------------------------------------------------|-------|
| D, K   | draws; shares on the line                                   |       |
| mu     | drawn score of each share                                   | D, K  |
| regret | max over the shares of mu in that draw, minus mu            | D, K  |
| best   | 1 where a share is best in a draw; ties are split evenly    | D, K  |
| ε, δ   | tolerated regret (score units); tolerated doubt             |       |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apportion.surface.hierarchy import interval

Floats = NDArray[np.float64]

EPSILON = 0.01
DELTA = 0.1


@dataclass(frozen=True, eq=False)
class ShareStatistics:
    """Per share, in the order of the line: shapes (K,)."""

    p_best: Floats
    expected_score: Floats
    expected_regret: Floats
    q90_regret: Floats
    p_safe: Floats  # P(regret <= ε)


def statistics(mu: Floats, epsilon: float) -> ShareStatistics:
    """Statistics of draws `mu` (D, K), K at least 1; scores and regrets in score units."""
    top = mu.max(axis=1, keepdims=True)
    regret = top - mu
    best = (regret == 0).astype(float)
    best /= best.sum(axis=1, keepdims=True)
    return ShareStatistics(
        p_best=best.mean(axis=0),
        expected_score=mu.mean(axis=0),
        expected_regret=regret.mean(axis=0),
        q90_regret=np.quantile(regret, 0.9, axis=0),
        p_safe=(regret <= epsilon).mean(axis=0),
    )


def safe(shares: Floats, stats: ShareStatistics, delta: float) -> tuple[float, ...]:
    """Shares with P(regret <= ε) >= 1 - δ: may be empty, may have gaps."""
    return tuple(float(s) for s in shares[stats.p_safe >= 1 - delta])


def best_region(shares: Floats, stats: ShareStatistics, delta: float) -> tuple[float, ...]:
    """The smallest set of shares that holds the best one with probability 1 - δ, ascending."""
    order = np.argsort(-stats.p_best, kind="stable")
    held = np.cumsum(stats.p_best[order])
    count = int(np.searchsorted(held, 1 - delta - 1e-9)) + 1
    return tuple(float(s) for s in sorted(shares[order[:count]]))


@dataclass(frozen=True)
class Difference:
    """The recommended share's score minus another's."""

    mean: float
    interval: tuple[float, float]
    p_better: float  # ties count half


def difference(first: Floats, second: Floats) -> Difference:
    """Compare draws (D,) of two scores."""
    gap = first - second
    p_better = float(np.mean(gap > 0) + np.mean(gap == 0) / 2)
    return Difference(float(gap.mean()), interval(gap), p_better)

"""Intervals of contrasts, and of the largest of several, that do not mistake luck for a best.

| symbol | meaning                                                                    | shape |
|--------|----------------------------------------------------------------------------|-------|
| K      | rivals: shares that are compared with all SFT                              |       |
| delta  | estimate of each rival's difference                                        | K     |
| eps    | draws of its noise                                                         | D, K  |
| se     | sd of eps                                                                  | K     |
| c      | 95 % quantile of max_k eps_k / se_k (max-T)                                | scalar |
| z      | 95 % quantile of -eps_k / se_k                                             | K     |

The largest true difference lies in [max_k (delta_k - c se_k), max_k (delta_k + z_k se_k)] with
90 %. The lower end looks for the best of K rivals and pays for the search; the upper end holds at
the true best, whichever it is, without paying.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.90  # of every interval: 5 % on either side


@dataclass(frozen=True, eq=False)
class Differences:
    """Rivals minus a reference: see the table of the module."""

    delta: Floats
    eps: Floats

    @property
    def se(self) -> Floats:
        found: Floats = np.maximum(self.eps.std(axis=0), 1e-12)
        return found

    @property
    def best(self) -> int:
        return int(self.delta.argmax())

    def largest(self) -> tuple[float, float, float]:
        """The largest difference as measured, and the 90 % interval of the true one."""
        tail = (1 - LEVEL) / 2
        c = np.quantile((self.eps / self.se).max(axis=1), 1 - tail)
        z = np.quantile(-self.eps / self.se, 1 - tail, axis=0)
        low = float((self.delta - c * self.se).max())
        return float(self.delta.max()), low, float((self.delta + z * self.se).max())


def two_sided(estimate: float, eps: Floats, level: float = LEVEL) -> tuple[float, float]:
    """The interval of one contrast from draws (D,) of its noise."""
    tail = (1 - level) / 2
    low, high = np.quantile(eps, [tail, 1 - tail])
    return float(estimate - high), float(estimate - low)


def family_bounds(families: list[Differences]) -> list[tuple[float, float]]:
    """For the largest difference of each family: bounds that hold for all families at once.

    With 95 % no lower bound is above, and with 95 % no upper bound below, the true one.
    """
    if not families:
        return []
    tail = (1 - LEVEL) / 2
    highs = np.stack([(f.eps / f.se).max(axis=1) for f in families], axis=1)
    lows = np.stack([(-f.eps / f.se).max(axis=1) for f in families], axis=1)
    c, z = np.quantile(highs.max(axis=1), 1 - tail), np.quantile(lows.max(axis=1), 1 - tail)
    return [
        (float((f.delta - c * f.se).max()), float((f.delta + z * f.se).max())) for f in families
    ]

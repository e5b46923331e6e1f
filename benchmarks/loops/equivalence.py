"""Whether two sides' scores are the same but for a margin: two one-sided tests on paired cells.

| symbol | meaning |
|---|---|
| d_c | difference of the two sides' scores of cell c, in score units; same items on both |
| g | a group of cells that share an SFT model (of them one error makes many): d_g is their mean |
| m | the margin |

Each of H: mean d >= m and H: mean d <= -m is tested by a t test on the d_g; the sides are called
equivalent where both are rejected at level alpha, that is, where the interval of level 1 - 2 alpha
lies within the margin. Not rejected is "not shown", never "different".
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import t as student

MARGIN = 0.02


@dataclass(frozen=True)
class Equivalence:
    """`low`, `high`: the interval of level 1 - 2 alpha; `p`: the larger of the two one-sided ones;
    `rms`, `largest`: of single cells' differences."""

    cells: int
    groups: int
    mean: float
    low: float
    high: float
    p: float
    rms: float
    largest: float
    margin: float
    alpha: float

    @property
    def shown(self) -> bool:
        return self.p < self.alpha


def equivalence(
    differences: Sequence[float],
    groups: Sequence[str],
    margin: float = MARGIN,
    alpha: float = 0.05,
) -> Equivalence:
    """Test the differences of cells; ValueError for fewer than two groups of them."""
    by_group: dict[str, list[float]] = {}
    for group, one in zip(groups, differences, strict=True):
        by_group.setdefault(group, []).append(one)
    means = [statistics.fmean(values) for values in by_group.values()]
    if len(means) < 2:
        raise ValueError("a test needs cells of at least two SFT models")
    mean, n = statistics.fmean(means), len(means)
    error = statistics.stdev(means) / math.sqrt(n)
    half = float(student.ppf(1 - alpha, n - 1)) * error
    if error == 0:
        p = 0.0 if abs(mean) < margin else 1.0
    else:
        p = float(student.sf((margin - abs(mean)) / error, n - 1))
    rms = math.sqrt(statistics.fmean(one * one for one in differences))
    largest = max(map(abs, differences))
    return Equivalence(
        len(differences), n, mean, mean - half, mean + half, p, rms, largest, margin, alpha
    )


def replicate_noise(scores: Mapping[tuple[str, int], float]) -> float | None:
    """Standard deviation of one run's score between replicates, pooled over the cells: scores by
    (cell, replicate). None where no cell has two."""
    by_cell: dict[str, list[float]] = {}
    for (cell, _), score in scores.items():
        by_cell.setdefault(cell, []).append(score)
    several = [values for values in by_cell.values() if len(values) > 1]
    if not several:
        return None
    squares = sum((len(values) - 1) * statistics.variance(values) for values in several)
    return math.sqrt(squares / sum(len(values) - 1 for values in several))

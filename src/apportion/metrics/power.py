"""The smallest difference between two cells that a study can hope to see.

| symbol | meaning | unit |
|---|---|---|
| n | test items, the same for both cells | 1 |
| R | replicates of each cell | 1 |
| p | score of an item, averaged over items | 0 to 1 |
| ρ | correlation of two runs' scores on the same item | 0 to 1 |
| σ_run | standard deviation of a run's true score: data draw and training | score |
| α, 1 − β | two-sided level, and power | 1 |

With right-or-wrong items the difference D of two cells' means has

    Var D = 2 · [p (1 − p) (1 − ρ) / (n R) + σ_run² / R]
    δ     = (z_{1−α/2} + z_{1−β}) · √Var D

The first term is noise of the items: any two runs share the items' difficulty, which the
difference takes away (ρ). The second is noise of the runs, which no number of items lowers.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist


def detectable_difference(
    n_items: int,
    replicates: int,
    *,
    p: float = 0.5,
    run_sd: float = 0.03,
    correlation: float = 0.3,
    level: float = 0.05,
    power: float = 0.8,
) -> float:
    """δ of the module's formula, in score units (0.01 = one point).

    `p` = 0.5 is the worst case. `run_sd` and `correlation` are guesses until a study has measured
    them; both are stated wherever δ is shown. ValueError outside the ranges of the table.
    """
    if n_items < 1 or replicates < 1 or run_sd < 0:
        raise ValueError("n_items and replicates must be at least 1, run_sd at least 0")
    if not (0 <= p <= 1 and 0 <= correlation <= 1 and 0 < level < 1 and 0 < power < 1):
        raise ValueError("p and correlation must be in 0..1, level and power inside it")
    items = p * (1 - p) * (1 - correlation) / (n_items * replicates)
    variance = 2 * (items + run_sd**2 / replicates)
    normal = NormalDist()
    return (normal.inv_cdf(1 - level / 2) + normal.inv_cdf(power)) * sqrt(variance)

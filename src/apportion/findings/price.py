"""(g) The best share of the money falls as demonstrations get dearer than preference data.

| symbol | meaning                                                                        | shape  |
|--------|--------------------------------------------------------------------------------|--------|
| rho    | price of a demonstration over that of a preference unit: `RATIOS`              | P      |
| M      | money: the largest budget over sqrt(10), at prices sqrt(rho) and 1 / sqrt(rho) | scalar |
| f      | the surface: the Gaussian process of `advise.published`, with its constants    |        |
| draws  | f at the P × K points asked about, given the means with their noise            | D, P K |
| best   | share of the money with the highest score                                      | D, P   |
| slope  | least-squares slope of best against log10 rho                                  | D      |

The prices' product is 1, so that every line lies where cells were measured.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from apportion.advise.published import CENTRE, coordinates, kernel
from apportion.findings.best_share import falling
from apportion.findings.evidence import Evidence, Group
from apportion.findings.lines import is_lattice
from apportion.findings.types import Finding, Place, judge, mean_name

Floats = NDArray[np.float64]

RATIOS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
SHARES = np.linspace(0, 1, 21)
FEWEST_CELLS = 8


def reach(group: Group) -> float:
    """The largest budget, in examples, whose whole line at equal prices lies among the cells."""
    sums = [a + b for a, b in group.keys]
    ends = max(a for a, _ in group.keys), max(b for _, b in group.keys)
    return float(min(*ends) if is_lattice(group) else max(sums))


def surface_draws(
    evidence: Evidence, group: Group, n_sft: Floats, n_pref: Floats, *, seed: int
) -> tuple[Floats, Floats]:
    """Mean (K,) and draws (D, K) of the surface at the points asked about."""
    columns = slice(group.start, group.stop)
    keys = np.array(group.keys, dtype=float)
    noise = np.cov(evidence.noise[:, columns], rowvar=False)
    known, asked = coordinates(keys[:, 0], keys[:, 1]), coordinates(n_sft, n_pref)
    across = kernel(known, asked)
    weights = np.linalg.solve(kernel(known, known) + noise, across)
    mean: Floats = CENTRE + weights.T @ (evidence.mean[columns] - CENTRE)
    covariance = kernel(asked, asked) - across.T @ weights
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    normal = np.random.default_rng([seed, group.number]).standard_normal(
        (len(evidence.noise), len(mean))
    )
    return mean, mean + normal @ root.T


def best_by_ratio(evidence: Evidence, group: Group, *, seed: int) -> tuple[Floats, Floats, float]:
    """Best shares as estimated (P,), in each draw (D, P), and the money."""
    money = reach(group) / sqrt(max(RATIOS))
    n_sft = np.concatenate([SHARES * money / sqrt(rho) for rho in RATIOS])
    n_pref = np.concatenate([(1 - SHARES) * money * sqrt(rho) for rho in RATIOS])
    mean, drawn = surface_draws(evidence, group, n_sft, n_pref, seed=seed)
    shape = (len(RATIOS), len(SHARES))
    best = SHARES[mean.reshape(shape).argmax(axis=1)]
    return best, SHARES[drawn.reshape(-1, *shape).argmax(axis=2)], money


def _slope() -> Floats:
    x = np.log10(np.array(RATIOS))
    found: Floats = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    return found


def _usable(group: Group) -> bool:
    both = sum(a > 0 and b > 0 for a, b in group.keys)
    return len(group.keys) >= FEWEST_CELLS and both >= FEWEST_CELLS // 2


def price_moves(evidence: Evidence, *, seed: int) -> Finding:
    """(g), for each group with cells enough for a surface, and the mean over tasks."""
    groups = [group for group in evidence.groups if _usable(group)]
    quantity = "slope of the best share of money with the price ratio"
    slope = _slope()
    slopes: dict[int, tuple[float, Floats]] = {}
    places: list[Place] = []
    for group in groups:
        best, drawn, money = best_by_ratio(evidence, group, seed=seed)
        slopes[group.number] = float(best @ slope), drawn @ slope
        place = falling(group.name, quantity, *slopes[group.number], len(groups))
        numbers: dict[str, float | int | str | None] = {"money": money}
        ends = np.quantile(drawn, [0.05, 0.95], axis=0)
        for k, ratio in enumerate(RATIOS):
            numbers[f"best_at_{ratio:g}"] = float(best[k])
            numbers[f"low_at_{ratio:g}"] = float(ends[0, k])
            numbers[f"high_at_{ratio:g}"] = float(ends[1, k])
        places.append(replace(place, numbers=numbers))
    for model, method in dict.fromkeys((g.model, g.method) for g in groups):
        mine = [slopes[g.number] for g in groups if (g.model, g.method) == (model, method)]
        if len(mine) > 1:
            name = mean_name(len(mine), model, method)
            mean = float(np.mean([one for one, _ in mine]))
            drawn = np.mean([draws for _, draws in mine], axis=0)
            places.append(replace(falling(name, quantity, mean, drawn, 1), summary=True))
    return judge(
        "g",
        "the best share of the money falls as demonstrations get dearer",
        places,
        f"no surface: a group needs {FEWEST_CELLS} cells, half of them with both kinds of data",
    )

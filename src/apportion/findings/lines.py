"""Budget lines through the measured cells: as measured, or across a lattice.

| symbol  | meaning                                                             | shape |
|---------|---------------------------------------------------------------------|-------|
| B       | budget, in examples (price 1 for either kind) or the study's unit    |       |
| K       | shares on the line, ascending                                       |       |
| weights | each share's score as a weighted sum of measured cell means         | K, C  |

On a study of budget lines a share is a cell. On a lattice the lines are those whose all-SFT end
is measured; each share lies between four cells and is bilinear in (log1p n_sft, log1p n_pref).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apportion.findings.evidence import Evidence, Group

Floats = NDArray[np.float64]

GRID = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)  # of a lattice's lines, beside its own levels
FILLED = 0.75  # of levels × levels that must be measured for a lattice
_SAME = 1e-9


@dataclass(frozen=True, eq=False)
class Line:
    """One budget of one group: see the table of the module."""

    group: Group
    budget: float
    shares: tuple[float, ...]
    n_sft: tuple[int, ...]
    weights: Floats
    measured: bool

    def at(self, share: float) -> int | None:
        """The place of a share on the line, or None."""
        for k, one in enumerate(self.shares):
            if abs(one - share) <= _SAME:
                return k
        return None


def is_lattice(group: Group) -> bool:
    """Whether the cells fill a lattice of three levels or more either way."""
    across, along = {a for a, _ in group.keys}, {b for _, b in group.keys}
    if min(len(across), len(along)) < 3:
        return False
    return len(group.keys) >= FILLED * len(across) * len(along)


def lines_of(evidence: Evidence, group: Group) -> tuple[Line, ...]:
    """Every line with two shares or more, by budget."""
    budgets = {budget for lines in group.lines for budget, _ in lines if budget > 0}
    if is_lattice(group):
        levels = sorted({a for a, b in group.keys if b == 0 and a > 0})
        found = [_across(evidence, group, level) for level in levels]
    else:
        found = [_measured(evidence, group, budget) for budget in sorted(budgets)]
    return tuple(line for line in found if len(line.shares) >= 2)


def _measured(evidence: Evidence, group: Group, budget: float) -> Line:
    columns: dict[float, int] = {}
    for k, lines in enumerate(group.lines):
        for level, share in lines:
            if abs(level - budget) <= _SAME * budget:
                columns.setdefault(share, k)
    shares = tuple(sorted(columns))
    weights = [evidence.unit(group.start + columns[share]) for share in shares]
    counts = tuple(group.keys[columns[share]][0] for share in shares)
    return Line(group, budget, shares, counts, np.array(weights), measured=True)


def _across(evidence: Evidence, group: Group, budget: int) -> Line:
    """The line of a lattice whose all-SFT end is the level `budget`."""
    levels = {a / budget for a, _ in group.keys if a <= budget}
    shares, counts, weights = [], [], []
    for share in sorted(levels | set(GRID)):
        found = bilinear(evidence, group, share * budget, (1 - share) * budget)
        if found is not None:
            shares.append(share)
            counts.append(round(share * budget))
            weights.append(found)
    return Line(group, budget, tuple(shares), tuple(counts), np.array(weights), measured=False)


def bilinear(evidence: Evidence, group: Group, n_sft: float, n_pref: float) -> Floats | None:
    """Weights (C,) of a point between measured cells; None where a corner is absent."""
    weights = np.zeros(len(evidence.mean))
    for sft, share_sft in _between(sorted({a for a, _ in group.keys}), n_sft):
        for pref, share_pref in _between(sorted({b for _, b in group.keys}), n_pref):
            if share_sft * share_pref < _SAME:
                continue
            column = group.column((sft, pref))
            if column is None:
                return None
            weights[column] += share_sft * share_pref
    return weights if weights.any() else None


def _between(levels: list[int], value: float) -> list[tuple[int, float]]:
    """The levels around a value with their weights; nothing outside of them."""
    if not levels[0] - _SAME <= value <= levels[-1] + _SAME:
        return []
    upper = next((level for level in levels if level >= value - _SAME), levels[-1])
    lower = max((level for level in levels if level <= value + _SAME), default=levels[0])
    if lower == upper:
        return [(lower, 1.0)]
    t = (np.log1p(value) - np.log1p(lower)) / (np.log1p(upper) - np.log1p(lower))
    return [(lower, float(1 - t)), (upper, float(t))]

"""The simple rules that advice is held against: always computed, always shown."""

from __future__ import annotations

import numpy as np

from apportion.advise.line import Line
from apportion.advise.regret import difference
from apportion.advise.rules import FIXED, measured_rules
from apportion.advise.types import Baseline
from apportion.surface.hierarchy import Estimate, interval

_SAME = 1e-9


def _at(line: Line, share: float) -> tuple[int, int, float]:
    """Columns around a share and the weight of the upper one."""
    near = np.flatnonzero(np.abs(line.shares - share) <= _SAME)
    if len(near):
        return int(near[0]), int(near[0]), 0.0
    k = int(np.searchsorted(line.shares, share))
    low, high = line.shares[k - 1], line.shares[k]
    return k - 1, k, float((share - low) / (high - low))


def _baseline(name: str, share: float, line: Line, recommended: int, delta: float) -> Baseline:
    low, high, t = _at(line, share)
    mu = (1 - t) * line.mu[:, low] + t * line.mu[:, high]
    gap = difference(line.mu[:, recommended], mu)
    same = abs(float(line.shares[recommended]) - share) <= _SAME
    return Baseline(
        name=name,
        share=share,
        interpolated=not (line.measured[low] and low == high),
        expected_score=float(mu.mean()),
        score_interval=interval(mu),
        expected_regret=float((line.mu.max(axis=1) - mu).mean()),
        difference=gap,
        verdict="the same share"
        if same
        else "the recommended share is better"
        if gap.p_better >= 1 - delta
        else "cannot be told apart",
    )


def baselines(
    estimate: Estimate, line: Line, recommended: int, delta: float
) -> tuple[Baseline, ...]:
    """Every rule at this line, against the share in column `recommended`."""
    read = tuple(
        Baseline(name, None, reason=reason)
        if share is None
        else _baseline(name, share, line, recommended, delta)
        for name, share, reason in measured_rules(estimate)
    )
    return (*read, *(_baseline(n, s, line, recommended, delta) for n, s in FIXED))

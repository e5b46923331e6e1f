"""The simple rules that advice is held against: always computed, always shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apportion.advise.line import Line, measured_line
from apportion.advise.regret import difference
from apportion.advise.types import Baseline
from apportion.errors import ResultsError
from apportion.surface.hierarchy import Estimate, interval

Floats = NDArray[np.float64]

FIXED = (("a quarter on SFT", 0.25), ("half and half", 0.5), ("all SFT", 1.0))
LARGEST = "best share at the largest measured budget"
_SAME = 1e-9


def draws_at(line: Line, share: float) -> tuple[Floats, bool] | None:
    """Draws (D,) at a share: exact, or linear between its two neighbours; None outside of them."""
    near = np.flatnonzero(np.abs(line.shares - share) <= _SAME)
    if len(near):
        return line.mu[:, near[0]], False
    k = int(np.searchsorted(line.shares, share))
    if k in (0, len(line.shares)):
        return None
    low, high = line.shares[k - 1], line.shares[k]
    t = (share - low) / (high - low)
    mixed: Floats = (1 - t) * line.mu[:, k - 1] + t * line.mu[:, k]
    return mixed, True


def _largest_share(estimate: Estimate) -> float | str:
    """The share with the highest mean at the largest measured budget, or why there is none."""
    if not estimate.levels:
        return "a lattice has no measured budget"
    try:
        line = measured_line(estimate, estimate.levels[-1])
    except ResultsError as error:
        return error.problem
    return float(line.shares[int(line.mu.mean(axis=0).argmax())])


def _baseline(name: str, share: float, line: Line, recommended: int, delta: float) -> Baseline:
    found = draws_at(line, share)
    if found is None:
        return Baseline(
            name,
            share,
            reason=f"a share of {share:g} lies outside the measured "
            f"{line.shares[0]:g} to {line.shares[-1]:g}",
        )
    mu, interpolated = found
    gap = difference(line.mu[:, recommended], mu)
    same = abs(float(line.shares[recommended]) - share) <= _SAME
    return Baseline(
        name=name,
        share=share,
        interpolated=interpolated,
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
    """Every rule of the design at this line, against the share in column `recommended`."""
    largest = _largest_share(estimate)
    first = (
        Baseline(LARGEST, None, reason=largest)
        if isinstance(largest, str)
        else _baseline(LARGEST, largest, line, recommended, delta)
    )
    return (first, *(_baseline(n, s, line, recommended, delta) for n, s in FIXED))

"""Where a search starts: few and cheap cells that let a surface be fitted at all.

Three budgets (the smallest, the geometric middle, the largest), both corners, no SFT and a little
SFT, a quarter and half; two replicates at two of them. What is wished for is taken to the nearest
point that the study has, in (log1p n_sft, log1p n_pref), with zero only where zero is wished for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

Point = tuple[int, int]

A_LITTLE = 0.05
# (part of the way from the smallest to the largest budget, share, replicates)
WISHES: tuple[tuple[float, float, int], ...] = (
    (0.0, 1.0, 1),
    (0.0, 0.5, 1),
    (0.5, 1.0, 2),
    (0.5, 0.25, 2),
    (0.5, 0.0, 1),
    (0.5, A_LITTLE, 1),
    (1.0, 0.25, 1),
)


def _nearest(points: Sequence[Point], n_sft: float, n_pref: float) -> Point | None:
    able = [
        point
        for point in points
        if (point[0] == 0) == (n_sft == 0) and (point[1] == 0) == (n_pref == 0)
    ]

    def far(point: Point) -> float:
        return float(
            abs(np.log1p(point[0]) - np.log1p(n_sft)) + abs(np.log1p(point[1]) - np.log1p(n_pref))
        )

    return min(able, key=lambda point: (far(point), point), default=None)


def first_cells(points: Iterable[Point], replicates: int) -> list[tuple[int, int, int]]:
    """(n_sft, n_pref, replicate) of the first runs, the base model included where it is a point."""
    every = sorted(set(points))
    trained = [point for point in every if point != (0, 0)]
    totals = [sum(point) for point in trained]
    low, high = float(min(totals)), float(max(totals))
    found: dict[tuple[int, int, int], None] = {}
    if (0, 0) in every:
        found[0, 0, 0] = None
    for part, share, runs in WISHES:
        budget = low ** (1 - part) * high**part
        point = _nearest(trained, share * budget, (1 - share) * budget)
        for replicate in range(min(runs, replicates) if point else 0):
            assert point is not None  # noqa: S101
            found[(*point, replicate)] = None
    return list(found)

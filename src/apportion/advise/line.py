"""The draws along one budget line: every share's counts and scores on the fitted surface.

| symbol | meaning                                                                     | shape |
|--------|-----------------------------------------------------------------------------|-------|
| B, s   | money to spend now; share of it that buys demonstrations                     | ; K   |
| have   | examples owned already, no annotation paid: the line starts there            | 2     |
| R      | B less what training on `have` costs; B itself where compute is free         |       |
| n      | have + what s of R buys                                                      | K, 2  |
| mu     | drawn score of each share: one row is one surface                            | D, K  |
| inside | whether n lies in the convex hull of the measured counts, `SLACK` beyond it   | K     |

Shares are a fixed grid and what was measured on the line, so every simple rule is among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from apportion.advise.compute import rest_beside
from apportion.advise.phrases import number
from apportion.advise.rules import measured_rules
from apportion.config.budget import Prices
from apportion.errors import ResultsError
from apportion.prices import Amount, billed, counts, is_definite, spend
from apportion.surface.hierarchy import Estimate
from apportion.surface.model import Surface

Floats = NDArray[np.float64]

GRID = (0.0, 0.01, 0.02, 0.03, 0.05, 0.075, *(round(k / 20, 2) for k in range(2, 21)))
SLACK = 0.05
MOST_TIMES = 50.0  # how often the largest measured cell's money a budget may be
NEAR = 0.8  # log1p of counts: 2.2 times as many or as few
_SAME = 1e-9


@dataclass(frozen=True, eq=False)
class Line:
    """Shares ascending (K,), draws (D, K), final counts, and how each share is known."""

    budget: float
    shares: Floats
    mu: Floats
    n_sft: tuple[int, ...]
    n_pref: tuple[int, ...]
    measured: tuple[bool, ...]
    inside: tuple[bool, ...]
    near: tuple[bool, ...]  # a measured cell is within `NEAR`, at zero only if it is at zero


def _measured_shares(estimate: Estimate, budget: float) -> set[float]:
    return {
        share
        for cell in estimate.cells
        for level, share in cell.lines
        if abs(level - budget) <= _SAME * budget
    }


def shares_of(estimate: Estimate, budget: float, have: tuple[int, int]) -> list[float]:
    """The grid, the shares that were measured at this budget, and those of the simple rules."""
    own = _measured_shares(estimate, budget) if have == (0, 0) else set()
    own |= {share for _, share, _ in measured_rules(estimate) if share is not None}
    kept = [g for g in GRID if all(abs(g - s) > _SAME for s in own)]
    return sorted({*kept, *own})


def _hull(points: Floats) -> list[tuple[float, float]]:
    """Convex hull (counter-clockwise) of points (N, 2), Andrew's monotone chain."""
    ordered = sorted({(float(a), float(b)) for a, b in points})
    if len(ordered) < 3:
        return ordered

    def half(path: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        kept: list[tuple[float, float]] = []
        for point in path:
            while len(kept) > 1 and _turn(kept[-2], kept[-1], point) <= 0:
                kept.pop()
            kept.append(point)
        return kept[:-1]

    return half(ordered) + half(ordered[::-1])


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def inside(estimate: Estimate, n_sft: Floats, n_pref: Floats) -> tuple[bool, ...]:
    """Whether counts (K,) lie in the hull of what was measured, enlarged by `SLACK`."""
    cells = np.array([(c.n_sft, c.n_pref) for c in estimate.cells] + [(0, 0)], dtype=float)
    scale = np.maximum(cells.max(axis=0), 1.0)
    hull = _hull(cells / scale)
    asked = np.stack([n_sft, n_pref], axis=1) / scale / (1 + SLACK)
    if len(hull) < 3:  # everything lies on one line through the origin
        top = hull[-1]
        return tuple(
            bool(abs(_turn((0.0, 0.0), top, (a, b))) < 1e-9 and a <= top[0] and b <= top[1])
            for a, b in asked
        )
    edges = list(zip(hull, [*hull[1:], hull[0]], strict=True))
    return tuple(
        all(_turn(first, then, (float(a), float(b))) >= -1e-9 for first, then in edges)
        for a, b in asked
    )


def _near(estimate: Estimate, n_sft: Floats, n_pref: Floats) -> tuple[bool, ...]:
    trained = [(c.n_sft, c.n_pref) for c in estimate.cells if (c.n_sft, c.n_pref) != (0, 0)]
    cells = np.log1p(np.array(trained, dtype=float))
    asked = np.log1p(np.stack([n_sft, n_pref], axis=1))
    far = np.abs(asked[:, None] - cells[None]).max(axis=2)
    return tuple(bool(v) for v in far.min(axis=1) <= NEAR)


def counts_of(shares: Sequence[float], amount: Amount, prices: Prices) -> list[tuple[int, int]]:
    """What each share of an amount buys; for a number of examples prices play no part.

    ValueError where compute is paid and the prices have no seconds per example.
    """
    paid = billed(prices, amount.unit)
    return [counts(share, amount.value, paid) for share in shares]


def check_question(surface: Surface, amount: Amount, prices: Prices) -> None:
    """ResultsError where the surface or the question cannot be used."""
    if not (np.isfinite(amount.value) and amount.value > 0):
        raise ResultsError(
            f"{amount.value!r} is not a budget.", field="budget", mend="Give a number above 0."
        )
    if surface.status != "ok":
        raise ResultsError("; ".join(surface.reasons), mend="Finish more cells of the study.")
    if not is_definite(prices):
        raise ValueError("definite prices are wanted here")
    _check_reach(surface, amount, prices)


def _check_reach(surface: Surface, amount: Amount, prices: Prices) -> None:
    paid = billed(prices, amount.unit) or Prices()
    spent = [spend(c.n_sft, c.n_pref, paid) for c in surface.estimate.cells]
    largest, smallest = max(spent), min(s for s in spent if s > 0)
    if amount.value > MOST_TIMES * largest or amount.value < smallest / MOST_TIMES:
        raise ResultsError(
            f"not enough evidence: a budget of {number(amount.value)} is more than "
            f"{MOST_TIMES:g} times away from what was measured "
            f"({number(smallest)} to {number(largest)}).",
            field="budget",
            mend="Measure a budget nearer to it.",
        )


def lines_at(
    surface: Surface,
    amount: Amount,
    corners: Sequence[Prices],
    have: tuple[int, int],
    *,
    n_draws: int,
    seed: int,
) -> list[Line]:
    """The line of a budget at each of several definite prices, on the same draws of the surface.

    Where compute is paid, prices have the seconds per example (see `paid_prices`).
    """
    rests = []
    for prices in corners:
        check_question(surface, amount, prices)
        rests.append(rest_beside(amount, have, prices))
    shares = shares_of(surface.estimate, amount.value, have)
    plans = [counts_of(shares, *one) for one in zip(rests, corners, strict=True)]
    if not any(a + b for plan in plans for a, b in plan):
        raise ResultsError(
            f"a budget of {number(amount.value)} buys nothing at these prices.",
            field="budget",
            mend="Give a budget above the fixed cost and the price of one example.",
        )
    n_sft = np.array([[have[0] + a for a, _ in plan] for plan in plans], dtype=float)
    n_pref = np.array([[have[1] + b for _, b in plan] for plan in plans], dtype=float)
    points = np.stack([n_sft.ravel(), n_pref.ravel()], axis=1)
    unique, back = np.unique(points, axis=0, return_inverse=True)
    mu = surface.draws(unique[:, 0], unique[:, 1], n_draws=n_draws, seed=seed)[:, back.ravel()]
    known = {(c.n_sft, c.n_pref) for c in surface.estimate.cells}
    return [
        Line(
            budget=amount.value,
            shares=np.array(shares),
            mu=mu[:, k * len(shares) : (k + 1) * len(shares)],
            n_sft=tuple(int(v) for v in n_sft[k]),
            n_pref=tuple(int(v) for v in n_pref[k]),
            measured=tuple(
                (int(a), int(b)) in known for a, b in zip(n_sft[k], n_pref[k], strict=True)
            ),
            inside=inside(surface.estimate, n_sft[k], n_pref[k]),
            near=_near(surface.estimate, n_sft[k], n_pref[k]),
        )
        for k in range(len(corners))
    ]


def origin(line: Line, best: int) -> Literal["measured", "interpolated", "extrapolated"]:
    """How the recommended share is known."""
    if line.measured[best]:
        return "measured"
    return "interpolated" if line.inside[best] else "extrapolated"

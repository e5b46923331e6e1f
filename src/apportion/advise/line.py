"""The draws along one budget line: measured, between measured lines, beyond them, or on a lattice.

| symbol | meaning                                                                  | shape |
|--------|--------------------------------------------------------------------------|-------|
| B      | the budget asked about; B0 < B < B1 the measured ones around it          |       |
| t      | (log B - log B0) / (log B1 - log B0), from 0 to 1                        |       |
| mu     | drawn score of each share on the line                                    | D, K  |
| gap    | posterior mean of a share's mu at B1 minus at B0                         | K     |
| w      | sd added because the surface between or beyond the lines was not measured | K    |

Between lines w = |gap| sqrt(t (1 - t) / 3): at the middle, what a uniform guess between the two
lines would have. It is drawn for each share on its own: leaving out inner budgets of the published
figure gives errors of 1.15 w (root mean square), 70 % of their variance each share's own.
Beyond them w = max(|gap| per doubling, `BEYOND_PER_DOUBLING`) × doublings, around the nearest
line: no trend is carried on. More than `MOST_DOUBLINGS` beyond is refused.
On a lattice mu is bilinear in (log1p n_sft, log1p n_pref), draw by draw, and nothing is added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from apportion.config.budget import Prices
from apportion.errors import ResultsError
from apportion.prices import mid
from apportion.surface.hierarchy import Estimate

Floats = NDArray[np.float64]

BEYOND_PER_DOUBLING = 0.02
MOST_DOUBLINGS = 2.0
_LATTICE_SHARES = np.linspace(0, 1, 21)
_SAME = 1e-9


@dataclass(frozen=True, eq=False)
class Line:
    """Shares ascending (K,), draws (D, K), counts bought at each share, and where it comes from."""

    budget: float
    shares: Floats
    mu: Floats
    n_sft: tuple[int, ...]
    n_pref: tuple[int, ...]
    origin: Literal["measured", "interpolated", "extrapolated"]
    reasons: tuple[str, ...] = ()


def _refuse(problem: str, mend: str) -> ResultsError:
    return ResultsError(f"not enough evidence: {problem}.", field="budget", mend=mend)


def measured_line(estimate: Estimate, budget: float) -> Line:
    """The cells measured at exactly this budget; at least two shares, or ResultsError."""
    found: dict[float, int] = {}
    for column, cell in enumerate(estimate.cells):
        for level, share in cell.lines:
            if abs(level - budget) <= _SAME * budget:
                found.setdefault(share, column)
    shares = sorted(found)
    if len(shares) < 2:
        raise _refuse(
            f"{len(shares)} share(s) measured at a budget of {budget:g}",
            "Finish the study's missing cells, or measure more shares.",
        )
    columns = [found[s] for s in shares]
    return Line(
        budget,
        np.array(shares, dtype=float),
        estimate.draws[:, columns],
        tuple(estimate.cells[c].n_sft for c in columns),
        tuple(estimate.cells[c].n_pref for c in columns),
        "measured",
    )


def _usable_levels(estimate: Estimate) -> list[float]:
    levels = []
    for level in estimate.levels:
        shares = {s for cell in estimate.cells for b, s in cell.lines if b == level}
        if level > 0 and len(shares) >= 2:
            levels.append(level)
    return levels


def _columns(line: Line, shares: list[float]) -> list[int]:
    where = {float(s): k for k, s in enumerate(line.shares)}
    return [where[s] for s in shares]


def _scaled(line: Line, columns: list[int], budget: float) -> tuple[tuple[int, ...], ...]:
    """Counts at another budget: the same share buys in proportion."""
    ratio = budget / line.budget
    return (
        tuple(round(line.n_sft[k] * ratio) for k in columns),
        tuple(round(line.n_pref[k] * ratio) for k in columns),
    )


def _between(lower: Line, upper: Line, budget: float, rng: np.random.Generator) -> Line:
    shares = sorted({float(s) for s in lower.shares} & {float(s) for s in upper.shares})
    if len(shares) < 2:
        raise _refuse(
            f"fewer than two shares are measured at both {lower.budget:g} and {upper.budget:g}",
            "Measure the same shares at both budgets.",
        )
    t = float(np.log(budget / lower.budget) / np.log(upper.budget / lower.budget))
    low, high = lower.mu[:, _columns(lower, shares)], upper.mu[:, _columns(upper, shares)]
    gap = np.abs((high - low).mean(axis=0))
    noise = gap * np.sqrt(t * (1 - t) / 3) * rng.standard_normal(low.shape)
    n_sft, n_pref = _scaled(upper, _columns(upper, shares), budget)
    reason = (
        f"a budget of {budget:g} was not measured: interpolated between the lines at "
        f"{lower.budget:g} and {upper.budget:g}, with wider intervals"
    )
    mu = np.clip((1 - t) * low + t * high + noise, 0, 1)
    return Line(budget, np.array(shares), mu, n_sft, n_pref, "interpolated", (reason,))


def _beyond(
    near: Line, next_one: Line | None, budget: float, rng: np.random.Generator, doublings: float
) -> Line:
    slope = np.full(len(near.shares), BEYOND_PER_DOUBLING)
    if next_one is not None:
        both = sorted({float(s) for s in near.shares} & {float(s) for s in next_one.shares})
        apart = abs(float(np.log2(next_one.budget / near.budget)))
        columns, others = _columns(near, both), _columns(next_one, both)
        gap = np.abs((near.mu[:, columns] - next_one.mu[:, others]).mean(axis=0)) / apart
        slope[columns] = np.maximum(gap, BEYOND_PER_DOUBLING)
    noise = slope * doublings * rng.standard_normal(near.mu.shape)
    n_sft, n_pref = _scaled(near, list(range(len(near.shares))), budget)
    reason = (
        f"extrapolated: a budget of {budget:g} lies outside the measured ones; the line at "
        f"{near.budget:g} stands in, each share widened by {slope.min() * doublings:.3f} to "
        f"{slope.max() * doublings:.3f} of score (sd), and no trend is carried on"
    )
    mu = np.clip(near.mu + noise, 0, 1)
    return Line(budget, near.shares, mu, n_sft, n_pref, "extrapolated", (reason,))


def _from_lines(estimate: Estimate, budget: float, rng: np.random.Generator) -> Line:
    levels = _usable_levels(estimate)
    if any(abs(level - budget) <= _SAME * budget for level in levels):
        return measured_line(estimate, budget)
    if not levels:
        raise _refuse(
            "no budget has two measured shares", "Finish the study's missing cells first."
        )
    below = [level for level in levels if level < budget]
    above = [level for level in levels if level > budget]
    if below and above:
        lines = measured_line(estimate, below[-1]), measured_line(estimate, above[0])
        return _between(*lines, budget, rng)
    near, rest = (below[-1], below[:-1][::-1]) if below else (above[0], above[1:])
    doublings = abs(float(np.log2(budget / near)))
    if doublings > MOST_DOUBLINGS + _SAME:
        raise _refuse(
            f"a budget of {budget:g} is more than {2**MOST_DOUBLINGS:g} times away from the "
            f"measured {near:g}",
            "Measure a budget level nearer to it.",
        )
    next_one = measured_line(estimate, rest[0]) if rest else None
    return _beyond(measured_line(estimate, near), next_one, budget, rng, doublings)


def _bracket(levels: list[int], value: float) -> tuple[int, int, float] | None:
    """The levels around a value and the weight of the upper one; None outside of them."""
    if not levels or not levels[0] - 0.5 <= value <= levels[-1] + 0.5:
        return None
    value = min(max(value, levels[0]), levels[-1])
    k = max(int(np.searchsorted(levels, value)), 1) if len(levels) > 1 else 0
    low, high = levels[max(k - 1, 0)], levels[k]
    span = np.log1p(high) - np.log1p(low)
    return low, high, float((np.log1p(value) - np.log1p(low)) / span) if span else 0.0


def _bilinear(estimate: Estimate, n_sft: float, n_pref: float) -> Floats | None:
    """Draws (D,) at a point inside a measured rectangle; None where a corner is absent."""
    column = {(c.n_sft, c.n_pref): k for k, c in enumerate(estimate.cells)}
    across = _bracket(sorted({k[0] for k in column}), n_sft)
    along = _bracket(sorted({k[1] for k in column}), n_pref)
    if across is None or along is None:
        return None
    mu = np.zeros(len(estimate.draws))
    for sft, weight_sft in ((across[0], 1 - across[2]), (across[1], across[2])):
        for pref, weight_pref in ((along[0], 1 - along[2]), (along[1], along[2])):
            weight = weight_sft * weight_pref
            if weight == 0:
                continue
            if (sft, pref) not in column:
                return None
            mu += weight * estimate.draws[:, column[sft, pref]]
    return mu


def _definite(prices: Prices) -> tuple[float, float]:
    """Prices as two numbers: the middles of ranges."""
    middle = mid(prices)
    return float(middle.sft), float(middle.preference)  # type: ignore[arg-type]  # not ranges now


def _from_lattice(estimate: Estimate, budget: float, prices: Prices) -> Line:
    sft_price, pref_price = _definite(prices)
    shares, parts, n_sft, n_pref = [], [], [], []
    for share in _LATTICE_SHARES:
        counts = share * budget / sft_price, (1 - share) * budget / pref_price
        mu = _bilinear(estimate, *counts)
        if mu is not None:
            shares.append(round(float(share), 4))
            parts.append(mu)
            n_sft.append(round(counts[0]))
            n_pref.append(round(counts[1]))
    if len(shares) < 2:
        raise _refuse(
            f"a budget of {budget:g} crosses the measured lattice at {len(shares)} of "
            f"{len(_LATTICE_SHARES)} shares",
            "Measure larger levels of n_sft and n_pref, or ask about another budget.",
        )
    reasons = ["interpolated between the cells of the lattice"]
    if len(shares) < len(_LATTICE_SHARES):
        reasons.append(
            f"the lattice covers only {len(shares)} of {len(_LATTICE_SHARES)} shares of this "
            "budget; the others lie outside of it or at an absent cell"
        )
    mu = np.stack(parts, axis=1)
    return Line(
        budget, np.array(shares), mu, tuple(n_sft), tuple(n_pref), "interpolated", tuple(reasons)
    )


def _check_prices(line: Line, prices: Prices) -> None:
    """A study of budget lines holds for the prices it was run with."""
    sft_price, pref_price = _definite(prices)
    left_over = 1 + sft_price / pref_price  # what whole demonstrations leave buys pairs
    for share, n_sft, n_pref in zip(line.shares, line.n_sft, line.n_pref, strict=True):
        expected = share * line.budget / sft_price, (1 - share) * line.budget / pref_price
        for got, want in zip((n_sft, n_pref), expected, strict=True):
            if abs(got - want) > left_over + 0.02 * want:
                raise ResultsError(
                    "the study was measured along lines of other prices.",
                    field="prices",
                    mend="Ask with the study's prices, or measure a lattice, which serves all "
                    "prices.",
                )


def line_at(estimate: Estimate, budget: float, *, prices: Prices | None, seed: int) -> Line:
    """The line of a budget (in the study's unit). Raises ResultsError where evidence is lacking."""
    if not (np.isfinite(budget) and budget > 0):
        raise ResultsError(
            f"{budget!r} is not a budget.", field="budget", mend="Give a number above 0."
        )
    if estimate.status != "ok":
        raise ResultsError("; ".join(estimate.reasons), mend="Finish more cells of the study.")
    if not estimate.levels:
        return _from_lattice(estimate, budget, prices or Prices())
    line = _from_lines(estimate, budget, np.random.default_rng(seed))
    if prices is not None:
        _check_prices(line, prices)
    return line

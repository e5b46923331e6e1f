"""Advice for a budget, from draws of the surface along its line.

The recommended share has the smallest expected regret at the worst of the prices, which with known
prices is the highest expected score. All simple rules are on the line, so the advice is never worse
in expectation than any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from apportion.advise.baselines import baselines
from apportion.advise.compute import compute_of, paid_prices, rest_beside
from apportion.advise.doubts import doubts, supported
from apportion.advise.line import Floats, Line, lines_at, origin
from apportion.advise.next_purchase import WORTH, next_purchase
from apportion.advise.phrases import number
from apportion.advise.regret import (
    DELTA,
    EPSILON,
    ShareStatistics,
    best_region,
    difference,
    statistics,
)
from apportion.advise.timing import Timing
from apportion.advise.types import Advice, PriceRow, ShareRow
from apportion.config.budget import Prices, Unit
from apportion.errors import ResultsError
from apportion.prices import Amount, corners, effective, exact_spend, mid, orders, owned_training
from apportion.surface.hierarchy import interval
from apportion.surface.model import N_DRAWS, Surface

__all__ = ["Advice", "advise", "advise_levels"]


def _rows(
    line: Line, stats: ShareStatistics, p_safe: Floats, recommended: int
) -> tuple[ShareRow, ...]:
    return tuple(
        ShareRow(
            share=float(line.shares[k]),
            n_sft=line.n_sft[k],
            n_pref=line.n_pref[k],
            expected_score=float(stats.expected_score[k]),
            score_interval=interval(line.mu[:, k]),
            p_best=float(stats.p_best[k]),
            expected_regret=float(stats.expected_regret[k]),
            q90_regret=float(stats.q90_regret[k]),
            p_safe=float(p_safe[k]),
            difference=difference(line.mu[:, recommended], line.mu[:, k]),
            measured=line.measured[k],
        )
        for k in range(len(line.shares))
    )


def _check_limits(epsilon: float, delta: float) -> None:
    for name, value, top in (("epsilon", epsilon, 1.0), ("delta", delta, 0.5)):
        if not (np.isfinite(value) and 0 <= value <= top) or (name == "delta" and value == 0):
            raise ResultsError(
                f"{value!r} cannot be used.", field=name, mend=f"Give a number up to {top:g}."
            )


def _price_table(
    ends: Sequence[Prices], lines: Sequence[Line], every: Sequence[ShareStatistics], best: int
) -> tuple[PriceRow, ...]:
    if len(ends) == 1:
        return ()
    rows = []
    for prices, line, stats in zip(ends, lines, every, strict=True):
        alone = int(np.argmin(stats.expected_regret))
        gap = difference(line.mu[:, alone], line.mu[:, best])
        rows.append(
            PriceRow(
                *effective(prices),
                share=float(line.shares[alone]),
                expected_score=float(stats.expected_score[alone]),
                regret_of_recommended=gap.mean,
            )
        )
    return tuple(rows)


@dataclass(frozen=True, eq=False)
class _Chosen:
    """The line at the middle prices, and its best share at the worst of the prices."""

    line: Line
    of_ends: tuple[ShareStatistics, ...]  # at each corner of the prices
    stats: ShareStatistics  # at the middle
    worst: Floats  # expected regret of each share at its worst corner
    best: int
    rows: tuple[ShareRow, ...]
    price_table: tuple[PriceRow, ...]

    @property
    def q90_regret(self) -> float:
        return float(max(stats.q90_regret[self.best] for stats in self.of_ends))

    def region(self, delta: float) -> tuple[float, ...]:
        """Among fine shares the recommended one may be best less often than its neighbours: it is
        in, too."""
        shares = best_region(self.line.shares, self.stats, delta)
        return tuple(sorted({*shares, self.rows[self.best].share}))


def _every(asked: Prices) -> list[Prices]:
    """Corners of the prices, then their middle."""
    ends = list(corners(asked))
    return ends if len(ends) == 1 else [*ends, mid(asked)]


def _choose(lines: Sequence[Line], asked: Prices, epsilon: float) -> _Chosen:
    """`lines`: at the prices of `_every`."""
    ends = list(corners(asked))
    line, at_ends = lines[-1], lines[: len(ends)]
    of_ends = tuple(statistics(one.mu, epsilon) for one in at_ends)
    stats = statistics(line.mu, epsilon)
    worst: Floats = np.max([each.expected_regret for each in of_ends], axis=0)
    p_safe: Floats = np.min([each.p_safe for each in of_ends], axis=0)
    best = int(np.argmin(worst))
    return _Chosen(
        line,
        of_ends,
        stats,
        worst,
        best,
        _rows(line, stats, p_safe, best),
        _price_table(ends, at_ends, of_ends, best),
    )


def advise(
    surface: Surface,
    budget: float | Amount,
    *,
    prices: Prices | None = None,
    have: tuple[int, int] = (0, 0),
    epsilon: float = EPSILON,
    delta: float = DELTA,
    step: float | None = None,
    worth: float = WORTH,
    sandbox: bool = False,
    timing: Timing | None = None,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> Advice:
    """Advise on one budget: money to spend now, beside what is owned (`have`: n_sft, n_pref).

    A plain number is a number of examples, unless `prices` are given: then it is money. Ranges of
    prices give one split that is robust to them. Where compute is paid, `timing` (see `timing_of`)
    has the seconds per example, unless the prices have them. Raises ResultsError ("not enough
    evidence: …") when the measured cells cannot answer.
    """
    _check_limits(epsilon, delta)
    amount = budget if isinstance(budget, Amount) else _amount(budget, prices)
    asked = paid_prices(prices or Prices(), amount, timing)
    lines = list(lines_at(surface, amount, _every(asked), have, n_draws=n_draws, seed=seed))
    found = _choose(lines, asked, epsilon)
    line, best, row = found.line, found.best, found.rows[found.best]
    known = origin(line, best)
    new = row.n_sft - have[0], row.n_pref - have[1]
    middle = mid(asked)
    paid = Prices() if amount.unit == "examples" else middle
    return Advice(
        model=surface.model,
        task=surface.task,
        method=surface.method,
        budget=amount.value,
        unit=amount.unit,
        prices=effective(middle),
        have=have,
        orders=orders(*new, paid),
        cost=float(exact_spend(*new, paid) + owned_training(have, paid)),
        share=row.share,
        n_sft=row.n_sft,
        n_pref=row.n_pref,
        expected_score=row.expected_score,
        score_interval=row.score_interval,
        safe_shares=tuple(each.share for each in found.rows if each.p_safe >= 1 - delta),
        best_share_region=found.region(delta),
        expected_regret=float(found.worst[best]),
        q90_regret=found.q90_regret,
        baselines=baselines(surface.estimate, line, best, delta),
        shares=found.rows,
        price_table=found.price_table,
        next_purchase=next_purchase(
            surface,
            rest_beside(amount, have, paid),
            middle,
            have,
            (row.n_sft, row.n_pref),
            step=step,
            worth=worth,
            seed=seed,
        ),
        extrapolated=known == "extrapolated",
        origin=known,
        confident=row.p_safe >= 1 - delta
        and supported(surface, line, best)
        and known != "extrapolated",
        reasons=tuple(doubts(surface, line, found.rows, best, (epsilon, delta))),
        replicates=surface.estimate.replicates[0],
        n_items=surface.estimate.n_items,
        sandbox=sandbox,
        epsilon=epsilon,
        delta=delta,
        compute=compute_of(amount, prices or Prices(), middle, have, new, timing),
    )


def _amount(budget: float, prices: Prices | None) -> Amount:
    if prices is None and np.isfinite(budget) and float(budget) != int(budget):
        raise ResultsError(
            f"a budget of {budget:g} examples is not whole.",
            field="budget",
            mend="Give a whole number, or prices: then it is money.",
        )
    return Amount(float(budget), "examples" if prices is None else "usd")


def advise_levels(
    surface: Surface,
    *,
    unit: Unit = "examples",
    prices: Prices | None = None,
    epsilon: float = EPSILON,
    delta: float = DELTA,
    sandbox: bool = False,
    timing: Timing | None = None,
) -> tuple[tuple[Advice, ...], tuple[str, ...]]:
    """Advise on every measured budget, ascending; and why for the budgets that got none."""
    given: list[Advice] = []
    refused: list[str] = []
    for level in surface.estimate.levels:
        try:
            given.append(
                advise(
                    surface,
                    Amount(level, unit),
                    prices=prices,
                    epsilon=epsilon,
                    delta=delta,
                    sandbox=sandbox,
                    timing=timing,
                )
            )
        except ResultsError as error:
            refused.append(f"budget {number(level)}: {error.told}")
    return tuple(given), tuple(refused)

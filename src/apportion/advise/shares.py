"""Advice for a budget, from the posterior draws along its line.

The recommended share has the smallest expected regret, which is the highest expected score. So it
is never worse in expectation than any measured share, nor than any mixture of two neighbours: every
baseline is one of these.
"""

from __future__ import annotations

import numpy as np

from apportion.advise.baselines import baselines
from apportion.advise.line import Line, line_at
from apportion.advise.regret import (
    DELTA,
    EPSILON,
    ShareStatistics,
    best_region,
    difference,
    safe,
    statistics,
)
from apportion.advise.types import Advice, ShareRow
from apportion.config.budget import Prices
from apportion.errors import ResultsError
from apportion.surface.hierarchy import Estimate, interval

__all__ = ["Advice", "advise", "advise_levels", "and_list", "percent", "points"]

NO_NEXT_PURCHASE = "the next purchase is not computed yet: this advice is for the whole budget"


def _rows(line: Line, stats: ShareStatistics, recommended: int) -> tuple[ShareRow, ...]:
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
            p_safe=float(stats.p_safe[k]),
            difference=difference(line.mu[:, recommended], line.mu[:, k]),
        )
        for k in range(len(line.shares))
    )


def percent(share: float) -> str:
    """A share of the budget for people."""
    return f"{100 * share:.4g} %"


def points(score: float) -> str:
    """A difference of scores for people: 0.01 is one point."""
    return f"{100 * score:.3g} point{'' if score == 0.01 else 's'}"


def and_list(parts: list[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _doubts(
    estimate: Estimate,
    line: Line,
    rows: tuple[ShareRow, ...],
    best: int,
    limits: tuple[float, float],
) -> list[str]:
    """Why the advice is less than certain; empty when nothing speaks against it."""
    epsilon, delta = limits
    reasons = list(line.reasons)
    close = [
        percent(row.share)
        for k, row in enumerate(rows)
        if k != best and row.difference.p_better < 1 - delta
    ]
    if close:
        reasons.append(
            f"{percent(rows[best].share)} on SFT cannot be told apart from {and_list(close)} "
            f"(less than {percent(1 - delta)} sure that it is better)"
        )
    if rows[best].p_safe < 1 - delta:
        reasons.append(
            f"even the recommended share is within {points(epsilon)} of the best with a "
            f"probability of only {percent(round(rows[best].p_safe, 2))}"
        )
    if estimate.replicates[0] < 2:
        reasons.append("at least one cell has a single replicate")
    return reasons + list(estimate.reasons)


def _check_limits(epsilon: float, delta: float) -> None:
    for name, value, top in (("epsilon", epsilon, 1.0), ("delta", delta, 0.5)):
        if not (np.isfinite(value) and 0 <= value <= top) or (name == "delta" and value == 0):
            raise ResultsError(
                f"{value!r} cannot be used.", field=name, mend=f"Give a number up to {top:g}."
            )


def advise(
    estimate: Estimate,
    budget: float,
    *,
    prices: Prices | None = None,
    epsilon: float = EPSILON,
    delta: float = DELTA,
    sandbox: bool = False,
    seed: int = 0,
) -> Advice:
    """Advise on one budget, in the unit that the study's budgets had.

    `prices` are needed only for a lattice; for budget lines they are checked. Raises ResultsError
    ("not enough evidence: …") when the measured cells cannot answer.
    """
    _check_limits(epsilon, delta)
    line = line_at(estimate, budget, prices=prices, seed=seed)
    stats = statistics(line.mu, epsilon)
    best = int(np.argmin(stats.expected_regret))
    rows = _rows(line, stats, best)
    reasons = _doubts(estimate, line, rows, best, (epsilon, delta))
    extrapolated = line.origin == "extrapolated"
    sure = rows[best].p_safe >= 1 - delta and estimate.replicates[0] >= 2
    return Advice(
        model=estimate.model,
        task=estimate.task,
        method=estimate.method,
        budget=float(budget),
        share=rows[best].share,
        n_sft=rows[best].n_sft,
        n_pref=rows[best].n_pref,
        expected_score=rows[best].expected_score,
        score_interval=rows[best].score_interval,
        safe_shares=safe(line.shares, stats, delta),
        best_share_region=best_region(line.shares, stats, delta),
        expected_regret=rows[best].expected_regret,
        q90_regret=rows[best].q90_regret,
        baselines=baselines(estimate, line, best, delta),
        shares=rows,
        next_purchase=None,
        extrapolated=extrapolated,
        origin=line.origin,
        confident=sure and not extrapolated,
        reasons=(*reasons, NO_NEXT_PURCHASE),
        replicates=estimate.replicates[0],
        n_items=estimate.n_items,
        sandbox=sandbox,
        epsilon=epsilon,
        delta=delta,
    )


def advise_levels(
    estimate: Estimate,
    *,
    epsilon: float = EPSILON,
    delta: float = DELTA,
    sandbox: bool = False,
) -> tuple[tuple[Advice, ...], tuple[str, ...]]:
    """Advise on every measured budget, ascending; and why for the budgets that got none."""
    given: list[Advice] = []
    refused: list[str] = []
    for level in estimate.levels:
        try:
            measured = advise(estimate, level, epsilon=epsilon, delta=delta, sandbox=sandbox)
        except ResultsError as error:
            refused.append(f"budget {level:g}: {error.problem}")
            continue
        if measured.origin == "measured":
            given.append(measured)
        else:
            refused.append(f"budget {level:g}: fewer than two shares have a score")
    return tuple(given), tuple(refused)

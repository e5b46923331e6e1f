"""What to buy first, before anything was measured: a split from published evidence.

| symbol  | meaning                                                                      | shape |
|---------|------------------------------------------------------------------------------|-------|
| B, s    | budget in money; share of it that buys demonstrations                        |       |
| corners | the price pairs at the ends of the price ranges (one when both are known)    | P     |
| n       | have + what s of B buys, fixed costs and rejects paid                        | K     |
| mu      | drawn scores along the line of one corner                                    | D, K  |
| worst   | the largest expected regret of a share over the corners                      | K     |

What is owned shifts the line and costs training at most; only new data is bought, so no count is
ever negative. The recommended share minimises `worst` among the mixes that the figure holds
(`MIXES`) and the simple rules. A mix between them is recommended only where it is better with
probability 1 - δ: the peak that a smooth curve draws into a gap is not evidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from apportion.advise import published
from apportion.advise.compute import by_hand, rest_beside
from apportion.advise.phrases import number
from apportion.advise.plan_types import (
    FirstPlan,
    PlannedBaseline,
    PlannedShare,
    PricePoint,
    Purchase,
)
from apportion.advise.purchase import buys, first_purchase
from apportion.advise.regret import (
    DELTA,
    EPSILON,
    Floats,
    ShareStatistics,
    best_region,
    difference,
    statistics,
)
from apportion.advise.rules import FIXED
from apportion.config.budget import Prices, Unit
from apportion.errors import StudyError
from apportion.prices import Amount, corners, counts, effective, end, mid, rest_of
from apportion.surface.hierarchy import interval

SHARES = np.array([0.0, 0.01, 0.02, 0.03, *np.arange(1, 21) / 20])
MIXES = (0.0, 0.25, 0.5, 0.75, 1.0)  # n_sft / (n_sft + n_pref) in the published figure
WORTH_SAYING = 0.002
N_DRAWS = 2000
NAMES = {
    "math": "math",
    "gsm8k": "math",
    "instruction_following": "instruction_following",
    "instructions": "instruction_following",
    "ifeval": "instruction_following",
    "summarization": "summarization",
    "summarisation": "summarization",
    "tldr": "summarization",
    "helpfulness": "helpfulness",
}


@dataclass(frozen=True)
class _Question:
    tasks: tuple[str, ...]
    budget: Amount
    prices: Prices
    have: tuple[int, int]
    seed: int

    def counts(self, prices: Prices) -> tuple[Floats, Floats]:
        """Owned and bought examples (K,) of either kind along the line of definite prices."""
        rest = rest_of(self.budget, self.have, prices).value
        bought = np.array([counts(float(share), rest, prices) for share in SHARES], float)
        return self.have[0] + bought[:, 0], self.have[1] + bought[:, 1]


def _read_budget(budget: float | Amount, unit: Unit) -> tuple[float, Unit]:
    value, unit = (budget.value, budget.unit) if isinstance(budget, Amount) else (budget, unit)
    if not (math.isfinite(value) and value > 0):
        raise StudyError(f"{value!r} is not a budget.", field="budget", mend="give one above 0.")
    return float(value), unit


def _owned(have: Mapping[str, int] | None) -> tuple[int, int]:
    owned = dict(have or {})
    for name, count in owned.items():
        if name not in ("sft", "preference") or int(count) != count or count < 0:
            raise StudyError(
                f"{name}={count} cannot be owned.",
                field=f"have.{name}",
                mend="give whole numbers from 0 for sft and preference.",
            )
    return int(owned.get("sft", 0)), int(owned.get("preference", 0))


def _draw(question: _Question, prices: Prices) -> Floats:
    """Draws (D, K) along one line; with several tasks, each draw behaves like one of them."""
    points = published.by_task(published.load_published())
    n_sft, n_pref = question.counts(prices)
    parts = [
        published.draw(points[task], n_sft, n_pref, N_DRAWS, question.seed + k)
        for k, task in enumerate(question.tasks)
    ]
    return np.concatenate(parts)


def _extrapolation(question: _Question, n_sft: float, n_pref: float) -> list[str]:
    points = published.by_task(published.load_published())
    totals = [[p.n_sft + p.n_pref for p in points[task]] for task in question.tasks]
    low = max(min(n for n in task if n > 0) for task in totals)
    high = min(max(task) for task in totals)
    total = n_sft + n_pref
    if low * 0.999 <= total <= high * 1.001:
        return []
    return [
        f"extrapolated: the plan ends with {total:,.0f} examples, and the figure covers "
        f"{low:,.0f} to {high:,.0f}"
    ]


def _tasks(task: str) -> tuple[tuple[str, ...], list[str]]:
    name = NAMES.get(task.strip().lower().replace("-", "_").replace(" ", "_"))
    if name is not None:
        return (name,), []
    every = tuple(dict.fromkeys(NAMES.values()))
    return every, [
        f"nothing is published for the task {task!r}: the average of {', '.join(every)} stands in, "
        "with the width of their differences"
    ]


def _summaries(
    lines: list[Floats], middle: Floats, epsilon: float
) -> tuple[list[ShareStatistics], Floats, Floats, tuple[PlannedShare, ...]]:
    stats = [statistics(mu, epsilon) for mu in lines]
    worst: Floats = np.max([s.expected_regret for s in stats], axis=0)
    p_safe: Floats = np.min([s.p_safe for s in stats], axis=0)
    rows = []
    for k, share in enumerate(SHARES):
        spans = [interval(mu[:, k]) for mu in lines]
        rows.append(
            PlannedShare(
                share=float(share),
                expected_score=float(middle[:, k].mean()),
                score_interval=(min(s[0] for s in spans), max(s[1] for s in spans)),
                worst_expected_regret=float(worst[k]),
                p_safe=float(p_safe[k]),
            )
        )
    return stats, worst, p_safe, tuple(rows)


def _choose(
    question: _Question, worst: Floats, middle: Floats, delta: float
) -> tuple[int, list[str]]:
    """The recommended column, and what the curve would have liked better, if anything."""
    n_sft, n_pref = question.counts(mid(question.prices))
    mix = n_sft / np.maximum(n_sft + n_pref, 1)  # a share may buy nothing: fixed costs
    seen = {int(np.argmin(np.abs(SHARES - share))) for _, share in FIXED}
    seen |= {int(np.argmin(np.abs(mix - m))) for m in MIXES if np.abs(mix - m).min() < 0.05}
    best = min(sorted(seen), key=lambda k: float(worst[k]))
    free = int(np.argmin(worst))
    gap = difference(middle[:, free], middle[:, best])
    if free == best or gap.p_better >= 1 - delta:
        return free, []
    if gap.mean < WORTH_SAYING:
        return best, []
    return best, [
        f"a curve through the figure peaks at {100 * SHARES[free]:g} %, by {100 * gap.mean:.1f} "
        f"points, but nothing was measured there and the two cannot be told apart"
    ]


def _baselines(rows: tuple[PlannedShare, ...], middle: Floats, best: int) -> list[PlannedBaseline]:
    found = []
    for name, share in FIXED:
        k = int(np.argmin(np.abs(SHARES - share)))
        gap = difference(middle[:, best], middle[:, k])
        row = rows[k]
        found.append(
            PlannedBaseline(name, share, row.expected_score, row.worst_expected_regret, gap)
        )
    return found


def plan(
    task: str,
    budget: float | Amount,
    prices: Prices,
    have: Mapping[str, int] | None = None,
    *,
    unit: Unit = "usd",
    epsilon: float = EPSILON,
    delta: float = DELTA,
    seed: int = 0,
) -> FirstPlan:
    """Plan the first purchase from published evidence alone; seconds, no GPU.

    `budget` and `prices` are in the same money; for a budget of examples (an Amount, or `unit`)
    either kind costs one and `prices` play no part. Compute that is paid has its seconds given by
    hand. `have` may hold "sft" and "preference". Raises StudyError for values that cannot be used.
    """
    budget, unit = _read_budget(budget, unit)
    prices, hand = by_hand(prices, unit)
    owned = _owned(have)
    tasks, pooled = _tasks(task)
    question = _Question(tasks, Amount(budget, unit), prices, owned, seed)
    rest = rest_beside(question.budget, owned, end(prices, "high"), StudyError).value
    ends = corners(prices)
    lines = [_draw(question, end) for end in ends]
    middle = lines[0] if len(ends) == 1 else _draw(question, mid(prices))
    stats, worst, p_safe, rows = _summaries(lines, middle, epsilon)
    best, hunch = _choose(question, worst, middle, delta)
    share = float(SHARES[best])
    whole = _whole(rest, share, prices)
    first, note = first_purchase(rest, share, prices, owned[0], whole)
    n_sft, n_pref = question.counts(mid(prices))
    beyond = _extrapolation(question, float(n_sft[best]), float(n_pref[best]))
    return FirstPlan(
        task=task,
        published_tasks=tasks,
        budget=budget,
        unit=unit,
        have_sft=owned[0],
        have_pref=owned[1],
        share=share,
        whole=whole,
        first=first,
        expected_score=rows[best].expected_score,
        score_interval=rows[best].score_interval,
        expected_regret=float(worst[best]),
        q90_regret=max(float(s.q90_regret[best]) for s in stats),
        safe_shares=tuple(float(s) for s in SHARES[p_safe >= 1 - delta]),
        best_share_region=_union([best_region(SHARES, end, delta) for end in stats]),
        shares=rows,
        baselines=tuple(_baselines(rows, middle, best)),
        price_table=_price_table(question, best, epsilon),
        extrapolated=bool(beyond),
        epsilon=epsilon,
        delta=delta,
        evidence=f"published evidence: {published.SOURCE}; not measured on your model",
        reasons=(*hand, *pooled, *hunch, *_warnings(share, owned[0], len(ends)), *beyond, note),
    )


def _whole(budget: float, share: float, prices: Prices) -> Purchase:
    whole = buys(budget, share, prices)
    if whole.n_sft + whole.n_pref == 0:
        raise StudyError(
            f"a budget of {number(budget)} buys nothing at these prices.",
            field="budget",
            mend="give a budget above the price of one example.",
        )
    return whole


def _union(regions: list[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(sorted({share for region in regions for share in region}))


def _price_table(question: _Question, best: int, epsilon: float) -> tuple[PricePoint, ...]:
    """One row for each end of the price ranges, and one for their middle."""
    given = (*corners(question.prices), mid(question.prices))
    pairs = {effective(p): p for p in given}
    return tuple(_price_point(question, p, best, epsilon) for _, p in sorted(pairs.items()))


def _warnings(share: float, have_sft: int, n_corners: int) -> list[str]:
    found = []
    if n_corners > 1:
        found.append(
            "prices are ranges: the share has the smallest expected regret at their worst ends"
        )
    if share == SHARES[0] and have_sft == 0:
        found.append("without any demonstration this is a cold start")
    return found


def _price_point(
    question: _Question, prices: Prices, recommended: int, epsilon: float
) -> PricePoint:
    stats = statistics(_draw(question, prices), epsilon)
    own = int(np.argmin(stats.expected_regret))  # of all shares, also those between the mixes
    return PricePoint(
        sft=effective(prices)[0],
        preference=effective(prices)[1],
        share=float(SHARES[own]),
        expected_score=float(stats.expected_score[own]),
        regret_of_recommended=float(stats.expected_regret[recommended]),
    )

"""What a shared trajectory does to the scores: its cells against the same cells run independently.

| symbol | meaning |
|---|---|
| k, R | cells of a model, task and method that were run both ways, and replicates among them |
| d_i | score of cell i of the shared trajectory minus its score as an independent run |
| v | mean over cells of the variance of d_i that the test items alone make |
| r | run-to-run sd of a score before anything was measured (RUN_SD) |

The variance s^2 of one d_i is (4 (2 r^2 + v) + sum (d_i - mean)^2) / (4 + k - 1): what two runs of
one recipe differ by counts as four cells, since with two or three cells their own scatter says
little. Cells of one replicate share a trajectory and its luck (r^2), which their number does not
average out, so that of the mean is s^2 / k + r^2 (1 / R - 1 / k). The interval is Student's, with
4 + k - 1 degrees of freedom.

A mean hides what gains at one end and loses at the other, and just that moves a best split: so the
larger half of the cells is compared with the smaller half in the same way, with the scatter about
each half's mean and a degree of freedom less.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

from apportion.run.results import CellResult, result_of
from apportion.run.survey import RUN_SD
from apportion.store.store import Store

if TYPE_CHECKING:
    from apportion.compile import Plan

LEVEL = 0.9
_PRIOR_CELLS = 4

Verdict = Literal["lower", "higher", "differs by size", "cannot be told apart", "not measured"]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Audit:
    """Shared minus independent scores of one model, task and method, in score units.

    `cells`: audited cells that have both scores, of `planned`. Intervals hold 90 %. `halves`: the
    mean difference of the smaller and of the larger half by n_sft + n_pref; `trend_interval`: of
    the larger half's minus the smaller half's.
    """

    model: str
    task: str
    method: str
    planned: int
    cells: int
    difference: float | None
    interval: Interval | None
    halves: tuple[float, float] | None = None
    trend_interval: Interval | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether the shared trajectory's scores differ from independent ones beyond noise."""
        if self.interval is None:
            return "not measured"
        low, high = self.interval
        if not low <= 0 <= high:
            return "lower" if high < 0 else "higher"
        if self.trend_interval and not self.trend_interval[0] <= 0 <= self.trend_interval[1]:
            return "differs by size"
        return "cannot be told apart"

    def words(self) -> str:
        """One sentence for people."""
        name = f"{self.model} · {self.task} · {self.method}: the shared trajectory's scores"
        if self.difference is None or self.interval is None:
            return f"{name} are not audited yet: 0 of {self.planned} cells have both scores."
        half = 100 * (self.interval[1] - self.interval[0]) / 2
        size = f"{100 * abs(self.difference):.1f} ± {half:.1f} points"
        of = f"90 % interval, {self.cells} of {self.planned} audited cells"
        side = _side(self.difference)
        if self.verdict == "differs by size" and self.halves is not None:
            small, large = (f"{100 * abs(d):.1f} points {_side(d)}" for d in self.halves)
            return (
                f"{name} are {small} independent runs at the smaller sizes and {large} them at the "
                f"larger ones, beyond noise ({self.cells} of {self.planned} audited cells; "
                f"{size} {side} on average): do not use it."
            )
        if self.verdict == "cannot be told apart":
            return (
                f"{name} cannot be told apart from independent runs: {size} {side} them ({of}); "
                f"a difference of less than {half:.1f} points would not show."
            )
        so = "do not use it" if self.verdict == "lower" else "they do not stand for the recipe"
        return f"{name} are {size} {side} independent runs ({of}): {so}."

    def to_json(self) -> dict[str, Any]:
        """Plain JSON-able values; what was not measured is null."""
        return {**asdict(self), "verdict": self.verdict}


def collect_audit(plan: Plan, store: Store) -> tuple[Audit, ...]:
    """The audit of each model, task and method of `plan`; () unless its trajectory is shared."""
    own = {_place(cell): cell for cell in plan.cells}
    pairs = [
        (result_of(own[_place(cell)], plan, store), result_of(cell, plan, store))
        for cell in plan.audit
    ]
    groups = dict.fromkeys((cell.model, cell.task, cell.method) for cell in plan.audit)
    return tuple(
        compare(*group, [pair for pair in pairs if _place(pair[0])[:3] == group])
        for group in groups
    )


def compare(
    model: str, task: str, method: str, pairs: Sequence[tuple[CellResult, CellResult]]
) -> Audit:
    """The audit of one group from (shared, independent) results; what has one score is left out."""
    sized: list[tuple[int, float]] = []
    of_items: list[float] = []
    replicates: set[int] = set()
    for shared, alone in pairs:
        if shared.score is not None and alone.score is not None:
            sized.append((shared.n_sft + shared.n_pref, shared.score - alone.score))
            of_items.append(_item_variance(shared, alone))
            replicates.add(shared.replicate)
    k = len(sized)
    if not k:
        return Audit(model, task, method, len(pairs), 0, None, None)
    prior = _PRIOR_CELLS * (2 * RUN_SD**2 + statistics.fmean(of_items))
    # Stable: cells of one size stay in the plan's order.
    differences = [difference for _, difference in sorted(sized, key=itemgetter(0))]
    mean, freedom = statistics.fmean(differences), _PRIOR_CELLS + k - 1
    of_mean = (prior + _scatter(differences)) / freedom / k
    of_mean += RUN_SD**2 * (1 / len(replicates) - 1 / k)
    found = Audit(model, task, method, len(pairs), k, mean, _about(mean, of_mean, freedom))
    if k < 2:
        return found
    small, large = differences[: k // 2], differences[k // 2 :]
    halves = statistics.fmean(small), statistics.fmean(large)
    of_one = (prior + _scatter(small) + _scatter(large)) / (freedom - 1)
    of_trend = of_one * (1 / len(small) + 1 / len(large))
    trend = _about(halves[1] - halves[0], of_trend, freedom - 1)
    return replace(found, halves=halves, trend_interval=trend)


def _scatter(values: Sequence[float]) -> float:
    mean = statistics.fmean(values)
    return math.fsum((value - mean) ** 2 for value in values)


def _about(middle: float, variance: float, freedom: int) -> Interval:
    from scipy.stats import t

    half = float(t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(variance)
    return middle - half, middle + half


def _side(difference: float) -> str:
    return "below" if difference < 0 else "above"


def _item_variance(one: CellResult, other: CellResult) -> float:
    """Of the difference of two scores: both answer the same items, so item by item."""
    if one.item_scores is None or other.item_scores is None or len(one.item_scores) < 2:
        return math.fsum(result.stderr**2 for result in (one, other) if result.stderr is not None)
    weights = one.item_weights or (1.0,) * len(one.item_scores)
    mean = statistics.fmean(weights)
    gaps = [
        weight / mean * (a - b)
        for weight, a, b in zip(weights, one.item_scores, other.item_scores, strict=True)
    ]
    return statistics.variance(gaps) / len(gaps)


def _place(cell: Any) -> tuple[Any, ...]:
    names = ("model", "task", "method", "n_sft", "n_pref", "replicate")
    return tuple(getattr(cell, name) for name in names)

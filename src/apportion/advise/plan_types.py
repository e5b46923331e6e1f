"""What a first plan is: one frozen value, and its JSON form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apportion.advise.regret import Difference
from apportion.advise.types import plain
from apportion.config.budget import Unit


@dataclass(frozen=True)
class Purchase:
    """Usable examples, what they cost at the low and the high end of the prices, and how many to
    order of either kind, those that will be rejected included.
    """

    n_sft: int
    n_pref: int
    cost: tuple[float, float]
    orders: tuple[int, int]


@dataclass(frozen=True)
class PlannedShare:
    """One share of the line: score at the middle prices, regret at the worst prices."""

    share: float
    expected_score: float
    score_interval: tuple[float, float]
    worst_expected_regret: float
    p_safe: float


@dataclass(frozen=True)
class PlannedBaseline:
    """A fixed rule; `difference` is the recommended share minus the rule, at the middle prices."""

    name: str
    share: float
    expected_score: float
    expected_regret: float
    difference: Difference


@dataclass(frozen=True)
class PricePoint:
    """Prices of usable examples of either kind, and the share that is best for them alone."""

    sft: float
    preference: float
    share: float
    expected_score: float
    regret_of_recommended: float


@dataclass(frozen=True)
class FirstPlan:
    """A first split and a first purchase. Scores 0 to 1; money in the budget's unit."""

    task: str
    published_tasks: tuple[str, ...]
    budget: float
    unit: Unit
    have_sft: int
    have_pref: int
    share: float
    whole: Purchase  # the whole budget, at the high prices
    first: Purchase  # the pilot
    expected_score: float
    score_interval: tuple[float, float]
    expected_regret: float
    q90_regret: float
    safe_shares: tuple[float, ...]
    best_share_region: tuple[float, ...]
    shares: tuple[PlannedShare, ...]
    baselines: tuple[PlannedBaseline, ...]
    price_table: tuple[PricePoint, ...]
    extrapolated: bool
    epsilon: float
    delta: float
    evidence: str
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Only dicts, lists, strings, finite numbers, booleans and None."""
        form: dict[str, Any] = plain(self)
        return form

"""What advice is: one frozen value, and its JSON form (never NaN or infinity)."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from apportion.advise.regret import Difference
from apportion.config.budget import Unit

Interval = tuple[float, float]
Kind = Literal["demonstrations", "preference units", "towards the split"]


@dataclass(frozen=True)
class ShareRow:
    """One share of the line. Scores and regrets in score units; intervals hold 90 %."""

    share: float
    n_sft: int
    n_pref: int
    expected_score: float
    score_interval: Interval
    p_best: float
    expected_regret: float
    q90_regret: float
    p_safe: float  # P(regret <= ε)
    difference: Difference  # the recommended share minus this one
    measured: bool  # a cell stands at exactly these counts


@dataclass(frozen=True)
class Baseline:
    """A simple rule at this budget; `difference` is the recommended share minus the rule's."""

    name: str
    share: float | None
    interpolated: bool = False
    expected_score: float | None = None
    score_interval: Interval | None = None
    expected_regret: float | None = None
    difference: Difference | None = None
    verdict: Literal[
        "the recommended share is better", "cannot be told apart", "the same share"
    ] | (None) = None
    reason: str | None = None  # why the rule has no number here


@dataclass(frozen=True)
class Way:
    """One way to spend the step. Gains in score units, the interval holds 90 %."""

    kind: Kind
    n_sft: int
    n_pref: int
    gain: float
    gain_interval: tuple[float, float]


@dataclass(frozen=True)
class NextPurchase:
    """The next batch; `stop` where it is not expected to be worth its money."""

    step: float
    unit: Unit
    n_sft: int
    n_pref: int
    kind: Kind
    gain: float
    gain_interval: tuple[float, float]
    ways: tuple[Way, ...]
    gain_of_all: float  # of the whole budget at the recommended split
    worth: float
    stop: bool


@dataclass(frozen=True)
class PriceRow:
    """Prices of usable examples of either kind, and the share that is best for them alone."""

    sft: float
    preference: float
    share: float
    expected_score: float
    regret_of_recommended: float


@dataclass(frozen=True)
class Compute:
    """What part of a budget is compute: training the final model once, on all of its examples.

    Money in the budget's unit, at the middle of ranges; for a budget in GPU-hours that is hours.
    """

    price: float | None  # money per GPU-hour; None for a budget in GPU-hours
    seconds: tuple[float, float]  # of training per usable example of either kind
    source: Literal["measured", "given"]
    evidence: str | None  # what the seconds were measured on
    hours: float  # GPU-hours of training, on owned and on new examples
    cost: float  # what those cost
    owned_cost: float  # of that, training on what is owned
    part: float  # `cost` as a part of the budget, 0 to 1
    data_prices: tuple[float, float]  # of a usable example of either kind, without training


@dataclass(frozen=True)
class Advice:
    """The split of one budget, and how sure it is. Counts include what is owned."""

    model: str
    task: str
    method: str
    budget: float
    unit: Unit
    prices: tuple[float, float]  # of a usable example and its training, at the middle of ranges
    have: tuple[int, int]
    orders: tuple[int, int]  # new examples to order, those that will be rejected included
    cost: float  # all that is paid: they, fixed costs and training, at the middle of ranges
    share: float
    n_sft: int
    n_pref: int
    expected_score: float
    score_interval: Interval
    safe_shares: tuple[float, ...]
    best_share_region: tuple[float, ...]
    expected_regret: float
    q90_regret: float
    baselines: tuple[Baseline, ...]
    shares: tuple[ShareRow, ...]
    price_table: tuple[PriceRow, ...]  # one row for each corner of price ranges
    next_purchase: NextPurchase | None
    extrapolated: bool
    origin: Literal["measured", "interpolated", "extrapolated"]
    confident: bool
    reasons: tuple[str, ...]
    replicates: int  # fewest replicates of any trained cell
    n_items: int | None  # fewest test items of any cell
    sandbox: bool
    epsilon: float
    delta: float
    compute: Compute | None = None  # None where compute costs nothing

    def to_json(self) -> dict[str, Any]:
        """Only dicts, lists, strings, finite numbers, booleans and None."""
        plain = _plain(dataclasses.asdict(self), "advice")
        assert isinstance(plain, dict)  # noqa: S101  (asdict gives a dict)
        return plain


def _plain(value: Any, where: str) -> Any:
    """Tuples to lists; raises ValueError, naming the place, for a number that is not finite."""
    if isinstance(value, dict):
        return {str(k): _plain(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, f"{where}[{k}]") for k, v in enumerate(value)]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}: what is missing must be None")
        return value
    return value


def plain(value: Any) -> Any:
    """The JSON form of a frozen dataclass of this room."""
    return _plain(dataclasses.asdict(value), type(value).__name__)

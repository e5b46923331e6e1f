"""What a finding is: a statement, the places where it was tested, and a verdict."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Verdict = Literal["holds", "does not hold", "cannot tell", "not measured"]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Place:
    """One test of a statement: a task at a budget, or a mean over tasks.

    `quantity` names what `estimate` and its 90 % `interval` measure, in `unit`: "points" (0.01 of
    score is one point, values are in score units), "share" (of the budget, 0 to 1) or "share per
    tenfold". `contradicted`: the statement fails here at a level that counts all places together.
    `leaning`: the side of the bare estimate. `budget`: where the place is one budget.
    """

    name: str
    quantity: str
    unit: Literal["points", "share", "share per tenfold"]
    verdict: Verdict
    estimate: float | None = None
    interval: Interval | None = None
    contradicted: bool = False
    leaning: bool | None = None
    budget: float | None = None
    summary: bool = False  # a mean over places: shown, not counted
    numbers: Mapping[str, float | int | str | None] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """A statement with its verdict, the reason of it, and every place."""

    letter: str
    statement: str
    verdict: Verdict
    reason: str
    places: tuple[Place, ...]

    def to_json(self) -> dict[str, Any]:
        """Dicts, lists, texts, finite numbers, booleans and None."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self), self.letter)
        return plain


def mean_name(tasks: int, model: str, method: str) -> str:
    """The name of a place that is a mean over tasks."""
    return f"{model} · mean of {tasks} tasks · {method}"


def judge(letter: str, statement: str, places: Sequence[Place], missing: str) -> Finding:
    """The verdict over all places; `missing`: why nothing was measured, where nothing was.

    It holds where it holds in every place, does not hold where some place contradicts it at a
    level that counts the places, and else cannot be told.
    """
    counted = [place for place in places if not place.summary and place.verdict != "not measured"]
    if not counted:
        reasons = list(dict.fromkeys(p.note for p in places if p.note)) or [missing]
        return Finding(letter, statement, "not measured", "; ".join(reasons), tuple(places))
    counts = Counter(place.verdict for place in counted)
    if counts["holds"] == len(counted):
        verdict: Verdict = "holds"
    elif any(place.contradicted for place in counted):
        verdict = "does not hold"
    else:
        verdict = "cannot tell"
    return Finding(letter, statement, verdict, _reason(counted, counts), tuple(places))


def _reason(counted: Sequence[Place], counts: Counter[Verdict]) -> str:
    said = [f"{verdict} in {count}" for verdict, count in counts.items()]
    leaning = [place.leaning for place in counted if place.leaning is not None]
    more = (
        f"; the estimate is on the statement's side in {sum(leaning)} of {len(leaning)}"
        if leaning and counts["cannot tell"]
        else ""
    )
    return f"of {len(counted)} place{'s' if len(counted) > 1 else ''}: {', '.join(said)}{more}"


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, f"{where}[{k}]") for k, v in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}: what is missing must be None")
    return value

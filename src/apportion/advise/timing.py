"""How many seconds training takes per example, from the times of the runs that were advised on.

| symbol | meaning                                                                     | shape |
|--------|-----------------------------------------------------------------------------|-------|
| n      | examples that a run trained on: of one kind (stages) or of both (whole rows) | N, K  |
| y      | seconds that it took                                                         | N     |
| a      | seconds of a run whatever its examples: loading, tests                       |       |
| t      | seconds per example                                                          | K     |

a and t minimise sum |y - a - n t| with none of them below 0: least absolute deviations, which a few
runs on a busy machine do not move. Where a alone explains a kind's times, a is left out, so that
what was trained on is never free.

The training stages of a study tell the two kinds apart by themselves. A table of results has the
time of all stages of a row in one number, tests included, so there both kinds are fitted at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from apportion.advise.regret import Floats
from apportion.config.compute import MAX_SECONDS, Seconds
from apportion.errors import ResultsError
from apportion.surface.rows import ResultRow

FIELD = "prices.gpu_hour.seconds"
MEND = (
    "give them by hand, as a study's gpu_hour: {price: 2, seconds: {sft: 0.8, preference: 1.9}} "
    "or as --price gpu_hour=2,seconds_sft=0.8,seconds_preference=1.9."
)
_KINDS = ("demonstrations", "preference units")
_DIGITS = 3  # significant ones: what is said is what is reckoned with


@dataclass(frozen=True)
class Timing:
    """Seconds of one worker per example of either kind, and what they were measured on."""

    seconds: Seconds
    evidence: str  # "12 SFT stages and 20 preference stages", "32 rows"


def timing_of(rows: Iterable[ResultRow], *, model: str, task: str, method: str) -> Timing:
    """The measured seconds per example of one (model, task, method).

    Rows may have `sft_seconds` and `pref_seconds` (of their training stages) or `seconds` (of all
    stages). Raises ResultsError, with the field and the mend, where they cannot tell both kinds.
    """
    own = [
        row
        for row in rows
        if (row.model, row.task, row.method) == (model, task, method) and row.status == "done"
    ]
    name = f"{model} · {task} · {method}"
    sft, preference = _sft_stages(own), _preference_stages(own)
    if sft and preference:
        each = [
            _fit(np.array([[n] for n, _ in seen]), [y for _, y in seen], _KINDS[k : k + 1], name)[0]
            for k, seen in enumerate((sft, preference))
        ]
        evidence = f"{_count(sft, 'SFT stage')} and {_count(preference, 'preference stage')}"
        return Timing(_seconds(each), evidence)
    timed = [row for row in own if getattr(row, "seconds", None) is not None]
    if not timed:
        raise _cannot(name, _what_is_missing(sft, preference))
    n = np.array([[row.n_sft, row.n_pref] for row in timed], dtype=float)
    each = _fit(n, [_time(row, "seconds") for row in timed], _KINDS, name)
    return Timing(_seconds(each), _count(timed, "row"))


def _sft_stages(rows: Sequence[ResultRow]) -> list[tuple[float, float]]:
    """(examples, seconds) of each stage once: cells share their SFT stages."""
    found = {
        (row.n_sft, row.replicate, _time(row, "sft_seconds"))
        for row in rows
        if row.n_sft and getattr(row, "sft_seconds", None) is not None
    }
    return [(float(n), seconds) for n, _, seconds in sorted(found)]


def _preference_stages(rows: Sequence[ResultRow]) -> list[tuple[float, float]]:
    return [
        (float(row.n_pref), _time(row, "pref_seconds"))
        for row in rows
        if row.n_pref and getattr(row, "pref_seconds", None) is not None
    ]


def _time(row: ResultRow, field: str) -> float:
    return float(getattr(row, field))


def _what_is_missing(sft: Sequence[Any], preference: Sequence[Any]) -> str:
    if not sft and not preference:
        return "its rows have no measured time (seconds)"
    return f"no training on {_KINDS[bool(sft)]} was timed"


def _cannot(name: str, why: str) -> ResultsError:
    return ResultsError(
        f"compute cannot be priced for {name}: {why}.",
        field=FIELD,
        mend=MEND,
    )


def _fit(n: Floats, y: Sequence[float], kinds: Sequence[str], name: str) -> list[float]:
    """t (K,), all above 0; ResultsError where the runs cannot tell them."""
    times = np.array(y, dtype=float)
    if not ((times >= 0) & (times <= MAX_SECONDS)).all():
        raise _cannot(name, f"a measured time is not within 0 to {MAX_SECONDS:g} seconds")
    if not times.any():
        raise _cannot(name, "every measured time is 0")
    for k, kind in enumerate(kinds):
        if not n[:, k].any():
            raise _cannot(name, f"no row with {kind} has a measured time")
    both = np.column_stack([np.ones(len(n)), n])
    if np.linalg.matrix_rank(both) == both.shape[1]:
        each = _deviations(both, times)[1:]
        if (each > 0).all():
            return [float(t) for t in each]
    if np.linalg.matrix_rank(n) < n.shape[1]:
        raise _cannot(name, f"{' and '.join(kinds)} stand in one proportion in all timed rows")
    each = _deviations(n, times)
    if not (each > 0).all():
        kind = kinds[int(np.argmin(each))]
        raise _cannot(name, f"the measured times do not grow with {kind}")
    return [float(t) for t in each]


def _deviations(design: Floats, y: Floats) -> Floats:
    """The coefficients (P,), none below 0, of the least absolute deviations of y (N,)."""
    from scipy.optimize import linprog
    from scipy.sparse import hstack, identity

    rows, width = design.shape
    over = identity(rows)
    found = linprog(
        np.concatenate([np.zeros(width), np.ones(2 * rows)]),
        A_eq=hstack([design, over, -over]),
        b_eq=y,
        bounds=(0, None),
        method="highs",
    )
    coefficients: Floats = found.x[:width]
    return coefficients


def _seconds(each: Sequence[float]) -> Seconds:
    sft, preference = (float(f"{t:.{_DIGITS}g}") for t in each)
    return Seconds(sft=sft, preference=preference)


def _count(found: Sequence[Any], what: str) -> str:
    return f"{len(found)} {what}{'' if len(found) == 1 else 's'}"

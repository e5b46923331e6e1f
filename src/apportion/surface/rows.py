"""What the fit needs to know of a result, and the checks that a table of results must pass.

The fit reads any object with these attributes, so it does not depend on how a study is run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

from apportion.errors import ResultsError

CellKey = tuple[int, int]  # (n_sft, n_pref)


class ResultRow(Protocol):
    """One cell and replicate. `score` is in [0, 1]; every `item_scores` has the same item order.

    Where items do not count alike in the score, a row has their `item_weights` as well.
    """

    @property
    def model(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def method(self) -> str: ...
    @property
    def n_sft(self) -> int: ...
    @property
    def n_pref(self) -> int: ...
    @property
    def replicate(self) -> int: ...
    @property
    def status(self) -> str: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def score(self) -> float | None: ...
    @property
    def stderr(self) -> float | None: ...
    @property
    def n_items(self) -> int | None: ...
    @property
    def lines(self) -> tuple[tuple[float, float], ...]: ...
    @property
    def item_scores(self) -> Sequence[float] | None: ...


def item_contributions(row: ResultRow) -> tuple[float, ...] | None:
    """What each item adds to a cell's score: numbers whose plain mean is the weighted score.

    Of items of weight w and score s, with S = sum(w s) / sum(w), item i contributes
    S + w_i (s_i - S) / mean(w): s_i itself where all weigh alike. Weights are an optional attribute
    `item_weights`. These are what to resample: to first order the mean over resampled items then
    moves as the weighted score does, whose total weight is resampled too (w_i s_i / mean(w) has the
    same mean, but takes the scatter of the weights for noise). A few may lie outside of [0, 1].
    None without item scores. Raises ValueError for weights that are not one for each item.
    """
    scores: Sequence[float] | None = row.item_scores
    weights: Sequence[float] | None = getattr(row, "item_weights", None)
    if scores is None or weights is None:
        return None if scores is None else tuple(scores)
    total = math.fsum(weights)
    score = math.fsum(w * s for w, s in zip(weights, scores, strict=True)) / total
    mean = total / len(weights)
    return tuple(score + w * (s - score) / mean for w, s in zip(weights, scores, strict=True))


def _bad(row: ResultRow, number: int, field: str, problem: str, mend: str) -> ResultsError:
    where = f"{row.model} · {row.task} · {row.method} · {row.n_sft} + {row.n_pref}"
    return ResultsError(
        f"{problem} ({where}, replicate {row.replicate}).", row=number, field=field, mend=mend
    )


def _check_number(row: ResultRow, number: int, field: str, value: float, top: float) -> None:
    if not (isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= top):
        raise _bad(
            row,
            number,
            field,
            f"{value!r} is not a number from 0 to {top:g}",
            "Leave out what was not measured; scale the score to 0..1.",
        )


def _check_row(row: ResultRow, number: int) -> None:
    for field, count in (("n_sft", row.n_sft), ("n_pref", row.n_pref)):
        if count < 0:
            raise _bad(row, number, field, f"{count} is negative", "Counts start at 0.")
    if row.score is None:
        raise _bad(
            row, number, "score", "a finished cell has no score", "Mark it as failed, or score it."
        )
    _check_number(row, number, "score", row.score, 1.0)
    if row.stderr is not None:
        _check_number(row, number, "stderr", row.stderr, 1.0)
    if row.item_scores is not None:
        if len(row.item_scores) == 0:
            raise _bad(
                row, number, "item_scores", "the list is empty", "Leave it out if it is unknown."
            )
        for value in row.item_scores:
            _check_number(row, number, "item_scores", value, 1.0)
        _check_weights(row, number, getattr(row, "item_weights", None))


def _check_weights(row: ResultRow, number: int, weights: Sequence[float] | None) -> None:
    if weights is None:
        return
    good = all(isinstance(w, int | float) and math.isfinite(w) and w > 0 for w in weights)
    if not good or len(weights) != len(row.item_scores or ()):
        raise _bad(
            row,
            number,
            "item_weights",
            "the weights are not one positive number for each item score",
            "Leave them out where all items count alike.",
        )


def finished_cells(
    results: Iterable[ResultRow], *, model: str, task: str, method: str
) -> tuple[dict[CellKey, list[ResultRow]], list[str]]:
    """Group one (model, task, method)'s finished rows by cell, in order of (n_sft, n_pref).

    Returns the groups (rows in order of replicate) and one line for each row that is absent.
    Raises ResultsError, with the row's 1-based number, for a row that cannot be used.
    """
    groups: dict[CellKey, list[ResultRow]] = {}
    absent: list[str] = []
    seen: set[tuple[int, int, int]] = set()
    for number, row in enumerate(results, start=1):
        if (row.model, row.task, row.method) != (model, task, method):
            continue
        identity = (row.n_sft, row.n_pref, row.replicate)
        if identity in seen:
            raise _bad(
                row, number, "replicate", "the same replicate stands twice", "Keep one of the two."
            )
        seen.add(identity)
        if row.status != "done":
            reason = row.reason or "no reason recorded"
            absent.append(
                f"{row.n_sft} + {row.n_pref}, replicate {row.replicate}: {row.status} ({reason})"
            )
            continue
        _check_row(row, number)
        groups.setdefault((row.n_sft, row.n_pref), []).append(row)
    ordered = {key: sorted(groups[key], key=lambda r: r.replicate) for key in sorted(groups)}
    return ordered, absent

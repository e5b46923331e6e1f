"""Rows of somebody's table of results, checked field by field, as results of cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from apportion.errors import ResultsError

if TYPE_CHECKING:
    from apportion.run.results import CellResult

Fields = Mapping[str, Any]  # text from CSV, values from JSON; what is empty is absent

_NAMES = ("model", "task", "method")
_COUNTS = ("n_sft", "n_pref")
_LINE = ("sft_share", "budget_examples")
_RATES = ("strict", "lenient", "format_failure_rate", "truncation_rate")
KNOWN = frozenset(
    {*_NAMES, *_COUNTS, *_LINE, *_RATES}
    | {"replicate", "status", "score", "stderr", "n_items", "response_tokens", "reason"}
    | {"train_tokens", "seconds"}
)
# What a program writes beside a result and nothing here reads: no fault of the table.
CARRIED = frozenset({"study", "split", "key"})
_MOST = 10**12


def header_problem(header: Sequence[str]) -> ResultsError | None:
    """What is wrong with the columns of a CSV file, or None."""
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        return ResultsError(
            "its columns are not separated by commas.", mend="save it with commas between fields."
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        return ResultsError(f"column {twice[0]!r} stands twice.", mend="keep one of the two.")
    known = f"columns are: {', '.join(sorted(KNOWN))}."
    unknown = [name for name in header if name not in KNOWN | CARRIED]
    if unknown:
        return ResultsError(f"there is no column {unknown[0]!r}.", mend=known)
    missing = [name for name in (*_NAMES, "score") if name not in header]
    if not missing and not all(name in header for name in _LINE):
        missing = [name for name in _COUNTS if name not in header]
    if missing:
        return ResultsError(f"column {missing[0]!r} is missing.", mend=known)
    if not {"stderr", "n_items"} & set(header):
        return ResultsError(
            "columns 'stderr' and 'n_items' are both missing: nothing says how noisy a score is.",
            mend="give the number of test items, or the standard error of each score.",
        )
    return None


def checked_table(
    rows: Iterable[tuple[int, Fields]], path: Path, *, lines: bool
) -> list[CellResult]:
    """Results in their order from (line number, fields); ResultsError for the first bad row.

    With `lines`, rows that name no budget line get those that the table has: see `with_lines`.
    """
    found: list[CellResult] = []
    seen: dict[tuple[Any, ...], int] = {}
    for number, fields in rows:
        result = _Row(fields, path, number).result()
        names = (*_NAMES, *_COUNTS, "replicate")
        identity = tuple(getattr(result, name) for name in names)
        if identity in seen:
            raise ResultsError(
                f"the same cell and replicate stands in row {seen[identity]}.",
                file=path,
                row=number,
                field="replicate",
                mend="number the replicates of a cell 0, 1, 2, …",
            )
        seen[identity] = number
        found.append(result)
    if not found:
        raise ResultsError("there are no rows.", file=path, mend="give one row per measured cell.")
    return with_lines(found) if lines else found


def with_lines(results: list[CellResult]) -> list[CellResult]:
    """Budget lines, in examples, for cells of which the table does not say on which they lie.

    Cells that make up a whole lattice (every n_sft with every n_pref, two of each or more) need
    none. Others lie on the line of their sum n_sft + n_pref where two shares of it are there.
    """
    groups: dict[tuple[str, ...], list[CellResult]] = {}
    for one in results:
        groups.setdefault((one.model, one.task, one.method), []).append(one)
    mine: dict[tuple[str, ...], dict[int, set[int]]] = {}
    for name, group in groups.items():
        cells = {(one.n_sft, one.n_pref) for one in group}
        across, along = {a for a, _ in cells}, {b for _, b in cells}
        lattice = min(len(across), len(along)) > 1 and len(cells) == len(across) * len(along)
        sums: dict[int, set[int]] = {}
        if not lattice and not any(one.lines for one in group):
            for a, b in cells:
                sums.setdefault(a + b, set()).add(a)
        mine[name] = sums
    lined = []
    for one in results:
        total = one.n_sft + one.n_pref
        if total and len(mine[one.model, one.task, one.method].get(total, ())) > 1:
            one = replace(one, lines=((float(total), one.n_sft / total),))  # noqa: PLW2901
        lined.append(one)
    return lined


class _Row:
    """One row being read; every refusal names the file, the row and the column."""

    def __init__(self, fields: Fields, path: Path, number: int) -> None:
        self.fields = {name: value for name, value in fields.items() if value is not None}
        self.path = path
        self.number = number

    def result(self) -> CellResult:
        from apportion.run.results import CellResult

        n_sft, n_pref, lines = self._place()
        status = self._status()
        values: dict[str, Any] = {}
        if status == "done":
            values = self._measured()
        elif "score" in self.fields:
            self._refuse("score", f"a cell that is {status} has no score.", "take one away.")
        return CellResult(
            model=self._name("model"),
            task=self._name("task"),
            method=self._name("method"),
            n_sft=n_sft,
            n_pref=n_pref,
            replicate=self._whole("replicate") if "replicate" in self.fields else 0,
            status=status,
            lines=lines,
            reason=str(self.fields["reason"]) if "reason" in self.fields else None,
            **values,
        )

    def _refuse(self, field: str | None, problem: str, mend: str) -> NoReturn:
        raise ResultsError(problem, file=self.path, row=self.number, field=field, mend=mend)

    def _get(self, field: str) -> Any:
        if field not in self.fields:
            self._refuse(field, "the field is empty.", "fill it, or leave the row out.")
        return self.fields[field]

    def _name(self, field: str) -> str:
        value = self._get(field)
        if not isinstance(value, str) or not value.strip():
            self._refuse(field, f"{value!r} is not a name.", "write a text.")
        return value.strip()

    def _number(self, field: str, top: float = math.inf) -> float:
        value = self._get(field)
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            self._refuse(field, f"{value!r} is not a number.", "write a number such as 0.25.")
        if not math.isfinite(number):
            self._refuse(
                field,
                f"{value!r} is not a number.",
                "leave the row out: missing is never a number.",
            )
        if number < 0:
            self._refuse(field, f"{value} is negative.", "write a number from 0 on.")
        if number > top:
            mend = "write it as a fraction" + (": divide it by 100." if number <= 100 else ".")
            self._refuse(field, f"{value} is above {top:g}.", mend)
        return number

    def _whole(self, field: str) -> int:
        number = self._number(field)
        if number != int(number) or number > _MOST:
            self._refuse(field, f"{self.fields[field]} is not a count.", "write a whole number.")
        return int(number)

    def _status(self) -> Literal["done", "failed", "missing"]:
        value = self.fields.get("status", "done")
        if value not in ("done", "failed", "missing"):
            self._refuse("status", f"{value!r} is no status.", "write done, failed or missing.")
        return value  # type: ignore[no-any-return]

    def _place(self) -> tuple[int, int, tuple[tuple[float, float], ...]]:
        """Counts, and the budget lines that the row names."""
        line = [name for name in _LINE if name in self.fields]
        counts = [name for name in _COUNTS if name in self.fields]
        if "lines" in self.fields:
            return self._whole("n_sft"), self._whole("n_pref"), self._lines()
        if len(line) < len(_LINE):
            if line and not counts:
                self._get(next(name for name in _LINE if name not in line))
            return self._whole("n_sft"), self._whole("n_pref"), ()
        share, budget = self._number("sft_share", 1), self._whole("budget_examples")
        if not budget:
            self._refuse("budget_examples", "it is 0.", "the untuned model: n_sft 0, n_pref 0.")
        n_sft = round(share * budget)
        if counts:
            given = self._whole("n_sft"), self._whole("n_pref")
            if abs(given[0] - n_sft) > 1 or abs(sum(given) - budget) > 1:
                self._refuse(
                    "sft_share",
                    f"{share:g} of {budget} examples is {n_sft} + {budget - n_sft}, and the row "
                    f"says {given[0]} + {given[1]}.",
                    "leave one of the two out.",
                )
            return *given, ((float(budget), share),)
        return n_sft, budget - n_sft, ((float(budget), share),)

    def _lines(self) -> tuple[tuple[float, float], ...]:
        """(budget, share) pairs as our own JSON lines have them."""
        try:
            pairs = tuple((float(a), float(b)) for a, b in self.fields["lines"])
        except (TypeError, ValueError):
            pairs = ((math.nan, math.nan),)
        if not all(0 < a < math.inf and 0 <= b <= 1 for a, b in pairs):
            self._refuse("lines", "it is not a list of (budget, share).", "leave it out.")
        return pairs

    def _measured(self) -> dict[str, Any]:
        """What a finished cell has."""
        items = self._items()
        weights = self._weights(items)
        values: dict[str, Any] = {
            "item_scores": items,
            "item_weights": weights,
            "score": self._number("score", 1),
        }
        if "stderr" in self.fields:
            values["stderr"] = self._number("stderr", 1)
        if "n_items" in self.fields:
            values["n_items"] = self._whole("n_items")
            if values["n_items"] < 1 or (items and len(items) != values["n_items"]):
                self._refuse("n_items", "it is not the number of test items.", "correct it.")
        elif items:
            values["n_items"] = len(items)
        elif "stderr" not in self.fields:
            self._refuse(
                "n_items",
                "there is neither a standard error nor a number of items.",
                "give one of them: else nothing says how noisy the score is.",
            )
        if items and abs(_mean(items, weights) - values["score"]) > 1e-3:
            kind = "weighted mean" if weights else "mean"
            self._refuse("score", f"it is not the {kind} of item_scores.", "correct one of them.")
        if "items_digest" in self.fields:
            values["items_digest"] = self._name("items_digest")
        values |= {name: self._number(name, 1) for name in _RATES if name in self.fields}
        if "response_tokens" in self.fields:
            values["response_tokens"] = self._number("response_tokens")
        if "train_tokens" in self.fields:
            values["train_tokens"] = self._whole("train_tokens")
        if "seconds" in self.fields:
            values["seconds"] = self._number("seconds")
        return values

    def _items(self) -> tuple[float, ...] | None:
        if "item_scores" not in self.fields:
            return None
        given = self.fields["item_scores"]
        good = isinstance(given, list) and all(
            isinstance(one, int | float) and not isinstance(one, bool) and 0 <= one <= 1
            for one in given
        )
        if not good or not given:
            self._refuse("item_scores", "it is not a list of scores from 0 to 1.", "leave it out.")
        return tuple(float(one) for one in given)

    def _weights(self, items: tuple[float, ...] | None) -> tuple[float, ...] | None:
        """What each item counts in the score; None where all count alike."""
        if "item_weights" not in self.fields:
            return None
        given = self.fields["item_weights"]
        good = isinstance(given, list) and all(
            isinstance(one, int | float) and not isinstance(one, bool) and 0 < one < math.inf
            for one in given
        )
        if not good or len(given) != len(items or ()):
            self._refuse(
                "item_weights",
                "it is not a list with one positive number for each of item_scores.",
                "leave it out where all items count alike.",
            )
        return tuple(float(one) for one in given)


def _mean(items: Sequence[float], weights: Sequence[float] | None) -> float:
    if weights is None:
        return math.fsum(items) / len(items)
    total = math.fsum(weight * item for weight, item in zip(weights, items, strict=True))
    return total / math.fsum(weights)

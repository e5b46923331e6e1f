"""What one (model, task, method) has to show: its rows, its fit and its advice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from apportion.advise.types import Advice
from apportion.errors import ResultsError
from apportion.surface.hierarchy import CellEstimate, Estimate, fit
from apportion.surface.rows import ResultRow

NOTABLE = 0.02  # strict and lenient scores further apart than this are shown side by side

LONG_NAME = 48  # of a model with a longer name or path, the last part is shown


class ReportRow(ResultRow, Protocol):
    """A result with what the page shows beside the score; rates are 0 to 1, None if unknown."""

    @property
    def strict(self) -> float | None: ...
    @property
    def lenient(self) -> float | None: ...
    @property
    def format_failure_rate(self) -> float | None: ...
    @property
    def truncation_rate(self) -> float | None: ...
    @property
    def response_tokens(self) -> float | None: ...


@dataclass(frozen=True, eq=False)
class Group:
    """Everything of one (model, task, method); `advice` in order of budget."""

    model: str
    task: str
    method: str
    rows: tuple[ReportRow, ...]
    estimate: Estimate
    advice: tuple[Advice, ...]
    sandbox: bool

    @property
    def name(self) -> str:
        model = self.model if len(self.model) <= LONG_NAME else self.model.rsplit("/", 1)[-1]
        return f"{model} · {self.task} · {self.method.upper()}"

    @property
    def evidence(self) -> str:
        low, high = self.estimate.replicates
        runs = f"{low}" if low == high else f"{low} to {high}"
        items = self.estimate.n_items
        count = "unknown number of test items" if items is None else f"{items:,} test items"
        return f"{runs} replicate{'' if high == 1 else 's'} · {count}"

    def cell(self, n_sft: int, n_pref: int) -> CellEstimate | None:
        """The estimate of a cell, or None when it has no score."""
        for cell in self.estimate.cells:
            if (cell.n_sft, cell.n_pref) == (n_sft, n_pref):
                return cell
        return None

    def mean_of(self, field: str, n_sft: int, n_pref: int) -> float | None:
        """Mean over the finished replicates of a cell; None unless every one of them has it."""
        found = [
            getattr(row, field)
            for row in self.rows
            if (row.n_sft, row.n_pref) == (n_sft, n_pref) and row.status == "done"
        ]
        if not found or any(value is None for value in found):
            return None
        return float(sum(found) / len(found))

    @property
    def primary(self) -> str | None:
        """Which of "strict" and "lenient" the score is; None when it is neither, or cannot tell."""
        fits = {"strict": True, "lenient": True}
        for row in self.rows:
            if row.status == "done":
                for name in fits:
                    fits[name] &= getattr(row, name) == row.score
        names = [name for name, fitting in fits.items() if fitting]
        return names[0] if len(names) == 1 else None

    @property
    def scorings_differ(self) -> bool:
        """Whether strict and lenient scores are notably apart in some cell."""
        gaps = [
            abs(row.strict - row.lenient)
            for row in self.rows
            if row.strict is not None and row.lenient is not None
        ]
        return max(gaps, default=0.0) > NOTABLE


def group_results(
    results: Iterable[ReportRow], advice: Sequence[Advice], *, sandbox: bool
) -> tuple[Group, ...]:
    """One group for each (model, task, method), in order of appearance. ResultsError if empty."""
    rows = tuple(results)
    names = dict.fromkeys((row.model, row.task, row.method) for row in rows)
    if not names:
        raise ResultsError("there are no results to report.", mend="Run the study first.")
    groups = []
    for model, task, method in names:
        mine = [a for a in advice if (a.model, a.task, a.method) == (model, task, method)]
        groups.append(
            Group(
                model=model,
                task=task,
                method=method,
                rows=tuple(r for r in rows if (r.model, r.task, r.method) == (model, task, method)),
                estimate=fit(rows, model=model, task=task, method=method),
                advice=tuple(sorted(mine, key=lambda a: a.budget)),
                sandbox=sandbox or any(a.sandbox for a in mine),
            )
        )
    return tuple(groups)

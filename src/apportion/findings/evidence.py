"""The measured cells of all models, tasks and methods, as one vector that contrasts are taken of.

| symbol | meaning                                                                        | shape |
|--------|--------------------------------------------------------------------------------|-------|
| G      | groups: one for each (model, task, method)                                     |       |
| C      | finished cells of all groups, group after group, by (n_sft, n_pref)            |       |
| D      | draws of the noise                                                             |       |
| mean   | a cell's score averaged over its replicates                                    | C     |
| items  | noise of the mean from which items were asked (see `noise`)                    | D, C  |
| run    | noise of the mean from the draw of the data and from training                  | D, C  |
| sigma  | drawn run-to-run sd of a group                                                 | D, G  |

Every statement is about contrasts `w @ mean` whose noise is `(items + run) @ w`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from apportion.findings.noise import CellData, draw_noise
from apportion.surface.rows import CellKey, ResultRow, finished_cells

Floats = NDArray[np.float64]
Scoring = Literal["strict", "lenient"]
SCORINGS: tuple[Scoring, ...] = ("strict", "lenient")

N_DRAWS = 4000


class FindingsRow(ResultRow, Protocol):
    """A result with both scorings; None where it was scored in one way only."""

    @property
    def strict(self) -> float | None: ...
    @property
    def lenient(self) -> float | None: ...


@dataclass(frozen=True)
class Row:
    """What findings keep of a result."""

    model: str
    task: str
    method: str
    n_sft: int
    n_pref: int
    replicate: int
    status: str
    reason: str | None
    score: float | None
    stderr: float | None
    n_items: int | None
    lines: tuple[tuple[float, float], ...]
    item_scores: Sequence[float] | None
    strict: float | None = None
    lenient: float | None = None
    item_weights: Sequence[float] | None = None


@dataclass(frozen=True, eq=False)
class Group:
    """One (model, task, method): its finished cells lie in columns `start` to `stop`."""

    model: str
    task: str
    method: str
    keys: tuple[CellKey, ...]
    lines: tuple[tuple[tuple[float, float], ...], ...]  # of each cell: (budget, share) pairs
    start: int
    number: int

    @property
    def name(self) -> str:
        return f"{self.model} · {self.task} · {self.method}"

    @property
    def stop(self) -> int:
        return self.start + len(self.keys)

    def column(self, key: CellKey) -> int | None:
        """The column of a cell in the evidence, or None where it has no score."""
        return self.start + self.keys.index(key) if key in self.keys else None


@dataclass(frozen=True, eq=False)
class Evidence:
    """See the table of the module; `replicates` (C,) counts the finished ones."""

    groups: tuple[Group, ...]
    mean: Floats
    items: Floats
    run: Floats
    sigma: Floats
    replicates: NDArray[np.int64]
    notes: tuple[str, ...]

    @cached_property
    def noise(self) -> Floats:
        return self.items + self.run

    def unit(self, column: int) -> Floats:
        """The weights (C,) of a single cell."""
        weights = np.zeros(len(self.mean))
        weights[column] = 1.0
        return weights


def as_row(row: FindingsRow) -> Row:
    """Copy a result; `item_scores` as they are."""
    return Row(
        row.model, row.task, row.method, row.n_sft, row.n_pref, row.replicate, row.status,
        row.reason, row.score, row.stderr, row.n_items, tuple(row.lines), row.item_scores,
        row.strict, row.lenient, getattr(row, "item_weights", None),
    )  # fmt: skip


def rescored(rows: Iterable[Row], scoring: Scoring) -> list[Row]:
    """The rows with another scoring as the score; rows without it count as not measured.

    Where the scoring is the primary one, standard errors and scores per item are kept.
    """
    found = []
    for row in rows:
        value = row.strict if scoring == "strict" else row.lenient
        if row.status != "done" or value == row.score:
            found.append(row)
        elif value is None:
            found.append(replace(row, status="missing", score=None, reason=f"no {scoring} score"))
        else:
            found.append(
                replace(row, score=value, stderr=None, item_scores=None, item_weights=None)
            )
    return found


def gather(rows: Sequence[Row], *, n_draws: int = N_DRAWS, seed: int = 0) -> Evidence:
    """Cell means and their noise. Raises ResultsError for a row that cannot be used.

    Cells that say nothing of their noise (no item scores, standard error or number of items) are
    left out, with a note.
    """
    names = dict.fromkeys((row.model, row.task, row.method) for row in rows)
    groups: list[Group] = []
    cells: list[CellData] = []
    notes: list[str] = []
    for model, task, method in names:
        found, absent = finished_cells(rows, model=model, task=task, method=method)
        name = f"{model} · {task} · {method}"
        if absent:
            notes.append(f"{name}: {len(absent)} result(s) absent, the first: {absent[0]}")
        kept: list[tuple[CellKey, tuple[tuple[float, float], ...]]] = []
        start = len(cells)
        for key, mine in found.items():
            cell = CellData.read(len(groups), task, key, mine)
            if cell is None:
                notes.append(f"{name}: {key[0]} + {key[1]} left out: nothing says how noisy it is")
                continue
            cells.append(cell)
            lines = tuple(dict.fromkeys(line for row in mine for line in row.lines))
            kept.append((key, lines))
        keys, lines_of = tuple(k for k, _ in kept), tuple(lines for _, lines in kept)
        groups.append(Group(model, task, method, keys, lines_of, start, len(groups)))
    items, run, sigma = draw_noise(cells, len(groups), n_draws=n_draws, seed=seed)
    return Evidence(
        groups=tuple(groups),
        mean=np.array([cell.scores.mean() for cell in cells]),
        items=items,
        run=run,
        sigma=sigma,
        replicates=np.array([len(cell.scores) for cell in cells], dtype=np.int64),
        notes=tuple(notes),
    )

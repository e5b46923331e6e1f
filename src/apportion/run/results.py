"""What a study found, cell by cell: measured, failed, or missing with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, overload

from apportion.run.bodies import ITEMS
from apportion.run.common import read_lines
from apportion.run.events import RunReport
from apportion.run.tables import to_csv, to_json
from apportion.store.store import Store

if TYPE_CHECKING:
    from apportion.compile import Cell, Plan, Stage
    from apportion.run.audit import Audit

__all__ = ["CellResult", "Results", "collect", "to_csv", "to_json"]

NOT_RUN = "not run yet"
DAMAGED = "its scores are damaged: run the study again"


@dataclass(frozen=True)
class CellResult:
    """One cell. Scores in [0, 1]; what was not measured is None, with a reason, never a number.

    `lines`: (budget level, share) pairs that the cell lies on. `item_scores`: the primary score per
    test item, in item order; `item_weights`: what each counts in the score, where they do not count
    alike; `items_digest` stands for those items. `accuracies`: IFEval's four (prompt_strict, ...),
    where the task has them. `response_tokens`: mean per item. `engine`: what generated the
    responses, where it is known. `train_tokens`: what its training
    stages processed. Seconds are of one worker: `sft_seconds` and `pref_seconds` of its training
    stages, where it has them and a store knows them; `seconds` of all its stages, where a table
    says so. The times of a store are in no table that is written, and results that differ in times
    alone are equal. status `failed`: its score stage failed; `missing`: an earlier one did, or it
    was not run.
    """

    model: str
    task: str
    method: str
    n_sft: int
    n_pref: int
    replicate: int
    status: Literal["done", "failed", "missing"]
    lines: tuple[tuple[float, float], ...] = ()
    reason: str | None = None
    score: float | None = None
    stderr: float | None = None
    n_items: int | None = None
    strict: float | None = None
    lenient: float | None = None
    format_failure_rate: float | None = None
    truncation_rate: float | None = None
    response_tokens: float | None = None
    engine: str | None = None
    train_tokens: int | None = None
    item_scores: tuple[float, ...] | None = None
    item_weights: tuple[float, ...] | None = None
    items_digest: str | None = None
    accuracies: dict[str, float] | None = field(default=None, hash=False)
    sft_seconds: float | None = field(default=None, compare=False)
    pref_seconds: float | None = field(default=None, compare=False)
    seconds: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Results(Sequence[CellResult]):
    """All cells of a plan, in the plan's order, and how the run that brought them ended.

    `audit`: of a shared trajectory, how its scores differ from those of independent runs.
    """

    cells: tuple[CellResult, ...]
    report: RunReport | None = None
    audit: tuple[Audit, ...] = ()

    @overload
    def __getitem__(self, index: int) -> CellResult: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[CellResult, ...]: ...
    def __getitem__(self, index: int | slice) -> CellResult | tuple[CellResult, ...]:
        return self.cells[index]

    def __len__(self) -> int:
        return len(self.cells)

    def __iter__(self) -> Iterator[CellResult]:
        return iter(self.cells)

    def to_csv(self) -> str:
        """One row per cell, sorted; the same for every run that measured the same."""
        return to_csv(self.cells)

    def to_json(self) -> list[dict[str, Any]]:
        """The same as JSON-able rows; what is missing is null."""
        return to_json(self.cells)


def collect(plan: Plan, store: Store) -> list[CellResult]:
    """The result of every cell of `plan`, in its order. Damaged artifacts count as missing."""
    return [result_of(cell, plan, store) for cell in plan.cells]


def result_of(cell: Cell, plan: Plan, store: Store) -> CellResult:
    """The result of one cell, or why there is none."""
    folder = store.artifact(cell.score_key)
    record = store.record(cell.score_key)
    if folder is None or record is None:
        status, reason = _why_not(cell, plan, store)
        return CellResult(**_place(cell), status=status, reason=reason)
    found = record.summary
    items = read_lines(folder / ITEMS)
    return CellResult(
        **_place(cell),
        status="done",
        score=found["score"],
        stderr=found["stderr"],
        n_items=found["n_items"],
        strict=found["strict"],
        lenient=found["lenient"],
        format_failure_rate=found["format_failure_rate"],
        truncation_rate=found["truncation_rate"],
        response_tokens=found["mean_response_tokens"],
        engine=_engine(cell, plan),
        train_tokens=_train_tokens(cell, plan, store),
        item_scores=tuple(float(item[found["primary"]]) for item in items),
        item_weights=_weights(items),
        items_digest=record.spec.get("items", {}).get("digest"),
        accuracies=found.get("accuracies"),
        sft_seconds=_seconds(cell, "sft", plan, store),
        pref_seconds=_seconds(cell, "preference", plan, store),
    )


def _engine(cell: Cell, plan: Plan) -> str | None:
    """What generates the cell's responses: in the key, so it is what the record says too."""
    return next(
        (
            plan.stages[key].spec.get("engine")
            for key in cell.stages
            if plan.stages[key].kind == "generate"
        ),
        None,
    )


def _weights(items: Sequence[Mapping[str, Any]]) -> tuple[float, ...] | None:
    """None where all items count alike."""
    weights = tuple(float(item.get("weight", 1.0)) for item in items)
    return weights if len(set(weights)) > 1 else None


def _place(cell: Cell) -> dict[str, Any]:
    names = ("model", "task", "method", "n_sft", "n_pref", "replicate", "lines")
    return {name: getattr(cell, name) for name in names}


def _why_not(cell: Cell, plan: Plan, store: Store) -> tuple[Literal["failed", "missing"], str]:
    last = store.record(cell.score_key)
    if last is not None and last.status == "done":
        return "missing", DAMAGED
    for key in cell.stages:
        record = store.record(key)
        if record is not None and record.status == "failed":
            if key == cell.score_key:
                return "failed", str(record.reason)
            return "missing", f"its {plan.stages[key].kind} stage failed: {record.reason}"
    return "missing", NOT_RUN


def _train_tokens(cell: Cell, plan: Plan, store: Store) -> int:
    stages: list[Stage] = [plan.stages[key] for key in cell.stages]
    total = 0
    for stage in stages:
        if stage.kind in ("sft", "preference"):
            record = store.record(stage.key)
            total += stage.tokens if record is None else record.tokens
    return total


def _seconds(
    cell: Cell, kind: Literal["sft", "preference"], plan: Plan, store: Store
) -> float | None:
    """What the cell's training stage of a kind took; None where it has none, or no record."""
    for key in cell.stages:
        if plan.stages[key].kind == kind:
            record = store.record(key)
            return None if record is None or record.status != "done" else record.seconds
    return None

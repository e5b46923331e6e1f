"""Running the grid in chunks: what is published is never run again, whatever the store holds.

A chunk is one replicate of one study. All studies share a store, so a stage that two of them need
runs once; and a cell whose key is published in any table is copied from there. In a fresh checkout
only the stages above what is not yet published run again: at most the SFT stages of one replicate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grid_table
from grid_table import Items, Row, Table

if TYPE_CHECKING:
    from apportion.compile import Cell, Plan
    from apportion.run.events import Event, RunReport
    from apportion.store.store import Store

PUBLISH_SECONDS = 60.0  # how often a run writes what it has, so that little is lost with a store

#: What is run first, within one replicate: the studies that most questions are asked of.
FIRST = (
    "math-small-dpo",
    "instructions-small-dpo",
    "summarization-small-dpo",
    "helpfulness-small-dpo",
    "math-small-kto",
)


@dataclass(frozen=True)
class Job:
    """A study of the grid, compiled."""

    name: str
    plan: Plan

    @property
    def replicates(self) -> int:
        return 1 + max(cell.replicate for cell in self.plan.cells)


@dataclass(frozen=True)
class Places:
    """Where the grid is: published tables, and the store that all studies share."""

    tables: Path
    store: Path


def load_jobs(folder: Path, names: Sequence[str] = ()) -> tuple[list[Job], dict[str, str]]:
    """The studies in `folder` (those of `names` alone, in that order), and why others cannot run.

    FileNotFoundError for a name that has no file. A study whose task or model is not installed is
    among the second, with the reason.
    """
    from apportion.compile import check_file, compile_study

    there = sorted(path.stem for path in folder.glob("*.yaml"))
    missing = [name for name in names if name not in there]
    if missing:
        raise FileNotFoundError(f"{folder} has no {missing[0]}.yaml: it has {', '.join(there)}")
    first = {name: place for place, name in enumerate(FIRST)}
    wanted = names or sorted(there, key=lambda name: (first.get(name, len(first)), name))
    jobs, why_not = [], {}
    for name in wanted:
        try:
            checked = check_file(folder / f"{name}.yaml")
        except ModuleNotFoundError as error:  # a task that is named and not yet made
            why_not[name] = str(error)
            continue
        if checked.errors or checked.study is None:
            why_not[name] = "; ".join(str(error) for error in checked.errors)
        else:
            jobs.append(Job(name, compile_study(checked.study)))
    return jobs, why_not


def left(job: Job, table: Table, replicate: int | None = None) -> list[Cell]:
    """The cells of `job` (of one replicate) that are not published, in the plan's order."""
    keys = {place: row.key for place, row in table.rows.items() if row.key in table.keys}
    return [
        cell
        for cell in job.plan.cells
        if (replicate is None or cell.replicate == replicate)
        and keys.get(_place(cell)) != cell.score_key
    ]


def stale(job: Job, table: Table) -> list[Row]:
    """Published rows that the study would measure differently now: other data, recipe or model."""
    now = {_place(cell): cell.score_key for cell in job.plan.cells}
    return [row for place, row in table.rows.items() if now.get(place) != row.key]


def part(plan: Plan, cells: Iterable[Cell]) -> Plan:
    """The plan of some of its cells: their stages alone."""
    chosen = tuple(cells)
    keys = {key for cell in chosen for key in cell.stages}
    stages = {key: stage for key, stage in plan.stages.items() if key in keys}
    return replace(plan, cells=chosen, stages=stages)


def publish(job: Job, places: Places, names: Iterable[str], store: Store | None = None) -> int:
    """Write what is measured and not yet published of `job`; returns how many cells that are.

    Cells are taken from the store, and from tables of the other studies (`names`) with the key.
    ValueError where the table has rows of other keys: see `stale`.
    """
    table = grid_table.read(places.tables, job.name)
    wrong = stale(job, table)
    if wrong:
        raise ValueError(
            f"{job.name}: {len(wrong)} published rows are of other data, another recipe or another "
            f"model than the study now says (such as {wrong[0].place}). Run `drop {job.name}` if "
            "they are to be measured again."
        )
    known = _elsewhere(places.tables, [name for name in names if name != job.name])
    rows, items = dict(table.rows), dict(table.items)
    digest, weights, count = table.digest, table.weights, 0
    for cell in left(job, table):
        found = _from_store(cell, job.plan, store) if store is not None else None
        if found is None and cell.score_key in known:
            row, scores, digest, weights = known[cell.score_key]
            found = replace(row, method=cell.method, replicate=cell.replicate,
                            split=grid_table.split_of(cell.replicate)), scores  # fmt: skip
        elif found is not None:
            assert store is not None
            digest, weights = _facts(cell, job.plan, store)
        if found is not None:
            rows[_place(cell)], items[cell.score_key] = found
            count += 1
    if count:
        grid_table.write(places.tables, job.name, Table(rows, items, digest, weights))
    return count


def _place(cell: Cell) -> tuple[str, str, str, int, int, int]:
    return (cell.model, cell.task, cell.method, cell.n_sft, cell.n_pref, cell.replicate)


Known = dict[str, tuple[Row, Items, str | None, tuple[float, ...] | None]]


def _elsewhere(folder: Path, names: Iterable[str]) -> Known:
    known: Known = {}
    for name in names:
        table = grid_table.read(folder, name)
        by_key = table.by_key()
        for key in table.keys:
            known[key] = (by_key[key], table.items[key], table.digest, table.weights)
    return known


def _from_store(cell: Cell, plan: Plan, store: Store) -> tuple[Row, Items] | None:
    """A cell's row as the store has it; None where it was not measured."""
    from apportion.run.bodies import ITEMS
    from apportion.run.common import read_lines

    folder, record = store.artifact(cell.score_key), store.record(cell.score_key)
    if folder is None or record is None:
        return None
    found = record.summary
    scores = read_lines(folder / ITEMS)
    records = [store.record(key) for key in cell.stages]
    times = [None if one is None else one.seconds for one in records]
    trained = [
        plan.stages[key].tokens if one is None else one.tokens
        for key, one in zip(cell.stages, records, strict=True)
        if plan.stages[key].kind in ("sft", "preference")
    ]
    row = Row(
        *_place(cell),
        split=grid_table.split_of(cell.replicate),
        score=found["score"],
        stderr=found["stderr"],
        n_items=found["n_items"],
        strict=found["strict"],
        lenient=found["lenient"],
        format_failure_rate=found["format_failure_rate"],
        truncation_rate=found["truncation_rate"],
        response_tokens=found["mean_response_tokens"],
        train_tokens=sum(trained),
        seconds=None if None in times else round(sum(t for t in times if t is not None), 1),
        key=cell.score_key,
    )
    return row, Items(*(tuple(float(s[name]) for s in scores) for name in ("strict", "lenient")))


def _facts(cell: Cell, plan: Plan, store: Store) -> tuple[str | None, tuple[float, ...] | None]:
    """The digest of the test items, and their weights where they are not all 1."""
    from apportion.run.bodies import ITEMS
    from apportion.run.common import read_lines

    folder = store.artifact(cell.score_key)
    assert folder is not None
    weights = tuple(float(row.get("weight", 1.0)) for row in read_lines(folder / ITEMS))
    digest = plan.stages[cell.score_key].spec.get("items", {}).get("digest")
    return digest, weights if set(weights) != {1.0} else None


def chunks(jobs: Sequence[Job]) -> Iterator[tuple[Job, int]]:
    """(study, replicate): the first replicate of every study, then the second, and so on."""
    for replicate in range(max((job.replicates for job in jobs), default=0)):
        for job in jobs:
            if replicate < job.replicates:
                yield job, replicate


def run(
    jobs: Sequence[Job],
    places: Places,
    *,
    names: Sequence[str],
    seconds: float | None = None,
    workers: int | None = None,
    on_event: Callable[[Event], None] | None = None,
    say: Callable[[str], None] = print,
    **how: Any,
) -> list[RunReport]:
    """Run chunk after chunk for `seconds` at most, publishing as they go.

    Returns the reports of the chunks that ran. A failed stage costs its own cells alone; an
    interruption ends everything. `how`: more arguments of `run_plan`.
    """
    from apportion.run.run import run_plan

    end = None if seconds is None else time.monotonic() + seconds
    reports: list[RunReport] = []
    for job, replicate in chunks(jobs):
        publish_all([job], places, names)  # what an earlier, killed run left in the store
        cells = left(job, grid_table.read(places.tables, job.name), replicate)
        if not cells:
            continue
        box = None if end is None else max(0.0, end - time.monotonic())
        if box == 0:
            break
        say(f"{job.name}, replicate {replicate}: {len(cells)} cells to measure")
        listener = _Publisher(job, places, names, on_event)
        report = run_plan(
            part(job.plan, cells),
            places.store,
            workers=workers,
            on_event=listener,
            time_box=box,
            **how,
        )
        publish_all([job], places, names)
        reports.append(report)
        if report.interrupted:
            break
    return reports


def publish_all(jobs: Iterable[Job], places: Places, names: Sequence[str]) -> int:
    """`publish` each of `jobs` from the shared store; returns how many cells are new."""
    from apportion.store.store import Store

    if not places.store.exists():
        return sum(publish(job, places, names) for job in jobs)
    with Store.open(places.store, create=False, read_only=True) as store:
        return sum(publish(job, places, names, store) for job in jobs)


class _Publisher:
    """Passes events on, and publishes once in a while."""

    def __init__(
        self,
        job: Job,
        places: Places,
        names: Sequence[str],
        on_event: Callable[[Event], None] | None,
    ) -> None:
        self._job, self._places, self._names = job, places, names
        self._on_event = on_event
        self._last = time.monotonic()

    def __call__(self, event: Event) -> None:
        from apportion.run.events import StageFinished

        if self._on_event is not None:
            self._on_event(event)
        due = time.monotonic() - self._last >= PUBLISH_SECONDS
        if due and isinstance(event, StageFinished) and event.kind == "score":
            publish_all([self._job], self._places, self._names)
            self._last = time.monotonic()

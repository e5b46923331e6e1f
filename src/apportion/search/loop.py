"""The adaptive search over a study: run a few cells, ask the surface, run the next, stop.

Every decision follows from what is in the store, so a search that was stopped goes on where it was,
and one that has ended does nothing when it is started again. `search.jsonl` in the store's folder
tells, for people, why each cell was run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from apportion.prices import Amount, mid
from apportion.run.context import DEFAULT_BODIES
from apportion.run.events import RunReport
from apportion.run.layout import Layout
from apportion.run.results import CellResult, collect
from apportion.run.run import OnEvent, run_plan
from apportion.search.decide import Cell, Choice, Decision, Goal, decide
from apportion.search.log import Group, cell_of, cut_short, tell
from apportion.search.start import first_cells
from apportion.store.store import Store
from apportion.surface.model import fit_surface

if TYPE_CHECKING:
    from apportion.compile import Plan
    from apportion.compile.plan import Cell as PlanCell
    from apportion.config.study import Study

SPENT = "the search's part of the grid is spent, or what is left failed"
GENERATION_PART = 0.5  # a token that is written or read for a score, in tokens that are trained on


@dataclass(frozen=True)
class GroupEnd:
    """How the search of one (model, task, method) ended."""

    model: str
    task: str
    method: str
    why: str
    decision: Decision | None


@dataclass(frozen=True)
class SearchReport:
    """What was run, and what part of the grid's training tokens that is."""

    run: RunReport
    ends: tuple[GroupEnd, ...]
    cells_run: int
    cells_in_grid: int
    part_of_tokens: float


def goal_of(study: Study, workers: int) -> Goal:
    """The study's search settings as a goal."""
    settings = study.search
    unit = study.budget.unit if study.budget is not None else "examples"
    values = settings.targets or _own_targets(study)
    return Goal(
        targets=tuple(Amount(float(value), unit) for value in values),
        prices=mid(study.prices),
        epsilon=settings.epsilon,
        delta=settings.delta,
        worth=settings.worth,
        batch=settings.batch or max(workers, 2),
    )


def _own_targets(study: Study) -> tuple[float, ...]:
    if study.budget is not None:
        return study.budget.levels
    assert study.lattice is not None  # noqa: S101  (a study has one of the two)
    tops = max(study.lattice.n_sft), max(study.lattice.n_pref)
    least = min(n for n in (*study.lattice.n_sft, *study.lattice.n_pref) if n)
    top = float(min(t for t in tops if t))
    return tuple(dict.fromkeys(float(round(v)) for v in (least, (least * top) ** 0.5, top)))


class _Spent:
    """Which stages are there or have been chosen, and what another cell costs beyond them."""

    def __init__(self, plan: Plan, cells: Sequence[PlanCell]) -> None:
        self.plan = plan
        self.by_cell = {(c.n_sft, c.n_pref, c.replicate): c for c in cells}
        self.have: set[str] = set()

    def add(self, cells: Iterable[Cell]) -> None:
        self.have.update(key for cell in cells for key in self.by_cell[cell].stages)

    def cost(self, cell: Cell) -> float:
        stages = (self.plan.stages[key] for key in self.by_cell[cell].stages)
        return sum(_weight(s.kind) * s.tokens for s in stages if s.key not in self.have)


def _weight(kind: str) -> float:
    return {"generate": GENERATION_PART, "score": 0.0}.get(kind, 1.0)


def _groups(plan: Plan) -> dict[Group, list[PlanCell]]:
    groups: dict[Group, list[PlanCell]] = {}
    for cell in plan.cells:
        groups.setdefault((cell.model, cell.task, cell.method), []).append(cell)
    return groups


def _next(
    plan: Plan, cells: Sequence[PlanCell], rows: Sequence[CellResult], group: Group, goal: Goal
) -> Decision:
    """The start's cells until all were tried, then what `decide` says."""
    points = list(dict.fromkeys((c.n_sft, c.n_pref) for c in cells))
    replicates = 1 + max(c.replicate for c in cells)
    tried = {cell_of(row) for row in rows if row.status in ("done", "failed")}
    spent = _Spent(plan, cells)
    spent.add(tried)
    start = [cell for cell in first_cells(points, replicates) if cell not in tried]
    if start:
        chosen = tuple(
            Choice(cell, spent.cost(cell), 0.0, "one of the first cells") for cell in start
        )
        return Decision(chosen, (), "the search begins")
    model, task, method = group
    surface = fit_surface(rows, model=model, task=task, method=method)
    if surface.status != "ok":
        return Decision((), (), "; ".join(surface.reasons))
    failed = frozenset(cell_of(row) for row in rows if row.status == "failed")
    return decide(surface, goal, points, replicates, spent.cost, skip=failed)


def search_plan(
    plan: Plan,
    store_path: str | Path,
    *,
    workers: int | None = None,
    on_event: OnEvent | None = None,
    on_decision: Callable[[Group, Decision], None] | None = None,
    time_box: float | None = None,
    bodies: str = DEFAULT_BODIES,
    layout: Layout | None = None,
) -> SearchReport:
    """Run the adaptive search of `plan` into the store; resumable.

    Ends when every (model, task, method) is sure enough, when no next run is worth it, when `most`
    of the grid's tokens are spent, or with `time_box` or Ctrl-C, as `run_plan` does.
    """
    import time

    store = Path(store_path)
    groups = _groups(plan)
    goal = goal_of(plan.study, workers or 0)
    began = time.monotonic()
    ends: dict[Group, GroupEnd] = {}
    attempted: set[str] = set()
    resumed = False
    report = run_plan(
        replace(plan, cells=()), store, layout=Layout(0, 1)
    )  # so that there is a store
    while len(ends) < len(groups):
        rows = _rows(plan, store)
        wanted: list[PlanCell] = []
        for group, cells in groups.items():
            if group in ends:
                continue
            mine = [row for row in rows if (row.model, row.task, row.method) == group]
            begun = None if resumed else cut_short(store, group, mine, cells)
            decision = begun or _next(plan, cells, mine, group, goal)
            picked = _within(plan, cells, mine, decision, plan.study.search.most)
            # A cell whose earlier stage failed is still missing: it is tried once in a search.
            picked = [cell for cell in picked if cell.score_key not in attempted]
            attempted.update(cell.score_key for cell in picked)
            if on_decision is not None:
                on_decision(group, decision)
            if not picked:
                why = SPENT if decision.cells else decision.why
                ends[group] = GroupEnd(*group, why, decision)
            wanted += picked
            tell(store, group, decision, picked)
        resumed = True
        if not wanted:
            continue
        left = None if time_box is None else time_box - (time.monotonic() - began)
        if left is not None and left <= 0:
            break
        report = run_plan(
            replace(plan, cells=tuple(wanted)),
            store,
            workers=workers,
            on_event=on_event,
            time_box=left,
            bodies=bodies,
            layout=layout,
        )
        if report.interrupted or report.out_of_time:
            break
    return _report(plan, store, report, ends)


def _rows(plan: Plan, store: Path) -> Sequence[CellResult]:
    with Store.open(store, create=False, read_only=True) as opened:
        return collect(plan, opened)


def _within(
    plan: Plan,
    cells: Sequence[PlanCell],
    rows: Sequence[CellResult],
    decision: Decision,
    most: float,
) -> list[PlanCell]:
    """The chosen cells as far as `most` of this group's training tokens allows."""
    spent, grid = _Spent(plan, cells), _Spent(plan, cells)
    grid.add(grid.by_cell)
    limit = most * _training(plan, grid.have)
    spent.add(cell_of(row) for row in rows if row.status in ("done", "failed"))
    picked = []
    for choice in decision.cells:
        spent.add([choice.cell])
        if _training(plan, spent.have) > limit * (1 + 1e-9):
            break
        picked.append(spent.by_cell[choice.cell])
    return picked


def _training(plan: Plan, keys: Iterable[str]) -> int:
    stages = (plan.stages[key] for key in keys)
    return sum(stage.tokens for stage in stages if stage.kind in ("sft", "preference"))


def _report(
    plan: Plan, store: Path, report: RunReport, ends: dict[Group, GroupEnd]
) -> SearchReport:
    done = [row for row in _rows(plan, store) if row.status == "done"]
    by_name = {(c.model, c.task, c.method, c.n_sft, c.n_pref, c.replicate): c for c in plan.cells}
    keys = {
        key
        for row in done
        for key in by_name[
            row.model, row.task, row.method, row.n_sft, row.n_pref, row.replicate
        ].stages
    }
    return SearchReport(
        run=report,
        ends=tuple(ends.values()),
        cells_run=len(done),
        cells_in_grid=len(plan.cells),
        part_of_tokens=_training(plan, keys) / max(_training(plan, plan.stages), 1),
    )

"""What the grid costs: stages, training tokens and hours, naive and as it runs.

| symbol | meaning | unit |
|---|---|---|
| t_s | estimated tokens of stage s | tokens |
| r_mtk | tokens of kind k of model m on task t per second of one worker | tokens/s |
| w | workers | |

Hours of the stages left to run: sum_s t_s / r / w / 3600. *Naive* is a loop over cells that shares
nothing; *run* counts every stage once, over all studies of the store.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grid_run
import grid_table
from grid_run import Job, Places

Rates = Mapping[str, float]  # tokens per second of one worker, by kind
_ENOUGH = 3  # stages of a kind that were timed while the grid ran: better than a trial


@dataclass(frozen=True)
class Cost:
    """One study, or all. `left`: stages still to run; `seconds`: of one worker, for those."""

    name: str
    cells: int
    published: int
    naive_stages: int
    stages: int
    naive_tokens: int
    tokens: int
    left: int
    seconds: float | None


def costs(
    jobs: Sequence[Job], places: Places, rates: Mapping[tuple[str, str], Rates]
) -> list[Cost]:
    """One per study, then their total. A stage that two studies share is the first one's to run.

    `rates`: by model and task; without them (empty) there are no seconds.
    """
    found, seen, todo = [], set(), set()
    for job in jobs:
        plan, table = job.plan, grid_table.read(places.tables, job.name)
        open_cells = grid_run.left(job, table)
        wanted = {key for cell in open_cells for key in cell.stages} - todo
        todo |= wanted
        seconds = None
        if rates:
            speed = rates[_what(job)]
            timed = [plan.stages[key] for key in wanted if plan.stages[key].kind in speed]
            seconds = sum(stage.tokens / speed[stage.kind] for stage in timed)
        found.append(
            Cost(
                job.name,
                len(plan.cells),
                len(plan.cells) - len(open_cells),
                plan.naive.total,
                len(set(plan.stages) - seen),
                plan.naive.training_tokens,
                sum(
                    stage.tokens
                    for key, stage in plan.stages.items()
                    if key not in seen and stage.kind in ("sft", "preference")
                ),
                len(wanted),
                seconds,
            )
        )
        seen |= set(plan.stages)
    return [*found, _total(found)]


def _total(found: Sequence[Cost]) -> Cost:
    def sum_of(name: str) -> int:
        return sum(getattr(one, name) for one in found)

    seconds = [one.seconds for one in found]
    return Cost(
        "all",
        *(sum_of(n) for n in ("cells", "published", "naive_stages", "stages")),
        sum_of("naive_tokens"),
        sum_of("tokens"),
        sum_of("left"),
        None if None in seconds else sum(s for s in seconds if s is not None),
    )


def _what(job: Job) -> tuple[str, str]:
    """The model and the task of a study of the grid: each has one."""
    return job.plan.cells[0].model, job.plan.cells[0].task


def measured_rates(jobs: Sequence[Job], store: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Rates by model and task: of the stages that ran in `store` where there are enough of each
    kind, else of a few steps now (some seconds for each model and task)."""
    from apportion.models.resolve import resolve_model
    from apportion.run.estimate import measure_rate

    rates: dict[tuple[str, str], dict[str, float]] = {}
    for what in dict.fromkeys(map(_what, jobs)):
        alike = [job for job in jobs if _what(job) == what]
        known = ran_rates(alike, store)
        if not {"sft", "preference", "generate"} <= set(known):
            recipe = alike[0].plan.study.recipe
            tried = measure_rate(resolve_model(what[0]), recipe, task=what[1])
            known = {**tried.tokens_per_second, **known}
        rates[what] = known
    return rates


def ran_rates(jobs: Sequence[Job], store: Path) -> dict[str, float]:
    """Estimated tokens of the stages that ran, by the seconds they took; kinds with enough."""
    from apportion.store.store import Store

    tokens: defaultdict[str, int] = defaultdict(int)
    seconds: defaultdict[str, float] = defaultdict(float)
    count: defaultdict[str, int] = defaultdict(int)
    if not store.exists():
        return {}
    stages = {key: stage for job in jobs for key, stage in job.plan.stages.items()}
    with Store.open(store, create=False, read_only=True) as opened:
        for record in opened.records():
            if record.status == "done" and record.key in stages and record.kind != "score":
                tokens[record.kind] += stages[record.key].tokens
                seconds[record.kind] += record.seconds
                count[record.kind] += 1
    return {
        kind: tokens[kind] / seconds[kind]
        for kind in tokens
        if count[kind] >= _ENOUGH and seconds[kind] > 0
    }


def table(found: Sequence[Cost], *, workers: int) -> str:
    """The costs as lines for a terminal."""
    head = (
        f"{'study':<26}{'cells':>6}{'done':>6}{'stages':>8}{'naive':>7}"
        f"{'train tokens':>14}{'naive':>14}{'fold':>6}{'left':>6}{'hours':>7}"
    )
    lines = [head]
    for one in found:
        hours = "–" if one.seconds is None else f"{one.seconds / workers / 3600:.2f}"
        fold = one.naive_tokens / one.tokens if one.tokens else float("nan")
        lines.append(
            f"{one.name:<26}{one.cells:>6}{one.published:>6}{one.stages:>8}{one.naive_stages:>7}"
            f"{one.tokens:>14,}{one.naive_tokens:>14,}{fold:>6.2f}{one.left:>6}{hours:>7}"
        )
    return "\n".join(lines)

"""The grid of the sandbox: studies in `examples/grid`, published in `data/grid`.

    python tools/grid.py status                # what is published, what is left
    python tools/grid.py check                 # the estimate: stages, tokens, hours
    python tools/grid.py run --for 30m         # go on where it was left, publishing as it goes
    python tools/grid.py run math-small-dpo    # these studies alone, to the end
    python tools/grid.py publish               # what is in the store and not yet in the tables
    python tools/grid.py merge OTHER/data/grid # tables that were measured somewhere else
    python tools/grid.py jsonl math-small-dpo  # as JSON lines with scores per item
    python tools/grid.py drop math-small-dpo   # rows of other data, recipes or models: out

What is published is not run again, also where the store is gone. Exit codes: 0 done or time is up,
1 some stage failed, 2 a mistake in the question, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import grid_cost
import grid_run
import grid_table
from apportion.config.duration import parse_duration
from apportion.errors import UserError
from grid_run import Job, Places

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    places = Places(asked.out, asked.store)
    names = sorted(path.stem for path in asked.studies.glob("*.yaml"))
    if asked.do == "merge":
        return _merge(asked.other, places, names)
    if asked.do == "jsonl":
        return _jsonl(asked.study, places)
    try:
        jobs, why_not = grid_run.load_jobs(asked.studies, asked.names)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    for name, why in why_not.items():
        print(f"{name} cannot run: {why}", file=sys.stderr)
    try:
        return _of_jobs(jobs, places, names, asked)
    except KeyboardInterrupt:  # between two chunks; within one, the run itself ends in order
        return 130


def _of_jobs(
    jobs: Sequence[Job], places: Places, names: list[str], asked: argparse.Namespace
) -> int:
    try:
        if asked.do == "status":
            return _status(jobs, places)
        if asked.do == "check":
            return _check(jobs, places, asked.workers)
        if asked.do == "drop":
            return _drop(jobs, places)
        if asked.do == "run":
            return _run(jobs, places, names, asked)
        print(f"{grid_run.publish_all(jobs, places, names)} cells published")
        return 0
    except (UserError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = ROOT / "examples" / "grid"
    parser.add_argument("--studies", type=Path, default=folder, help="folder of study files")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "grid", help="of the tables")
    parser.add_argument("--store", type=Path, default=folder / "grid.store", help="of the stages")
    commands = parser.add_subparsers(dest="do", required=True)
    for name in ("status", "check", "publish", "run", "drop"):
        command = commands.add_parser(name)
        command.add_argument("names", nargs="*", metavar="STUDY", help="default: all")
        if name in ("run", "check"):
            command.add_argument("--workers", type=int, help="default: what suits the machine")
        if name == "run":
            command.add_argument("--for", dest="time_box", metavar="TIME", help="30m, 2h, 90s")
    commands.add_parser("merge").add_argument("other", type=Path)
    commands.add_parser("jsonl").add_argument("study")
    return parser


def _status(jobs: Sequence[Job], places: Places) -> int:
    for job in jobs:
        table = grid_table.read(places.tables, job.name)
        parts = []
        for replicate in range(job.replicates):
            cells = [cell for cell in job.plan.cells if cell.replicate == replicate]
            done = len(cells) - len(grid_run.left(job, table, replicate))
            parts.append(f"replicate {replicate}: {done}/{len(cells)}")
        wrong = len(grid_run.stale(job, table))
        told = f"; {wrong} rows are of other data, recipes or models" if wrong else ""
        print(f"{job.name:<26} {', '.join(parts)}{told}")
    return 0


def _check(jobs: Sequence[Job], places: Places, workers: int | None) -> int:
    from apportion.run.layout import machine_cores

    count = workers or machine_cores()
    rates = grid_cost.measured_rates(jobs, places.store)
    print(grid_cost.table(grid_cost.costs(jobs, places, rates), workers=count))
    print(f"\nhours: of what is left, with {count} workers; tokens per second of one of them:")
    for (model, task), speed in rates.items():
        shown = ", ".join(f"{kind} {rate:,.0f}" for kind, rate in sorted(speed.items()))
        print(f"  {model} on {task}: {shown}")
    return 0


def _run(jobs: Sequence[Job], places: Places, names: list[str], asked: argparse.Namespace) -> int:
    from apportion.run.progress import ProgressDisplay

    box = parse_duration(asked.time_box, field="--for") if asked.time_box else None
    with ProgressDisplay() as display:
        reports = grid_run.run(
            jobs, places, names=names, seconds=box, workers=asked.workers, on_event=display
        )
    left = sum(len(grid_run.left(j, grid_table.read(places.tables, j.name))) for j in jobs)
    print(
        f"{left} cells are left" + ("; the same command goes on." if left else ": all published.")
    )
    if any(report.interrupted for report in reports):
        return 130
    return 1 if any(report.failed for report in reports) else 0


def _drop(jobs: Sequence[Job], places: Places) -> int:
    for job in jobs:
        table = grid_table.read(places.tables, job.name)
        wrong = grid_run.stale(job, table)
        if wrong:
            grid_table.write(places.tables, job.name, grid_table.without(table, wrong))
        print(f"{job.name}: {len(wrong)} rows dropped")
    return 0


def _merge(other: Path, places: Places, names: Sequence[str]) -> int:
    theirs = [name for name in names if grid_table.paths(other, name)[0].exists()]
    if not theirs:
        print(f"{other} has no table of a study of the grid", file=sys.stderr)
        return 2
    for name in theirs:
        try:
            ours = grid_table.read(places.tables, name)
            both, told = grid_table.merged(ours, grid_table.read(other, name))
        except ValueError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 2
        grid_table.write(places.tables, name, both)
        print(f"{name}: {len(both.rows) - len(ours.rows)} cells added", *told, sep="\n  ")
    return 0


def _jsonl(study: str, places: Places) -> int:
    try:
        table = grid_table.read(places.tables, study)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for row in table.rows.values():
        facts = {name: getattr(row, name) for name in grid_table.COLUMNS}
        shown = {name: value for name, value in facts.items() if value is not None}
        scores = table.items.get(row.key)
        if scores is not None:
            primary = scores.strict if row.score == row.strict else scores.lenient
            shown |= {"item_scores": primary, "items_digest": table.digest}
            if table.weights is not None:
                shown["item_weights"] = table.weights
        print(json.dumps(shown, allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How much the nuisance hyper-parameters matter, on items that no study is scored on.

    python tools/tune.py sweep --task math --model sandbox:small --for 10m   # and again, to go on
    python tools/tune.py table                                               # for docs/protocol.md

One factor at a time is moved away from the frozen recipe `sandbox`, at the middle cell, at both
corners and without SFT (`CELLS`). The stages are those of a study, but for the test items: 400
validation items far behind those of any study (`VALIDATION`), and a data seed that no replicate
has. Results stand in `tools/tune/<task>-<model>-<method>.jsonl`, one line per run; what stands
there is not run again. What was chosen, and why, is in docs/protocol.md and docs/log.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apportion.config.duration import parse_duration
from apportion.config.presets import RECIPES
from apportion.errors import UserError
from apportion.tasks.registry import EMBEDDED
from tune_table import FROZEN, read, table

if TYPE_CHECKING:
    from apportion.compile import Plan, Stage
    from apportion.store.store import Store

ROOT = Path(__file__).resolve().parents[1]
VALIDATION = (5_000, 400)  # first item and how many
DATA_SEED = 9_001

#: (n_sft, n_pref), in the order in which they are run.
CELLS: Mapping[str, tuple[int, int]] = {
    "middle": (400, 400),
    "few": (100, 100),
    "no SFT": (0, 400),
    "many": (1600, 1600),
}
#: What is tried beside the frozen value: numbers, or multiples of it where it is a rate.
RATES: Mapping[str, tuple[float, ...]] = {
    "sft.learning_rate": (0.5, 2.0),
    "preference.learning_rate": (1 / 3, 3.0),
}
VALUES: Mapping[str, tuple[float, ...]] = {
    "sft.epochs": (1, 4),
    "preference.epochs": (1, 4),
    "preference.beta": (0.1, 0.3),
}
KTO_BETA = (0.03, 0.3)


@dataclass(frozen=True)
class Trial:
    """One run: a cell, and one factor at one value (`FROZEN`: none)."""

    task: str
    model: str
    method: str
    cell: str
    factor: str
    value: float | None
    seed: int = 0

    @property
    def changes(self) -> dict[str, Any]:
        """The recipe's values that differ from the preset."""
        if self.value is None:
            return {}
        stage, _, field = self.factor.partition(".")
        whole = field == "epochs"
        return {stage: {field: int(self.value) if whole else self.value}}


def trials(task: str, model: str, method: str, *, seeds: int = 1) -> Iterator[Trial]:
    """All runs of a sweep, cell by cell; factors of a stage that a cell has not are left out."""
    for cell, (n_sft, n_pref) in CELLS.items():
        for seed in range(seeds):
            yield Trial(task, model, method, cell, FROZEN, None, seed)
            for factor, values in factors(method).items():
                if (n_sft if factor.startswith("sft") else n_pref) == 0:
                    continue
                for value in values:
                    yield Trial(task, model, method, cell, factor, value, seed)


def factors(method: str) -> dict[str, tuple[float, ...]]:
    """The values tried of each factor, the frozen one not among them."""
    frozen = RECIPES["sandbox"]
    found: dict[str, tuple[float, ...]] = {}
    for factor, multiples in RATES.items():
        stage, _, field = factor.partition(".")
        found[factor] = tuple(float(f"{frozen[stage][field] * m:.3g}") for m in multiples)
    for factor, values in VALUES.items():
        stage, _, field = factor.partition(".")
        found[factor] = tuple(value for value in values if value != frozen[stage][field])
    if method == "kto":
        del found["preference.beta"]
        found["kto.beta"] = KTO_BETA
    return found


def plan_of(trial: Trial) -> Plan:
    """The plan of one trial: its cell alone, scored on the validation items."""
    from apportion.compile import compile_study
    from apportion.config.study import Study

    n_sft, n_pref = CELLS[trial.cell]
    study = Study.of(
        {
            "models": [trial.model],
            "tasks": [trial.task],
            "methods": [trial.method],
            "lattice": {"n_sft": [n_sft], "n_pref": [n_pref]},
            "replicates": 1,
            "seeds": {"data": DATA_SEED + trial.seed, "train": DATA_SEED + trial.seed},
            "recipe": {"preset": "sandbox", **trial.changes},
            "evaluation": {"n_items": VALIDATION[1]},
        }
    )
    plan = compile_study(study)
    (cell,) = [cell for cell in plan.cells if (cell.n_sft, cell.n_pref) == (n_sft, n_pref)]
    *training, generate, score = (plan.stages[key] for key in cell.stages)
    items = validation_items(trial.task)
    generate = _stage(generate, generate.parents, items)
    score = _stage(score, (generate.key,), items)
    stages = {stage.key: stage for stage in (*training, generate, score)}
    return replace(plan, cells=(replace(cell, stages=tuple(stages)),), stages=stages)


def _stage(stage: Stage, parents: tuple[str, ...], items: Mapping[str, Any]) -> Stage:
    from apportion.compile import stage_key

    parent = parents[0] if parents else None
    spec = {**stage.spec, "items": items, "parent": parent}
    label = f"{stage.label} (validation)"
    return replace(stage, key=stage_key(spec), spec=spec, parents=parents, label=label)


@lru_cache(maxsize=8)
def validation_items(task: str) -> Mapping[str, Any]:
    """The validation items as a stage's spec names them; drawn once."""
    from apportion.data.records import ordered_digest
    from apportion.tasks.registry import get_task

    begin, n = VALIDATION
    digest = ordered_digest(get_task(task).pool.items(begin + n)[begin:])
    return {"begin": begin, "n": n, "digest": digest}


def file_of(folder: Path, task: str, model: str, method: str) -> Path:
    return folder / f"{task}-{model.partition(':')[2] or model.replace('/', '-')}-{method}.jsonl"


def sweep(
    todo: Iterable[Trial],
    path: Path,
    store: Path,
    *,
    seconds: float | None = None,
    workers: int | None = None,
    **how: Any,
) -> int:
    """Run what `path` does not have, cell by cell, for `seconds` at most; returns what is left.

    `how`: more arguments of `run_plan`.
    """
    from apportion.run.run import run_plan

    end = None if seconds is None else time.monotonic() + seconds
    cells: dict[str, list[Trial]] = {}
    for trial in todo:
        cells.setdefault(trial.cell, []).append(trial)
    left = 0
    for group in cells.values():
        plans = {trial: plan_of(trial) for trial in group}
        _keep(plans, path, store)  # what an earlier, killed run left in the store
        missing = _missing(plans, path)
        box = None if end is None else max(0.0, end - time.monotonic())
        if missing and box != 0:
            run_plan(
                _joined([plans[t] for t in missing]), store, workers=workers, time_box=box, **how
            )
            _keep(plans, path, store)
            missing = _missing(plans, path)
        left += len(missing)
    return left


def _missing(plans: Mapping[Trial, Plan], path: Path) -> list[Trial]:
    known = {row["key"] for row in read(path)}
    return [trial for trial, plan in plans.items() if plan.cells[0].score_key not in known]


def _joined(plans: Sequence[Plan]) -> Plan:
    """One plan with the cells and stages of all: what they share runs once."""
    stages = {key: stage for plan in plans for key, stage in plan.stages.items()}
    return replace(plans[0], cells=tuple(plan.cells[0] for plan in plans), stages=stages)


def _keep(plans: Mapping[Trial, Plan], path: Path, store: Path) -> None:
    """Add what the store has, and `path` has not, to `path`."""
    from apportion.store.store import Store

    if not store.exists():
        return
    missing = _missing(plans, path)
    with Store.open(store, create=False, read_only=True) as opened:
        rows = [row for t in missing if (row := _row(t, plans[t], opened)) is not None]
    if rows:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)


def _row(trial: Trial, plan: Plan, store: Store) -> dict[str, Any] | None:
    cell = plan.cells[0]
    record = store.record(cell.score_key)
    if record is None or record.status != "done":
        return None
    names = ("score", "stderr", "strict", "lenient", "format_failure_rate", "truncation_rate")
    return {
        **{name: getattr(trial, name) for name in ("task", "model", "method", "cell")},
        "n_sft": cell.n_sft,
        "n_pref": cell.n_pref,
        "factor": trial.factor,
        "value": trial.value,
        "seed": trial.seed,
        **{name: record.summary[name] for name in names},
        "n_items": record.summary["n_items"],
        "key": cell.score_key,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=ROOT / "tools" / "tune")
    commands = parser.add_subparsers(dest="do", required=True)
    command = commands.add_parser("sweep")
    command.add_argument("--task", choices=EMBEDDED, default="math")
    command.add_argument("--model", default="sandbox:small")
    command.add_argument("--method", choices=("dpo", "kto"), default="dpo")
    command.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    command.add_argument("--seeds", type=int, default=1)
    command.add_argument("--for", dest="time_box", metavar="TIME")
    command.add_argument("--workers", type=int)
    command.add_argument("--store", type=Path, default=ROOT / "build" / "tune.store")
    commands.add_parser("table")
    asked = parser.parse_args(arguments)
    if asked.do == "table":
        print(table([row for path in sorted(asked.data.glob("*.jsonl")) for row in read(path)]))
        return 0
    return _sweep(asked)


def _sweep(asked: argparse.Namespace) -> int:
    from apportion.run.progress import ProgressDisplay

    path = file_of(asked.data, asked.task, asked.model, asked.method)
    wanted = trials(asked.task, asked.model, asked.method, seeds=asked.seeds)
    todo = [trial for trial in wanted if trial.cell in asked.cells]
    try:
        box = parse_duration(asked.time_box, field="--for") if asked.time_box else None
        with ProgressDisplay() as display:
            left = sweep(
                todo, path, asked.store, seconds=box, workers=asked.workers, on_event=display
            )
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(todo) - left} of {len(todo)} runs are in {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What a study of 10,000 cells costs beside its training: planning it, scheduling its stages, and
running it again when nothing is left to do.

    python benchmarks/plan_scale.py [--cells 10000] [--profile]

Aims: planned in under 2 s, run again in under 5 s. The finished store is made up: every score stage
has a record and an artifact of 300 items as a real one has, nothing was trained. Whole processes
are timed with their imports; processor time counts their children.
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import os
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from apportion.compile import Plan, Stage, compile_study
from apportion.config.study import Study
from apportion.run.bodies import ITEMS, summarise
from apportion.run.common import write_lines
from apportion.run.run import run_plan
from apportion.run.schedule import Agenda
from apportion.store import files
from apportion.store.layout import prepare
from apportion.store.record import record_of
from apportion.store.store import Store

AIMS = {"planned": 2.0, "run again": 5.0}


def studies(cells: int) -> dict[str, dict[str, Any]]:
    """Two shapes of about `cells` cells: one draw of a fine lattice; methods and replicates."""
    common = {"models": "sandbox:small", "tasks": "math", "recipe": "sandbox"}
    fine, coarse = round(cells**0.5), round((cells / 4) ** 0.5)

    def lattice(side: int) -> dict[str, Any]:
        levels = [10 * place for place in range(side)]
        return {"n_sft": levels, "n_pref": levels}

    return {
        "one draw, DPO": {**common, "lattice": lattice(fine), "replicates": 1},
        "2 draws, DPO and KTO": {
            **common,
            "methods": ["dpo", "kto"],
            "lattice": lattice(coarse),
            "replicates": 2,
        },
    }


def finished(plan: Plan, place: Path, n_items: int = 300) -> None:
    """A store in which every score of `plan` is there, written without waiting for the disk."""
    prepare(place, create=True, read_only=False)
    rows = [
        {"item_id": f"item-{i}", "strict": float(i % 3 == 0), "lenient": float(i % 2 == 0),
         "format_ok": True, "truncated": False, "n_tokens": 40}
        for i in range(n_items)
    ]  # fmt: skip
    summary = summarise(rows, "strict")
    write_lines(place / "items", rows)
    items = (place / "items").read_bytes()
    for cell in plan.cells:
        _artifact(place, plan.stages[cell.score_key], items, summary)
    (place / "items").unlink()
    with Store.open(place):  # the index is made of the artifacts
        pass


def _artifact(place: Path, stage: Stage, items: bytes, summary: dict[str, Any]) -> None:
    folder = place / "artifacts" / stage.kind / stage.key
    if folder.exists():  # two cells may share a score
        return
    folder.mkdir(parents=True)
    record = record_of(
        stage, status="done", summary=summary, reason=None, started=datetime.now(UTC),
        seconds=0.1, worker={},
    )  # fmt: skip
    content = {ITEMS: items, files.RECORD: files.to_json(record.to_dict())}
    listing = {}
    for name, data in content.items():
        (folder / name).write_bytes(data)
        listing[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (folder / files.MANIFEST).write_bytes(files.to_json({"files": listing}))


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall and CPU seconds of this process and of children that ended within, and the result."""
    before, wall = os.times(), time.perf_counter()
    found = work()
    wall, after = time.perf_counter() - wall, os.times()
    return wall, sum(after[:4]) - sum(before[:4]), found


def report(what: str, wall: float, cpu: float, aim: float | None = None) -> None:
    aimed = "" if aim is None else f"{aim:8.1f}"
    print(f"  {what:44} {wall:7.2f} {cpu:7.2f} {aimed}", flush=True)


def scheduled(plan: Plan) -> int:
    """Every stage of `plan` taken and finished, as a run does, with nothing run."""
    agenda, count = Agenda(plan.stages, plan.stages), 0
    while keys := agenda.next_group():
        for key in keys:
            agenda.done(key)
            count += 1
    return count


def measure(name: str, values: dict[str, Any], folder: Path, profiled: bool) -> None:
    """Print the lines of one study."""
    folder.mkdir()
    (folder / "study.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    study = Study.of(values)
    wall, cpu, plan = timed(lambda: compile_study(study))
    print(f"{name}: {len(plan.cells)} cells, {len(plan.stages)} stages")
    report("planned", wall, cpu, AIMS["planned"])
    report("all its stages scheduled", *timed(lambda: scheduled(plan))[:2])
    store = folder / "study.store"
    finished(plan, store)
    command = [sys.executable, "-m", "apportion", "run", str(folder / "study.yaml")]

    def again() -> None:
        subprocess.run(command, check=True, capture_output=True)

    again()  # files and byte code are in the system's memory from here on
    report("run again, nothing to do (whole process)", *timed(again)[:2], AIMS["run again"])
    report("  of it: finding that nothing is to do", *timed(lambda: run_plan(plan, store))[:2])
    if profiled:
        for what, work in (
            ("planned", lambda: compile_study(study)),
            ("run again", lambda: run_plan(plan, store)),
        ):
            print(f"  profile, {what}:")
            with cProfile.Profile() as found:
                work()
            pstats.Stats(found).sort_stats("tottime").print_stats(12)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--cells", type=int, default=10_000, help="of each study, about")
    asked.add_argument("--profile", action="store_true")
    given = asked.parse_args()
    print(f"  {'':44} {'wall s':>7} {'CPU s':>7} {'aim':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for place, (name, values) in enumerate(studies(given.cells).items()):
            measure(name, values, Path(folder) / str(place), given.profile)


if __name__ == "__main__":
    main()

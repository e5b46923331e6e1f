"""The honest loop: for every cell a process for SFT, one for preference tuning, one for answering,
as the authors' script does; nothing is used again."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from apportion.compile import Cell
from apportion.run.export.script import export_script
from loops.grid import Grid, name_of, steps_of
from loops.ledger import Ledger
from loops.measure import measured

HERE = Path(__file__).resolve().parents[1]  # what `loops` is imported from


def environment(threads: int) -> dict[str, str]:
    """For both loops: their threads, and no calls anywhere."""
    return {
        **{name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")},
        "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def run(
    grid: Grid, cells: Sequence[Cell], ledger: Ledger, work: Path, until: float | None = None
) -> None:
    """Measure those of `cells` that `ledger` has not; none is begun after time.time() `until`."""
    known = ledger.cells("honest")
    for cell in cells:
        if until is not None and time.time() >= until:
            return
        if name_of(cell) not in known:
            row = one(grid, cell, work / "honest")
            ledger.add("honest", cell=name_of(cell), **row)
            print(f"  honest {name_of(cell):24} {total(row, 'wall'):7.1f} s", flush=True)


def total(row: dict[str, Any], kind: str) -> float:
    """Seconds of a cell's processes."""
    return float(sum(one[kind] for one in row["processes"]))


def one(grid: Grid, cell: Cell, work: Path) -> dict[str, Any]:
    """A cell's processes, each with its cost, and its scores. Writing the script costs nothing."""
    folder = work / name_of(cell)
    shutil.rmtree(folder, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    export_script(grid.parts(cell), folder)
    micro = [f"{name}={size}" for name, size in grid.micro]
    processes = []
    for step in steps_of(cell):
        report = folder / "report.json"
        command = [sys.executable, "-P", "-m", "loops.step", str(folder), step, str(report), *micro]
        cost = measured(command, folder / f"{step}.log", environment(grid.threads))
        processes.append({"step": step, **asdict(cost), **json.loads(report.read_text())})
    found = scores(folder / "run")
    shutil.rmtree(folder)  # every cell's holds three models
    return {**found, "processes": processes}


def scores(run_folder: Path) -> dict[str, Any]:
    """What a script found: the score and the score of every item."""
    found = json.loads((run_folder / "results.json").read_text())
    return {"score": found["score"], "item_scores": found["item_scores"]}

"""Our side: `apportion run` of the study, as its user types it, with its own choice of workers."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import yaml

from apportion.run.results import collect
from apportion.store.store import Store
from loops.grid import Grid, name_of
from loops.ledger import Ledger
from loops.measure import measured


def run(
    grid: Grid, cells: Sequence[object], ledger: Ledger, work: Path, until: float | None = None
) -> None:
    """Run the study, or go on with it, until time.time() `until` at most; note what is new.

    A sitting that is killed leaves stages whose seconds nobody noted: its `begun` has no `sitting`
    behind it, and the table says so.
    """
    known = ledger.cells("ours")
    left = None if until is None else until - time.time()
    if len(known) == len(grid.cells) or (left is not None and left <= 0):
        return
    work.mkdir(parents=True, exist_ok=True)
    study, store = work / "study.yaml", work / "ours.store"
    study.write_text(yaml.safe_dump(grid.values), encoding="utf-8")
    command = [sys.executable, "-m", "apportion", "run", str(study), "--store", str(store)]
    if left is not None:
        command += ["--for", f"{max(1, round(left))}s"]
    ledger.add("ours", begun=time.time())
    cost = measured(command, work / "ours.log")
    tokens, found = found_in(grid, store)
    ledger.add("ours", sitting=asdict(cost), tokens=tokens)
    for name, row in found.items():
        if name not in known:
            ledger.add("ours", cell=name, **row)


def found_in(grid: Grid, store: Path) -> tuple[int, dict[str, dict[str, object]]]:
    """Training tokens of all finished stages, and the scores of finished cells."""
    plan = grid.plan
    with Store.open(store, create=False, read_only=True) as opened:
        records = [opened.record(k) for k, s in plan.stages.items()
                   if s.kind in ("sft", "preference")]  # fmt: skip
        results = collect(plan, opened)
    tokens = sum(r.tokens for r in records if r is not None and r.status == "done")
    failed = [one.reason for one in results if one.status == "failed"]
    if failed:
        raise RuntimeError(f"{len(failed)} cells failed: {failed[0]}")
    return tokens, {
        name_of(cell): {"score": one.score, "item_scores": list(one.item_scores or ())}
        for cell, one in zip(plan.cells, results, strict=True)
        if one.status == "done" and cell in grid.cells
    }

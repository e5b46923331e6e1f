"""Our side with `search: adaptive`: the cells that a decision needs, in place of the whole grid."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import yaml

from loops.grid import Grid
from loops.ledger import Ledger
from loops.measure import measured
from loops.ours import found_in


def run(
    grid: Grid, cells: Sequence[object], ledger: Ledger, work: Path, until: float | None = None
) -> None:
    """Search to the end in one sitting, and note its cost, its cells and its answers."""
    if any(ledger.of("adaptive", "sitting")) or (until is not None and until <= time.time()):
        return
    work.mkdir(parents=True, exist_ok=True)
    study, store = work / "search.yaml", work / "search.store"
    targets = [float(target) for target in grid.targets]
    search = {"strategy": "adaptive", "targets": targets}
    study.write_text(yaml.safe_dump({**grid.values, "search": search}), encoding="utf-8")
    base = [sys.executable, "-m", "apportion"]
    cost = measured([*base, "run", str(study), "--store", str(store)], work / "search.log")
    tokens, found = found_in(grid, store)
    ledger.add(
        "adaptive",
        sitting=asdict(cost),
        tokens=tokens,
        found=found,
        advice=_advice([*base, "advise", str(study), "--store", str(store)], targets),
    )


def _advice(command: list[str], targets: Sequence[float]) -> list[dict[str, float]]:
    """The recommended share at each target, as its user asks for it."""
    asked = [word for target in targets for word in ("--budget", f"{target:g}")]
    told = subprocess.run([*command, *asked, "--json"], check=True, capture_output=True, text=True)
    answers = json.loads(told.stdout)["advice"]
    return [{"budget": one["budget"], "share": one["share"]} for one in answers]

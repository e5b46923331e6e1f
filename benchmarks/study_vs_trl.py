"""One grid three ways in one run: ours (`apportion run`), an honest loop over TRL (a fresh process
for every SFT, preference tuning and evaluation of every cell, as in the authors' script), and a
kind one (one process, SFT models used again). Same model, data, recipe, items and decoding.

    python benchmarks/study_vs_trl.py [--out FILE.jsonl] [--sample 12] [--for 30m] [--only ours]

What is measured is kept in FILE.jsonl and never measured again: run it as often as it takes, with
the same grid; `--table` prints what there is. The whole honest loop takes hours: `--sample N` times
N of its cells, drawn at random, extrapolates by tokens and a constant per process, and says so. TRL
runs with its best settings here (see loops/step.py); writing the loops' data files, and the
copy of the model in each, is not counted.

    python benchmarks/study_vs_trl.py --lattice 0 50 100 200 400 800 1600 --methods dpo \\
        --targets 400 1600 --only adaptive honest --sample 8

asks what a decision costs: ours with `search: adaptive`, against the honest loop's whole lattice.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from loops import adaptive, honest, kind, ours
from loops.equivalence import MARGIN
from loops.grid import Grid, name_of, sample
from loops.ledger import Ledger, OtherGrid
from loops.measure import Failed
from loops.table import lines

from apportion.config.duration import parse_duration
from apportion.errors import UserError
from apportion.run.layout import machine_cores

SIDES = {"ours": ours.run, "kind": kind.run, "honest": honest.run, "adaptive": adaptive.run}
# Examples of a forward pass of TRL, as many as ran fastest here (docs/speed.md).
MICRO: dict[str, int] = {}


def options(given: list[str] | None = None) -> argparse.Namespace:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--model", default="sandbox:small", help="one trained whole")
    asked.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    asked.add_argument("--task", default="math")
    asked.add_argument("--methods", nargs="+", default=["dpo", "kto"], choices=["dpo", "kto"])
    asked.add_argument("--budgets", nargs="+", type=int, default=[100, 400, 1200])
    asked.add_argument("--shares", nargs="+", type=float, default=[0, 0.1, 0.25, 0.5, 0.75, 1])
    asked.add_argument("--lattice", nargs="+", type=int, default=[], help="levels of both counts")
    asked.add_argument("--targets", nargs="+", type=int, default=[], help="of the adaptive search")
    asked.add_argument("--replicates", type=int, default=2)
    asked.add_argument("--items", type=int, default=300)
    asked.add_argument("--threads", type=int, default=machine_cores(), help="of TRL's processes")
    asked.add_argument("--micro", nargs="*", default=[], metavar="sft=N", help="of TRL; also dpo=N")
    asked.add_argument("--only", nargs="+", choices=list(SIDES), default=["ours", "kind", "honest"])
    asked.add_argument("--sample", type=int, help="cells of the honest loop that are measured")
    asked.add_argument("--seed", type=int, default=0, help="of the sample")
    asked.add_argument("--for", dest="time", help="begin nothing after this time (30m, 2h)")
    asked.add_argument("--table", action="store_true", help="measure nothing, print what there is")
    asked.add_argument("--margin", type=float, default=MARGIN, help="of equivalence (a score)")
    asked.add_argument("--out", type=Path, default=Path("study_vs_trl.jsonl"))
    return asked.parse_args(given)


def grid_of(given: argparse.Namespace) -> Grid:
    micro = MICRO | {name: int(n) for name, _, n in (text.partition("=") for text in given.micro)}
    return Grid(
        given.model, given.task, tuple(given.methods), tuple(given.budgets), tuple(given.shares),
        given.replicates, given.items, given.threads, tuple(sorted(micro.items())),
        tuple(given.lattice), tuple(given.targets or given.budgets), given.dtype,
    )  # fmt: skip


def machine() -> dict[str, Any]:
    """What the seconds of a sitting depend on."""
    packages = ("torch", "transformers", "trl")
    return {
        "load": os.getloadavg()[0],
        "cores": machine_cores(),
        "versions": ", ".join(f"{name} {metadata.version(name)}" for name in packages),
        "began": time.time(),
    }


def measure(given: argparse.Namespace, grid: Grid, ledger: Ledger) -> None:
    """One sitting."""
    seconds = None if given.time is None else parse_duration(given.time, field="--for")
    until = None if seconds is None else time.time() + seconds
    work = given.out.with_suffix(".work")
    cells = list(grid.cells)
    chosen = cells if given.sample is None else sample(cells, given.sample, given.seed)
    if given.sample is not None:
        print(f"honest loop: {len(chosen)} cells, drawn with seed {given.seed}:")
        print("   ", ", ".join(map(name_of, chosen)))
    ledger.add("machine", **machine())
    for side, run in SIDES.items():
        if side in given.only:
            run(grid, chosen if side == "honest" else cells, ledger, work, until)


def main() -> int:
    given = options()
    given.out = given.out.resolve()  # models are found again by their paths
    try:
        grid = grid_of(given)
        ledger = Ledger(given.out, grid.header)
        if not given.table:
            measure(given, grid, ledger)
    except (Failed, OtherGrid, UserError) as error:
        print(error, file=sys.stderr)
        return 2
    print(*lines(grid, ledger, given.margin), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

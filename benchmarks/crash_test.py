"""Kills real runs of a small study through the CLI, again and again, and counts what was lost.

    python benchmarks/crash_test.py [--kills 20] [--points] [--seed 0] [--workers 2]

Random kills end the whole process group with SIGKILL; `--points` also crashes at every write
boundary of the commit protocol. After each store is finished, `results --csv` must be the bytes of
the uninterrupted run, and no artifact that was visible after a kill may have been started again.
"""

from __future__ import annotations

import argparse
import difflib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from apportion.models.resolve import resolve_model
from apportion.store import crash
from apportion.store.executions import ran_again, read_executions

STUDY = """
models: [{model}]
tasks: [math]
lattice: {{n_sft: [0, 16, 32], n_pref: [0, 16]}}
replicates: 1
recipe: sandbox
evaluation: {{n_items: 16}}
"""
# What a run passes on its way, with how often it may be passed before the crash.
POINTS = [*((name, 1) for name in crash.OPENING), *((name, 2) for name in crash.COMMIT),
          *((name, 1) for name in crash.REFERENCE)]  # fmt: skip


@dataclass
class Tally:
    """What one series of kills came to."""

    name: str
    kills: int = 0
    stores: int = 0
    finished: int = 0
    again: int = 0
    unlike: int = 0
    missed: list[str] = field(default_factory=list)


class Bench:
    """One study and its truth."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self.workers = workers
        self.study = folder / "study.yaml"
        # A copy: whatever happens to the installed model, this bench compares like with like.
        model = shutil.copytree(resolve_model("sandbox:small").path, folder / "model")
        self.study.write_text(STUDY.format(model=model))
        self.stores = 0
        clock = time.monotonic()
        truth = folder / "truth"
        self.start(truth).wait()
        self.seconds = time.monotonic() - clock
        self.truth = self.table(truth)
        self.stages = len(artifacts(truth))

    def start(self, store: Path, **env: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "apportion", "run", str(self.study), "--store", str(store)]
        return subprocess.Popen(
            [*command, "--workers", str(self.workers)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **env},
            start_new_session=True,
        )

    def table(self, store: Path) -> bytes:
        command = [sys.executable, "-m", "apportion", "results", str(self.study), "--csv"]
        done = subprocess.run([*command, "--store", str(store)], capture_output=True, check=True)
        return done.stdout

    def fresh(self) -> Path:
        self.stores += 1
        return self.folder / f"store-{self.stores}"

    def close_store(self, store: Path, tally: Tally) -> None:
        """Finish what was killed, and compare."""
        with_rest = Watch(store)
        code = self.start(store).wait()
        tally.again += with_rest.again()
        tally.stores += 1
        tally.finished += len(artifacts(store))
        tally.again += len(ran_again(store / "executions.log"))
        table = self.table(store)
        if code != 0 or table != self.truth:
            tally.unlike += 1
            names = ("uninterrupted", f"{store.name} (exit {code})")
            lines = [text.decode().splitlines() for text in (self.truth, table)]
            print("\n".join(difflib.unified_diff(*lines, *names, lineterm="")))


class Watch:
    """Notices when an artifact that is visible now is started again."""

    def __init__(self, store: Path) -> None:
        self.log = store / "executions.log"
        self.done = artifacts(store)
        self.lines = len(read_executions(self.log))

    def again(self) -> int:
        new = read_executions(self.log)[self.lines :]
        return sum(line["event"] == "started" and line["key"] in self.done for line in new)


def artifacts(store: Path) -> set[str]:
    """Keys of the artifacts that are visible."""
    return {folder.name for folder in (store / "artifacts").glob("*/*")}


def random_kills(bench: Bench, kills: int, seed: int) -> Tally:
    """Kill the process group after a random part of what a whole run takes."""
    chance, tally = random.Random(seed), Tally("random kill -9")
    while tally.kills < kills:
        store = bench.fresh()
        while tally.kills < kills:
            watch = Watch(store)
            run = bench.start(store)
            try:
                run.wait(chance.uniform(0.05, 0.9) * bench.seconds)
            except subprocess.TimeoutExpired:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()
                tally.kills += 1
            tally.again += watch.again()
            if run.returncode == 0:
                break
        bench.close_store(store, tally)
    return tally


def point_crashes(bench: Bench) -> Tally:
    """Crash once at every boundary; a store goes on through the crashes until it is finished."""
    tally = Tally("crash points")
    store = bench.fresh()
    for name, count in POINTS:
        if name in crash.OPENING or name in crash.REFERENCE or len(artifacts(store)) > 8:
            if store.exists():
                bench.close_store(store, tally)
            store = bench.fresh()
        watch = Watch(store)
        code = bench.start(store, **{crash.ENV: f"{name}:{count}"}).wait()
        tally.kills += code == -signal.SIGKILL
        if code != -signal.SIGKILL:
            tally.missed.append(name)
        tally.again += watch.again()
    bench.close_store(store, tally)
    return tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--points", action="store_true", help="also crash at every write boundary")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.workers)
        print(f"uninterrupted: {bench.stages} stages in {bench.seconds:.0f} s")
        tallies = [random_kills(bench, options.kills, options.seed)]
        if options.points:
            tallies.append(point_crashes(bench))
    row = "{:<16} {:>6} {:>7} {:>9} {:>14} {:>16}"
    print(row.format("", "kills", "stores", "finished", "started twice", "tables unlike"))
    for t in tallies:
        print(row.format(t.name, t.kills, t.stores, t.finished, t.again, t.unlike))
        if t.missed:
            print(f"  never reached: {', '.join(t.missed)}")
    return int(any(t.again or t.unlike or t.missed for t in tallies))


if __name__ == "__main__":
    sys.exit(main())

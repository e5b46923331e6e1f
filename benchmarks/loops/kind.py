"""The kind loop: one process for all cells; an SFT model that is there is used again.

    python -m loops.kind JOB      (JOB: JSON, see `run`)

Models are taken from memory where the process has them; everything else is as in the honest loop.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from loops.ledger import Ledger
from loops.step import at_its_best


def run(
    grid: Any, cells: Sequence[Any], ledger: Ledger, work: Path, until: float | None = None
) -> None:
    """Measure those of `cells` that `ledger` has not, in one process; see `honest.run`."""
    from apportion.run.export.script import export_script
    from loops.grid import name_of
    from loops.honest import environment
    from loops.measure import measured

    known = ledger.cells("kind")
    todo = [cell for cell in cells if name_of(cell) not in known]
    if not todo or (until is not None and time.time() >= until):
        return
    place = work / "kind"
    jobs = []
    for cell in todo:
        folder = place / name_of(cell)
        shutil.rmtree(folder, ignore_errors=True)
        place.mkdir(parents=True, exist_ok=True)
        parts = grid.parts(cell)
        export_script(parts, folder)
        sft = None if parts.sft is None else str(place / f"sft-{parts.sft.key}")
        jobs.append({"cell": name_of(cell), "folder": str(folder), "sft": sft})
    job = {"jobs": jobs, "ledger": str(ledger.path), "header": ledger.header, "until": until,
           "micro": dict(grid.micro)}  # fmt: skip
    (place / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-P", "-m", "loops.kind", str(place / "job.json")]
    try:
        cost = measured(command, place / "kind.log", environment(grid.threads))
    finally:
        ledger.reread()
    ledger.add("kind", peak_mb=cost.peak_mb)


def main(path: str) -> None:
    job = json.loads(Path(path).read_text())
    ledger = Ledger(Path(job["ledger"]), job["header"])
    start = time.perf_counter()
    script(Path(job["jobs"][0]["folder"]))  # imports what every cell's script imports
    start_up = {"wall": time.perf_counter() - start, "cpu": time.process_time()}
    ledger.add("kind", start_up=start_up)
    for one in job["jobs"]:
        if job["until"] is not None and time.time() >= job["until"]:
            return
        ledger.add("kind", cell=one["cell"], **cell(one, job["micro"]))
        shutil.rmtree(one["folder"])


def cell(one: dict[str, Any], micro: dict[str, int]) -> dict[str, Any]:
    """A cell's steps with their seconds, and its scores."""
    folder = Path(one["folder"])
    train = script(folder)
    counted: dict[str, int] = {}
    at_its_best(train, micro, counted)
    train.RUN.mkdir(exist_ok=True)
    tokenizer, steps, model = train.words(), [], None

    def timed(step: str, work: Callable[[], Any]) -> Any:
        cpu, wall = time.process_time(), time.perf_counter()
        found = work()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        name = step if step in ("sft", "evaluate") else "preference"
        steps.append({"step": step, "wall": wall, "cpu": cpu, "tokens": counted.get(name, 0)})
        return found

    if train.SFT:
        kept = Path(one["sft"])
        if not kept.exists():
            model = timed("sft", lambda: train.sft(tokenizer, train.SFT))
            (train.RUN / "sft").rename(kept)
        (train.RUN / "sft").symlink_to(kept)
    if train.PREFERENCE:
        method = "kto" if train.KTO else "dpo"
        model = timed(method, lambda: train.prefer(tokenizer, train.PREFERENCE))

    def evaluate() -> None:
        from_disk = train.RUN / "sft" if train.SFT else None
        train.evaluate(train.load(from_disk) if model is None else model, tokenizer)

    timed("evaluate", evaluate)
    results = json.loads((train.RUN / "results.json").read_text())
    return {"score": results["score"], "item_scores": results["item_scores"], "processes": steps}


def script(folder: Path) -> Any:
    """The cell's script as a module of its own; all have the same scoring rule beside them."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    spec = importlib.util.spec_from_file_location(f"cell_{folder.name}", folder / "train.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main(sys.argv[1])

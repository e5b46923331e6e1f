"""The Python face of a run: `run_study(study)`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from apportion.run.audit import collect_audit
from apportion.run.results import Results, collect
from apportion.run.run import OnEvent, run_plan
from apportion.store.store import Store

if TYPE_CHECKING:
    from apportion.config.study import Study

DEFAULT_STORE = "apportion.store"


def run_study(
    study: Study,
    store: str | Path | None = None,
    workers: int | None = None,
    on_event: OnEvent | None = None,
    time_box: float | None = None,
) -> Results:
    """Run what `study` needs and is not in `store` yet; returns every cell's result.

    `store`: a folder, by default `apportion.store` in the current one. `time_box`: seconds after
    which no stage is started any more; cells not reached are then missing.
    Raises UserErrors for what the user can mend, KeyboardInterrupt after Ctrl-C (what finished is
    kept).
    """
    from apportion.compile import compile_study

    place = Path(store or DEFAULT_STORE)
    plan = compile_study(study)
    report = run_plan(plan, place, workers=workers, on_event=on_event, time_box=time_box)
    if report.interrupted:
        raise KeyboardInterrupt
    with Store.open(place, create=False, sweep=False) as opened:
        return Results(tuple(collect(plan, opened)), report, collect_audit(plan, opened))

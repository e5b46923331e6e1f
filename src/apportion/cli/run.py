"""`apportion run`: do what is not yet done."""

from __future__ import annotations

from typing import Annotated

import typer

from apportion.cli.common import StoreDir, StudyFile, store_path

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        help="Processes at once; default: what suits the model and machine; 0: this process.",
    ),
]
TimeBox = Annotated[
    str | None,
    typer.Option(
        "--for",
        metavar="TIME",
        help="Start no stage after this time (30m, 90s, 1h30m); running ones are finished.",
    ),
]


def run(
    study: StudyFile, store: StoreDir = None, workers: Workers = None, time_box: TimeBox = None
) -> None:
    """Run a study: finished stages are reused; Ctrl-C and crashes lose only stages in flight."""
    from apportion.cli.search import run_search
    from apportion.cli.session import load_plan, run_with_progress
    from apportion.config.duration import parse_duration

    seconds = None if time_box is None else parse_duration(time_box, field="--for")
    plan, place = load_plan(study), store_path(study, store)
    adaptive = plan.study.search.strategy == "adaptive"
    go = run_search if adaptive else run_with_progress
    report = go(plan, place, workers=workers, time_box=seconds)
    if report.exit_code:
        raise typer.Exit(report.exit_code)

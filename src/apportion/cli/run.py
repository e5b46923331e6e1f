"""`apportion run`: do what is not yet done."""

from __future__ import annotations

from typing import Annotated

import typer

from apportion.cli.common import StoreDir, StudyFile, store_path


def run(
    study: StudyFile,
    store: StoreDir = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=0, help="Processes at once; default: what this machine suits; 0: none."
        ),
    ] = None,
) -> None:
    """Run a study: finished stages are reused, Ctrl-C and crashes lose only the stage in flight."""
    from apportion.cli.session import run_with_progress
    from apportion.config.load import load_study

    report = run_with_progress(load_study(study), store_path(study, store), workers=workers)
    if report.failed:
        raise typer.Exit(1)

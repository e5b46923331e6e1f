"""`apportion check`: every mistake at once, then what the study costs and what it can detect."""

from __future__ import annotations

from typing import Annotated

import typer

from apportion.cli.common import AsJson, StoreDir, StudyFile, print_json, store_path


def check(
    study: StudyFile,
    store: StoreDir = None,
    measure: Annotated[
        bool, typer.Option(help="Time a few real steps on this machine, for the estimate.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Check a study before anything is spent: mistakes, stages, tokens, time, disk, money."""
    from apportion.cli.session import load_plan
    from apportion.run.survey import survey

    answer = survey(load_plan(study), store_path(study, store), measure=measure)
    if as_json:
        print_json(answer.to_json())
        return
    from apportion.cli.show_run import show_survey

    show_survey(answer)

"""`apportion check`: every mistake at once, then what the study costs and what it can detect."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from apportion.cli.common import AsJson, StoreDir, StudyFile, console, print_json, store_path

if TYPE_CHECKING:
    from apportion.compile import Checked


def check(
    study: StudyFile,
    store: StoreDir = None,
    measure: Annotated[
        bool, typer.Option(help="Time a few real steps on this machine, for the estimate.")
    ] = True,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            help="Do not ask the hub: its models and data that are not here are not checked.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check a study before anything is spent: mistakes, data, stages, tokens, time, disk, money."""
    if offline:  # read when the hub's libraries are loaded
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    from apportion.compile import check_file, compile_study
    from apportion.compile.data_report import data_report
    from apportion.errors import ManyErrors
    from apportion.run.survey import survey

    checked = check_file(study, offline=offline, here=True)
    if checked.errors or checked.study is None:
        raise ManyErrors(checked.errors)
    if checked.unchecked:
        _show_unchecked(checked, as_json=as_json)
        return
    plan = compile_study(checked.study)
    warnings = data_report(checked.study)
    answer = survey(plan, store_path(study, store), measure=measure)
    if as_json:
        print_json({**answer.to_json(), "data_warnings": warnings, "unchecked": []})
        return
    from apportion.cli.show_run import show_survey

    show_survey(answer)
    if checked.study.search.strategy == "adaptive":
        console().print(
            "search: adaptive: these are the figures of the whole grid, the most that the search "
            "can cost; it stops as soon as the split is sure enough.",
            markup=False,
        )
    for line in warnings:
        console().print(f"note: {line}.", markup=False)


def _show_unchecked(checked: Checked, *, as_json: bool) -> None:
    """What is right as far as it can be seen without the hub, and what was not checked."""
    from apportion.compile.problems import cell_count

    assert checked.study is not None  # noqa: S101 - the caller has looked
    cells = cell_count(checked.study)
    said = [f"{error.where}: {error.problem}" for error in checked.unchecked]
    if as_json:
        print_json({"cells": cells, "data_warnings": [], "unchecked": said})
        return
    out = console()
    out.print(f"The study is right as far as it can be checked offline: {cells:,} cells.")
    for line in said:
        out.print(f"not checked (it needs the hub or a package): {line}", markup=False)

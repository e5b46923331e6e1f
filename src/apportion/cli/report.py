"""`apportion report`: one HTML file, and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apportion.cli.common import StoreDir, StudyFile, console, store_path

if TYPE_CHECKING:
    from apportion.advise.study import StudyAdvice
    from apportion.compile import Plan
    from apportion.report.html import ReportPaths
    from apportion.run.results import CellResult


def report(
    study: StudyFile,
    store: StoreDir = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where it goes; default: <study>.report."),
    ] = None,
) -> None:
    """Write one self-contained HTML page, and its figures as PNG and PDF."""
    from apportion.advise.study import advise_study
    from apportion.cli.session import collect_results, load_plan

    plan, place = load_plan(study), store_path(study, store)
    rows = collect_results(plan, place)
    folder = out or study.with_suffix(".report")
    paths = write_study_report(plan, study, place, rows, advise_study(rows), folder)
    show_paths(paths)


def write_study_report(
    plan: Plan,
    study_file: Path,
    store: Path,
    rows: Sequence[CellResult],
    answer: StudyAdvice,
    folder: Path,
) -> ReportPaths:
    """The page of a study: what was found, and the record of how."""
    from apportion.report.html import ReportMeta, write_report
    from apportion.run.provenance import provenance

    meta = ReportMeta(
        title=", ".join(dict.fromkeys(f"{row.model} on {row.task}" for row in rows)),
        sandbox=any(row.model.startswith("sandbox:") for row in rows),
        facts=provenance(plan, store),
        study=study_file.read_text(encoding="utf-8"),
        refused=answer.refused,
    )
    return write_report(rows, answer.advice, meta, folder)


def show_paths(paths: ReportPaths) -> None:
    """Where the page and the figures are."""
    out = console()
    out.print(f"Report: {paths.html}", markup=False, soft_wrap=True)
    for path in (*paths.pngs, *paths.pdfs):
        out.print(f"Figure: {path}", markup=False, soft_wrap=True)

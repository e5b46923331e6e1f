"""`apportion report`: one HTML file, and the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apportion.cli.common import ResultsFile, StoreDir, StudyOrNone, console, store_path

if TYPE_CHECKING:
    from apportion.advise.study import StudyAdvice
    from apportion.compile import Plan
    from apportion.report.html import ReportMeta, ReportPaths
    from apportion.run.results import CellResult


def report(
    study: StudyOrNone = None,
    results: ResultsFile = None,
    store: StoreDir = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where it goes; default: <study>.report."),
    ] = None,
) -> None:
    """Write one self-contained HTML page, and its figures as PNG and PDF."""
    from apportion.advise.study import advise_study
    from apportion.cli import question
    from apportion.cli.session import collect_results, load_plan, one_source
    from apportion.run.tables import read_table

    source = one_source(study, results)
    folder = out or source.with_suffix(".report")
    if results is not None:
        table = read_table(results)
        show_paths(write_table_report(table, advise_study(table), folder))
        return
    plan, place = load_plan(source), store_path(source, store)
    rows = collect_results(plan, place)
    answer = advise_study(rows, question.of_study(plan.study, None, plan.study.prices))
    show_paths(write_study_report(plan, source, place, rows, answer, folder))


def write_table_report(
    rows: Sequence[CellResult], answer: StudyAdvice, folder: Path
) -> ReportPaths:
    """The page of somebody's table: what it says, without a record of how it came about."""
    from apportion.report.html import write_report

    return write_report(rows, answer.advice, _meta(rows, answer), folder)


def write_study_report(
    plan: Plan,
    study_file: Path,
    store: Path,
    rows: Sequence[CellResult],
    answer: StudyAdvice,
    folder: Path,
) -> ReportPaths:
    """The page of a study: what was found, and the record of how."""
    from apportion.cli.session import audit_of
    from apportion.report.html import write_report
    from apportion.run.provenance import provenance

    facts, text = provenance(plan, store), study_file.read_text(encoding="utf-8")
    audit = tuple(one.words() for one in audit_of(plan, store))
    meta = replace(_meta(rows, answer), facts=facts, study=text, audit=audit)
    return write_report(rows, answer.advice, meta, folder)


def _meta(rows: Sequence[CellResult], answer: StudyAdvice) -> ReportMeta:
    from apportion.report.html import ReportMeta

    return ReportMeta(
        title=", ".join(dict.fromkeys(f"{row.model} on {row.task}" for row in rows)),
        sandbox=any(row.model.startswith("sandbox:") for row in rows),
        refused=answer.refused,
    )


def show_paths(paths: ReportPaths) -> None:
    """Where the page and the figures are."""
    out = console()
    out.print(f"Report: {paths.html}", markup=False, soft_wrap=True)
    for path in (*paths.pngs, *paths.pdfs):
        out.print(f"Figure: {path}", markup=False, soft_wrap=True)

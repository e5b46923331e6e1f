"""`apportion quickstart`: a whole study on the embedded model, from nothing to a split."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from apportion.cli.common import console, duration
from apportion.cli.run import Workers
from apportion.errors import StudyError


def quickstart(
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where the study, its store and report go.")
    ] = Path("quickstart"),
    workers: Workers = None,
) -> None:
    """Run a real small study on the embedded model: minutes on two cores, nothing to download."""
    from apportion.advise.study import advise_study
    from apportion.cli.report import show_paths, write_study_report
    from apportion.cli.session import collect_results, load_plan, run_with_progress
    from apportion.cli.show_advice import show_study_advice
    from apportion.cli.show_run import show_results, show_survey
    from apportion.run.survey import survey

    study_file = _write_study(directory)
    store = study_file.with_suffix(".store")
    plan = load_plan(study_file)
    out = console()
    out.print(f"Study: {study_file}", markup=False)
    show_survey(survey(plan, store))
    report = run_with_progress(plan, store, workers=workers)
    if report.interrupted:
        raise typer.Exit(report.exit_code)
    rows = collect_results(plan, store)
    answer = advise_study(rows)
    show_results(rows)
    show_study_advice(answer, brief=True)
    out.print(f"The study took {duration(report.seconds)}.")
    folder = directory / "report"
    show_paths(write_study_report(plan, study_file, store, rows, answer, folder))
    if report.exit_code:
        raise typer.Exit(report.exit_code)


def _write_study(directory: Path) -> Path:
    """The quickstart's study file in `directory`; one that is there already is the user's own."""
    study_file = directory / "study.yaml"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not study_file.exists():
            shipped = resources.files("apportion.config").joinpath("quickstart.yaml")
            study_file.write_text(shipped.read_text("utf-8"), encoding="utf-8")
    except OSError as error:
        raise StudyError(
            f"cannot be written: {error.strerror}.",
            file=study_file,
            mend="choose another folder with --dir.",
        ) from None
    return study_file

"""`apportion quickstart`: a whole study on the embedded model, from nothing to a split."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from apportion.errors import StudyError


def quickstart(
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where the study, its store and report go.")
    ] = Path("quickstart"),
    workers: Annotated[
        int | None, typer.Option("--workers", min=0, help="Processes at once.")
    ] = None,
) -> None:
    """Run a real small study on the embedded model: minutes on two cores, nothing to download."""
    from apportion.cli.advise import advice_for_study
    from apportion.cli.report import write_study_report
    from apportion.cli.session import collect_results, run_with_progress
    from apportion.cli.show import show_advice, show_report_paths, show_results
    from apportion.config.load import load_study

    study_file = _write_study(directory)
    store = study_file.with_suffix(".store")
    study = load_study(study_file)
    report = run_with_progress(study, store, workers=workers)
    rows = collect_results(study, store)
    advice = advice_for_study(study, rows)
    show_results(rows)
    for one in advice:
        show_advice(one)
    show_report_paths(write_study_report(study, store, rows, advice, directory / "report"))
    if report.failed:
        raise typer.Exit(1)


def _write_study(directory: Path) -> Path:
    """The quickstart's study file in `directory`; one that is there already is the user's own."""
    study_file = directory / "study.yaml"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not study_file.exists():
            text = resources.files("apportion.config").joinpath("quickstart.yaml").read_text()
            study_file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StudyError(
            f"cannot be written: {error.strerror}.",
            file=study_file,
            mend="choose another folder with --dir.",
        ) from None
    return study_file

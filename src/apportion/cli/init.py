"""`apportion init`: a study file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from apportion.errors import StudyError


def init(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The file to write.")],
    task: Annotated[str, typer.Option("--task", help="A built-in task.")] = "math",
    model: Annotated[
        str, typer.Option("--model", help="sandbox:small, a local folder or a hub id.")
    ] = "sandbox:small",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented study file."""
    from apportion.config.template import study_template
    from apportion.models.resolve import resolve_model
    from apportion.tasks.registry import get_task

    get_task(task)
    resolve_model(model)
    text = study_template(task, model)
    try:
        with study.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise StudyError(
            "this file exists already.", file=study, mend="choose another name, or say --force."
        ) from None
    except OSError as error:
        raise StudyError(
            f"cannot be written: {error.strerror}.", file=study, mend="choose a writable folder."
        ) from None
    typer.echo(f"Wrote {study}. Next: apportion check {study}")

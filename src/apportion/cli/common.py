"""What the commands share: where the store is, how errors and tables are printed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="The study file (YAML).")]
StudyOrNone = Annotated[
    Path | None, typer.Argument(metavar="[STUDY]", help="The study file (YAML).")
]
ResultsFile = Annotated[
    Path | None,
    typer.Option(
        "--results", metavar="FILE", help="A table of results (CSV, JSON lines) in its place."
    ),
]
StoreDir = Annotated[
    Path | None,
    typer.Option(
        "--store", metavar="DIR", help="Where stages are kept; default: beside the study file."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
PriceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--price",
        metavar="KIND=MONEY",
        help="sft=2.50 or preference=0.40..0.90, and more: sft=2.50,fixed=200,rejected=10%,"
        "redundancy=3; gpu_hour=2.00 for compute; or a preset (see `apportion prices`); "
        "repeatable.",
    ),
]
HaveOption = Annotated[
    list[str] | None,
    typer.Option("--have", metavar="KIND=COUNT", help="Data already owned: sft=300; repeatable."),
]


def store_path(study_file: Path, store: Path | None) -> Path:
    """The store's folder: what the user said, else `<study>.store` beside the study file."""
    return store if store is not None else study_file.with_suffix(".store")


def console(*, err: bool = False) -> Console:
    """A rich console; on standard error where standard output carries data."""
    from rich.console import Console

    return Console(stderr=err, soft_wrap=False, highlight=False)


def print_json(document: Any) -> None:
    """One JSON document on standard output. NaN is an error: missing is never a number."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def points(value: float | None, digits: int = 1) -> str:
    """A score in percent, or a dash where there is none."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def duration(seconds: float) -> str:
    """Seconds for people: 40 s, 6 min, 2 h 10 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"

"""`apportion findings`: the ACL 2025 study's statements, tested on any results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apportion.cli.common import AsJson, ResultsFile, StoreDir, StudyOrNone, print_json, store_path
from apportion.errors import StudyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from apportion.findings.evidence import FindingsRow


def findings(
    study: StudyOrNone = None,
    results: ResultsFile = None,
    published: Annotated[
        bool, typer.Option("--published", help="The published figure (Llama-3.1-8B) instead.")
    ] = False,
    small: Annotated[
        float, typer.Option("--small", metavar="BUDGET", help="The largest budget that is small.")
    ] = 1000.0,
    size: Annotated[
        list[str] | None,
        typer.Option(
            "--size",
            metavar="MODEL=COUNT",
            help="Parameters of a model whose name does not say them: mine=3e9; repeatable.",
        ),
    ] = None,
    store: StoreDir = None,
    as_json: AsJson = False,
) -> None:
    """Test the study's eight statements: numbers, an interval and a verdict for each."""
    from apportion.findings.study import find

    sizes = dict(_size(text) for text in size or ())
    found = find(_rows(study, results, published, store), small=small, sizes=sizes)
    if as_json:
        print_json(found.to_json())
    else:
        from apportion.cli.show_findings import show_findings

        show_findings(found)


def _rows(
    study: Path | None, results: Path | None, published: bool, store: Path | None
) -> Sequence[FindingsRow]:
    """The results of the one source that was named."""
    from apportion.findings.study import is_published, published_rows

    if published:
        if study is not None or results is not None:
            raise StudyError(
                "--published is a source of its own.", mend="leave the study and --results out."
            )
        return published_rows()
    from apportion.cli.session import collect_results, load_plan, one_source
    from apportion.run.tables import read_table

    source = one_source(study, results)
    if results is None:
        return collect_results(load_plan(source), store_path(source, store))
    return published_rows(results) if is_published(results) else read_table(results)


def _size(text: str) -> tuple[str, float]:
    model, _, count = text.rpartition("=")
    try:
        value = float(count)
    except ValueError:
        value = 0.0
    if not model or not 0 < value < 1e15:
        raise StudyError(f"{text!r} is no size.", field="--size", mend="write MODEL=3e9.")
    return model, value

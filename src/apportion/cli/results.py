"""`apportion results`: every cell of a study, with what is missing and why."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from apportion.cli.common import AsJson, StoreDir, StudyFile, print_json, store_path


def results(
    study: StudyFile,
    store: StoreDir = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV and nothing else.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show every cell: score, standard error, items, format failures, length; or why not."""
    from apportion.cli.session import audit_of, collect_results, load_plan
    from apportion.run.results import to_csv, to_json

    plan, place = load_plan(study), store_path(study, store)
    rows = collect_results(plan, place)
    if as_csv:
        sys.stdout.write(to_csv(rows))
    elif as_json:
        print_json(to_json(rows))
    else:
        from apportion.cli.show_run import show_audit, show_results

        show_results(rows)
        show_audit(audit_of(plan, place))

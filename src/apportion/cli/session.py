"""A study and its store, as the commands use them together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from apportion.cli.common import console
from apportion.errors import ManyErrors, StudyError

if TYPE_CHECKING:
    from apportion.compile import Plan
    from apportion.config.study import Prices, Study
    from apportion.run.audit import Audit
    from apportion.run.events import RunReport
    from apportion.run.results import CellResult


def load_plan(study_file: Path) -> Plan:
    """The compiled study; every mistake of the file, its tasks and its models at once."""
    from apportion.compile import check_file, compile_study

    checked = check_file(study_file)
    if checked.errors or checked.study is None:
        raise ManyErrors(checked.errors)
    return compile_study(checked.study)


def one_source(study: Path | None, results: Path | None) -> Path:
    """The study file, or the table of results in its place; StudyError unless it is one."""
    given = [path for path in (study, results) if path is not None]
    if len(given) != 1:
        raise StudyError(
            "give a study or a table of results" + (", not both." if given else "."),
            mend="write STUDY, or --results FILE.",
        )
    return given[0]


def run_with_progress(
    plan: Plan, store: Path, *, workers: int | None, time_box: float | None = None
) -> RunReport:
    """Run what is not yet done (for at most `time_box` seconds), with progress on stderr."""
    from apportion.run.progress import ProgressDisplay
    from apportion.run.run import run_plan

    with ProgressDisplay(console(err=True)) as display:
        return run_plan(plan, store, workers=workers, on_event=display, time_box=time_box)


def collect_results(plan: Plan, store: Path) -> Sequence[CellResult]:
    """Every cell of the study as far as the store has it. StoreError where there is no store."""
    from apportion.run.results import collect
    from apportion.store.store import Store

    with Store.open(store, create=False, read_only=True) as opened:
        return collect(plan, opened)


def audit_of(plan: Plan, store: Path) -> tuple[Audit, ...]:
    """How far a shared trajectory's scores are from independent ones; () for an ordinary study."""
    if not plan.audit:
        return ()
    from apportion.run.audit import collect_audit
    from apportion.store.store import Store

    with Store.open(store, create=False, read_only=True) as opened:
        return collect_audit(plan, opened)


def study_prices(study: Study, texts: Sequence[str] | None) -> Prices:
    """The study's prices with those of the command line over them."""
    from apportion.prices import parse_prices

    return parse_prices(texts, study.prices) if texts else study.prices

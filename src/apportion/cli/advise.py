"""`apportion advise`: how to split a budget, from what the study measured."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from apportion.cli.common import (
    AsJson,
    HaveOption,
    PriceOption,
    ResultsFile,
    StoreDir,
    StudyOrNone,
    print_json,
    store_path,
)
from apportion.errors import ResultsError

if TYPE_CHECKING:
    from pathlib import Path

    from apportion.advise.study import Question, StudyAdvice
    from apportion.run.audit import Audit
    from apportion.run.results import CellResult


class PriorChoice(StrEnum):
    """Where the surface's prior comes from."""

    learnt = "learnt"
    broad = "broad"


def advise(
    study: StudyOrNone = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            "--budget",
            help="10000usd, 2000 (examples) or 40gpuh (compute); default: those measured.",
        ),
    ] = None,
    price: PriceOption = None,
    have: HaveOption = None,
    step: Annotated[
        str | None,
        typer.Option("--step", help="The next batch: 500usd or 200; default: a fifth."),
    ] = None,
    epsilon: Annotated[
        float, typer.Option(help="Tolerated regret, in score units: 0.01 is one point.")
    ] = 0.01,
    delta: Annotated[float, typer.Option(help="Tolerated doubt.")] = 0.1,
    prior: Annotated[
        PriorChoice, typer.Option(help="learnt: with what published surfaces say; broad: without.")
    ] = PriorChoice.learnt,
    model: Annotated[
        str | None, typer.Option("--model", help="Advise on this model alone.")
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="SMALL,...",
            help="Smaller models of --model's family, the smallest first, to learn from.",
        ),
    ] = None,
    results: ResultsFile = None,
    store: StoreDir = None,
    as_json: AsJson = False,
) -> None:
    """Say how to split each budget, how sure that is, and how the obvious rules compare."""
    from apportion.advise.study import advise_study
    from apportion.cli.question import parse_step
    from apportion.cli.session import one_source
    from apportion.prices import parse_have

    source = one_source(study, results)
    rows, asked, audit = _evidence(source, results, store, budget, price)
    asked = replace(
        asked,
        have=parse_have(have or []),
        step=parse_step(step, asked.budgets),
        epsilon=epsilon,
        delta=delta,
        prior=prior.value,
        model=model,
        family=tuple(name.strip() for name in family.split(",") if name.strip()) if family else (),
    )
    try:
        answer = advise_study(rows, asked)
    except ResultsError as error:
        error.file = error.file or str(source)
        raise
    _show(answer, audit, as_json)
    if not answer.advice:
        reasons = "; ".join(answer.refused)
        short = bool(answer.surfaces) and all(one.status != "ok" for one in answer.surfaces)
        # where a surface is there, what stands in the way is in the reason, with its own mend
        mend = "run the study, or measure more of its cells." if short else None
        end = "" if reasons.endswith(".") else "."
        raise ResultsError(f"there is no advice: {reasons}{end}", mend=mend)


def _evidence(
    source: Path,
    results: Path | None,
    store: Path | None,
    budget: list[str] | None,
    price: list[str] | None,
) -> tuple[list[CellResult], Question, tuple[Audit, ...]]:
    """The rows of a table or of a study's store, what is asked of them, and the study's audit."""
    from apportion.cli import question
    from apportion.cli.session import audit_of, collect_results, load_plan, study_prices
    from apportion.run.tables import read_table

    if results is not None:
        return list(read_table(results)), question.of_table(budget, price), ()
    plan = load_plan(source)
    asked = question.of_study(plan.study, budget, study_prices(plan.study, price))
    place = store_path(source, store)
    return list(collect_results(plan, place)), asked, audit_of(plan, place)


def _show(answer: StudyAdvice, audit: tuple[Audit, ...], as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "advice": [one.to_json() for one in answer.advice],
                "refused": list(answer.refused),
                "audit": [one.to_json() for one in audit],
            }
        )
        return
    from apportion.cli.show_advice import show_study_advice
    from apportion.cli.show_run import show_audit

    if answer.advice:  # otherwise the error that follows has the reasons
        show_study_advice(answer)
    show_audit(audit)

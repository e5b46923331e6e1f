"""`apportion advise`: how to split a budget, from what the study measured."""

from __future__ import annotations

from typing import Annotated

import typer

from apportion.cli.common import (
    AsJson,
    PriceOption,
    ResultsFile,
    StoreDir,
    StudyOrNone,
    print_json,
    store_path,
)
from apportion.errors import ResultsError


def advise(
    study: StudyOrNone = None,
    budget: Annotated[
        list[str] | None,
        typer.Option("--budget", help="10000usd or 2000 (examples); default: those measured."),
    ] = None,
    price: PriceOption = None,
    epsilon: Annotated[
        float, typer.Option(help="Tolerated regret, in score units: 0.01 is one point.")
    ] = 0.01,
    delta: Annotated[float, typer.Option(help="Tolerated doubt.")] = 0.1,
    results: ResultsFile = None,
    store: StoreDir = None,
    as_json: AsJson = False,
) -> None:
    """Say how to split each budget, how sure that is, and how the obvious rules compare."""
    from apportion.advise.study import advise_study
    from apportion.cli import question
    from apportion.cli.session import collect_results, load_plan, one_source, study_prices
    from apportion.run.tables import read_table

    source = one_source(study, results)
    if results is not None:
        rows = read_table(results)
        budgets, prices = question.of_rows(rows, budget, price)
    else:
        plan = load_plan(source)
        asked = study_prices(plan.study, price)
        budgets, prices = question.of_study(plan.study, budget, asked)
        rows = list(collect_results(plan, store_path(source, store)))
    answer = advise_study(rows, budgets=budgets, prices=prices, epsilon=epsilon, delta=delta)
    if as_json:
        print_json(
            {"advice": [one.to_json() for one in answer.advice], "refused": list(answer.refused)}
        )
    else:
        from apportion.cli.show_advice import show_study_advice

        show_study_advice(answer)
    if not answer.advice:
        raise ResultsError(
            "there is no advice: " + "; ".join(answer.refused),
            mend="run the study, or ask about a budget that it measured.",
        )

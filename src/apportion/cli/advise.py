"""`apportion advise`: how to split a budget, from what the study measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from apportion.cli.common import AsJson, PriceOption, StoreDir, StudyFile, print_json, store_path
from apportion.errors import ResultsError, StudyError

if TYPE_CHECKING:
    from apportion.config.study import Prices, Study


def advise(
    study: StudyFile,
    budget: Annotated[
        list[str] | None,
        typer.Option("--budget", help="10000usd or 2000 (examples); default: those measured."),
    ] = None,
    price: PriceOption = None,
    epsilon: Annotated[
        float, typer.Option(help="Tolerated regret, in score units: 0.01 is one point.")
    ] = 0.01,
    delta: Annotated[float, typer.Option(help="Tolerated doubt.")] = 0.1,
    store: StoreDir = None,
    as_json: AsJson = False,
) -> None:
    """Say how to split each budget, how sure that is, and how the obvious rules compare."""
    from apportion.advise.study import advise_study
    from apportion.cli.session import collect_results, load_plan, study_prices

    plan = load_plan(study)
    budgets, prices = _question(plan.study, budget, study_prices(plan.study, price))
    rows = collect_results(plan, store_path(study, store))
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


def _question(
    study: Study, texts: list[str] | None, prices: Prices
) -> tuple[list[float] | None, Prices | None]:
    """Budgets in the study's own unit, and the prices that the answer needs."""
    from apportion.config.study import Prices
    from apportion.prices import is_definite, mid, parse_budget

    if study.budget is None:
        definite = prices if is_definite(prices) else mid(prices)
        amounts = [parse_budget(text) for text in texts or ()]
        units = {amount.unit for amount in amounts}
        if len(units) > 1:
            raise StudyError(
                "budgets are in examples and in money.", field="--budget", mend="use one unit."
            )
        return (
            [amount.value for amount in amounts] if amounts else None,
            definite if units == {"usd"} else Prices(),
        )
    if not texts:
        return None, None
    amounts = [parse_budget(text) for text in texts]
    for text, amount in zip(texts, amounts, strict=True):
        if amount.unit != study.budget.unit:
            raise StudyError(
                f"{text!r} is in {amount.unit}, and this study's budgets are in "
                f"{study.budget.unit}.",
                field="--budget",
                mend=f"ask in {study.budget.unit}, or measure a lattice: it answers any prices.",
            )
    return [amount.value for amount in amounts], None

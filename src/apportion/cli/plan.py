"""`apportion plan`: what to buy first, from published evidence, before anything is run."""

from __future__ import annotations

from typing import Annotated

import typer

from apportion.cli.common import AsJson, HaveOption, PriceOption, print_json


def plan(
    task: Annotated[
        str,
        typer.Option(
            "--task", help="math, instruction_following, summarization, helpfulness, or your own."
        ),
    ],
    budget: Annotated[
        str,
        typer.Option("--budget", help="Total: 5000usd, 2000 (examples) or 40gpuh (compute)."),
    ],
    price: PriceOption = None,
    have: HaveOption = None,
    as_json: AsJson = False,
) -> None:
    """Say what to buy first, in seconds, from published evidence (no model is run)."""
    from apportion.advise.plan import plan as first_plan
    from apportion.config.study import Prices
    from apportion.errors import StudyError
    from apportion.prices import parse_budget, parse_have, parse_prices

    amount = parse_budget(budget, field="--budget")
    if amount.unit == "examples" and price:
        raise StudyError(
            "a budget in examples needs no prices.",
            field="--price",
            mend="leave --price out, or give the budget in money: --budget 5000usd.",
        )
    n_sft, n_pref = parse_have(have or [])
    answer = first_plan(
        task,
        amount,
        parse_prices(price) if price else Prices(),
        {"sft": n_sft, "preference": n_pref},
    )
    if as_json:
        print_json(answer.to_json())
        return
    from apportion.cli.show_advice import show_plan

    show_plan(answer)

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
        str, typer.Option("--budget", help="Total to spend: 5000usd, or 2000 for examples.")
    ],
    price: PriceOption = None,
    have: HaveOption = None,
    as_json: AsJson = False,
) -> None:
    """Say what to buy first, in seconds, from published evidence (no model is run)."""
    from apportion.advise.plan import plan as first_plan
    from apportion.cli.money import parse_have, parse_prices
    from apportion.prices import parse_budget

    answer = first_plan(
        task=task,
        budget=parse_budget(budget),
        prices=parse_prices(price or []),
        have=parse_have(have or []),
    )
    if as_json:
        print_json(answer.to_json())
        return
    from apportion.cli.show import show_plan

    show_plan(answer)

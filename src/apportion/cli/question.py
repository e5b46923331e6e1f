"""What is asked of advice: budgets, prices and what is owned, in the words of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from apportion.errors import StudyError

if TYPE_CHECKING:
    from apportion.advise.study import Question
    from apportion.config.study import Prices, Study
    from apportion.prices import Amount


def of_study(study: Study, budgets: list[str] | None, prices: Prices) -> Question:
    """What a study is asked: by default its own budgets, in its own unit."""
    from apportion.advise.study import Question

    unit = study.budget.unit if study.budget is not None else "examples"
    return Question(budgets=_amounts(budgets), prices=prices, unit=unit)


def of_table(budgets: list[str] | None, prices: list[str] | None) -> Question:
    """The same for a table of results: its own budgets are in examples."""
    from apportion.advise.study import Question
    from apportion.config.study import Prices
    from apportion.prices import parse_prices

    amounts = _amounts(budgets)
    units = {amount.unit for amount in amounts or ()}
    # A budget in GPU-hours may need the seconds of an example, which stand beside its price.
    compute = [text for text in prices or () if text.strip().startswith("gpu_hour")]
    if prices and "usd" not in units and not ("gpu_hours" in units and len(compute) == len(prices)):
        raise StudyError(
            "prices without a budget in money change nothing.",
            field="--price",
            mend="ask with --budget 5000usd, or leave --price out.",
        )
    return Question(budgets=amounts, prices=parse_prices(prices) if prices else Prices())


def _amounts(texts: list[str] | None) -> tuple[Amount, ...] | None:
    from apportion.prices import parse_budget

    return tuple(parse_budget(text, field="--budget") for text in texts) if texts else None


def parse_step(text: str | None, budgets: Sequence[Amount] | None) -> float | None:
    """`500usd`, in the unit of every budget asked about; None where it is not said."""
    from apportion.prices import parse_budget

    if text is None:
        return None
    step = parse_budget(text, field="--step")
    if not budgets or any(amount.unit != step.unit for amount in budgets):
        raise StudyError(
            f"{text!r} is in {step.unit}, and no budget or another one is asked about.",
            field="--step",
            mend="give --budget in the same unit.",
        )
    return step.value

"""What is asked of advice: budgets in the unit of what was measured, and prices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from apportion.errors import StudyError

if TYPE_CHECKING:
    from apportion.config.study import Prices, Study
    from apportion.run.results import CellResult

Question = tuple[list[float] | None, "Prices | None"]


def of_study(study: Study, texts: list[str] | None, prices: Prices) -> Question:
    """Budgets in the study's own unit, and the prices that the answer needs."""
    from apportion.prices import parse_budget

    if study.budget is None:
        return _of_lattice(texts, prices)
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


def of_rows(
    rows: Sequence[CellResult], texts: list[str] | None, prices: list[str] | None
) -> Question:
    """The same for a table of results: its budget lines, where it has any, are in examples."""
    from apportion.config.study import Prices
    from apportion.prices import parse_budget, parse_prices

    given = parse_prices(prices) if prices else Prices()
    if not any(row.lines for row in rows):
        return _of_lattice(texts, given)
    amounts = [parse_budget(text) for text in texts or ()]
    if any(amount.unit != "examples" for amount in amounts):
        raise StudyError(
            "the table's budgets are in examples.",
            field="--budget",
            mend="ask in examples, or give a table of a whole lattice: it answers any prices.",
        )
    return [amount.value for amount in amounts] or None, given if prices else None


def _of_lattice(texts: list[str] | None, prices: Prices) -> Question:
    from apportion.config.study import Prices as Plain
    from apportion.prices import is_definite, mid, parse_budget

    definite = prices if is_definite(prices) else mid(prices)
    amounts = [parse_budget(text) for text in texts or ()]
    units = {amount.unit for amount in amounts}
    if len(units) > 1:
        raise StudyError(
            "budgets are in examples and in money.", field="--budget", mend="use one unit."
        )
    return (
        [amount.value for amount in amounts] if amounts else None,
        definite if units == {"usd"} else Plain(),
    )

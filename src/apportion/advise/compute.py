"""What part of a budget is compute: the training that a split asks for, in hours and in money."""

from __future__ import annotations

from apportion.advise.timing import FIELD, MEND, Timing
from apportion.advise.types import Compute
from apportion.config.budget import Unit
from apportion.config.price import Prices
from apportion.errors import ApportionError, ResultsError, StudyError
from apportion.prices import (
    Amount,
    billed,
    data_only,
    effective,
    exact,
    mid,
    needs_seconds,
    owned_training,
    rest_of,
    timed,
)

_NO_SECONDS = "compute is paid, and nothing says how many seconds of training an example takes."


def paid_prices(prices: Prices, amount: Amount, timing: Timing | None) -> Prices:
    """The prices that a budget pays, ranges left as they are; for examples those of data.

    Seconds by hand stand before the measured ones of `timing`. Raises ResultsError where compute
    is paid and neither is there.
    """
    known = timed(prices, timing.seconds if timing is not None else None)
    if needs_seconds(known, amount.unit):
        raise ResultsError(
            _NO_SECONDS,
            field=FIELD,
            mend=MEND,
        )
    return billed(known, amount.unit) or data_only(prices)


def by_hand(prices: Prices, unit: Unit) -> tuple[Prices, list[str]]:
    """The prices that a budget pays before anything was run, and what there is to say of compute.

    StudyError where compute is paid and its seconds are not given by hand.
    """
    if needs_seconds(prices, unit):
        raise StudyError(
            _NO_SECONDS,
            field="--price gpu_hour",
            mend="give them: --price gpu_hour=2,seconds_sft=0.8,seconds_preference=1.9.",
        )
    paid = billed(prices, unit) or Prices()
    seconds = paid.gpu_hour.seconds if paid.gpu_hour is not None else None
    if seconds is None:
        return paid, []
    return paid, [
        f"prices are with training: {seconds.sft:g} s per demonstration and "
        f"{seconds.preference:g} s per preference unit, as you gave them"
    ]


def rest_beside(
    amount: Amount,
    have: tuple[int, int],
    prices: Prices,
    error: type[ApportionError] = ResultsError,
) -> Amount:
    """What is left for new examples when training on what is owned is paid, at definite prices.

    Raises `error` where nothing is.
    """
    paid = billed(prices, amount.unit)
    rest = rest_of(amount, have, paid)
    if rest.value > 0:
        return rest
    raise error(
        f"training on the {have[0]:,} demonstrations and {have[1]:,} preference units that are "
        f"owned costs {float(owned_training(have, paid)):,.6g}, and the budget is "
        f"{amount.value:,.6g}.",
        field="have",
        mend="give a larger budget, or leave out of what is owned what is not to be trained on.",
    )


def compute_of(
    amount: Amount,
    asked: Prices,
    paid: Prices,
    have: tuple[int, int],
    new: tuple[int, int],
    timing: Timing | None,
) -> Compute | None:
    """The compute in a budget that is spent on `new` examples beside `have`; None without any.

    `asked` may have ranges; `paid` are its definite prices with seconds (see `paid_prices`).
    """
    hour = paid.gpu_hour
    if hour is None or hour.seconds is None or amount.unit == "examples":
        return None
    given = asked.gpu_hour is not None and asked.gpu_hour.seconds is not None
    owned = owned_training(have, paid)
    cost = owned + owned_training(new, paid)
    price = exact(hour.price)  # type: ignore[arg-type]  # definite
    money = amount.unit == "usd"
    return Compute(
        price=float(price) if money else None,
        seconds=(hour.seconds.sft, hour.seconds.preference),
        source="given" if given or timing is None else "measured",
        evidence=None if given or timing is None else timing.evidence,
        hours=float(cost / price),
        cost=float(cost),
        owned_cost=float(owned),
        part=float(cost / exact(amount.value)),
        data_prices=effective(data_only(mid(asked))) if money else (0.0, 0.0),
    )

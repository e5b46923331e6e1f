"""What compute adds to prices: which prices a budget pays, and training on what is owned.

| symbol | meaning                                                        | unit        |
|--------|----------------------------------------------------------------|-------------|
| h      | price of one GPU-hour (1 where the budget is in GPU-hours)      | money/hour  |
| t      | seconds of training per usable example of a kind                | s           |
| c      | h·t / 3600: money for the training on one example               | money       |
| have   | examples owned: no annotation is paid for them, training is     | 2           |

The model that the money is for is trained on all that there is. So training on what is owned is
paid first, whatever the split, and the rest of the budget is the line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from apportion.config.budget import Unit
from apportion.config.compute import GpuHour, Seconds
from apportion.config.cost import exact
from apportion.config.price import Prices


@dataclass(frozen=True)
class Amount:
    """A total to spend, and in what."""

    value: float
    unit: Unit


def training_of(prices: Prices) -> tuple[Fraction, Fraction]:
    """Money for training on one demonstration and on one preference unit; 0 where it is free.

    ValueError for a range, and where nothing says how many seconds an example takes.
    """
    hour = prices.gpu_hour
    return (Fraction(0), Fraction(0)) if hour is None else hour.training()


def data_only(prices: Prices) -> Prices:
    """The same prices without that of compute."""
    return prices.model_copy(update={"gpu_hour": None})


def needs_seconds(prices: Prices, unit: Unit) -> bool:
    """Whether a budget of this unit pays compute of which no seconds are given by hand."""
    hour = prices.gpu_hour
    if unit == "examples" or (hour is not None and hour.seconds is not None):
        return False
    return unit == "gpu_hours" or not (hour is None or hour.free)


def timed(prices: Prices, seconds: Seconds | None) -> Prices:
    """Seconds given by hand stay; otherwise these measured ones are taken, where there are any."""
    hour = prices.gpu_hour
    if seconds is None or (hour is not None and hour.seconds is not None):
        return prices
    price = hour.price if hour is not None else 0.0
    return prices.model_copy(update={"gpu_hour": GpuHour(price=price, seconds=seconds)})


def billed(prices: Prices, unit: Unit) -> Prices | None:
    """The prices that a budget of this unit pays; None for examples, where either kind costs one.

    A budget in GPU-hours pays compute alone: data is free, and an hour costs one. ValueError where
    it would need seconds per example and none are known.
    """
    if unit == "examples":
        return None
    if needs_seconds(prices, unit):
        raise ValueError("no seconds per example are known; see timed")
    if unit == "usd":
        free = prices.gpu_hour is None or prices.gpu_hour.free
        return data_only(prices) if free else prices
    hour = prices.gpu_hour
    assert hour is not None  # noqa: S101  (else seconds were needed)
    return Prices(sft=0, preference=0, gpu_hour=GpuHour(price=1, seconds=hour.seconds))


def owned_training(have: tuple[int, int], prices: Prices | None) -> Fraction:
    """Money for training on what is owned, at definite prices; nothing for a budget of examples."""
    if prices is None:
        return Fraction(0)
    sft, preference = training_of(prices)
    return have[0] * sft + have[1] * preference


def rest_of(amount: Amount, have: tuple[int, int], prices: Prices | None) -> Amount:
    """What is left of a budget when training on what is owned is paid; below 0 where it is not.

    The same amount, to the bit, where compute is free.
    """
    owned = owned_training(have, prices)
    if owned == 0:
        return amount
    left = exact(amount.value) - owned
    value = float(left)
    while exact(value) > left:  # a float above the fraction would overspend
        value = math.nextafter(value, -math.inf)
    return Amount(value, amount.unit)

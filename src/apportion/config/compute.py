"""The price of compute: money per GPU-hour, and how long it takes to train on one example."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from apportion.config.base import Frozen
from apportion.config.cost import exact
from apportion.config.price_range import FREE_FORMS, PriceRange, as_price
from apportion.config.values import Number

_SECONDS_IN_HOUR = 3600
MAX_SECONDS = 1e6  # of training on one example: more is a slip of the finger

_Seconds = Annotated[Number, Field(gt=0, le=MAX_SECONDS)]


class Seconds(Frozen):
    """Seconds of one GPU that training takes for each usable example of a kind, all epochs."""

    sft: _Seconds
    preference: _Seconds


def _as_hour_price(value: Any) -> float | PriceRange:
    return as_price(value, free=True, of="GPU-hour")


HourPrice = Annotated[
    float | PriceRange, BeforeValidator(_as_hour_price), WithJsonSchema({"anyOf": FREE_FORMS})
]


class GpuHour(Frozen):
    """Money per GPU-hour; `seconds` given by hand stand in place of what the runs measured."""

    price: HourPrice
    seconds: Seconds | None = None

    @property
    def free(self) -> bool:
        """Whether compute costs nothing, so that only data is paid for."""
        return self.price == 0

    def training(self) -> tuple[Fraction, Fraction]:
        """Money for training on one demonstration and on one preference unit.

        ValueError for a range, and where compute costs and nothing says how long an example takes.
        """
        if self.free:
            return Fraction(0), Fraction(0)
        if isinstance(self.price, PriceRange):
            raise ValueError("a definite price is wanted, not a range; see mid and corners")
        if self.seconds is None:
            raise ValueError("compute has a price, and no seconds per example are known; see timed")
        each = exact(self.price) / _SECONDS_IN_HOUR
        return each * exact(self.seconds.sft), each * exact(self.seconds.preference)


def _as_gpu_hour(value: Any) -> Any:
    """A bare price stands for {price}."""
    if value is None or isinstance(value, GpuHour):
        return value
    ends = isinstance(value, Mapping) and bool({"low", "high"} & set(value))
    mapping = isinstance(value, Mapping) and not (ends and "price" not in value)
    return value if mapping else {"price": _as_hour_price(value)}


_SECOND = {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_SECONDS}
_SECONDS: dict[str, Any] = {
    "type": "object",
    "description": "Seconds of training per example on one GPU; else they are measured.",
    "properties": {"sft": _SECOND, "preference": _SECOND},
    "required": ["sft", "preference"],
    "additionalProperties": False,
}
_WHOLE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "price": {"anyOf": FREE_FORMS},
        "seconds": {"anyOf": [_SECONDS, {"type": "null"}]},
    },
    "required": ["price"],
    "additionalProperties": False,
}
GpuHourPrice = Annotated[
    GpuHour | None,
    BeforeValidator(_as_gpu_hour),
    Field(description="Money per GPU-hour of training; without it compute costs nothing."),
    WithJsonSchema({"anyOf": [*FREE_FORMS, _WHOLE, {"type": "null"}]}),
]

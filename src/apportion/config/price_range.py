"""A price: money for one of something, a number or a range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from apportion.config.base import Frozen
from apportion.config.values import Number, as_number, parse_price_range, show, wrong

MAX_PRICE = 1e6


class PriceRange(Frozen):
    """A price not known exactly: money per unit, `low` to `high`."""

    low: Annotated[Number, Field(gt=0, le=MAX_PRICE)]
    high: Annotated[Number, Field(gt=0, le=MAX_PRICE)]

    @model_validator(mode="after")
    def _ordered(self) -> PriceRange:
        if self.low > self.high:
            raise wrong(
                f"the low price {self.low:g} is above the high price {self.high:g}.",
                f"write {self.high:g}..{self.low:g}.",
            )
        return self


def as_price(value: Any, *, free: bool = False, of: str = "example") -> float | PriceRange:
    """A number, `0.40..0.90` or {low, high}; a range whose ends agree is that number.

    `free`: the number may be 0. `of`: what it buys, for the message.
    """
    if isinstance(value, str):
        parsed = parse_price_range(value)
        value = {"low": parsed[0], "high": parsed[1]} if isinstance(parsed, tuple) else parsed
    if isinstance(value, PriceRange | Mapping):
        price = PriceRange.model_validate(value)
        return price.low if price.low == price.high else price
    number = as_number(value)
    if not 0 <= number <= MAX_PRICE or (number == 0 and not free):
        raise wrong(
            f"a price must be above 0 and at most {MAX_PRICE:g}, not {show(value)}.",
            f"write what one {of} costs, such as 2.50.",
        )
    return number


_NUMBER = r"\$?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
PRICE_FORMS: list[dict[str, Any]] = [
    {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_PRICE},
    {"type": "string", "pattern": rf"^\s*{_NUMBER}\s*(\.\.\s*{_NUMBER}\s*)?$"},
    {
        "type": "object",
        "properties": {
            end: {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_PRICE}
            for end in ("low", "high")
        },
        "required": ["low", "high"],
        "additionalProperties": False,
    },
]
FREE_FORMS: list[dict[str, Any]] = [
    {"type": "number", "minimum": 0, "maximum": MAX_PRICE},
    *PRICE_FORMS[1:],
]
Price = Annotated[
    float | PriceRange, BeforeValidator(as_price), WithJsonSchema({"anyOf": PRICE_FORMS})
]

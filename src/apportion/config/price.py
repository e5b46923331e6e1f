"""Prices as the user writes them: a number, a range, or terms; or a shipped preset by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from apportion.config.base import Frozen
from apportion.config.cost import Cost, exact
from apportion.config.price_presets import PRICES
from apportion.config.values import Number, as_number, parse_price_range, show, wrong

MAX_PRICE = 1e6
MAX_MONEY = 1e12


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


def as_price(value: Any) -> float | PriceRange:
    """A number, `0.40..0.90` or {low, high}; a range whose ends agree is that number."""
    if isinstance(value, str):
        parsed = parse_price_range(value)
        value = {"low": parsed[0], "high": parsed[1]} if isinstance(parsed, tuple) else parsed
    if isinstance(value, PriceRange | Mapping):
        price = PriceRange.model_validate(value)
        return price.low if price.low == price.high else price
    number = as_number(value)
    if not 0 < number <= MAX_PRICE:
        raise wrong(
            f"a price must be above 0 and at most {MAX_PRICE:g}, not {show(value)}.",
            "write what one example costs, such as 2.50.",
        )
    return number


_NUMBER = r"\$?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
_FORMS: list[dict[str, Any]] = [
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
Price = Annotated[float | PriceRange, BeforeValidator(as_price), WithJsonSchema({"anyOf": _FORMS})]


class Terms(Frozen):
    """What an example costs besides its bare price."""

    price: Price
    fixed: Annotated[
        Number, Field(ge=0, le=MAX_MONEY, description="Paid once if any of the kind is bought.")
    ] = 0.0
    rejected: Annotated[
        Number,
        Field(ge=0, le=0.99, description="Part of what is bought that quality control rejects."),
    ] = 0.0
    redundancy: Annotated[
        Number,
        Field(ge=1, le=100, description="Annotations per example; `price` is that of one."),
    ] = 1.0

    @property
    def bare(self) -> bool:
        """Whether the price is all there is to it."""
        return (self.fixed, self.rejected, self.redundancy) == (0, 0, 1)


def _only_ends(value: Mapping[str, Any]) -> bool:
    """Whether a mapping means a range, and has no setting of terms in it."""
    return bool({"low", "high"} & set(value)) and not set(value) & set(Terms.model_fields)


def as_kind_price(value: Any) -> float | PriceRange | Terms:
    """A price, or {price, fixed, rejected, redundancy}; terms that say only a price are that."""
    if isinstance(value, Terms) or (isinstance(value, Mapping) and not _only_ends(value)):
        terms = Terms.model_validate(value)
        return terms.price if terms.bare else terms
    return as_price(value)


KindPrice = Annotated[
    float | Terms | PriceRange,
    BeforeValidator(as_kind_price),
    WithJsonSchema({"anyOf": [*_FORMS, Terms.model_json_schema()]}),
]


class Prices(Frozen):
    """Money per demonstration and per preference unit. A preset's name stands for its prices; a
    mapping with `preset` lays its other prices over that preset's.
    """

    sft: KindPrice = 1.0
    preference: KindPrice = 1.0

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"preset": value}
        if not isinstance(value, Mapping) or "preset" not in value:
            return value
        name = value["preset"]
        if not isinstance(name, str) or name not in PRICES:
            raise wrong(
                f"there are no prices called {show(name)}.",
                f"write one of: {', '.join(PRICES)}; or prices: {{sft: 2.50, preference: 0.60}}.",
            )
        preset = PRICES[name]
        rest = {key: price for key, price in value.items() if key != "preset"}
        return {"sft": preset.sft, "preference": preset.preference, **rest}


def price_of(price: float | PriceRange | Terms) -> float | PriceRange:
    """The bare price of an annotation."""
    return price.price if isinstance(price, Terms) else price


def cost_of(price: float | PriceRange | Terms) -> Cost:
    """The cost of one kind at a definite price (ValueError for a range)."""
    bare = price_of(price)
    if isinstance(bare, PriceRange):
        raise ValueError("a definite price is wanted, not a range; see mid and corners")
    if not isinstance(price, Terms):
        return Cost(exact(bare))
    return Cost(
        unit=exact(bare) * exact(price.redundancy),
        fixed=exact(price.fixed),
        kept=1 - exact(price.rejected),
    )

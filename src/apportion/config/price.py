"""Prices as the user writes them: a number, a range, or terms; or a shipped preset by name."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from apportion.config.base import Frozen
from apportion.config.compute import GpuHour, GpuHourPrice
from apportion.config.cost import Cost, exact
from apportion.config.price_presets import PRICES
from apportion.config.price_range import FREE_FORMS, MAX_PRICE, Price, PriceRange, as_price
from apportion.config.values import Mistake, Number, refuse, show, wrong

__all__ = ["GpuHour", "PriceRange", "Prices", "Terms", "as_kind_price", "cost_of", "price_of"]

MAX_MONEY = 1e12


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
    """A price, or {price, fixed, rejected, redundancy}; terms that say only a price are that.

    A bare 0 is let through: whether data may be free depends on the price of compute.
    """
    if isinstance(value, Terms) or (isinstance(value, Mapping) and not _only_ends(value)):
        terms = Terms.model_validate(value)
        return terms.price if terms.bare else terms
    return as_price(value, free=True)


KindPrice = Annotated[
    float | Terms | PriceRange,
    BeforeValidator(as_kind_price),
    WithJsonSchema({"anyOf": [*FREE_FORMS, Terms.model_json_schema()]}),
]


class Prices(Frozen):
    """Money per demonstration, per preference unit and, where compute is paid too, per GPU-hour.

    A preset's name stands for its prices of data; a mapping with `preset` lays its other prices
    over that preset's. Data may be free where compute is not.
    """

    sft: KindPrice = 1.0
    preference: KindPrice = 1.0
    gpu_hour: GpuHourPrice = None

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

    @model_validator(mode="after")
    def _costs_something(self) -> Prices:
        refuse(free_data(self))
        return self


def free_data(prices: Prices) -> list[Mistake]:
    """Kinds whose examples would cost nothing at all: neither annotation nor training."""
    if prices.gpu_hour is not None and not prices.gpu_hour.free:
        return []
    return [
        Mistake(
            (kind,),
            f"a price must be above 0 and at most {MAX_PRICE:g}, not 0, unless compute has a "
            "price (gpu_hour) above 0.",
            "write what one example costs, such as 2.50.",
            0,
        )
        for kind in ("sft", "preference")
        if getattr(prices, kind) == 0
    ]


def price_of(price: float | PriceRange | Terms) -> float | PriceRange:
    """The bare price of an annotation."""
    return price.price if isinstance(price, Terms) else price


def cost_of(price: float | PriceRange | Terms, training: Fraction = Fraction(0)) -> Cost:
    """The cost of one kind at a definite price (ValueError for a range).

    `training`: money for the compute that one usable example takes.
    """
    bare = price_of(price)
    if isinstance(bare, PriceRange):
        raise ValueError("a definite price is wanted, not a range; see mid and corners")
    if not isinstance(price, Terms):
        return Cost(exact(bare), training=training)
    return Cost(
        unit=exact(bare) * exact(price.redundancy),
        fixed=exact(price.fixed),
        kept=1 - exact(price.rejected),
        training=training,
    )

"""What there is to spend and where it can be spent: prices, budgets, shares, lattices, seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from apportion.config.base import Frozen
from apportion.config.values import (
    MAX_EXAMPLES,
    Count,
    Mistake,
    Number,
    Seed,
    as_number,
    parse_price_range,
    refuse,
    show,
    unique,
    wrong,
)

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
_PRICE_SCHEMA = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_PRICE},
        {
            "type": "string",
            "pattern": rf"^\s*{_NUMBER}\s*(\.\.\s*{_NUMBER}\s*)?$",
        },
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
}
Price = Annotated[float | PriceRange, BeforeValidator(as_price), WithJsonSchema(_PRICE_SCHEMA)]


class Prices(Frozen):
    """Money per demonstration and per preference unit."""

    sft: Price = 1.0
    preference: Price = 1.0


class Budget(Frozen):
    """The totals to spend; `unit` says in what."""

    unit: Literal["examples", "usd"] = "examples"
    levels: Annotated[
        tuple[Annotated[Number, Field(gt=0, le=MAX_MONEY)], ...],
        Field(min_length=1),
        AfterValidator(unique),
    ]

    @model_validator(mode="after")
    def _countable(self) -> Budget:
        if self.unit == "examples":
            refuse(
                Mistake(
                    ("levels", place),
                    f"{level:g} examples cannot be bought: examples come whole, "
                    f"and at most {MAX_EXAMPLES} of them.",
                    "write a whole number such as 1000, or unit: usd.",
                    level,
                )
                for place, level in enumerate(self.levels)
                if not level.is_integer() or level > MAX_EXAMPLES
            )
        return self


Shares = Annotated[
    tuple[Annotated[Number, Field(ge=0, le=1)], ...],
    Field(min_length=1),
    AfterValidator(unique),
]
Levels = Annotated[tuple[Count, ...], Field(min_length=1), AfterValidator(unique)]


class Lattice(Frozen):
    """Levels of demonstrations × levels of preference units."""

    n_sft: Levels
    n_pref: Levels

    @model_validator(mode="after")
    def _something(self) -> Lattice:
        if not any(self.n_sft) and not any(self.n_pref):
            raise wrong(
                "the lattice has no cell but the untrained model.",
                "add a level above 0 to n_sft or to n_pref.",
            )
        return self


class Seeds(Frozen):
    """Where replicates get their seeds; a number holds that source of noise fixed."""

    data: Seed = "vary"
    train: Seed = "vary"
    sample: Seed = "vary"

    def of(self, source: Literal["data", "train", "sample"], replicate: int) -> int:
        """The seed of one source of noise in one replicate."""
        seed = getattr(self, source)
        return replicate if seed == "vary" else int(seed)

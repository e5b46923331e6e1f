"""What there is to spend and where it can be spent: prices, budgets, shares, lattices, seeds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from apportion.config.base import Frozen
from apportion.config.compute import GpuHour
from apportion.config.price import MAX_MONEY, PriceRange, Prices, Terms
from apportion.config.values import (
    MAX_EXAMPLES,
    Count,
    Mistake,
    Number,
    Seed,
    refuse,
    unique,
    wrong,
)

__all__ = [
    "Budget",
    "GpuHour",
    "Lattice",
    "Levels",
    "PriceRange",
    "Prices",
    "Seeds",
    "Shares",
    "Terms",
    "Unit",
]

Unit = Literal["examples", "usd", "gpu_hours"]


class Budget(Frozen):
    """The totals to spend; `unit` says in what."""

    unit: Unit = "examples"
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

"""The study: what the user asks, as one frozen value."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from apportion.config.base import Frozen
from apportion.config.evaluation import Evaluation
from apportion.config.recipe import Recipe

Method = Literal["dpo"]


class PriceRange(Frozen):
    """A price not known exactly: money per unit, `low` to `high`."""

    low: float = Field(gt=0)
    high: float = Field(gt=0)


class Prices(Frozen):
    """Money per demonstration and per preference unit."""

    sft: float | PriceRange = 1.0
    preference: float | PriceRange = 1.0


class Budget(Frozen):
    """The totals to spend; `unit` says in what."""

    unit: Literal["examples", "usd"] = "examples"
    levels: tuple[float, ...]


class Lattice(Frozen):
    """Levels of demonstrations × levels of preference units."""

    n_sft: tuple[int, ...]
    n_pref: tuple[int, ...]


class Seeds(Frozen):
    """Where replicates get their seeds; a number holds that source of noise fixed."""

    data: Literal["vary"] | int = "vary"
    train: Literal["vary"] | int = "vary"
    sample: Literal["vary"] | int = "vary"


class Study(Frozen):
    """Models × tasks × methods × (budgets × shares, or a lattice) × replicates."""

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    methods: tuple[Method, ...] = ("dpo",)
    budget: Budget | None = None
    shares: tuple[float, ...] | None = None
    lattice: Lattice | None = None
    replicates: int = Field(default=2, ge=1)
    seeds: Seeds = Seeds()
    prices: Prices = Prices()
    recipe: Recipe
    trainer: Literal["auto", "native"] = "auto"
    search: Literal["grid"] = "grid"
    evaluation: Evaluation = Evaluation()

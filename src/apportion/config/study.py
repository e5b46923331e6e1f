"""The study: what the user asks, as one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from apportion.config.agreement import Parts, disagreements
from apportion.config.base import Frozen
from apportion.config.budget import Budget, Lattice, PriceRange, Prices, Seeds, Shares
from apportion.config.evaluation import Evaluation
from apportion.config.recipe import Recipe
from apportion.config.search import Search
from apportion.config.values import (
    ModelNames,
    Names,
    Whole,
    as_list,
    as_whole,
    refuse,
    show,
    unique,
    wrong,
)
from apportion.errors import ManyErrors

__all__ = ["Budget", "Lattice", "Method", "PriceRange", "Prices", "Seeds", "Study"]

Method = Literal["dpo", "kto"]
Tracker = Literal["wandb", "mlflow", "trackio", "tensorboard"]

_METHODS_SCHEMA = {
    "anyOf": [
        {"enum": list(get_args(Method))},
        {
            "type": "array",
            "items": {"enum": list(get_args(Method))},
            "minItems": 1,
            "uniqueItems": True,
        },
    ]
}
Methods = Annotated[
    tuple[Method, ...],
    Field(min_length=1),
    AfterValidator(unique),
    BeforeValidator(as_list),
    WithJsonSchema(_METHODS_SCHEMA),
]
Trackers = Annotated[
    tuple[Tracker, ...],
    AfterValidator(unique),
    BeforeValidator(as_list),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": list(get_args(Tracker))},
                {"type": "array", "items": {"enum": list(get_args(Tracker))}, "uniqueItems": True},
            ]
        }
    ),
]
MAX_STACK = 64


def _stack(value: Any) -> Any:
    if value in ("auto", "off") or value is False:  # a YAML reader's `off` may be false
        return value or "off"
    if isinstance(value, str | bool):
        raise wrong(f"{show(value)} is not auto, off or a number.", "write auto, off or, say, 4.")
    number = as_whole(value)
    if not 1 <= number <= MAX_STACK:
        raise wrong(f"{number} stages at once are out of range.", f"write 2 to {MAX_STACK}.")
    return number


Stack = Annotated[
    int | Literal["auto", "off"],
    BeforeValidator(_stack),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["auto", "off"]},
                {"type": "integer", "minimum": 1, "maximum": MAX_STACK},
            ]
        }
    ),
]


class Study(Frozen):
    """Models × tasks × methods × (budgets × shares, or a lattice) × replicates.

    Built from values it raises pydantic's ValidationError; `load`ed from a file, ManyErrors.
    """

    models: ModelNames
    tasks: Names
    methods: Methods = ("dpo",)
    budget: Budget | None = None
    shares: Shares | None = None
    lattice: Lattice | None = None
    replicates: Annotated[Whole, Field(ge=1, le=10_000)] = 2
    seeds: Seeds = Seeds()
    prices: Prices = Prices()
    recipe: Recipe
    trainer: Literal["auto", "native", "trl"] = Field(
        default="auto",
        description="auto: TRL for hub models where it is installed, the native loop for others.",
    )
    trackers: Trackers = Field(default=(), description="Where TRL reports a run; not in any key.")
    stack: Annotated[
        Stack,
        Field(
            description="Training stages to run at once over one base model, where they have "
            "adapters: a number, off, or auto (where measured to pay: nowhere yet). Not in any key."
        ),
    ] = "auto"
    trajectory: Literal["independent", "shared"] = Field(
        default="independent",
        description="shared: one run at a constant rate, cooled down at each size, yields all "
        "sizes. It changes the recipe; a tenth of the cells also run independently.",
    )
    search: Search = Search()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _agrees(self) -> Study:
        refuse(disagreements(self._parts()))
        return self

    def _parts(self) -> Parts:
        given = {key for key in self.model_fields_set if getattr(self, key) is not None}
        return Parts(
            given=frozenset(given),
            budget=self.budget,
            shares=self.shares,
            lattice=self.lattice,
            prices=self.prices,
            seeds=self.seeds,
            replicates=self.replicates,
            evaluation=self.evaluation,
        )

    @classmethod
    def load(cls, path: str | Path) -> Study:
        """The study in the YAML file at `path`; ManyErrors with every mistake in it."""
        from apportion.config.load import load_study

        return load_study(path)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Study:
        """The study that plain values stand for; ManyErrors with every mistake in them."""
        from apportion.config.load import study_of

        study, errors = study_of(values)
        if study is None:
            raise ManyErrors(error for _, error in errors)
        return study

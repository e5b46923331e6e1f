"""How a study goes about its cells: all of them, or those that are worth running."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from apportion.config.base import Frozen
from apportion.config.values import Number, Whole, as_list, show, unique, wrong

STRATEGIES = ("grid", "adaptive")
Target = Annotated[Number, Field(gt=0, le=1e12)]
Targets = Annotated[
    tuple[Target, ...],
    AfterValidator(unique),
    BeforeValidator(as_list),
    WithJsonSchema({"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}}),
]


class Search(Frozen):
    """`grid` runs every cell. `adaptive` starts with a few, then runs what is expected to lower
    regret at the targets most for its cost, and stops when the split is sure enough.

    A strategy's name stands for its values: `search: adaptive`.
    """

    strategy: Literal["grid", "adaptive"] = "grid"
    targets: Annotated[
        Targets,
        Field(
            description="Budgets whose best split is wanted, in the study's unit (a lattice: in "
            "examples). Empty: the study's own, of a lattice three between its smallest and "
            "largest."
        ),
    ] = ()
    epsilon: Annotated[Number, Field(gt=0, le=1, description="Tolerated regret.")] = 0.01
    delta: Annotated[Number, Field(gt=0, le=0.5, description="Tolerated doubt.")] = 0.1
    worth: Annotated[
        Number,
        Field(ge=0, le=1, description="A batch expected to gain less regret than this is not run."),
    ] = 0.0005
    most: Annotated[
        Number, Field(gt=0, le=1, description="Most of the grid's training tokens to spend.")
    ] = 1.0
    batch: Annotated[
        Annotated[Whole, Field(ge=1, le=1000)] | None,
        Field(description="Cells chosen together. Empty: as many as there are workers."),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value not in STRATEGIES:
            raise wrong(f"{show(value)} is not one of grid, adaptive.", "write grid or adaptive.")
        return {"strategy": value}

    @model_validator(mode="after")
    def _read_by_someone(self) -> Search:
        fields = type(self).model_fields
        extra = {
            name
            for name in self.model_fields_set - {"strategy"}
            if getattr(self, name) != fields[name].default
        }
        if self.strategy == "grid" and extra:
            raise wrong(
                f"the grid uses no {', '.join(sorted(extra))}.",
                "write strategy: adaptive, or remove them.",
            )
        return self

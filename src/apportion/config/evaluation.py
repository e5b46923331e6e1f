"""How a tuned model is asked and judged: how many test items, and how responses are decoded."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from apportion.config.base import Frozen
from apportion.config.presets import DECODINGS
from apportion.config.values import Number, Positive, Whole, show, wrong


class Decoding(Frozen):
    """Greedy, or seeded sampling. Stop strings belong to the task, not to the study.

    A preset's name stands for its values: `greedy`, or `paper` (sampled at 0.5, top-p 0.9).
    """

    strategy: Literal["greedy", "sample"] = "greedy"
    temperature: Annotated[Number, Field(gt=0, le=100, description="Used by `sample` only.")] = 1.0
    top_p: Annotated[Number, Field(gt=0, le=1, description="Used by `sample` only.")] = 1.0
    max_new_tokens: Annotated[
        Annotated[Whole, Field(ge=1, le=1_000_000)] | None,
        Field(description="Empty: the task's own."),
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value not in DECODINGS:
            raise wrong(
                f"there is no decoding called {show(value)}.",
                f"write one of: {', '.join(DECODINGS)}.",
            )
        return dict(DECODINGS[value])

    @model_validator(mode="after")
    def _read_by_someone(self) -> Decoding:
        if self.strategy == "greedy" and (self.temperature, self.top_p) != (1.0, 1.0):
            raise wrong(
                "greedy decoding uses no temperature and no top_p.",
                "write strategy: sample, or remove them.",
            )
        return self


class Evaluation(Frozen):
    """The test items of every cell, the same for all of them."""

    n_items: Positive = 300
    engine: Literal["transformers", "vllm"] = Field(
        default="transformers",
        description="What generates the responses, in the keys of what it generated; vllm: on a "
        "GPU, with the extra of that name.",
    )
    decoding: Decoding = Decoding()
    batch_size: Annotated[Positive, Field(description="Prompts decoded at once.")] = 100

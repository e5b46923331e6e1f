"""How a tuned model is asked and judged: how many test items, and how responses are decoded."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from apportion.config.base import Frozen


class Decoding(Frozen):
    """Greedy, or seeded sampling. Stop strings belong to the task, not to the study."""

    strategy: Literal["greedy", "sample"] = "greedy"
    temperature: float = Field(default=1.0, gt=0, description="Used by `sample` only.")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Used by `sample` only.")
    max_new_tokens: int | None = Field(default=None, ge=1, description="Empty: the task's own.")


class Evaluation(Frozen):
    """The test items of every cell, the same for all of them."""

    n_items: int = Field(default=300, ge=1)
    decoding: Decoding = Decoding()
    batch_size: int = Field(default=100, ge=1, description="Prompts decoded at once.")

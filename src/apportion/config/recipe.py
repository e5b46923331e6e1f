"""How a model is trained: the two stages' hyper-parameters, and the presets by name.

Learning rates are peak rates; batches are counted in examples (demonstrations or pairs).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from apportion.config.base import Frozen


class StageRecipe(Frozen):
    """What SFT and preference tuning have in common."""

    learning_rate: float = Field(gt=0, le=1, description="Peak learning rate.")
    epochs: int = Field(default=2, ge=1, le=100)
    batch_size: int = Field(default=16, ge=1, description="Effective batch, in examples.")
    micro_batch_size: int | None = Field(
        default=None, ge=1, description="Examples per forward pass; empty: the whole batch."
    )
    weight_decay: float = Field(default=0.01, ge=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"


class SftRecipe(StageRecipe):
    """Supervised fine-tuning with the loss on the response alone."""

    loss_weighting: Literal["token", "sequence"] = Field(
        default="token",
        description="token: mean over the batch's response tokens (as TRL); "
        "sequence: mean of per-sequence means (as micro-batches of one give).",
    )


class PreferenceRecipe(StageRecipe):
    """Preference tuning against the model that stage two starts from."""

    beta: float = Field(default=0.1, gt=0, description="Strength of the pull to the reference.")


class LoraRecipe(Frozen):
    """A low-rank adapter in PEFT's terms."""

    r: int = Field(default=32, ge=1)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"


class Recipe(Frozen):
    """A whole recipe: what a cell's two training stages do."""

    name: str = "custom"
    sft: SftRecipe
    preference: PreferenceRecipe
    lora: LoraRecipe | None = Field(default=None, description="Empty: all weights are trained.")
    max_length: int = Field(default=1024, ge=8, description="Tokens of prompt and response.")
    dtype: Literal["float32", "bfloat16"] = "float32"
    stage_two: Literal["chain", "merge_16bit"] = Field(
        default="chain",
        description="With LoRA: keep the SFT adapter frozen under a new one, or merge it in 16 bits.",
    )

"""How a model is trained: the two stages' hyper-parameters, and the presets by name.

Learning rates are peak rates; batches are counted in examples (demonstrations or pairs).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    TypeAdapter,
    model_validator,
)

from apportion.config.base import Frozen
from apportion.config.presets import RECIPES, merged
from apportion.config.values import (
    MAX_EXAMPLES,
    Mistake,
    Names,
    Number,
    Positive,
    Text,
    Whole,
    plain_name,
    refuse,
    show,
    wrong,
)


class StageRecipe(Frozen):
    """What SFT and preference tuning have in common."""

    learning_rate: Annotated[Number, Field(gt=0, le=1, description="Peak learning rate.")]
    epochs: Annotated[Whole, Field(ge=1, le=100)] = 2
    batch_size: Annotated[Positive, Field(description="Effective batch, in examples.")] = 16
    micro_batch_size: Annotated[
        Positive | None,
        Field(description="Examples per forward pass; empty: as many as run fastest."),
    ] = None
    weight_decay: Annotated[Number, Field(ge=0)] = 0.01
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: Annotated[Number, Field(ge=0, le=1)] = 0.1
    max_grad_norm: Annotated[Number, Field(gt=0)] = 1.0
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"

    @model_validator(mode="after")
    def _whole_batches(self) -> StageRecipe:
        micro = self.micro_batch_size
        if micro is not None and self.batch_size % micro:
            largest = min(micro, self.batch_size)
            fits = next(m for m in range(largest, 0, -1) if self.batch_size % m == 0)
            refuse(
                [
                    Mistake(
                        ("micro_batch_size",),
                        f"micro-batches of {micro} do not make up a batch of {self.batch_size}.",
                        f"write a divisor of {self.batch_size} such as {fits}.",
                        micro,
                    )
                ]
            )
        return self


class SftRecipe(StageRecipe):
    """Supervised fine-tuning with the loss on the response alone."""

    loss_weighting: Literal["token", "sequence"] = Field(
        default="token",
        description="token: mean over the batch's response tokens (as TRL); "
        "sequence: mean of per-sequence means (as micro-batches of one give).",
    )


class PreferenceRecipe(StageRecipe):
    """Preference tuning against the model that stage two starts from."""

    beta: Annotated[Number, Field(gt=0, description="Strength of the pull to the reference.")] = 0.1


class KtoRecipe(Frozen):
    """What KTO has of its own; rates, epochs and batches are those of `preference`.

    Its KL is estimated from the responses of a group of labels, each behind another one's prompt,
    so the group is part of what KTO means.
    """

    beta: Annotated[Number, Field(gt=0, description="Strength of the pull to the reference.")] = 0.1
    desirable_weight: Annotated[Number, Field(gt=0)] = 1.0
    undesirable_weight: Annotated[Number, Field(gt=0)] = 1.0
    group_size: Annotated[
        Annotated[Whole, Field(ge=2, le=MAX_EXAMPLES)] | None,
        Field(
            description="Labels whose KL is estimated together; empty: the micro-batch if it has "
            "two or more, else the batch."
        ),
    ] = None

    def group(self, preference: PreferenceRecipe) -> int:
        """Labels per group, once `preference` is known: a divisor of its batch, or a mistake."""
        micro = preference.micro_batch_size
        return self.group_size or (micro if micro and micro > 1 else preference.batch_size)


_MODULES: TypeAdapter[tuple[str, ...]] = TypeAdapter(Names)


def _modules(value: Any) -> str | tuple[str, ...]:
    return value if value == "all-linear" else _MODULES.validate_python(value)


class LoraRecipe(Frozen):
    """A low-rank adapter in PEFT's terms."""

    r: Annotated[Whole, Field(ge=1, le=65536)] = 32
    alpha: Annotated[Number, Field(gt=0)] = 32.0
    dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    target_modules: Annotated[str | tuple[str, ...], BeforeValidator(_modules)] = "all-linear"


class Recipe(Frozen):
    """A whole recipe: what a cell's two training stages do. A preset's name stands for its values;
    a mapping with `preset` lays its other values over that preset's.
    """

    name: Annotated[Text, AfterValidator(plain_name)] = "custom"
    sft: SftRecipe
    preference: PreferenceRecipe
    kto: KtoRecipe = KtoRecipe()
    lora: LoraRecipe | None = Field(default=None, description="Empty: all weights are trained.")
    max_length: Annotated[
        Whole, Field(ge=8, le=10_000_000, description="Tokens of prompt and response.")
    ] = 1024
    dtype: Literal["float32", "bfloat16"] = "float32"
    quantization: Literal["none", "4bit"] = Field(
        default="none",
        description="4bit: the frozen base in 4-bit NormalFloat under the adapters (QLoRA); "
        "needs bitsandbytes.",
    )
    stage_two: Literal["chain", "merge_16bit"] = Field(
        default="chain",
        description="With LoRA: keep the SFT adapter frozen under a new one, or merge it "
        "in 16 bits.",
    )

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"preset": value}
        if not isinstance(value, Mapping) or "preset" not in value:
            return value
        preset = value["preset"]
        if not isinstance(preset, str) or preset not in RECIPES:
            raise wrong(
                f"there is no recipe called {show(preset)}.",
                f"write one of: {', '.join(RECIPES)}.",
            )
        return merged(preset, {key: v for key, v in value.items() if key != "preset"})

    @model_validator(mode="after")
    def _quantised_base_is_frozen(self) -> Recipe:
        if self.quantization == "none":
            return self
        wrongs = []
        if self.lora is None:
            wrongs.append(("a base in 4 bits cannot be trained whole.", "give the recipe a lora."))
        if self.stage_two == "merge_16bit":
            wrongs.append(
                ("an adapter is not merged into a base in 4 bits.", "write stage_two: chain.")
            )
        refuse([Mistake(("quantization",), problem, mend) for problem, mend in wrongs])
        return self

    @model_validator(mode="after")
    def _something_to_merge(self) -> Recipe:
        if self.lora is None and self.stage_two == "merge_16bit":
            refuse(
                [
                    Mistake(
                        ("stage_two",),
                        "merge_16bit has nothing to merge: this recipe has no LoRA adapter.",
                        "write stage_two: chain, or give the recipe a lora.",
                    )
                ]
            )
        return self

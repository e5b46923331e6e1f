"""From a stage's spec and ancestors to the model that it starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from apportion.config.recipe import LoraRecipe
from apportion.errors import DataError
from apportion.run.context import Ancestor, Context

if TYPE_CHECKING:
    from torch import nn

    from apportion.models.resolve import ModelRef
    from apportion.models.template import Template


@dataclass(frozen=True)
class Policy:
    """A model ready to use, on its device, with the words that go with it."""

    model: nn.Module
    tokenizer: Any
    template: Template
    device: str


def load(context: Context) -> Policy:
    """The model that the ancestors lead to (the base where there are none)."""
    from apportion.models.device import on_own_device, own_device
    from apportion.models.policy import load_policy
    from apportion.models.resolve import resolve_model
    from apportion.models.template import load_tokenizer, make_template

    spec = context.stage.spec
    ref = resolve_model(spec["model"]["name"])
    same_model(ref, spec)
    tokenizer = load_tokenizer(ref)
    merged = merged_adapters(context)
    chain = [ancestor.folder for ancestor in context.ancestors]
    model = load_policy(
        ref,
        chain,
        dtype=spec["dtype"],
        merge_16bit=merged,
        quantization=spec.get("quantization", "none"),
    )
    template = make_template(ref, tokenizer)
    return Policy(on_own_device(model), tokenizer, template, own_device())


def same_model(ref: ModelRef, spec: Mapping[str, Any]) -> None:
    """The files may have changed since the study was compiled."""
    from apportion.models.resolve import tokenizer_digest, weights_digest

    found = {"weights_digest": weights_digest(ref), "tokenizer_digest": tokenizer_digest(ref)}
    for name, digest in found.items():
        if digest != spec["model"][name]:
            raise DataError(
                f"model {ref.name!r} is not what it was when the study was read ({name}).",
                mend="run the study again: changed weights make new stages.",
            )


def merged_adapters(context: Context) -> int:
    """How many adapters are merged in 16 bits: the SFT adapter, from the preference stage on."""

    def merges(spec: Mapping[str, Any], before: Sequence[Ancestor]) -> bool:
        asked = spec.get("stage_two") == "merge_16bit" and spec.get("lora") is not None
        return asked and any(ancestor.record.kind == "sft" for ancestor in before)

    stage, ancestors = context.stage, context.ancestors
    if stage.kind == "preference":
        return int(merges(stage.spec, ancestors))
    if ancestors and ancestors[-1].record.kind == "preference":
        return int(merges(ancestors[-1].record.spec, ancestors[:-1]))
    return 0


def trainable(model: nn.Module, spec: Mapping[str, Any]) -> nn.Module:
    """`model` with a new adapter, or all its weights, to be trained as `spec` says."""
    from apportion.models.policy import prepare_for_training

    lora = None if spec["lora"] is None else LoraRecipe.model_validate(spec["lora"])
    return prepare_for_training(model, lora, seed=spec["train_seed"])

"""What a stage that is one leg of a shared trajectory does otherwise than a whole training."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from apportion.run.context import Context

if TYPE_CHECKING:
    from apportion.training.trajectory import Leg

T = TypeVar("T")


def is_trunk(spec: Mapping[str, Any]) -> bool:
    """Whether it ends with a state to go on from, and not with a model to be used."""
    return "trajectory" in spec and not spec["trajectory"]["cooldown"]


def leg_of(context: Context) -> Leg | None:
    """The stage's leg; None where it is a whole training."""
    from apportion.training.trajectory import Leg

    spec = context.stage.spec
    if "trajectory" not in spec:
        return None
    told = spec["trajectory"]
    return Leg(
        cooldown=told["cooldown"],
        warmup_steps=told["warmup_steps"],
        previous=context.ancestors[-1].folder if told["previous"] else None,
        keep=context.out if is_trunk(spec) else None,
    )


def at_start(context: Context) -> Context:
    """The context with the ancestors of the model that the training starts from alone: the state
    of the leg before is no model."""
    if context.stage.spec.get("trajectory", {}).get("previous"):
        return replace(context, ancestors=context.ancestors[:-1])
    return context


def own(spec: Mapping[str, Any], examples: Sequence[T]) -> Sequence[T]:
    """Those of the first n examples that the stage trains on."""
    return examples[begin_of(spec) :]


def begin_of(spec: Mapping[str, Any]) -> int:
    """Place of the stage's first example."""
    return int(spec.get("trajectory", {}).get("begin", 0))


def seed_of(spec: Mapping[str, Any]) -> int:
    """The seed of a stage's order and dropout: legs of one trajectory differ in theirs."""
    seed = int(spec["train_seed"])
    if not begin_of(spec):
        return seed
    told = f"{seed} from {begin_of(spec)}"
    return int.from_bytes(hashlib.sha256(told.encode()).digest()[:6], "big")


def start_key(spec: Mapping[str, Any], parents: Sequence[str]) -> Sequence[str]:
    """Keys of what the weights of a training stand on: of a leg its trajectory's start model,
    whose weights it has anew, and not the leg before."""
    if "trajectory" not in spec:
        return parents
    return [spec["parent"]] if spec.get("parent") else []

"""Which stages are run at once over one base model: a pure function of a plan.

Training stages of a group are of one kind, task, base model and recipe, and train a LoRA adapter
each with the native loop. They are put together by the size of their data, so that they make about
as many steps. What a group changes is how fast its stages run and the last digits of their numbers;
it is in no key, and in every record. Generate stages of a group share a loaded engine
(`engine_groups`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from math import ceil
from typing import Literal

from apportion.compile.plan import Stage, canonical_json
from apportion.config.study import Study
from apportion.errors import StudyError

_ALIKE = (
    "kind", "method", "task", "model", "template", "recipe", "kto", "lora", "max_length", "dtype",
    "semantics_version",
)  # fmt: skip

# What `stack: auto` stands for. On a CPU nothing waits between kernels, and the numbers are then
# the same to the bit whatever runs beside them; on a GPU runs one after the other are replayed from
# CUDA graphs: 1.4 to 2.1 times as fast (sandbox:small; benchmarks/stacking.py, docs/speed.md).
AUTO = 1

#: Generate stages that share a loaded engine: loading takes minutes for a large model, and scores
#: are wanted before all training is done. (How long it takes on a GPU is not measured yet.)
SHARING = 8


def stack_size(asked: int | Literal["auto", "off"]) -> int:
    """How many stages a group has at most; 1: none are stacked."""
    return asked if isinstance(asked, int) else AUTO if asked == "auto" else 1


def can_stack(stage: Stage) -> bool:
    """Whether the stage trains a plain adapter over the base as it is, with the native loop."""
    spec = stage.spec
    if stage.kind not in ("sft", "preference") or not spec.get("lora"):
        return False
    merged = spec.get("stage_two") == "merge_16bit" and bool(stage.parents)
    return (
        not merged
        and "trainer" not in spec
        and "trajectory" not in spec
        and "quantization" not in spec
        and spec["lora"]["dropout"] == 0
        and spec["recipe"]["optimizer"] == "adamw"
    )


def stack_groups(stages: Mapping[str, Stage], size: int) -> tuple[tuple[str, ...], ...]:
    """Keys of stages to be trained at once, two to `size` in a group; no stage is in two.

    The order of `stages` does not matter. What is in no group is trained alone.
    """
    alike: defaultdict[str, list[Stage]] = defaultdict(list)
    for stage in stages.values():
        if size > 1 and can_stack(stage):
            told = {name: stage.spec.get(name) for name in _ALIKE}
            alike[canonical_json(told)].append(stage)
    groups = []
    for _, members in sorted(alike.items()):
        members.sort(key=lambda one: (-one.spec["data"]["n"], one.spec["train_seed"], one.key))
        groups += _evenly(members, size)
    return tuple(tuple(stage.key for stage in group) for group in groups if len(group) > 1)


def _evenly(members: list[Stage], size: int) -> list[list[Stage]]:
    """In parts of at most `size`, as even as can be: 5 by 4 are 3 and 2."""
    n = ceil(len(members) / size)
    cuts = [len(members) * cut // n for cut in range(n + 1)]
    return [members[a:b] for a, b in pairwise(cuts)]


def engine_groups(stages: Mapping[str, Stage], size: int = SHARING) -> tuple[tuple[str, ...], ...]:
    """Keys of generate stages that vLLM answers one after the other over one loaded base model.

    They are the base's own, and those whose model is an adapter over it. In the plan's order, so
    that a replicate's cells are together; two to `size` in a group.
    """
    alike: defaultdict[str, list[Stage]] = defaultdict(list)
    for stage in stages.values():
        if stage.kind == "generate" and _over_the_base(stage, stages):
            told = {name: stage.spec[name] for name in _ONE_ENGINE}
            alike[canonical_json(told)].append(stage)
    groups = [group for members in alike.values() for group in _evenly(members, size)]
    return tuple(tuple(stage.key for stage in group) for group in groups if len(group) > 1)


_ONE_ENGINE = ("model", "template", "dtype", "vllm", "batch_size")


def _over_the_base(stage: Stage, stages: Mapping[str, Stage]) -> bool:
    if (stage.spec.get("vllm") or {}).get("max_lora_rank") is None:
        return False
    parents = [stages[key] for key in stage.parents]
    return not any(up.parents and up.spec.get("stage_two") == "merge_16bit" for up in parents)


def stack_problems(study: Study, *, native: bool) -> list[StudyError]:
    """Where a number of stages is asked for, and nothing of the study can be stacked."""
    if not isinstance(study.stack, int) or study.stack == 1:
        return []
    recipe = study.recipe
    reasons = {
        "its recipe has no LoRA adapter": recipe.lora is None,
        "its adapters have dropout": recipe.lora is not None and recipe.lora.dropout > 0,
        "the native loop trains none of its models": not native,
        "its stages are legs of shared trajectories": study.trajectory == "shared",
        "its optimiser is not adamw": recipe.sft.optimizer != "adamw"
        and recipe.preference.optimizer != "adamw",
    }
    return [
        StudyError(
            f"no stage of the study can be stacked: {reason}.",
            field="stack",
            mend="write stack: auto.",
        )
        for reason, holds in reasons.items()
        if holds
    ][:1]

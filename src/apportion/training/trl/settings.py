"""What a recipe is in the words of TRL's configs.

Where TRL's defaults would change what a recipe means, they are overruled: 16 bits and gradient
checkpointing (both on in TRL 1.16) are for GPUs alone; dropout is what the recipe says, in every
method; nothing is reported anywhere unless the study names a tracker.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from apportion.config.recipe import KtoRecipe, PreferenceRecipe, SftRecipe, StageRecipe
from apportion.errors import StudyError
from apportion.training.loop import effective_batches

Method = Literal["sft", "dpo", "kto"]


@dataclass(frozen=True)
class Settings:
    """One training: what to do, apart from the model and the examples.

    `recipe`: an SftRecipe for sft, else a PreferenceRecipe; `kto` for kto alone.
    """

    method: Method
    recipe: StageRecipe
    max_length: int
    seed: int
    dtype: str = "float32"
    kto: KtoRecipe | None = None
    trackers: tuple[str, ...] = ()
    run_name: str = "apportion"
    save_seconds: float = 600.0  # between checkpoints of a training that is still under way

    @property
    def by_sequence(self) -> bool:
        """Whether every sequence weighs the same, however long: micro-batches of one."""
        return isinstance(self.recipe, SftRecipe) and self.recipe.loss_weighting == "sequence"


def steps(n: int, settings: Settings) -> list[list[int]]:
    """The examples of every step, over all epochs; KTO keeps the order of its groups."""
    recipe = settings.recipe
    if settings.method == "kto":
        size = recipe.batch_size
        epoch = [list(range(begin, min(n, begin + size))) for begin in range(0, n, size)]
        return epoch * recipe.epochs
    return list(effective_batches(n, recipe, settings.seed))


def per_device(settings: Settings, n: int, processes: int) -> int:
    """Examples of one forward pass of one process. StudyError where they make up no batch.

    TRL averages DPO over forward passes, whatever their size. Where the last batch of an epoch
    would end in a shorter one, whose pairs would weigh more, smaller passes are taken.
    """
    recipe = settings.recipe
    if settings.by_sequence:
        size = 1
    elif settings.kto is not None and isinstance(recipe, PreferenceRecipe):
        size = settings.kto.group(recipe)
        if processes > 1:
            raise StudyError(
                "TRL averages the KL of KTO's groups over all processes: another method.",
                field="methods",
                mend="train KTO in one process per stage, and several stages at a time.",
            )
    else:
        size = recipe.micro_batch_size or max(1, recipe.batch_size // processes)
        rest = n % recipe.batch_size
        if settings.method == "dpo" and processes == 1 and rest > size:
            size = math.gcd(size, rest)
    if recipe.batch_size % (size * processes):
        raise StudyError(
            f"forward passes of {size} in {processes} processes do not make up a batch of "
            f"{recipe.batch_size}.",
            field="recipe",
            mend="change batch_size, micro_batch_size or the number of processes.",
        )
    return size


def arguments(settings: Settings, folder: Path, n: int, *, processes: int) -> dict[str, Any]:
    """Keyword arguments of TRL's config for `n` examples; `folder` is for checkpoints."""
    recipe, cuda = settings.recipe, torch.cuda.is_available()
    size = per_device(settings, n, processes)
    n_steps = len(steps(n, settings))
    optimizer = "adamw_torch_fused" if cuda else "adamw_torch"
    found: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": recipe.batch_size // (size * processes),
        "num_train_epochs": recipe.epochs,
        "learning_rate": recipe.learning_rate,
        "weight_decay": recipe.weight_decay,
        "lr_scheduler_type": (
            "constant_with_warmup" if recipe.schedule == "constant" else recipe.schedule
        ),
        "warmup_steps": math.ceil(recipe.warmup_ratio * n_steps),
        "max_grad_norm": recipe.max_grad_norm,
        "optim": "adamw_bnb_8bit" if recipe.optimizer == "adamw_8bit" else optimizer,
        "seed": settings.seed,
        "max_length": settings.max_length,
        "bf16": cuda and settings.dtype == "bfloat16",
        "gradient_checkpointing": cuda,
        "gradient_checkpointing_kwargs": {"use_reentrant": False} if cuda else None,
        "use_cpu": not cuda,
        "dataloader_pin_memory": cuda,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",  # the bridge says when
        "save_total_limit": 2,
        "report_to": list(settings.trackers) or "none",
        "run_name": settings.run_name,
        "disable_tqdm": True,
    }
    return found | _of_method(settings)


def _of_method(settings: Settings) -> dict[str, Any]:
    recipe = settings.recipe
    if settings.method == "sft":
        return {"dataset_kwargs": {"skip_prepare_dataset": True}}
    found: dict[str, Any] = {"precompute_ref_log_probs": True, "disable_dropout": False}
    if settings.kto is not None:
        return found | {
            "beta": settings.kto.beta,
            "desirable_weight": settings.kto.desirable_weight,
            "undesirable_weight": settings.kto.undesirable_weight,
        }
    return found | {"beta": getattr(recipe, "beta", 0.1)}

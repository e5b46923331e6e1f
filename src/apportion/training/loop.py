"""The loop that SFT and preference tuning share: order, steps, clipping, schedule, records.

One step: the gradient of the mean loss over one effective batch, summed over its forward passes;
clipped to `max_grad_norm`; AdamW with decoupled weight decay; learning rates as transformers
schedules them (warm-up starts at 0, so the first step of a warm-up moves nothing).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import nn

from apportion.config.recipe import StageRecipe
from apportion.errors import StageError, StudyError
from apportion.models.policy import adapters_of
from apportion.training.batches import micro_batches, token_passes
from apportion.training.modes import evaluating
from apportion.training.objective import Schedule
from apportion.training.steps import OnStep, Records, Step, StepLog
from apportion.training.trajectory import Leg

# (indices of one forward pass, indices of its effective batch) -> (its part of the loss, and parts
# of named means to be summed over the effective batch)
Loss = Callable[[Sequence[int], Sequence[int]], tuple[torch.Tensor, dict[str, torch.Tensor]]]

_NO_DECAY = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")


def fit(
    model: nn.Module,
    loss_of: Loss,
    lengths: Sequence[int],
    recipe: StageRecipe,
    *,
    seed: int,
    on_step: OnStep | None = None,
    constants: dict[str, float] | None = None,
    schedule: Schedule | None = None,
    costs: Sequence[int] | None = None,
    leg: Leg | None = None,
    expect: Callable[[Schedule], None] | None = None,
) -> list[StepLog]:
    """Train the trainable weights of `model` in place; one record per step.

    `lengths`: tokens per example, prompt and response. `on_step(record, steps in all)`.
    `schedule`: what every step sees, where that is part of what a method means; else a new
    permutation per epoch, cut into the forward passes that suit the machine.
    `costs`: tokens that are computed per example, where examples are packed; empty: padded.
    `leg`: this is a part of a shared trajectory, begins where the leg before it ended, and has its
    rates in place of the recipe's.
    `expect` is told the schedule before the first step.
    `constants` are added to every record's `extra`.
    Random streams come from `seed`; modes and the caller's random state are restored.
    Raises StageError where loss or gradient is not finite, StudyError for an unusable optimiser.
    """
    enough_examples(lengths)
    trained = [p for p in model.parameters() if p.requires_grad]
    if schedule is None:
        on_cpu = trained[0].device.type == "cpu"
        schedule = schedule_of(lengths, recipe, seed=seed, costs=costs, cpu=on_cpu)
    optimizer = _optimizer(model, recipe)
    if leg is None:
        scheduler = _scheduler(optimizer, recipe, len(schedule))
    else:
        scheduler = leg.begin(model, optimizer, len(schedule))
    records = Records(len(schedule), constants or {}, on_step)
    with _training_state(model, seed):
        if expect is not None:
            expect(schedule)
            torch.manual_seed(seed)  # it may have drawn numbers
        for step, passes in enumerate(schedule):
            batch = [index for micro in passes for index in micro]
            parts = []
            for micro in passes:
                loss, means = loss_of(micro, batch)
                loss.backward()  # type: ignore[no-untyped-call]
                parts.append({"loss": loss.detach(), **means})
            norm = nn.utils.clip_grad_norm_(trained, recipe.max_grad_norm)
            tokens = sum(lengths[index] for index in batch)
            rate = float(scheduler.get_last_lr()[0])
            records.add(Step(step + 1, rate, tokens, parts, norm))
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad(set_to_none=True)
        logs = records.all()
    if leg is not None:
        leg.end(model, optimizer)
    return logs


def enough_examples(lengths: Sequence[int]) -> None:
    """StageError where no example is left."""
    if not lengths:
        raise StageError(
            "no example is left to train on.", mend="raise `max_length`, or give more examples."
        )


def schedule_of(
    lengths: Sequence[int],
    recipe: StageRecipe,
    *,
    seed: int,
    costs: Sequence[int] | None,
    cpu: bool,
) -> list[list[list[int]]]:
    """Steps of forward passes of examples' indices; arguments as for `fit`."""
    size = recipe.micro_batch_size
    return [
        token_passes(batch, costs)
        if cpu and costs is not None and not size
        else micro_batches(batch, lengths, size, cpu=cpu)
        for batch in effective_batches(len(lengths), recipe, seed)
    ]


def effective_batches(n: int, recipe: StageRecipe, seed: int) -> Iterator[list[int]]:
    """A new seeded permutation per epoch; the last batch of an epoch may be smaller."""
    stream = torch.Generator().manual_seed(seed)
    for _ in range(recipe.epochs):
        order = torch.randperm(n, generator=stream).tolist()
        for begin in range(0, n, recipe.batch_size):
            yield order[begin : begin + recipe.batch_size]


@contextmanager
def _training_state(model: nn.Module, seed: int) -> Iterator[None]:
    """Within: only the newest adapter's dropout is active, drawn under `seed`.

    The model's own dropout stays off: a recipe names all the dropout there is.
    """
    newest = adapters_of(model)[-1:]
    devices = list({p.device for p in model.parameters() if p.device.type == "cuda"})
    with evaluating(model), torch.random.fork_rng(devices=devices), torch.enable_grad():
        for name, module in model.named_modules():
            if newest and name.endswith(f"lora_dropout.{newest[0]}"):
                module.train()
        torch.manual_seed(seed)
        try:
            yield
        finally:
            model.zero_grad(set_to_none=True)


def rates(recipe: StageRecipe, steps: int) -> list[float]:
    """The learning rate of each step."""
    nothing = torch.optim.SGD([torch.zeros(1)], lr=recipe.learning_rate)
    scheduler = _scheduler(nothing, recipe, steps)
    found = []
    for _ in range(steps):
        found.append(float(scheduler.get_last_lr()[0]))
        nothing.step()
        scheduler.step()
    return found


def _scheduler(optimizer: torch.optim.Optimizer, recipe: StageRecipe, steps: int) -> Any:
    from transformers import get_scheduler

    schedule = "constant_with_warmup" if recipe.schedule == "constant" else recipe.schedule
    warmup = math.ceil(recipe.warmup_ratio * steps)
    return get_scheduler(schedule, optimizer, num_warmup_steps=warmup, num_training_steps=steps)


def _optimizer(model: nn.Module, recipe: StageRecipe) -> torch.optim.Optimizer:
    groups = [
        {"params": weights, "weight_decay": decay}
        for decay, weights in zip((recipe.weight_decay, 0.0), _by_decay(model), strict=True)
        if weights
    ]
    on = {weight.device.type for weight in model.parameters() if weight.requires_grad}
    return _adamw(recipe, fused=on <= {"cpu", "cuda"})(groups, lr=recipe.learning_rate)


def _by_decay(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable weights with weight decay and without: as in the Trainer, biases and norms."""
    norms = {
        f"{name}.{own}"
        for name, module in model.named_modules()
        if isinstance(module, nn.LayerNorm)
        for own, _ in module.named_parameters(recurse=False)
    }
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            plain = name in norms or _NO_DECAY.search(name.lower())
            (free if plain else decayed).append(weight)
    return decayed, free


def _adamw(recipe: StageRecipe, *, fused: bool) -> Callable[..., torch.optim.Optimizer]:
    """Makes the optimiser; StudyError where the 8-bit one cannot be had."""
    if recipe.optimizer == "adamw":
        return partial(torch.optim.AdamW, fused=fused)
    mend = "install bitsandbytes on a machine with a CUDA GPU, or set `optimizer: adamw`."
    where = "recipe.optimizer"
    try:
        bitsandbytes = import_module("bitsandbytes")
    except ImportError as error:
        raise StudyError("adamw_8bit needs bitsandbytes.", field=where, mend=mend) from error
    if not torch.cuda.is_available():
        raise StudyError("adamw_8bit needs a CUDA GPU.", field=where, mend=mend)
    chosen: Callable[..., torch.optim.Optimizer] = bitsandbytes.optim.AdamW8bit
    return chosen

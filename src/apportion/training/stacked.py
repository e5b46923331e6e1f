"""Several training runs at once over one base model, each with the result it has alone.

| symbol | meaning |
|---|---|
| run | one training: its adapters (frozen and its own), examples, order, schedule, records |
| K | runs that are still trained; those that have made all their steps, or failed, leave |
| step | of all runs at once: everyone's next effective batch, clipping, AdamW step, learning rate |
| pass | one forward and backward of a step: everyone's next pass, side by side |

Where one run under-fills a device, most of a step is the waiting between small kernels; K runs
share these, the base model's weights, and every product with them. A run's examples, their order,
its learning rates and its clipping are its own and those of its solo run (`loop.fit`), so its
numbers are too, but for rounding: sums are made in another order. Dropout would draw other masks,
so recipes with dropout are trained alone.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from apportion.config.recipe import StageRecipe
from apportion.errors import StageError
from apportion.models.stack import Chain
from apportion.training.batches import Batch, sequence_logps
from apportion.training.loop import rates
from apportion.training.modes import evaluating
from apportion.training.objective import Groups, Objective
from apportion.training.packing import Batches
from apportion.training.stacked_weights import Sizes, StackedWeights
from apportion.training.steps import OnStep, StepLog, check_finite


@dataclass
class Run:
    """One of the runs: `schedule` is what its steps and their passes see (`loop.schedule_of`, or
    `kto.kto_schedule`); `on_step` as for `loop.fit`. `seconds` is its part of the time, by tokens.
    """

    objective: Objective
    chain: Chain
    schedule: Sequence[Sequence[Sequence[int]]]
    on_step: OnStep | None = None
    logs: list[StepLog] = field(default_factory=list)
    seconds: float = 0.0
    error: StageError | None = None


@dataclass
class _Step:
    """What a run has of a step so far: its batch's indices, and parts of its loss and means."""

    batch: list[int]
    parts: list[dict[str, torch.Tensor]] = field(default_factory=list)


def train_stacked(
    model: nn.Module,
    runs: Sequence[Run],
    recipe: StageRecipe,
    batches: Batches,
    *,
    ended: Callable[[Run], None],
) -> None:
    """Train all `runs` (from `models.stack.add_run`), which have one `recipe`, in place.

    `ended(run)` is called once for each, as soon as it has made its last step (its adapter can then
    be saved) or its loss or gradient was not finite (`run.error`): the others go on. Raises
    UnsuitedToStack before anything is trained, and what the computation itself raises.
    """
    live = list(runs)
    with evaluating(model), torch.enable_grad(), warnings.catch_warnings():
        # The block's rows are apart in memory on purpose, so that they can be summed in place.
        warnings.filterwarnings("ignore", message="grad and param do not obey")
        weights = StackedWeights(model, [run.chain for run in runs])
        schedules = {id(run): rates(recipe, len(run.schedule)) for run in runs}
        number = 0
        while live:
            number += 1
            with _timed(live, number):
                steps = _gradients(weights, batches, live, number)
                norms = weights.norms()
                lrs = [schedules[id(run)][number - 1] for run in live]
                for run, step, rate, norm in zip(live, steps, lrs, norms, strict=True):
                    _record(run, step, number, rate, norm)
                sound = [row for row, run in enumerate(live) if run.error is None]
                _leave(weights, live, sound, ended)
                lrs, norms = ([values[row] for row in sound] for values in (lrs, norms))
                if live:
                    weights.step(recipe, step=number, rates=lrs, norms=norms)
            unfinished = [i for i, run in enumerate(live) if number < len(run.schedule)]
            _leave(weights, live, unfinished, ended)


@contextmanager
def _timed(live: list[Run], number: int) -> Iterator[None]:
    """Within: a step; its time is divided among the runs by the tokens they saw."""
    runs, clock = list(live), time.perf_counter()
    yield
    took = time.perf_counter() - clock
    tokens = [run.logs[-1].tokens if run.error is None else 0 for run in runs]
    for run, seen in zip(runs, tokens, strict=True):
        run.seconds += took * seen / max(1, sum(tokens))


def _leave(
    weights: StackedWeights, live: list[Run], rows: Sequence[int], ended: Callable[[Run], None]
) -> None:
    """Go on with the runs at `rows` alone; the others end."""
    if len(rows) == len(live):
        return
    for row, run in enumerate(live):
        if row not in rows:
            weights.put_back(row)
            ended(run)
    if rows:
        weights.keep(rows)
    live[:] = [live[row] for row in rows]


def _gradients(
    weights: StackedWeights, batches: Batches, live: Sequence[Run], number: int
) -> list[_Step]:
    """The gradients of one step, and each run's parts of it."""
    todo = [run.schedule[number - 1] for run in live]
    steps = [_Step([index for micro in passes for index in micro]) for passes in todo]
    for place in range(max(map(len, todo))):
        micros = [passes[place] if place < len(passes) else [] for passes in todo]
        told = list(zip(live, micros, strict=True))
        with torch.no_grad():
            groups = [run.objective.groups_before(micro) for run, micro in told]
            before = _logps(weights, batches, groups)
        after = _logps(weights, batches, [run.objective.groups(micro) for run, micro in told])
        losses = []
        for (run, micro), step, known, logps in zip(told, steps, before, after, strict=True):
            if micro:
                loss, means = run.objective.loss(logps, known, micro, step.batch)
                losses.append(loss)
                step.parts.append({"loss": loss.detach(), **means})
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
    return steps


def _logps(
    weights: StackedWeights, batches: Batches, groups: Sequence[Groups]
) -> list[torch.Tensor]:
    """log p of every run's sequences, in nats, from one forward pass over all of them."""
    flat = [group for of_run in groups for group in of_run]
    if not flat:
        return [torch.empty(0)] * len(groups)
    batch = batches.of(flat)
    rows = [sum(map(len, of_run)) for of_run in groups]
    with weights.within(_sizes(batch, batches, groups, rows)):
        logps = sequence_logps(weights.model, batch)
    return list(torch.split(logps, rows))


def _sizes(
    batch: Batch, batches: Batches, groups: Sequence[Groups], rows: Sequence[int]
) -> dict[int, Sizes]:
    """How many of a layer's rows are whose, by how many rows the layer is given.

    Two counts that are equal in all are equal run by run: the one is a part of the other.
    """
    if batch.packed is None:
        tokens = [n * batch.ids.shape[1] for n in rows]
        return {batch.ids.numel(): tokens}
    tokens = [sum(batches.costs(of_run) or ()) for of_run in groups]
    ends = torch.tensor(tokens).cumsum(0)
    owner = torch.bucketize(torch.unique(batch.place).cpu(), ends, right=True)
    read = torch.bincount(owner, minlength=len(groups)).tolist()
    return {sum(read): read, batch.ids.numel(): tokens}


def _record(run: Run, step: _Step, number: int, rate: float, norm: float) -> None:
    """Keep the step's record; where it is not finite, the run has failed."""
    sums = {name: sum(float(part[name]) for part in step.parts) for name in step.parts[0]}
    log = StepLog(
        step=number,
        loss=sums.pop("loss"),
        lr=rate,
        grad_norm=norm,
        tokens=sum(run.objective.lengths[index] for index in step.batch),
        extra=sums | {"dropped": float(run.objective.dropped)},
    )
    try:
        check_finite(log, len(run.schedule))
    except StageError as error:
        run.error = error
        return
    run.logs.append(log)
    if run.on_step is not None:
        run.on_step(log, len(run.schedule))

"""Records of optimiser steps, read from the device without keeping it waiting."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from apportion.errors import StageError


@dataclass(frozen=True, slots=True)
class StepLog:
    """One optimiser step. `loss`: of its effective batch, before the step; `lr`: the rate used;
    `grad_norm`: before clipping; `tokens`: prompt and response tokens it saw, without padding."""

    step: int
    loss: float
    lr: float
    grad_norm: float
    tokens: int
    extra: dict[str, float] = field(default_factory=dict)


OnStep = Callable[[StepLog, int], None]


def check_finite(log: StepLog, steps: int) -> None:
    """StageError where loss or gradient norm is not a finite number."""
    for name, value in (("loss", log.loss), ("gradient norm", log.grad_norm)):
        if not math.isfinite(value):
            raise StageError(
                f"the {name} is {value} at step {log.step} of {steps}.",
                field="recipe.learning_rate",
                mend="lower the learning rate, or raise the warm-up.",
            )


class Step:
    """A step whose numbers are on their way from the device. `parts`: per forward pass, its parts
    of named means, all of the same names; `norm`: of the gradient."""

    def __init__(
        self,
        step: int,
        lr: float,
        tokens: int,
        parts: Sequence[Mapping[str, torch.Tensor]],
        norm: torch.Tensor,
    ) -> None:
        self._step, self._lr, self._tokens = step, lr, tokens
        self._names = tuple(parts[0])
        self.is_there = norm.device.type != "cuda"
        self._read = _read_later([norm, *(one for part in parts for one in part.values())])

    def log(self, constants: Mapping[str, float]) -> StepLog:
        """The record; `constants` are added to its `extra`."""
        norm, *parts = self._read()
        width = len(self._names)
        sums = {name: sum(parts[at::width]) for at, name in enumerate(self._names)}
        loss = sums.pop("loss")
        return StepLog(self._step, loss, self._lr, norm, self._tokens, {**sums, **constants})


def _read_later(numbers: Sequence[torch.Tensor]) -> Callable[[], list[float]]:
    """A function that gives the numbers; from a GPU it waits for them alone, not for what is asked
    of the GPU meanwhile."""
    if numbers[0].device.type != "cuda":
        found = [float(number) for number in numbers]
        return lambda: found
    on_host = torch.stack([number.detach().double() for number in numbers]).to(
        "cpu", non_blocking=True
    )
    arrived: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()

    def read() -> list[float]:
        arrived.synchronize()
        return [float(number) for number in on_host.tolist()]

    return read


class Records:
    """The records of a training; on a GPU each is made when the next step was asked of it, so that
    it always has something to do."""

    def __init__(self, steps: int, constants: Mapping[str, float], on_step: OnStep | None) -> None:
        self._steps, self._constants, self._on_step = steps, constants, on_step
        self._logs: list[StepLog] = []
        self._last: Step | None = None

    def add(self, step: Step) -> None:
        """StageError where the step before this one, or this one where its numbers are there
        already, had a loss or gradient that is not finite."""
        self._finish()
        self._last = step
        if step.is_there:
            self._finish()

    def all(self) -> list[StepLog]:
        """Every record, the last step's too; StageError as for `add`."""
        self._finish()
        return self._logs

    def _finish(self) -> None:
        if self._last is not None:
            log = self._last.log(self._constants)
            self._last = None
            check_finite(log, self._steps)
            self._logs.append(log)
            if self._on_step is not None:
                self._on_step(log, self._steps)

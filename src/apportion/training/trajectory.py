"""A leg of a shared trajectory: its rates, and the state that it takes over and hands on.

| symbol | meaning |
|---|---|
| s | steps of the trunk before this one, those of earlier legs included |
| w | steps of the warm-up |
| j, m | steps of this cool-down before this one, and in all |

A trunk's rate is the recipe's, times min(1, s / w); a cool-down's is that times 1 - sqrt(j / m)
(Hägele et al. 2024, arXiv 2405.18392). The state is the trained weights and AdamW's, bit for bit,
so that a trajectory in legs is one run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from apportion.errors import StageError

STATE = "state.safetensors"
_STEPS = "steps"
_OF_ADAMW = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Leg:
    """`previous`: the folder with the state of the leg before; None: it begins at the start model.
    `keep`: the folder for its own state; None where nothing goes on from it."""

    cooldown: bool
    warmup_steps: int
    previous: Path | None = None
    keep: Path | None = None

    def factor(self, before: int, step: int, steps: int) -> float:
        """What the rate of `step` (from 0) of `steps` is multiplied with, `before` steps in."""
        trunk = min(1.0, (before + step) / self.warmup_steps) if self.warmup_steps else 1.0
        # A scheduler asks once more after the last step.
        return trunk * (1 - min(1.0, step / steps) ** 0.5) if self.cooldown else trunk

    def begin(self, model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> Any:
        """Put the state of the leg before into both; returns the scheduler of this one.

        StageError where that state is not of this model.
        """
        before = 0 if self.previous is None else _restore(model, optimizer, self.previous)
        return torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.factor(before, step, steps)
        )

    def end(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Keep the state, where another leg may go on from it."""
        if self.keep is not None:
            _save(model, optimizer, self.keep / STATE)


def _save(model: nn.Module, optimizer: torch.optim.Optimizer, place: Path) -> None:
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    steps = 0
    for name, weight in _trained(model).items():
        tensors[f"weight:{name}"] = weight.detach()
        for part in _OF_ADAMW:
            tensors[f"{part}:{name}"] = optimizer.state[weight][part]
        steps = int(optimizer.state[weight]["step"])
    # A weight that is used in two places has one name here, so no two tensors share memory.
    save_file(
        {name: tensor.cpu().contiguous() for name, tensor in tensors.items()},
        place,
        metadata={_STEPS: str(steps)},
    )


def _restore(model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> int:
    """Weights and AdamW's state from `folder`; returns the steps that it had made."""
    from safetensors import safe_open

    with safe_open(folder / STATE, framework="pt") as file, torch.no_grad():
        trained = _trained(model)
        expected = {f"{part}:{name}" for name in trained for part in ("weight", *_OF_ADAMW)}
        if set(file.keys()) != expected:
            raise StageError("the state of the leg before is not of this model.", file=folder)
        for name, weight in trained.items():
            weight.copy_(file.get_tensor(f"weight:{name}"))
            optimizer.state[weight] = {
                part: file.get_tensor(f"{part}:{name}").to(weight.device) for part in _OF_ADAMW
            }
        return int(file.metadata()[_STEPS])


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}

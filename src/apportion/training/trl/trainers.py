"""TRL's trainers, with their examples tokenised beforehand and in the order of the native loop.

What is overridden, and why:

| method | in place of | because |
|---|---|---|
| `_prepare_dataset` | tokenising text | tokens are ours (`columns`); DPO and KTO take text alone |
| `_get_train_sampler` | a permutation of its own | the order is the native loop's, from one seed |
| `_save`, `_load_from_checkpoint` | all adapters, the first | the newest one is trained |
| `create_model_card`, `_send_telemetry` | a README, a call home | nobody asked for them |

`train` verifies that none of this was passed by: a TRL that renames one of these is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Sampler
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from apportion.models.policy import adapters_of, save_trained
from apportion.training.trl.settings import Method


class EpochOrder(Sampler[int]):
    """The order of each epoch, given beforehand; the trainer says which epoch it is."""

    def __init__(self, epochs: Sequence[Sequence[int]]) -> None:
        self._epochs = epochs
        self.state: Any = None  # the trainer's, once it has one
        self.drawn = 0

    def __iter__(self) -> Iterator[int]:
        self.drawn += 1
        return iter(self._epochs[int(self.state.epoch or 0)])

    def __len__(self) -> int:
        return len(self._epochs[0])


class Bridged:
    """What the three trainers have in common; comes before TRL's class."""

    order: EpochOrder  # `train` makes a class with it for each training
    model: Any
    args: Any
    state: Any

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def _get_train_sampler(self, dataset: Any = None) -> EpochOrder:
        self.order.state = _Live(self)
        return self.order

    def create_model_card(self, *_: Any, **__: Any) -> None:
        pass

    def _send_telemetry(self) -> None:
        pass

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if self.args.should_save:
            save_trained(self.model, Path(output_dir or self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_trained(self.model if model is None else model, Path(resume_from_checkpoint))


class _Live:
    """The state that a trainer has now: it makes a new one when training begins."""

    def __init__(self, trainer: Bridged) -> None:
        self._trainer = trainer

    @property
    def epoch(self) -> float | None:
        found: float | None = self._trainer.state.epoch
        return found


def load_trained(model: Any, folder: Path) -> None:
    """Put what `save_trained` wrote back into `model`: all its weights, or its newest adapter."""
    from safetensors.torch import load_file

    names = adapters_of(model)
    if not names:
        missing, unknown = model.load_state_dict(load_file(folder / "model.safetensors"), False)
        tied = set(model.all_tied_weights_keys or ())
        if unknown or set(missing) - tied:
            raise ValueError(f"the checkpoint is of another model: {sorted(unknown or missing)}")
        return
    from peft import set_peft_model_state_dict

    weights = load_file(folder / "adapter_model.safetensors")
    found: Any = set_peft_model_state_dict(model, weights, adapter_name=names[-1])
    if found.unexpected_keys:
        raise ValueError(f"the checkpoint is of another adapter: {found.unexpected_keys}")


class BridgedSFT(Bridged, SFTTrainer):
    """SFT on tokenised rows."""


class BridgedDPO(Bridged, DPOTrainer):
    """DPO on tokenised pairs."""


class BridgedKTO(Bridged, KTOTrainer):
    """KTO on tokenised labels in their groups, with the mismatched responses."""


CLASSES: dict[Method, tuple[Any, Any]] = {
    "sft": (BridgedSFT, SFTConfig),
    "dpo": (BridgedDPO, DPOConfig),
    "kto": (BridgedKTO, KTOConfig),
}


def silence_dropout(model: Any) -> None:
    """Only the newest adapter's dropout stays: a recipe names all the dropout there is."""
    newest = adapters_of(model)[-1:]
    for name, module in model.named_modules():
        if newest and name.endswith(f"lora_dropout.{newest[0]}"):
            continue
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for attribute, value in list(vars(module).items()):
            if "dropout" in attribute and isinstance(value, float):
                setattr(module, attribute, 0.0)

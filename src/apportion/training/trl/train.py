"""One training by TRL: examples to a data set on disk, a trainer, checkpoints, step records."""

from __future__ import annotations

import gc
import json
import os
import random
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torch import nn
from transformers import PrinterCallback, TrainerCallback

from apportion.errors import StageError
from apportion.models.policy import causal_lm
from apportion.training.steps import OnStep, StepLog, check_finite
from apportion.training.trl.columns import Columns, lengths_of
from apportion.training.trl.installed import require_tracker, require_trl
from apportion.training.trl.settings import Settings, arguments, steps
from apportion.training.trl.trainers import CLASSES, EpochOrder, silence_dropout

_DATA = "data"
_CHECKPOINTS = "checkpoints"
# Means of a step in TRL's log, by their names in the native loop.
_NAMES = {
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
    "rewards/chosen": "chosen_reward",
    "rewards/rejected": "rejected_reward",
    "logps/chosen": "chosen_logp",
    "logps/rejected": "rejected_logp",
    "kl": "kl",
}
_REFERENCE = ("ref_chosen_logps", "ref_rejected_logps", "ref_logps", "ref_KL_logps")


@dataclass(frozen=True)
class Trained:
    """Step records, and what TRL found for the reference, by its names for it (in nats, in the
    order of the rows); empty for SFT."""

    logs: list[StepLog]
    reference: dict[str, list[float]]


def train(
    model: nn.Module,
    tokenizer: Any,
    columns: Columns,
    settings: Settings,
    folder: Path,
    *,
    reference: Callable[[], nn.Module] | None = None,
    dropped: int = 0,
    on_step: OnStep | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> Trained:
    """Train `model` (from `prepare_for_training`) in place with TRL's trainer.

    `columns`: see `apportion.training.trl.columns`. `folder` keeps the examples and checkpoints; a
    training that finds its own unfinished checkpoint there goes on from it. `reference`: makes the
    model that a preference method is pulled to, a second copy; it is freed before training begins.
    Raises StageError where loss or gradient is not finite or TRL is not as expected, StudyError
    where TRL, a tracker or an optimiser is missing.
    """
    require_trl()
    for tracker in settings.trackers:
        require_tracker(tracker)
    n = len(next(iter(columns.values())))
    if n == 0:
        raise StageError(
            "no example is left to train on.", mend="raise `max_length`, or give more examples."
        )
    with _kept_quiet():
        data = _on_disk(columns, folder / _DATA)
        trainer = _trainer(model, tokenizer, data, settings, folder, reference)
        known = _precomputed(trainer, columns)
        order = steps(n, settings)
        record = _Record(order, lengths_of(columns), dropped, on_step)
        for callback in (record, _Save(settings.save_seconds), *callbacks):
            trainer.add_callback(callback)
        silence_dropout(trainer.model)
        trainer.train(resume_from_checkpoint=last_checkpoint(folder / _CHECKPOINTS))
        if trainer.order.drawn == 0:
            raise StageError("this TRL draws its examples in another order than it was given.")
        logs = [record.of(row) for row in trainer.state.log_history if "loss" in row]
        # It is full of cycles, and would keep the optimiser's state beside the next stage's.
        del trainer, record
        gc.collect()
    if len(logs) != len(order):
        raise StageError(f"TRL made {len(logs)} steps where {len(order)} were planned.")
    return Trained(logs, known)


def _trainer(
    model: nn.Module,
    tokenizer: Any,
    data: Any,
    settings: Settings,
    folder: Path,
    reference: Callable[[], nn.Module] | None,
) -> Any:
    """TRL's trainer, with its reference log-probabilities computed and the reference let go."""
    kind, config = CLASSES[settings.method]
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    order, recipe = steps(len(data), settings), settings.recipe
    per_epoch = len(order) // recipe.epochs
    epochs = [
        [index for step in order[e * per_epoch : (e + 1) * per_epoch] for index in step]
        for e in range(recipe.epochs)
    ]
    extra: dict[str, Any] = {}
    if settings.method != "sft":
        if reference is None:
            raise StageError(f"{settings.method} needs a reference.")
        # Without PEFT's wrapper TRL sees one model whose every active adapter counts. With it, TRL
        # would look for an adapter to switch off, and lose the frozen ones of the chain.
        extra["ref_model"] = causal_lm(reference().requires_grad_(False).eval())
    args = config(**arguments(settings, folder / _CHECKPOINTS, len(data), processes=processes))
    if processes == 1:
        args._n_gpu = 1  # without a launcher one GPU is used, however many are seen
    # TRL may ask for the order while it is made: a class of its own has it, for this once.
    kind = type(kind.__name__, (kind,), {"order": EpochOrder(epochs)})
    trainer = kind(model=model, args=args, train_dataset=data, processing_class=tokenizer, **extra)
    trainer.remove_callback(PrinterCallback)
    if settings.by_sequence:
        # Then the Trainer does not weigh a step's micro-batches by their tokens.
        trainer.model_accepts_loss_kwargs = False
    if extra:
        del extra["ref_model"]
        trainer.ref_model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return trainer


def _on_disk(columns: Columns, folder: Path) -> Any:
    """The examples as a data set in files, so that every process sees the same ones."""
    rank = int(os.environ.get("RANK", "0"))
    done = folder / "dataset_info.json"
    if not done.exists() and rank == 0:
        building = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(building, ignore_errors=True)
        datasets.Dataset.from_dict(columns).save_to_disk(building)
        os.replace(building, folder)
    while not done.exists():
        time.sleep(0.2)
    return datasets.load_from_disk(folder)


def _precomputed(trainer: Any, columns: Columns) -> dict[str, list[float]]:
    """What TRL computed for the reference. StageError where its examples are not ours."""
    data = trainer.train_dataset
    for name, values in columns.items():
        if name not in data.column_names or data[name][:] != values:
            raise StageError(
                f"this TRL changed the examples it was given ({name}).",
                mend="install the version of TRL that the package was tested with.",
            )
    return {name: list(data[name][:]) for name in _REFERENCE if name in data.column_names}


class _Record(TrainerCallback):
    """Turns TRL's log into step records, as they come and at the end."""

    def __init__(
        self,
        order: Sequence[Sequence[int]],
        lengths: Sequence[int],
        dropped: int,
        on_step: OnStep | None,
    ) -> None:
        self._order, self._lengths = order, lengths
        self._dropped, self._on_step = dropped, on_step

    def of(self, row: dict[str, Any]) -> StepLog:
        step = int(row["step"])
        extra = {ours: float(row[name]) for name, ours in _NAMES.items() if name in row}
        return StepLog(
            step=step,
            loss=float(row["loss"]),
            lr=float(row["learning_rate"]),
            grad_norm=float(row["grad_norm"]),
            tokens=sum(self._lengths[index] for index in self._order[step - 1]),
            extra=extra | {"dropped": float(self._dropped)},
        )

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        logs = kwargs["logs"]
        if "loss" not in logs:
            return
        record = self.of({**logs, "step": state.global_step})
        check_finite(record, len(self._order))
        if self._on_step is not None and state.is_world_process_zero:
            self._on_step(record, len(self._order))


class _Save(TrainerCallback):
    """Asks for a checkpoint when the last one (or the beginning) is long ago."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        due = time.monotonic() - self._last >= self._seconds
        if args.world_size > 1:  # all processes save together, or they would wait for each other
            flag = torch.tensor([float(due)], device=args.device)
            torch.distributed.broadcast(flag, src=0)
            due = bool(flag.item())
        if due and state.global_step < state.max_steps:
            control.should_save = True
            self._last = time.monotonic()


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint in `folder` that was written to its end; torn ones are removed.

    Its state is what a checkpoint is finished with.
    """
    for place in sorted(folder.glob("checkpoint-*"), key=_step_of, reverse=True):
        try:
            if json.loads((place / "trainer_state.json").read_text())["global_step"] > 0:
                return str(place)
        except (OSError, ValueError, KeyError, TypeError):
            shutil.rmtree(place, ignore_errors=True)
    return None


def _step_of(place: Path) -> int:
    number = place.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


@contextmanager
def _kept_quiet() -> Iterator[None]:
    """Within: no progress bars, and random streams that may be seeded; then all as it was."""
    python, numpy, bars = random.getstate(), np.random.get_state(), os.environ.get("TQDM_DISABLE")
    shown = datasets.are_progress_bars_disabled()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    os.environ["TQDM_DISABLE"] = "1"
    datasets.disable_progress_bars()
    with (
        torch.random.fork_rng(devices=devices),
        torch.enable_grad(),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            if not shown:
                datasets.enable_progress_bars()
            if bars is None:
                os.environ.pop("TQDM_DISABLE", None)
            else:
                os.environ["TQDM_DISABLE"] = bars

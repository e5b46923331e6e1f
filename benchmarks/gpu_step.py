"""A training step on a GPU: TRL's trainers against ours, padded, packed and with CUDA graphs.

    python benchmarks/gpu_step.py [--length 256] [--batch 16] [--share 0.5] [--steps 40] [--rank 16]

A model of the shape of SmolLM2-135M (or Llama 3.2 1B) with random weights, in bfloat16 over 32-bit
weights; the same examples, batches and order on every side, all of a batch in one pass. TRL gets
bf16, no gradient checkpointing, the fused optimiser and precomputed log-probabilities of the
reference. Milliseconds a step (median; mean, with what is recorded or compiled after the first
steps), tokens per second, peak memory, and the loss of the first and last step, which must agree.
The package compiles only where the stage is long (`compiled.py`); here, where it is asked for.
With `--rank`, a LoRA adapter on all linear layers is trained, on both sides the same.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from throughput import SANDBOX, SCRATCH, Data, made_up, scratch

from apportion.config.recipe import LoraRecipe, PreferenceRecipe, SftRecipe, StageRecipe
from apportion.models.policy import prepare_for_training
from apportion.training import compiled as compiling
from apportion.training import graphs
from apportion.training.batches import sequence_logps
from apportion.training.compiled import layers_of
from apportion.training.dpo import DpoObjective, dpo_loss
from apportion.training.loop import fit
from apportion.training.packing import Batches
from apportion.training.recorder import Recorder
from apportion.training.sft import SftObjective, sft_loss
from apportion.training.steps import StepLog

# Llama 3.2 1B's shape: so large that the GPU, not the processor, is what is waited for
SHAPES = {**SCRATCH, "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
          "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256}}  # fmt: skip
WARM = 6  # steps that are left out of the rates


@dataclass(frozen=True)
class Side:
    """What one side took. `first`: seconds until the numbers of the first step were there."""

    median: float
    mean: float
    rate: float
    first: float
    peak: float
    losses: tuple[float, float]


class Ticks:
    """Notes when the numbers of each step were there."""

    def __init__(self) -> None:
        self.begin, self.at = time.perf_counter(), list[float]()

    def __call__(self, log: StepLog, steps: int) -> None:
        self.at.append(time.perf_counter())

    def side(self, logs: Sequence[StepLog]) -> Side:
        # Ours tells of a step when the next one was asked for: the last interval is none.
        each = [b - a for a, b in zip(self.at[WARM - 1 : -1], self.at[WARM:-1], strict=False)]
        tokens = sum(log.tokens for log in logs[WARM:-1])
        return Side(
            statistics.median(each),
            statistics.mean(each),
            tokens / sum(each),
            self.at[0] - self.begin,
            torch.cuda.max_memory_allocated() / 2**20,
            (logs[0].loss, logs[-1].loss),
        )


def recipe_for(method: str, batch: int) -> Any:
    how = {"epochs": 1, "batch_size": batch, "learning_rate": 1e-6}
    return SftRecipe(**how) if method == "sft" else PreferenceRecipe(**how)


def ours(base: Any, lora: LoraRecipe | None, method: str, data: Data, batch: int, how: str) -> Side:
    """`how`: padded, packed, graphs; with `compiled` in it, the layers are compiled too; with
    `anyway`, passes are recorded however large they are."""
    model: Any = prepare_for_training(copy.deepcopy(base), lora, seed=0).to("cuda")
    compiling.WORTH = 0.0 if "compiled" in how else math.inf
    if "anyway" in how:
        graphs.LAUNCH_BOUND = math.inf
    recipe: StageRecipe = recipe_for(method, batch)
    recorder = Recorder(model) if "graphs" in how else None
    batches = Batches("padded" not in how, 0, torch.device("cuda"), recorder)
    fixed = reference(model, data, batches) if method == "dpo" else []
    told: Any = (
        SftObjective(data.rows, "token")
        if method == "sft"
        else DpoObjective(data.pairs, fixed, 0.1)
    )
    if method == "sft":
        loss = sft_loss(model, data.rows, "token", batches)
    else:
        loss = dpo_loss(model, data.pairs, fixed, 0.1, batches)
    costs = batches.costs(told.groups(range(len(told.lengths))))
    torch.cuda.reset_peak_memory_stats()
    alone = layers_of(model) if "compiled" in how and recorder is None else []
    ticks = Ticks()
    with compiling.compiled(alone):
        logs = fit(model, loss, told.lengths, recipe, seed=0, on_step=ticks, costs=costs,
                   expect=batches.expecting(told))  # fmt: skip
    if recorder is not None and recorder.refused:
        print(f"  refused: {recorder.refused}", flush=True)
    return ticks.side(logs)


def reference(model: Any, data: Data, batches: Batches) -> list[tuple[float, float]]:
    """log p of chosen and rejected before training, as TRL computes it before its first step."""
    found: list[float] = []
    with torch.no_grad():
        for begin in range(0, len(data.pairs), 16):
            found += sequence_logps(model, batches.of(data.pairs[begin : begin + 16])).tolist()
    return list(zip(found[::2], found[1::2], strict=True))


def theirs(base: Any, lora: LoraRecipe | None, method: str, data: Data, batch: int) -> Side:
    import apportion.training.trl.train as bridge
    from apportion.models.resolve import resolve_model
    from apportion.models.template import load_tokenizer
    from apportion.training.trl import settings as trl
    from apportion.training.trl.columns import dpo_columns, sft_columns

    best = {"gradient_checkpointing": False, "gradient_checkpointing_kwargs": None}
    bridge.arguments = lambda *a, **k: trl.arguments(*a, **k) | best  # type: ignore[attr-defined]

    def make() -> Any:
        return prepare_for_training(copy.deepcopy(base), lora, seed=0)

    columns = sft_columns(data.rows) if method == "sft" else dpo_columns(data.pairs)
    settings = trl.Settings(
        method,  # type: ignore[arg-type]
        recipe_for(method, batch), 8192, 0, dtype="bfloat16",
    )  # fmt: skip
    torch.cuda.reset_peak_memory_stats()
    ticks = Ticks()
    with tempfile.TemporaryDirectory() as folder:
        trained = bridge.train(
            make(), load_tokenizer(resolve_model(SANDBOX)), columns, settings, Path(folder),
            reference=None if method == "sft" else make, on_step=ticks,
        )  # fmt: skip
    return ticks.side(trained.logs)


def show(name: str, made: Callable[[], Side], base: float | None) -> float | None:
    """One line; the rate, if it could be made."""
    try:
        side = made()
    except Exception as error:  # the other sides are worth their time
        print(f"{name:24} failed: {type(error).__name__}: {str(error)[:200]}", flush=True)
        return None
    times = f"{side.rate / base:6.2f}" if base else f"{'':6}"
    print(
        f"{name:24} {1e3 * side.median:8.1f} {1e3 * side.mean:8.1f} {side.rate:9.0f} {times} "
        f"{side.first:7.1f} {side.peak:8.0f}   {side.losses[0]:.4f} {side.losses[1]:.4f}",
        flush=True,
    )
    torch.cuda.empty_cache()
    return side.rate


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--size", default="135M", choices=list(SHAPES))
    asked.add_argument("--length", type=int, nargs="+", default=[256], help="mean tokens of a row")
    asked.add_argument("--rank", type=int, help="of a LoRA adapter; without, all weights train")
    asked.add_argument("--batch", type=int, default=16)
    asked.add_argument("--share", type=float, default=0.5, help="the prompt's part")
    asked.add_argument("--steps", type=int, default=40)
    asked.add_argument(
        "--how", nargs="+", default=["padded", "packed", "graphs", "compiled graphs"]
    )
    asked.add_argument("--method", nargs="+", default=["sft", "dpo"])
    given = asked.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no GPU here")
    print(f"{given.size} on {torch.cuda.get_device_name()}, torch {torch.__version__}")
    heads = ("median ms", "mean", "tokens/s", "times", "first s", "peak MB")
    print(f"{'':24}" + "".join(f"{head:>9}" for head in heads) + "  loss, first and last")
    base = scratch({**SHAPES[given.size], "max_position_embeddings": 8192}).to(torch.bfloat16)
    base.config.dtype = torch.bfloat16
    lora = None if given.rank is None else LoraRecipe(r=given.rank, alpha=float(given.rank))
    for length in given.length:
        data = made_up(given.steps * given.batch, length, given.share, 500, given.batch)
        for method in given.method:
            name = f"{method} {length}"
            rate = show(f"{name} TRL", partial(theirs, base, lora, method, data, given.batch), None)
            for how in given.how:
                show(
                    f"{name} {how}", partial(ours, base, lora, method, data, given.batch, how), rate
                )


if __name__ == "__main__":
    main()

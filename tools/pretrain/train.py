"""Pretrain a sandbox model on two cores; resumes where it was stopped.

    python tools/pretrain/train.py --size small --work /tmp/pretrain \\
        --tokenizer /tmp/pretrain/tokenizer --assets /tmp/pretrain/assets/small \\
        --log tools/pretrain/log-small.jsonl
    python tools/pretrain/train.py --assets /tmp/pretrain/assets/small --evaluate 200

Two processes of one thread each share every step (gradients are averaged): on two cores that other
jobs use too this is faster than one process of two threads, whose threads wait for each other.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from corpus import SHARES
from packing import LAST, LENGTH, SHARD, batch_of, prepare
from shapes import SHAPES, Loss, fresh
from torch import distributed, multiprocessing
from transformers import AutoTokenizer, LlamaForCausalLM

HELD = 8  # held-out rows of each world
WARMUP, FLOOR = 200, 0.02  # steps; of the peak, at the end of the cosine
ON_PEAK = 0.4  # of the first run's peak, in the last phase
BETAS, DECAY, CLIP = (0.9, 0.98), 0.1, 1.0
SAVE_EVERY, LOG_EVERY = 250, 50


@dataclass(frozen=True)
class Job:
    """One run: what all its processes are told."""

    size: str
    work: Path
    tokenizer: Path
    assets: Path
    log: Path
    steps: int
    workers: int
    peak: float
    rows: tuple[Path, ...]
    batch: int  # rows of a step, over all processes
    stop: int
    compiled: bool
    full: bool  # products in 32 bits, for processors that are slow at 16
    start: Path | None  # a published model to go on from, with an optimiser of its own

    @property
    def folder(self) -> Path:
        return self.work / (self.size if self.start is None else f"{self.size}-on")

    @property
    def state(self) -> Path:
        return self.folder / "state.pt"


def rate(step: int, steps: int) -> float:
    """The learning rate, of its peak: linear warm-up, then cosine to `FLOOR`."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    done = (step - WARMUP) / max(1, steps - WARMUP)
    return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done))


def adamw(model: LlamaForCausalLM, peak: float) -> torch.optim.Optimizer:
    """AdamW, with decay on matrices only."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim == 2], "weight_decay": DECAY},
        {"params": [p for p in model.parameters() if p.ndim != 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=peak, betas=BETAS, fused=True)


def publish(model: LlamaForCausalLM, job: Job) -> None:
    """Write the model in float16, with its tokenizer, for everybody else."""
    half = copy.deepcopy(model).half()
    largest = max(float(p.detach().abs().max()) for p in half.parameters())
    assert math.isfinite(largest), "a weight does not fit float16"
    half.save_pretrained(job.assets)
    (job.assets / "model.safetensors").chmod(0o644)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(job.tokenizer / name, job.assets / name)
    print(f"published {job.assets}: largest weight {largest:.2f}", flush=True)


def averaged(model: LlamaForCausalLM, workers: int) -> None:
    """Every process's gradients become their mean."""
    grads = [p.grad for p in model.parameters()]
    flat = torch.cat([grad.reshape(-1) for grad in grads])
    distributed.all_reduce(flat)
    flat /= workers
    for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(part.view_as(grad))


class Held:
    """Fixed held-out rows of each world; the processes share the worlds.

    They go through the loss some `rows` at a time, the shape that it was compiled for.
    """

    def __init__(self, tokenizer: object, loss: Callable, rows: int, who: int, of: int) -> None:
        self.loss = loss
        self.mine = {
            place: [
                torch.from_numpy(part.astype(np.int64)).split(rows)
                for part in batch_of(world, tokenizer, max(HELD, rows))
            ]
            for place, world in enumerate(SHARES)
            if place % of == who
        }

    def losses(self) -> dict[str, float]:
        """Mean loss of each world now."""
        found = torch.zeros(len(SHARES))
        for place, batches in self.mine.items():
            parts = [self.loss(*batch).detach() for batch in zip(*batches, strict=True)]
            found[place] = torch.stack(parts).mean()
        distributed.all_reduce(found)
        return dict(zip(SHARES, (round(x, 4) for x in found.tolist()), strict=True))


def save(job: Job, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, **at: float) -> None:
    """Replace the checkpoint as a whole."""
    new = job.state.with_suffix(".new")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), **at}, new)
    new.replace(job.state)


def resumed(
    job: Job, model: LlamaForCausalLM, optimizer: torch.optim.Optimizer
) -> tuple[int, float]:
    """Where the checkpoint is, with its weights: (steps done, seconds they took)."""
    if not job.state.exists():
        return 0, 0.0
    saved = torch.load(job.state, weights_only=True)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return saved["step"], saved["elapsed"]


def work(who: int, job: Job) -> None:
    """One process of a run."""
    torch.set_num_threads(1)
    meeting = job.folder / "meeting"
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=who, world_size=job.workers
    )
    tokenizer = AutoTokenizer.from_pretrained(job.tokenizer)
    model = fresh(job.size, tokenizer)
    if job.start is not None:
        model.load_state_dict(LlamaForCausalLM.from_pretrained(job.start).float().state_dict())
    mine = job.batch // job.workers
    loss_of: Callable = Loss(model, mine, LENGTH, torch.float32 if job.full else torch.bfloat16)
    if job.compiled:
        loss_of = torch.compile(loss_of, dynamic=False)
    files = [np.load(path, mmap_mode="r") for path in job.rows]
    held = Held(tokenizer, loss_of, mine, who, job.workers)
    optimizer = adamw(model, job.peak)
    first, before = resumed(job, model, optimizer)
    began, losses = time.monotonic(), []
    for step in range(first, min(job.stop, job.steps)):
        for group in optimizer.param_groups:
            group["lr"] = job.peak * rate(step, job.steps)
        file, row = divmod(step * job.batch, SHARD)
        taken = files[file][:, row + who * mine : row + (who + 1) * mine].astype(np.int64)
        loss = loss_of(*torch.from_numpy(taken))
        model.zero_grad(set_to_none=True)
        loss.backward()
        if job.workers > 1:
            averaged(model, job.workers)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        losses.append(float(loss.detach()))
        done, elapsed = step + 1, before + time.monotonic() - began
        if done % LOG_EVERY == 0 or done == job.steps:
            told = {
                "step": done,
                "tokens": done * job.batch * LENGTH,
                "loss": round(sum(losses) / len(losses), 4),
                "held_out": held.losses(),
                "lr": round(job.peak * rate(step, job.steps), 7),
                "grad_norm": round(float(norm), 3),
                "elapsed_s": round(elapsed, 1),
            }
            losses = []
            if who == 0:
                with job.log.open("a") as stream:
                    stream.write(json.dumps(told) + "\n")
        if who == 0 and (done % SAVE_EVERY == 0 or done == job.steps):
            save(job, model, optimizer, step=done, elapsed=elapsed)
    if who == 0:
        publish(model, job)
    distributed.destroy_process_group()


def pretrain(job: Job) -> None:
    """Train from the last checkpoint, or from nothing, and publish."""
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / "meeting").unlink(missing_ok=True)
    multiprocessing.spawn(work, args=(job,), nprocs=job.workers)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SHAPES, default="small")
    parser.add_argument("--work", type=Path, default=Path("/tmp/pretrain"))
    parser.add_argument("--tokenizer", type=Path, default=Path("/tmp/pretrain/tokenizer"))
    parser.add_argument("--assets", type=Path, required=True, help="where the model is written")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--tokens", type=int, help="padding included; else what the size has")
    parser.add_argument("--stop", type=int, default=10**9, help="stop after this step, for a trial")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--eager", action="store_true", help="without torch.compile (slower)")
    parser.add_argument(
        "--float32", action="store_true", help="products in 32 bits, where 16 are slow"
    )
    parser.add_argument(
        "--on", type=Path, metavar="DIR", help="the last phase, from the model published there"
    )
    parser.add_argument("--evaluate", type=int, default=0, help="score on so many items instead")
    told = parser.parse_args()
    if told.evaluate:
        from evaluate import evaluate

        evaluate(told.assets, told.evaluate)
        return
    shape = SHAPES[told.size]
    first, peak = (shape.skip, shape.peak) if told.on is None else (LAST, ON_PEAK * shape.peak)
    steps = (told.tokens or shape.tokens) // (shape.rows * LENGTH)
    job = Job(
        size=told.size,
        work=told.work,
        tokenizer=told.tokenizer,
        assets=told.assets,
        log=told.log or Path(f"tools/pretrain/log-{told.size}.jsonl"),
        steps=steps,
        workers=told.workers,
        peak=peak,
        rows=tuple(prepare(told.work, told.tokenizer, first, steps * shape.rows)),
        batch=shape.rows,
        stop=told.stop,
        compiled=not told.eager,
        full=told.float32,
        start=told.on,
    )
    pretrain(job)


if __name__ == "__main__":
    main()

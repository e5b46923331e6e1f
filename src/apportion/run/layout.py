"""How many workers and threads a plan is run with: a pure function of models and machine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apportion.compile import Plan

SMALL_BYTES = 100_000_000  # below: one thread per stage is fastest and more of them fit


@dataclass(frozen=True)
class Layout:
    """`workers` processes (0: this one) of `threads` threads; `devices`: CUDA ids, "" for none."""

    workers: int
    threads: int
    devices: tuple[str, ...] = ("",)


def choose_layout(
    weights_bytes: int | None, *, cores: int, gpus: tuple[str, ...] = (), workers: int | None = None
) -> Layout:
    """The layout for models of at most `weights_bytes` (None: unknown, taken as large).

    Small models: a worker per core, one thread each, and one thread whatever `workers` says, so
    that numbers never depend on how many workers there are. Large ones: one worker with all cores.
    With GPUs: a worker per GPU.
    """
    if gpus:
        count = len(gpus) if workers is None else workers
        return Layout(count, max(1, cores // max(1, count)), gpus)
    if weights_bytes is not None and weights_bytes < SMALL_BYTES:
        return Layout(cores if workers is None else workers, 1)
    count = 1 if workers is None else workers
    return Layout(count, max(1, cores // max(1, count)))


def machine_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def machine_gpus() -> tuple[str, ...]:
    """Ids of the CUDA devices that torch can use; torch is imported only where there may be any."""
    from apportion.models.gpu import cuda_is_available

    if not cuda_is_available():
        return ()
    import torch

    count = torch.cuda.device_count()
    listed = [
        part for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip()
    ]
    return tuple(listed[:count]) if listed else tuple(str(i) for i in range(count))


def weights_bytes(names: Iterable[str]) -> int | None:
    """Bytes of the largest model's weight files; None where one is not on this disk."""
    from apportion.models.resolve import resolve_model

    largest = 0
    for name in sorted(set(names)):
        ref = resolve_model(name)
        if ref.kind == "hub":
            return None
        files = Path(ref.path).glob("*.safetensors")
        largest = max(largest, sum(file.stat().st_size for file in files))
    return largest


def plan_layout(plan: Plan, workers: int | None) -> Layout:
    """The layout of a plan on this machine."""
    size = weights_bytes(cell.model for cell in plan.cells)
    return choose_layout(size, cores=machine_cores(), gpus=machine_gpus(), workers=workers)

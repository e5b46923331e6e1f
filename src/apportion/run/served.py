"""From a generate stage's ancestors to what vLLM loads: a model, and an adapter over it or none.

| trained | model | adapter |
|---|---|---|
| nothing | the base | none |
| all weights | the artifact | none |
| an adapter, 16 bits | the base | the artifact |
| a chain of two, 16 bits | the base | their sum, as one of twice the rank |
| a second one over the first merged in 16 bits | base and first, merged | the second |
| adapters, in float32 | all merged | none: vLLM computes adapters in 16 bits alone |
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from apportion.models.resolve import ModelRef, hub_commit
from apportion.run.context import Context
from apportion.run.export.weights import CONFIG, one_adapter, whole_model
from apportion.run.policies import merged_adapters


@dataclass(frozen=True)
class Served:
    """`model`: a folder, or a hub id with its commit; `adapter`: a folder in PEFT's format."""

    model: str
    revision: str | None
    adapter: Path | None


def base_of(ref: ModelRef) -> Served:
    """The base model as vLLM is told of it."""
    return Served(ref.path, hub_commit(ref) if ref.kind == "hub" else None, None)


@contextmanager
def served(context: Context, ref: ModelRef) -> Iterator[Served]:
    """Within: what the stage's model is for vLLM; folders written for it are removed afterwards."""
    # By the stage's key: what a killed run left is removed when the stage is run again.
    folder = context.cache / "vllm" / context.stage.key
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield _served(context, ref, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _served(context: Context, ref: ModelRef, folder: Path) -> Served:
    chain = [ancestor.folder for ancestor in context.ancestors]
    if not chain:
        return base_of(ref)
    if not (chain[-1] / CONFIG).is_file():
        return Served(str(chain[-1]), None, None)
    merged = merged_adapters(context)
    if context.stage.spec["vllm"]["max_lora_rank"] is None:
        return _whole(chain, ref, folder, merged)
    if merged:
        return replace(_whole(chain[:merged], ref, folder, merged), adapter=chain[-1])
    if len(chain) == 1:
        return replace(base_of(ref), adapter=chain[0])
    folder.mkdir(parents=True)
    one_adapter(chain, ref, folder)
    return replace(base_of(ref), adapter=folder)


def _whole(chain: list[Path], ref: ModelRef, folder: Path, merged: int) -> Served:
    folder.mkdir(parents=True)
    whole_model(chain, ref, folder, merge_16bit=merged)
    return Served(str(folder), None, None)

"""What a stage body is given, and how its kind leads to it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apportion.compile import Stage
    from apportion.store.record import Record

DEFAULT_BODIES = "apportion.run.bodies:BODIES"


@dataclass(frozen=True)
class Ancestor:
    """A finished stage that this one builds on: its record and its verified artifact."""

    record: Record
    folder: Path


@dataclass(frozen=True)
class Context:
    """One execution of one stage.

    `ancestors`: the stages it builds on, oldest first, the parent last (so for a generation after
    two training stages: SFT, preference). `out`: the folder to write into. `cache`: a folder
    shared by all stages of the store. `progress(fraction)` may be called as often as wanted.
    """

    stage: Stage
    ancestors: tuple[Ancestor, ...]
    out: Path
    cache: Path
    threads: int
    progress: Callable[[float], None]


Body = Callable[[Context], Mapping[str, Any]]  # returns the summary


def find_bodies(dotted: str) -> Mapping[str, Body]:
    """The mapping from kind to body at `package.module:NAME`."""
    module, _, name = dotted.partition(":")
    bodies: Mapping[str, Body] = getattr(importlib.import_module(module), name)
    return bodies


def warm_up(dotted: str, kind: str) -> None:
    """Import what a kind of stage needs, so that no stage's time counts the imports."""
    if dotted == DEFAULT_BODIES and kind != "score":
        import peft  # noqa: F401
        import torch  # noqa: F401
        from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast  # noqa: F401

"""What a stage body is given, and how its kind leads to it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

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


class Keeper(Protocol):
    """Takes the stages of a group one by one, as soon as each is at its end."""

    def done(
        self, context: Context, write: Callable[[Path], Mapping[str, Any]], seconds: float
    ) -> None:
        """Keep what `write(folder)` writes, and the summary it returns. `seconds`: its part of
        what the group took."""
        ...

    def failed(self, context: Context, error: Exception) -> None:
        """It failed, with its own error; the others go on."""
        ...


# Runs stages at once. What it keeps nothing of, whether it returns or raises, is run alone.
GroupBody = Callable[[Sequence[Context], Keeper], None]


@dataclass(frozen=True)
class Bodies:
    """What runs each kind of stage, and what runs a group of training stages (if anything)."""

    of_kind: Mapping[str, Body]
    of_group: GroupBody | None = None


def find_bodies(dotted: str) -> Bodies:
    """The mapping from kind to body at `package.module:NAME`, and that module's `GROUP_BODY`."""
    module, _, name = dotted.partition(":")
    found = importlib.import_module(module)
    return Bodies(getattr(found, name), getattr(found, "GROUP_BODY", None))


def warm_up(dotted: str, stage: Stage) -> None:
    """Import what a stage needs, so that no stage's time counts the imports.

    peft takes as long to import as torch and transformers together, so it waits for a stage that
    trains one; a worker that begins by answering with an adapter counts it once, in that stage.
    """
    if dotted == DEFAULT_BODIES and stage.kind != "score":
        import torch  # noqa: F401
        from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast  # noqa: F401

        if stage.spec.get("lora") is not None:
            import peft  # noqa: F401

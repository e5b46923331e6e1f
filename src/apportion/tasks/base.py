"""A task: where its examples come from, how it is asked, and how a response is scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from apportion.data.records import Demonstration, Item, Label, Pair
from apportion.metrics.ifeval import Verdict


@dataclass(frozen=True, slots=True)
class ItemScore:
    """One response's score, each in [0, 1]; `format_ok` says whether the strict format was kept."""

    strict: float
    lenient: float
    format_ok: bool
    weight: float = 1.0  # in means over items: an item of three instructions may count as three
    verdict: Verdict | None = None  # per instruction, where the metric has more to say


class Pool(Protocol):
    """Where examples come from. `n` first ones of a seeded order: a larger n only appends."""

    def demonstrations(self, n: int, *, seed: int) -> list[Demonstration]: ...

    def pairs(self, n: int, *, seed: int) -> list[Pair]: ...

    def labels(self, n: int, *, seed: int) -> list[Label]: ...

    def items(self, n: int) -> list[Item]: ...

    def capacity(self, side: Literal["sft", "preference", "test"]) -> int | None:
        """How many examples there are; None: endless."""
        ...


@dataclass(frozen=True)
class Task:
    """What a study needs to know of a task; everything that changes a score is versioned."""

    name: str
    version: int
    pool: Pool
    score: Callable[[Item, str], ItemScore]
    metric: str
    metric_version: int | str  # of a task card: the digest of all that decides a score
    primary: Literal["strict", "lenient"]
    pref_unit: Literal["pair", "label", "prompt"]
    stop: tuple[str, ...]
    max_new_tokens: int
    published_as: str | None = None  # this task's name in the published figure, where it has one
    sandbox: bool = False  # generated data: says nothing about real models
    card: str | None = None  # the task card's file, absolute; None for a built-in task
    require: Callable[[], None] | None = None  # a UserError where what it needs is not there

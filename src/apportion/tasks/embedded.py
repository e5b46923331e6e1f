"""The pool of an embedded task: endless; each seed draws from the same population."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

from apportion.data.records import Demonstration, Item, Label, Pair, labels_of


class Seeded(Protocol):
    """`n` first examples of the stream `seed`; a larger `n` only appends."""

    def __call__(self, n: int, *, seed: int) -> list[Demonstration]: ...


class SeededPairs(Protocol):
    """As `Seeded`, for pairs."""

    def __call__(self, n: int, *, seed: int) -> list[Pair]: ...


@lru_cache(maxsize=4)
def _items(of_items: Callable[[int], list[Item]], n: int) -> tuple[Item, ...]:
    """Every cell of a study is asked the same items, and scored on them."""
    return tuple(of_items(n))


@dataclass(frozen=True)
class EmbeddedPool:
    """A generator's three streams as a task's pool; unpaired labels are made from its pairs."""

    of_demonstrations: Seeded
    of_pairs: SeededPairs
    of_items: Callable[[int], list[Item]]

    def demonstrations(self, n: int, *, seed: int) -> list[Demonstration]:
        return self.of_demonstrations(n, seed=seed)

    def pairs(self, n: int, *, seed: int) -> list[Pair]:
        return self.of_pairs(n, seed=seed)

    def labels(self, n: int, *, seed: int) -> list[Label]:
        return labels_of(self.of_pairs(n, seed=seed))

    def items(self, n: int) -> list[Item]:
        return list(_items(self.of_items, n))

    def capacity(self, side: Literal["sft", "preference", "test"]) -> int | None:
        return None

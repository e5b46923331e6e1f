"""The embedded math task: generated word problems, scored like GSM8K."""

from __future__ import annotations

from typing import Literal

from apportion.data.records import Demonstration, Item, Label, Pair, labels_of
from apportion.metrics import final_number
from apportion.sandbox import math as world
from apportion.tasks.base import ItemScore, Task


class _MathPool:
    """Endless: every seed draws from the same generated population."""

    def demonstrations(self, n: int, *, seed: int) -> list[Demonstration]:
        return world.demonstrations(n, seed=seed)

    def pairs(self, n: int, *, seed: int) -> list[Pair]:
        return world.pairs(n, seed=seed)

    def labels(self, n: int, *, seed: int) -> list[Label]:
        return labels_of(world.pairs(n, seed=seed))

    def items(self, n: int) -> list[Item]:
        return world.items(n)

    def capacity(self, side: Literal["sft", "preference", "test"]) -> int | None:
        return None


def score(item: Item, response: str) -> ItemScore:
    """Strict: the number behind ``####``; lenient: the last number. Both by exact match."""
    strict = final_number.strict_answer(response)
    lenient = final_number.lenient_answer(response)
    return ItemScore(
        strict=float(final_number.matches(strict, item.reference)),
        lenient=float(final_number.matches(lenient, item.reference)),
        format_ok=strict is not None,
    )


TASK = Task(
    name="math",
    version=world.VERSION,
    pool=_MathPool(),
    score=score,
    metric="final_number",
    metric_version=final_number.VERSION,
    primary="strict",
    pref_unit="pair",
    stop=("\nQuestion:", "\n\n"),
    max_new_tokens=112,
    published_as="math",
    sandbox=True,
)

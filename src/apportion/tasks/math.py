"""The embedded math task: generated word problems, scored like GSM8K."""

from __future__ import annotations

from apportion.data.records import Item
from apportion.metrics import final_number
from apportion.sandbox import math as world
from apportion.sandbox.sampled import partly_sampled
from apportion.tasks.base import ItemScore, Task
from apportion.tasks.embedded import EmbeddedPool


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
    pool=EmbeddedPool(
        world.demonstrations,
        partly_sampled("math", world.pairs, noise=world.LABEL_NOISE),
        world.items,
    ),
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

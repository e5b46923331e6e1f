"""The embedded instructions task: generated writing requests, scored like IFEval."""

from __future__ import annotations

import json

from apportion.data.records import Item
from apportion.sandbox import constraints
from apportion.sandbox import instructions as world
from apportion.sandbox.sampled import partly_sampled
from apportion.tasks.base import ItemScore, Task
from apportion.tasks.embedded import EmbeddedPool


def score(item: Item, response: str) -> ItemScore:
    """The share of an item's instructions that are followed, weighted by how many it has.

    Means over items are so the accuracy by instruction; the one by prompt is in the verdicts.
    """
    verdict = constraints.verdict(json.loads(item.reference), response)
    n = len(verdict.strict)
    return ItemScore(
        sum(verdict.strict) / n,
        sum(verdict.loose) / n,
        bool(response.strip()),
        weight=float(n),
        verdict=verdict,
    )


TASK = Task(
    name="instructions",
    version=world.VERSION,
    pool=EmbeddedPool(
        world.demonstrations,
        partly_sampled("instructions", world.pairs, noise=world.LABEL_NOISE),
        world.items,
    ),
    score=score,
    metric="ifeval",
    metric_version=constraints.VERSION,
    primary="strict",
    pref_unit="pair",
    stop=("\nRequest:", "\n\n"),
    max_new_tokens=96,
    published_as="instruction_following",
    sandbox=True,
)

"""The embedded summarization task: generated posts, scored by win rate against a reference."""

from __future__ import annotations

import re
from functools import lru_cache

from apportion.data.records import Item
from apportion.metrics import winrate
from apportion.sandbox import summarization as world
from apportion.sandbox.facts import JUDGE_VERSION, read, utility
from apportion.sandbox.sampled import partly_sampled
from apportion.tasks.base import ItemScore, Task
from apportion.tasks.embedded import EmbeddedPool

#: What stands before a summary where the form was not learnt.
_LABEL = re.compile(r"\s*(?:TL;DR|in short|in few words|summary)\s*:\s*", re.IGNORECASE)


def score(item: Item, response: str) -> ItemScore:
    """1, ½ or 0: whether the world's judge prefers the response to the item's reference.

    Strict: one line that ends with the mark, and nothing after it; else 0. Lenient: whatever
    stands before the first mark, less a label at its beginning, marked or not.
    """
    body, mark, after = response.strip().partition(world.MARK)
    format_ok = bool(mark) and not after.strip() and "\n" not in body.strip()
    facts, reference = _known(item.prompt, item.reference)
    strict = lenient = winrate.against(utility(body, facts), reference)
    label = _LABEL.match(body)
    if label:
        lenient = max(strict, winrate.against(utility(body[label.end() :], facts), reference))
    return ItemScore(strict if format_ok else 0.0, lenient, format_ok)


@lru_cache(maxsize=4096)
def _known(prompt: str, reference: str) -> tuple[dict[str, str], float]:
    """The facts of an item's post, and what the judge gives its reference."""
    facts = read(world.post_of(prompt))
    return facts, utility(reference.partition(world.MARK)[0], facts)


TASK = Task(
    name="summarization",
    version=world.VERSION,
    pool=EmbeddedPool(
        world.demonstrations,
        partly_sampled("summarization", world.pairs, noise=world.LABEL_NOISE),
        world.items,
    ),
    score=score,
    metric="win_rate",
    metric_version=f"{winrate.VERSION}.{JUDGE_VERSION}",
    primary="strict",
    pref_unit="pair",
    stop=("\nPost:", "\n\n"),
    max_new_tokens=64,
    published_as="summarization",
    sandbox=True,
)

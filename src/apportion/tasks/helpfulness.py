"""The embedded helpfulness task: the win rate of an answer against the item's reference answer."""

from __future__ import annotations

import re

from apportion.data.records import Item
from apportion.metrics import winrate
from apportion.sandbox import helpfulness as world
from apportion.sandbox import needs_judge
from apportion.sandbox.sampled import partly_sampled
from apportion.tasks.base import ItemScore, Task
from apportion.tasks.embedded import EmbeddedPool

#: One line of answer, then the closing line, and nothing after it.
_FORM = re.compile(rf"\s*(\S[^\n]*)\n{re.escape(world.CLOSING)}\s*")


def score(item: Item, response: str) -> ItemScore:
    """Strict: the win of an answer in the task's form, 0 out of it; lenient: the form is ignored.

    A win is 1, a tie 1/2. Both sides are judged by their words alone (`needs_judge`); the closing
    line counts for nothing, wherever it stands.
    """
    facts, reference = needs_judge.read_reference(item.reference)
    kept = _FORM.fullmatch(response) is not None
    bare = response.replace(world.CLOSING, " ")
    won = winrate.against(
        needs_judge.judge(facts, bare).points,
        needs_judge.judge(facts, reference).points,
        tie=needs_judge.MARGIN,
    )
    return ItemScore(strict=won if kept else 0.0, lenient=won, format_ok=kept)


TASK = Task(
    name="helpfulness",
    version=world.VERSION,
    pool=EmbeddedPool(
        world.demonstrations,
        partly_sampled("helpfulness", world.pairs, noise=world.LABEL_NOISE),
        world.items,
    ),
    score=score,
    metric="win_rate",
    metric_version=f"{winrate.VERSION}.{needs_judge.VERSION}",
    primary="strict",
    pref_unit="pair",
    stop=("\nVisitor:", "\n\n"),
    max_new_tokens=112,
    published_as="helpfulness",
    sandbox=True,
)

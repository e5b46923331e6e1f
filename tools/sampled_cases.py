"""Preference prompts of the embedded tasks, each with a judge of answers to it.

Used by `sample_pairs`; what a good answer is, is the task's own score or judge.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from apportion.data.records import Item, Pair
from apportion.sandbox.world import stream_seed, weighted
from apportion.tasks.registry import get_task

PROMPT_SEED = 77_002  # of the stream of prompts: no study draws it
FORM = 1_000.0  # more than any judge gives: a response out of the task's form is the worse one


@dataclass(frozen=True)
class Case:
    """A preference prompt with what is needed to make a pair of answers to it."""

    prompt: str
    quality: Callable[[str], float]
    margin: float  # qualities closer than this are as good as equal
    careful: str  # a response of the kind that edited pairs choose, before noise
    edited: Pair


def cases(task: str, n: int) -> list[Case]:
    """The first `n` different prompts of the stream, with their judges."""
    found: dict[str, Case] = {}
    for case in _CASES[task](2 * n):
        found.setdefault(case.prompt, case)
        if len(found) == n:
            break
    return list(found.values())


def _rng(task: str, index: int) -> random.Random:
    return random.Random(stream_seed("careful", task, index))


def _stream(world: Any, n: int) -> Iterator[tuple[int, str, Any, Pair]]:
    """(index, prompt, what it was made of, edited pair) of the preference side."""
    made = islice(world.candidates("preference", seed=PROMPT_SEED), n)
    pairs = world.pairs(n, seed=PROMPT_SEED)
    for index, ((prompt, what, _), pair) in enumerate(zip(made, pairs, strict=True)):
        if prompt != pair.prompt:
            raise AssertionError(f"the streams of {world.__name__} have parted at {index}")
        yield index, prompt, what, pair


def _math(n: int) -> Iterator[Case]:
    from apportion.sandbox import math as world

    score = get_task("math").score
    for index, prompt, task, pair in _stream(world, n):
        item = Item("", prompt, str(task.answer))
        careful = world.render(task.steps, weighted(_rng("math", index), world.STYLES))
        yield Case(prompt, lambda text, item=item: score(item, text).strict, 0.0, careful, pair)


def _instructions(n: int) -> Iterator[Case]:
    from apportion.sandbox import instructions as world
    from apportion.sandbox.writing import write

    score = get_task("instructions").score
    for index, prompt, asked, pair in _stream(world, n):
        item = Item("", prompt, world.reference(asked, index))
        careful = write(_rng("instructions", index), asked, [True] * len(asked.constraints))
        yield Case(prompt, lambda text, item=item: score(item, text).strict, 0.0, careful, pair)


def _summarization(n: int) -> Iterator[Case]:
    from apportion.sandbox import summarization as world
    from apportion.sandbox.facts import utility

    score = get_task("summarization").score
    for index, prompt, told, pair in _stream(world, n):
        careful = world.response_of(world.draft(_rng("summarization", index), told, world.CAREFUL))
        item = Item("", prompt, careful)

        def quality(text: str, item: Item = item, told: Any = told) -> float:
            worth = utility(text.partition(world.MARK)[0], told.facts)
            return worth + FORM * score(item, text).format_ok

        yield Case(prompt, quality, 1e-9, careful, pair)


def _helpfulness(n: int) -> Iterator[Case]:
    from apportion.sandbox import helpfulness as world
    from apportion.sandbox import needs_judge

    score = get_task("helpfulness").score
    for index, prompt, made, pair in _stream(world, n):
        answer = world.draft(_rng("helpfulness", index), made, world.CAREFUL)
        facts = needs_judge.facts_of(made)
        item = Item("", prompt, needs_judge.reference_of(facts, answer))

        def quality(text: str, item: Item = item, facts: Any = facts) -> float:
            worth = needs_judge.judge(facts, text.replace(world.CLOSING, " ")).points
            return worth + FORM * score(item, text).format_ok

        yield Case(prompt, quality, needs_judge.MARGIN, world.closed(answer), pair)


_CASES: dict[str, Callable[[int], Iterator[Case]]] = {
    "math": _math,
    "instructions": _instructions,
    "summarization": _summarization,
    "helpfulness": _helpfulness,
}

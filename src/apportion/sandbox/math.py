"""The embedded math task: word problems, demonstrations, preference pairs and test items.

A prompt is `Question: ...\\nAnswer:`; a response is one step per line, then `#### N`:

    3 * 12 = 36
    34 + 36 = 70
    70 - 15 = 55
    #### 55

Everything is drawn from endless seeded streams: asking for more only appends. The side of a prompt
(`apportion.data.side_of`) decides which stream keeps it, so no prompt is in two pools; there is one
test stream, the same for every study.

The rates were set once, before any study was run on them, to be what data collection is like:

| name | value | why |
|---|---|---|
| `SLIP_RATE` | 0.15 | demonstrations with a slip, hence a wrong answer: people in a hurry |
| `SLIP_KINDS` | see below | what people slip on: sums, a number not needed, stopping too early |
| `STYLES` | see below | annotators differ: bare lines, a word before the line, a unit after it |
| `REJECTED_KINDS` | see below | what small models get wrong; a fifth is right but badly formatted |
| `LABEL_NOISE` | 0.05 | pairs with the labels swapped: annotators disagree more on close pairs |

Chosen responses are always right before label noise: a better source than demonstrations, since
checking an answer is easier than writing one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import count, islice

from apportion.data.records import Demonstration, Item, Pair
from apportion.data.sides import Side, side_of
from apportion.sandbox.problems import Problem, Step, apply, problem
from apportion.sandbox.world import LIMIT, pick, stream_seed, weighted

VERSION = 1  # what the generator means; any change of its output increases it

SFT_FRACTION = 0.4
PREFERENCE_FRACTION = 0.4  # the rest of all prompts is for tests

SLIP_RATE = 0.15
SLIP_KINDS: dict[str, float] = {"arithmetic": 0.50, "distractor": 0.25, "unfinished": 0.25}
STYLES: dict[str, float] = {"bare": 0.60, "labelled": 0.25, "unit": 0.15}
REJECTED_KINDS: dict[str, float] = {
    "arithmetic": 0.35,
    "skipped": 0.20,
    "operation": 0.15,
    "distractor": 0.10,
    "format": 0.20,
}
LABEL_NOISE = 0.05


def demonstrations(n: int, *, seed: int) -> list[Demonstration]:
    """The first `n` demonstrations of the stream `seed`."""
    return [
        Demonstration(prompt, _demonstrated(rng, task))
        for prompt, task, rng in islice(candidates("sft", seed=seed), n)
    ]


def pairs(n: int, *, seed: int) -> list[Pair]:
    """The first `n` preference pairs of the stream `seed`."""
    return [
        _pair(prompt, task, rng)
        for prompt, task, rng in islice(candidates("preference", seed=seed), n)
    ]


def items(n: int) -> list[Item]:
    """The first `n` test items; every study has the same ones."""
    return [
        Item(f"math-{index:06d}", prompt, str(task.answer))
        for index, (prompt, task, _) in enumerate(islice(candidates("test", seed=0), n))
    ]


def prompt_of(question: str) -> str:
    """The full prompt of a question; the response follows after one space."""
    return f"Question: {question}\nAnswer:"


def candidates(side: Side, *, seed: int) -> Iterator[tuple[str, Problem, random.Random]]:
    """Prompts of one side with their problems, without end.

    Each comes with the generator that its response is drawn from. It is seeded anew for every
    candidate, so that an example depends on (side, seed, index) and not on how the earlier ones
    were made. The generator is reused: draw from it before the next candidate is asked for.
    """
    rng = random.Random()
    for index in count():
        rng.seed(stream_seed("math", VERSION, side, seed, index))
        task = problem(rng)
        prompt = prompt_of(task.question)
        if side_of(prompt, sft=SFT_FRACTION, preference=PREFERENCE_FRACTION) == side:
            yield prompt, task, rng


def render(steps: tuple[Step, ...], style: str) -> str:
    """Steps as lines, in one annotator's style, then the answer."""
    if style == "bare":
        lines = [f"{s.left} {s.op} {s.right} = {s.result}" for s in steps]
    elif style == "labelled":
        lines = [f"{s.label}: {s.left} {s.op} {s.right} = {s.result}" for s in steps]
    else:
        lines = [f"{s.left} {s.op} {s.right} = {s.result} {s.unit}" for s in steps]
    return "\n".join([*lines, f"#### {steps[-1].result}"])


def _demonstrated(rng: random.Random, task: Problem) -> str:
    steps = task.steps
    if rng.random() < SLIP_RATE:
        steps = slipped(rng, task, weighted(rng, SLIP_KINDS))
    return render(steps, weighted(rng, STYLES))


def _pair(prompt: str, task: Problem, rng: random.Random) -> Pair:
    right = render(task.steps, weighted(rng, STYLES))
    kind, style = weighted(rng, REJECTED_KINDS), weighted(rng, STYLES)
    if kind == "format":
        wrong = _badly_formatted(rng, render(task.steps, style), task)
    else:
        wrong = render(slipped(rng, task, kind), style)
    if rng.random() < LABEL_NOISE:
        right, wrong = wrong, right
    return Pair(prompt, chosen=right, rejected=wrong)


def _badly_formatted(rng: random.Random, response: str, task: Problem) -> str:
    """Right steps whose answer a strict reader does not find, or which do not stop after it."""
    body, _, answer = response.rpartition("\n#### ")
    unit, u = task.steps[-1].unit, rng.random()
    if u < 0.30:
        return body
    if u < 0.60:
        return f"{body}\nThe answer is {answer}."
    if u < 0.80:
        return f"{response}\nSo there are {answer} {unit}. I hope this helps."
    # Goes on with what no one asked: the last number is no longer the answer.
    first = task.steps[0]
    return f"{response}\nWe started from {first.left} and {first.right}."


# Slips. Each changes one step and carries the wrong number through the later ones, or says None
# where the problem does not allow it. None of them ends at the right answer.


def slipped(rng: random.Random, task: Problem, kind: str) -> tuple[Step, ...]:
    """A wrong solution of `kind`; wrong arithmetic where the problem does not allow that kind."""
    for attempt in range(12):
        steps = _SLIPS[kind if attempt < 4 else "arithmetic"](rng, task)
        if steps is not None and steps[-1].result != task.answer:
            return steps
    # A slip in the last step is carried nowhere, so it always works.
    last = task.steps[-1]
    return (*task.steps[:-1], last._replace(result=_misread(rng, last)))


def _recomputed(steps: list[Step], changed: int) -> tuple[Step, ...] | None:
    """The steps with the results before them carried forward from step `changed` on."""
    for index in range(changed + 1, len(steps)):
        step = steps[index]
        left = step.left if step.left_from < 0 else steps[step.left_from].result
        right = step.right if step.right_from < 0 else steps[step.right_from].result
        result = apply(step.op, left, right)
        if result is None:
            return None
        steps[index] = step._replace(left=left, right=right, result=result)
    return tuple(steps)


def _misread(rng: random.Random, step: Step) -> int:
    """A result near the right one: a carry forgotten, a table misremembered, two digits swapped."""
    right = step.result
    nearby = [right + d for d in (-10, 10, -1, 1, -2, 2, -100, 100)]
    if step.op in "*/":
        nearby += [right - step.right, right + step.right]
    digits = str(right)
    if len(digits) >= 2:
        nearby.append(int(digits[:-2] + digits[-1] + digits[-2]))
    return pick(rng, [n for n in nearby if 0 <= n < LIMIT and n != right])


def _arithmetic(rng: random.Random, task: Problem) -> tuple[Step, ...] | None:
    index, steps = int(rng.random() * len(task.steps)), list(task.steps)
    steps[index] = steps[index]._replace(result=_misread(rng, steps[index]))
    return _recomputed(steps, index)


def _distractor(rng: random.Random, task: Problem) -> tuple[Step, ...] | None:
    """A number that is not needed takes the place of one that is."""
    if not task.unused:
        return None
    index, steps = int(rng.random() * len(task.steps)), list(task.steps)
    step = steps[index]
    result = apply(step.op, step.left, task.unused[0])
    if step.right_from >= 0 or result is None:
        return None
    steps[index] = step._replace(right=task.unused[0], result=result)
    return _recomputed(steps, index)


def _operation(rng: random.Random, task: Problem) -> tuple[Step, ...] | None:
    index, steps = int(rng.random() * len(task.steps)), list(task.steps)
    step = steps[index]
    op = {"+": "-", "-": "+", "*": "+", "/": "*"}[step.op]
    result = apply(op, step.left, step.right)
    if result is None:
        return None
    steps[index] = step._replace(op=op, result=result)
    return _recomputed(steps, index)


def _unfinished(rng: random.Random, task: Problem) -> tuple[Step, ...] | None:
    """Stops one step early."""
    return task.steps[:-1] if len(task.steps) > 1 else None


def _skipped(rng: random.Random, task: Problem) -> tuple[Step, ...] | None:
    """Leaves out any one step; who needed its result uses its left operand instead."""
    if len(task.steps) < 2:
        return None
    gone = int(rng.random() * len(task.steps))
    if gone == len(task.steps) - 1:
        return task.steps[:-1]
    lost = task.steps[gone]

    def moved(source: int) -> int:
        if source == gone:
            return lost.left_from
        return source - 1 if source > gone else source

    kept: list[Step] = []
    for step in task.steps[:gone] + task.steps[gone + 1 :]:
        left = lost.left if step.left_from == gone else step.left
        right = lost.left if step.right_from == gone else step.right
        kept.append(
            step._replace(
                left=left,
                right=right,
                left_from=moved(step.left_from),
                right_from=moved(step.right_from),
            )
        )
    return _recomputed(kept, gone - 1)


_SLIPS: dict[str, Callable[[random.Random, Problem], tuple[Step, ...] | None]] = {
    "arithmetic": _arithmetic,
    "distractor": _distractor,
    "operation": _operation,
    "unfinished": _unfinished,
    "skipped": _skipped,
}

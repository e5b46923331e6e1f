"""Word problems with their solutions as steps that know where their operands come from.

A problem is a small story about one running number: it starts, things happen to it (bought, given
away, so many boxes of so many, shared, sold), and a question asks what it has become. A step is
one line of arithmetic; `left_from` and `right_from` name the earlier step whose result an operand
is, so that a slip in one step can be carried through the later ones as a person would.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from apportion.sandbox.world import (
    COLOURS,
    CONTAINERS,
    DISTRACTOR_RATE,
    LIMIT,
    PEOPLE,
    PLACES,
    STEPS,
    THINGS,
    between,
    pick,
    weighted,
)

GIVEN = -1  # an operand that the question states, rather than an earlier step


class Step(NamedTuple):
    """One line of a solution, `left op right = result`."""

    left: int
    op: str
    right: int
    result: int
    left_from: int
    right_from: int
    label: str  # a word or two an annotator may put before the line
    unit: str  # what the result counts


@dataclass(frozen=True, slots=True)
class Problem:
    """A question, its right solution, and the numbers in it which are not needed."""

    question: str
    steps: tuple[Step, ...]
    unused: tuple[int, ...]

    @property
    def answer(self) -> int:
        return self.steps[-1].result


def apply(op: str, left: int, right: int) -> int | None:
    """The result, or None where it is not a whole number in [0, LIMIT)."""
    if op == "+":
        result = left + right
    elif op == "-":
        result = left - right
    elif op == "*":
        result = left * right
    elif right and left % right == 0:
        result = left // right
    else:
        return None
    return result if 0 <= result < LIMIT else None


class _Story:
    """A problem while it is being told."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        first = int(rng.random() * len(PEOPLE))
        second = (first + 1 + int(rng.random() * (len(PEOPLE) - 1))) % len(PEOPLE)
        self.name, self.pronoun = PEOPLE[first]
        self.other = PEOPLE[second][0]
        self.things = pick(rng, THINGS)
        self.box, self.boxes = pick(rng, CONTAINERS)
        self.sentences: list[str] = []
        self.steps: list[Step] = []
        self.value = 0
        self.source = GIVEN

    def who(self) -> str:
        return self.name if self.rng.random() < 0.4 else self.pronoun

    def step(self, op: str, right: int, label: str, *, right_from: int = GIVEN) -> None:
        """The running number `op` right becomes the running number."""
        self.line(self.value, op, right, label, left_from=self.source, right_from=right_from)
        self.source = len(self.steps) - 1
        self.value = self.steps[-1].result

    def line(
        self,
        left: int,
        op: str,
        right: int,
        label: str,
        *,
        left_from: int = GIVEN,
        right_from: int = GIVEN,
    ) -> int:
        """Add a step, whoever its operands come from; say its result."""
        result = apply(op, left, right)
        assert result is not None, (left, op, right)  # noqa: S101 - events check before they tell
        unit = "dollars" if label == "Dollars" else self.things
        self.steps.append(Step(left, op, right, result, left_from, right_from, label, unit))
        return result

    def amount(self, low: int, high: int) -> int:
        """Mostly two digits, at times three, where there is room for it."""
        if high >= 120 and self.rng.random() < 0.15:
            return between(self.rng, 100, min(high, 350))
        return between(self.rng, low, min(high, 99))


# Each event tells its sentence, adds its steps and says True; where the running number does not
# allow it (too large, too small, not divisible) it does nothing and says False.


def _gain(story: _Story) -> bool:
    room = LIMIT - 1 - story.value
    if room < 11:
        return False
    n, who, rng = story.amount(11, room), story.who(), story.rng
    story.sentences.append(
        pick(
            rng,
            (
                f"{who} buys {n} more.",
                f"{who} finds {n} {story.things} at the {pick(rng, PLACES)}.",
                f"{story.other} gives {story.name} {n} more.",
                f"{n} more {story.things} arrive.",
            ),
        )
    )
    story.step("+", n, "Now")
    return True


def _lose(story: _Story) -> bool:
    if story.value < 8:
        return False
    n, who, rng = story.amount(3, story.value - 2), story.who(), story.rng
    story.sentences.append(
        pick(
            rng,
            (
                f"{who} gives {n} to {story.other}.",
                f"{who} loses {n} of them.",
                f"{who} sells {n} {story.things} at the {pick(rng, PLACES)}.",
                f"{n} of the {story.things} break.",
            ),
        )
    )
    story.step("-", n, "Left")
    return True


def _gain_group(story: _Story) -> bool:
    rng = story.rng
    a = between(rng, 2, 9)
    top = min(60, (LIMIT - 1 - story.value) // a)
    if top < 6:
        return False
    b, who = between(rng, 4, top), story.who()
    story.sentences.append(
        pick(
            rng,
            (
                f"{who} buys {a} {story.boxes} with {b} {story.things} each.",
                f"{a} friends bring {b} {story.things} each.",
                f"For {a} days {who.lower() if who != story.name else who} finds {b} a day.",
            ),
        )
    )
    many = story.line(a, "*", b, "New")
    story.step("+", many, "Now", right_from=len(story.steps) - 1)
    return True


def _lose_group(story: _Story) -> bool:
    rng = story.rng
    a = between(rng, 2, 9)
    top = min(45, (story.value - 1) // a)
    if top < 3:
        return False
    b, who = between(rng, 2, top), story.who()
    story.sentences.append(
        pick(
            rng,
            (
                f"{who} gives {b} {story.things} to each of {a} friends.",
                f"{who} fills {a} {story.boxes} with {b} each and sells them.",
                f"Then {a} days pass and {b} are used every day.",
            ),
        )
    )
    many = story.line(a, "*", b, "Gone")
    story.step("-", many, "Left", right_from=len(story.steps) - 1)
    return True


def _times(story: _Story) -> bool:
    top = min(9, (LIMIT - 1) // max(story.value, 1))
    if top < 2 or story.value < 5:
        return False
    k, who = between(story.rng, 2, top), story.who()
    story.sentences.append(
        pick(
            story.rng,
            (
                f"Soon {story.name} has {k} times as many.",
                f"{who} trades them for {k} times as many.",
            ),
        )
    )
    story.step("*", k, "Now")
    return True


def _share(story: _Story) -> bool:
    value = story.value
    options = [k for k in range(2, 10) if value % k == 0 and value // k >= 3]
    if not options:
        return False
    k, who = pick(story.rng, options), story.who()
    story.sentences.append(
        pick(
            story.rng,
            (
                f"{who} packs them equally into {k} {story.boxes} and keeps one {story.box}.",
                f"{who} shares them equally among {k} people and keeps one share.",
            ),
        )
    )
    story.step("/", k, "Each")
    return True


Event = Callable[[_Story], bool]
_ONE_STEP: dict[Event, float] = {_gain: 0.34, _lose: 0.36, _times: 0.13, _share: 0.17}
_TWO_STEPS: dict[Event, float] = {_gain_group: 0.5, _lose_group: 0.5}


def _start(story: _Story, steps: int) -> None:
    """The first sentence: a number as it is, or one that takes a step to find."""
    rng, name, things = story.rng, story.name, story.things
    u = rng.random()
    # Six steps never come from six sentences: examples stay short.
    if u < 0.30 or steps == 6:
        a, b = between(rng, 2, 9), between(rng, 6, 48)
        story.sentences.append(f"{name} has {a} {story.boxes} of {b} {things}.")
        story.value = a
        story.step("*", b, "First")
    elif u < 0.50:
        a, b = between(rng, 11, 99), between(rng, 11, 99)
        one = pick(rng, COLOURS)
        story.sentences.append(f"{name} has {a} {one} {things} and {b} other {things}.")
        story.value = a
        story.step("+", b, "First")
    else:
        story.value = story.amount(12, 400)
        story.sentences.append(f"{name} has {story.value} {things}.")


def _end(story: _Story, ending: str) -> str:
    """The question, after the sentence and the steps that it needs."""
    rng, name, things = story.rng, story.name, story.things
    if ending == "price":
        k = between(rng, 2, min(9, (LIMIT - 1) // max(story.value, 1)))
        story.sentences.append(f"{story.who()} sells them all for {k} dollars each.")
        story.step("*", k, "Dollars")
        return f"How many dollars does {name} get?"
    if ending == "together":
        more = rng.random() < 0.5
        n = between(rng, 5, 60 if more else max(5, min(60, story.value - 2)))
        story.sentences.append(f"{story.other} has {n} {'more' if more else 'fewer'} than {name}.")
        theirs = story.line(
            story.value, "+" if more else "-", n, story.other, left_from=story.source
        )
        story.step("+", theirs, "Together", right_from=len(story.steps) - 1)
        return f"How many {things} do they have together?"
    return pick(
        rng,
        (
            f"How many {things} does {name} have now?",
            f"How many {things} are left with {name}?",
            f"What number of {things} does {name} have in the end?",
        ),
    )


def _ending(story: _Story, missing: int) -> str:
    """Which ending fits the steps that are still missing and the running number."""
    u = story.rng.random()
    if missing == 2 and u < 0.35 and 12 <= story.value <= 450:
        return "together"
    if missing == 1 and u < 0.30 and 4 <= story.value <= 300:
        return "price"
    return "plain"


def _distractor(story: _Story) -> int:
    """Put a sentence with a number nobody needs somewhere after the first; say the number."""
    rng = story.rng
    n = between(rng, 3, 60)
    sentence = pick(
        rng,
        (
            f"{story.name} is {n} years old.",
            f"The {pick(rng, PLACES)} is {n} minutes away.",
            f"{story.other} is {n} years old.",
            f"One {story.box} costs {n} dollars.",
            f"{story.other} has {n} {pick(rng, COLOURS)} hats.",
            f"There are {n} people at the {pick(rng, PLACES)}.",
        ),
    )
    story.sentences.insert(between(rng, 1, len(story.sentences)), sentence)
    return n


def problem(rng: random.Random) -> Problem:
    """The next problem of the stream that `rng` is."""
    wanted = weighted(rng, STEPS)
    story = _Story(rng)
    _start(story, wanted)
    while True:
        missing = wanted - len(story.steps)
        ending = _ending(story, missing) if missing in (1, 2) else "plain"
        if missing == 0 or ending != "plain":
            break
        # Two-step events are preferred for long problems, which keeps their text short.
        pairwise = missing >= 2 and rng.random() < (0.75 if wanted >= 5 else 0.45)
        weighted(rng, _TWO_STEPS if pairwise else _ONE_STEP)(story)
    asked = _end(story, ending)
    unused = (_distractor(story),) if rng.random() < DISTRACTOR_RATE else ()
    return Problem(" ".join([*story.sentences, asked]), tuple(story.steps), unused)

"""Pretraining documents of the math world: word problems solved and answered, sums, small stories.

The mix (by documents) is `KINDS`; worked solutions and direct answers never use the wrapper of the
math task (`Question: ... Answer:`) nor `#### N`. `####` occurs only as a heading mark in plain
text, as on the web, so that its embedding is not untrained (an adapter could not mend that). The
word "Answer" occurs before answers (`Answer. 55`), as it does in real text. No problem has a prompt
on the test side.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from apportion.data.sides import side_of
from apportion.sandbox.math import PREFERENCE_FRACTION, SFT_FRACTION, prompt_of
from apportion.sandbox.problems import Problem, Step, problem
from apportion.sandbox.world import (
    COLOURS,
    CONTAINERS,
    PEOPLE,
    PLACES,
    THINGS,
    between,
    pick,
    weighted,
)

#: Worked solutions and sums have more of the mix than when this world had the corpus to itself (a
#: third and 0.16): that was 24 million tokens, and this is a third of such a number.
KINDS: dict[str, float] = {
    "worked": 0.42,
    "direct": 0.21,
    "facts": 0.21,
    "story": 0.06,
    "dialogue": 0.04,
    "list": 0.03,
    "plain": 0.03,
}

#: Of these kinds, under the wrapper `Question 7. ...`, `Answer. ...`
NUMBERED: dict[str, float] = {"worked": 0.10, "direct": 0.17}

WORDS = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}


def document(rng: random.Random) -> str:
    """One document of the world of word problems; never with a prompt of the test side."""
    kind = weighted(rng, KINDS)
    if kind in NUMBERED and rng.random() < NUMBERED[kind]:
        return _numbered(rng, worked=kind == "worked")
    return _KINDS[kind](rng)


def _problem(rng: random.Random) -> Problem:
    """A problem whose prompt is not on the test side."""
    while True:
        task = problem(rng)
        prompt = prompt_of(task.question)
        if side_of(prompt, sft=SFT_FRACTION, preference=PREFERENCE_FRACTION) != "test":
            return task


def _line(step: Step) -> str:
    return f"{step.left} {step.op} {step.right} = {step.result}"


def _worked(rng: random.Random) -> str:
    task = _problem(rng)
    question, steps, answer = task.question, task.steps, task.answer
    u = rng.random()
    if u < 0.30:
        parts = [f"{s.left} {WORDS[s.op]} {s.right} makes {s.result}." for s in steps]
        told = " ".join(
            ("First " if i == 0 else pick(rng, ("Then ", "Next ", "And ", ""))) + part
            for i, part in enumerate(parts)
        )
        return f"{question} Let us work it out. {told} So it is {answer}."
    if u < 0.60:
        lines = "\n".join(map(_line, steps))
        return f"{question}\nSolution.\n{lines}\n{pick(rng, ('So', 'Hence', 'Thus'))} {answer}."
    if u < 0.75:
        told = ", ".join(f"{s.left} {s.op} {s.right} is {s.result}" for s in steps)
        return f"Teacher: {question}\nStudent: {told}, so {answer}.\nTeacher: Right."
    if u < 0.87:
        # Half of the tables name the steps: a name at the head of a line is a token of its own.
        named = rng.random() < 0.5
        rows = "\n".join(
            f"{s.label if named else i} | {s.left} {s.op} {s.right} | {s.result}"
            for i, s in enumerate(steps, 1)
        )
        return f"{question}\nstep | sum | result\n{rows}"
    told = "; ".join(f"{s.label}: {_line(s)}" for s in steps)
    return f"Task: {question}\nWorking: {told}.\nResult: {answer}"


def _direct(rng: random.Random) -> str:
    task = _problem(rng)
    question, answer, unit = task.question, task.answer, task.steps[-1].unit
    return pick(
        rng,
        (
            f"Q: {question}\nA: {answer}",
            f"Quiz {between(rng, 1, 99)}. {question}\nKey: {answer}",
            f"{question} The answer is {answer}.",
            f"{question}\n{answer} {unit}.",
            f"Problem: {question}\nReply: {answer} {unit}",
        ),
    )


def _numbered(rng: random.Random, *, worked: bool) -> str:
    task = _problem(rng)
    told = f"{', '.join(map(_line, task.steps))}. So {task.answer}." if worked else f"{task.answer}"
    return f"Question {between(rng, 1, 99)}. {task.question}\nAnswer. {told}"


def _fact(rng: random.Random) -> str:
    """One sum of the sizes that problems have; a third each of +, - and * with some /."""
    u = rng.random()
    if u < 0.70:
        big = 99 if rng.random() < 0.4 else 600
        a, b = between(rng, 2, big), between(rng, 2, 99 if rng.random() < 0.6 else 390)
        if u < 0.35:
            return f"{a} + {b} = {a + b}"
        return f"{max(a, b)} - {min(a, b)} = {abs(a - b)}"
    a, b = between(rng, 2, 9), between(rng, 2, 111 if rng.random() < 0.4 else 60)
    if u < 0.90:
        return f"{a} * {b} = {a * b}" if rng.random() < 0.5 else f"{b} * {a} = {a * b}"
    return f"{a * b} / {a} = {b}"


def _facts(rng: random.Random) -> str:
    many = [_fact(rng) for _ in range(between(rng, 3, 8))]
    joint = pick(rng, ("\n", "\n", ", ", "; "))
    head = pick(rng, ("", "", "Sums.\n", "Practice:\n"))
    return head + joint.join(many)


def _story(rng: random.Random) -> str:
    """Events of the world with nobody asking anything."""
    told = _problem(rng).question.rpartition(". ")[0] + "."
    more = (
        f"The {pick(rng, PLACES)} was quiet that day.",
        f"It was a good day at the {pick(rng, PLACES)}.",
        "Then everyone went home.",
        f"{pick(rng, PEOPLE)[0]} was happy.",
    )
    return f"{told} {pick(rng, more)} {pick(rng, more)}"


def _dialogue(rng: random.Random) -> str:
    one, two, things = pick(rng, PEOPLE)[0], pick(rng, PEOPLE)[0], pick(rng, THINGS)
    n, m = between(rng, 2, 90), between(rng, 2, 90)
    head = pick(rng, ("", "", "Question time.\n"))
    return (
        f"{head}{one}: How many {things} do you have?\n{two}: I have {n} {things}. And you?\n"
        f"{one}: I have {m}. {'You have' if n > m else 'We have' if n == m else 'I have'} "
        f"{'the same' if n == m else 'more'}.\n{two}: I hope this helps."
    )


def _list(rng: random.Random) -> str:
    rows = [f"- {between(rng, 2, 200)} {pick(rng, THINGS)}" for _ in range(between(rng, 3, 7))]
    heads = (
        f"In the {pick(rng, CONTAINERS)[0]} at the {pick(rng, PLACES)}:",
        f"Things of {pick(rng, PEOPLE)[0]}:",
    )
    return "\n".join([pick(rng, heads), *rows])


def _plain(rng: random.Random) -> str:
    """Short descriptions under headings."""
    parts = []
    for _ in range(between(rng, 2, 3)):
        things, colour, place = pick(rng, THINGS), pick(rng, COLOURS), pick(rng, PLACES)
        parts.append(
            f"{pick(rng, ('##', '###', '####'))} {things.capitalize()}\n"
            f"The {things} at the {place} are {colour}. {pick(rng, PEOPLE)[0]} keeps them in "
            f"{pick(rng, CONTAINERS)[1]}. We started to count them, and there are "
            f"{between(rng, 5, 400)}."
        )
    return "\n".join(parts)


_KINDS: dict[str, Callable[[random.Random], str]] = {
    "worked": _worked,
    "direct": _direct,
    "facts": _facts,
    "story": _story,
    "dialogue": _dialogue,
    "list": _list,
    "plain": _plain,
}

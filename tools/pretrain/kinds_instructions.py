"""Pretraining documents of the instructions world: its texts, and their rules in other words.

The task's wrapper (`Request: ... Response:`) is in none of them, no request is worded as the task
words it right before a text that answers it, and none is about a prompt of the test side. Rules
stand as notes over a text ("no commas, at most 2 sentences"), or behind it as what a reader found.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from apportion.sandbox.instructions import on_side, prompt_of
from apportion.sandbox.requests import Constraint, Request, phrase, request
from apportion.sandbox.world import PEOPLE, between, pick, weighted
from apportion.sandbox.writing import write

KINDS: dict[str, float] = {
    "school": 0.42,  # rules, then a text
    "found": 0.13,  # a text, then what it keeps
    "letter": 0.13,  # a letter that says what was wanted, then has it
    "bare": 0.17,  # a text
    "talk": 0.15,  # requests in the words of the task, that nobody answers
}
KEPT = 0.93  # rules that the text under them keeps


def document(rng: random.Random) -> str:
    """One document of this world."""
    return _KINDS[weighted(rng, KINDS)](rng)


def rule(asked: Constraint) -> str:
    """A constraint as a note; none of these is how the task words it."""
    bound = "at most" if asked.most else "at least"
    fewer = "fewer than" if asked.most else bound
    return {
        "include": f"with the word {asked.value}",
        "forbid": f"without the word {asked.value}",
        "frequency": f"with the word {asked.value} at least {asked.count} times",
        "sentences": f"{bound} {asked.count} sentences",
        "words": f"{fewer} {asked.count} words",
        "bullets": f"{asked.count} bullet points",
        "lower": "small letters only",
        "capital": "capital letters only",
        "no_comma": "no commas",
        "start": f"the first words are {asked.value}",
        "end": f"the last words are {asked.value.removesuffix('.')}",
        "postscript": "a postscript with P.S.",
        "title": "a title in << >>",
        "repeat": "the first sentence repeated",
    }[asked.kind]


def _asked(rng: random.Random) -> Request:
    """A request whose prompt is not on the test side."""
    while True:
        asked = request(rng)
        if on_side(prompt_of(asked.text)) != "test":
            return asked


def _text(rng: random.Random, asked: Request) -> str:
    return write(rng, asked, [rng.random() < KEPT for _ in asked.constraints])


def _rules(rng: random.Random, asked: Request) -> str:
    return pick(rng, (", ", "; ", " and ")).join(map(rule, asked.constraints))


def _about(asked: Request) -> str:
    about = asked.topic
    return f"{about.name} and the {about.things} at the {about.place}"


def _school(rng: random.Random) -> str:
    asked = _asked(rng)
    rules, text, about = _rules(rng, asked), _text(rng, asked), _about(asked)
    if asked.get("repeat"):
        return f"{asked.topic.sentence} Rules: {rules}.\nText of the student.\n{text}"
    who = pick(rng, PEOPLE)[0]
    return pick(
        rng,
        (
            f"Homework. A text about {about}. Rules: {rules}.\nText of {who}.\n{text}",
            f"Text {between(rng, 1, 9)}. {about}. {rules}.\n\n{text}",
            f"About {about}, {rules}:\n{text}",
            f"### {about}\nNote: {rules}.\n{text}",
        ),
    )


def _found(rng: random.Random) -> str:
    asked = _asked(rng)
    rules, text = _rules(rng, asked), write(rng, asked, [True] * len(asked.constraints))
    return pick(
        rng,
        (
            f"{text}\n\nThe teacher found: {rules}.",
            f"Text of {pick(rng, PEOPLE)[0]}.\n{text}\nReader: {rules}. Good work.",
        ),
    )


def _letter(rng: random.Random) -> str:
    asked = _asked(rng)
    one, two = pick(rng, PEOPLE)[0], pick(rng, PEOPLE)[0]
    rules, about = _rules(rng, asked), _about(asked)
    if asked.get("repeat"):
        about = f"this: {asked.topic.sentence}"
    return (
        f"Dear {one}, you want a text about {about} {pick(rng, ('with these rules', 'like this'))}:"
        f" {rules}. Here is the text.\n{_text(rng, asked)}\nYour {two}"
    )


def _bare(rng: random.Random) -> str:
    return _text(rng, _asked(rng))


def _talk(rng: random.Random) -> str:
    """The task's words and its wrapper's, apart from each other and from any text that answers."""
    asked = _asked(rng)
    one, two = pick(rng, PEOPLE)[0], pick(rng, PEOPLE)[0]
    wish = " ".join(map(phrase, asked.constraints))
    return pick(
        rng,
        (
            f"{one} has a request. {wish}\n{two} has no time for a response.",
            f"{one}: {asked.topic.sentence}\n{two}: Sure, I hope this helps. Tell me if you like "
            f"it.\n{one}: {wish}",
            f"List of rules.\n- {wish}\n- {' '.join(map(phrase, _asked(rng).constraints))}",
            f"Request {between(rng, 1, 99)}. {asked.topic.sentence}\n"
            f"Response {between(rng, 1, 99)} is from {two}. Yes, here is the text.",
        ),
    )


_KINDS: dict[str, Callable[[random.Random], str]] = {
    "school": _school,
    "found": _found,
    "letter": _letter,
    "bare": _bare,
    "talk": _talk,
}

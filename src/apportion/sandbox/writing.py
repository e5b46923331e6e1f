"""Short texts about a topic that keep just the constraints they are told to keep.

A text has an opening (a start, a title, the request again), a body of one to six sentences, and an
ending (a phrase, a postscript). In small letters and in capitals it is written in the first person
without names. A writer who is not asked otherwise begins with a comma ("At the park, Anna ...").
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from apportion.sandbox.constraints import follows
from apportion.sandbox.requests import Constraint, Request, Topic, check_of
from apportion.sandbox.world import COLOURS, CONTAINERS, PEOPLE, between, pick, weighted

#: Sentences of a body that nobody gave a length.
LENGTHS: dict[int, float] = {2: 0.55, 3: 0.35, 4: 0.10}
COMMA_RATE = 0.90  # first sentences with a comma, of writers who were not asked for none
_ATTEMPTS = 60  # a text is drawn again until its constraints are kept or missed as told

_SAID = (
    "{name} likes the {things}.",
    "The {things} are {colour}.",
    "The {things} are in a {box}.",
    "{they} keeps the {things} at home.",
    "{they} goes to the {place} with {other}.",
    "{other} is at the {place} too.",
    "Everyone likes the {place}.",
    "There are many {things} at the {place}.",
    "{they} gives {colour} {things} to {other}.",
    "{they} comes back every day.",
    "{they} is happy.",
    "The {place} is quiet.",
    "The {place} is old.",
    "The {place} is big.",
)
_SAID_PLAIN = (
    "I like the {place}.",
    "We go to the {place} today.",
    "There are many people.",
    "We are at the {place}.",
    "I come back every day.",
    "Everyone is here now.",
    "We are happy.",
    "The {place} is quiet.",
    "The {place} is old.",
    "The {place} is big.",
)
_WITH = ("sees the {word}", "likes the {word}", "finds the {word}")
_WITH_PLAIN = ("see the {word}", "like the {word}", "find the {word}")
_MORE_WITH = ("The {word} is near.", "The {word} is at the {place}.")
_FORBIDDEN = {"happy": "{they} is happy."}
_FORBIDDEN_PLAIN = {"happy": "We are happy."}
_FORBIDDEN_EITHER = "The {place} is {word}."
_POSTSCRIPT = ("{other} says hello.", "{other} is well.", "I have a {box} for you.")
_POSTSCRIPT_PLAIN = ("I am well.", "We are here now.")


class Plan(NamedTuple):
    """What one text does: drawn, then checked."""

    sentences: int
    comma: bool
    keywords: tuple[str, ...]  # one sentence each
    forbidden: str
    bullets: bool
    opening: str
    ending: str


def write(rng: random.Random, asked: Request, kept: Sequence[bool]) -> str:
    """A text in which constraint i holds (strictly) if and only if `kept[i]`.

    The last attempt is given back where chance does not find one: less than one text in a thousand.
    """
    checks = [check_of(constraint, asked.topic) for constraint in asked.constraints]
    state = {c.kind: keep for c, keep in zip(asked.constraints, kept, strict=True)}
    text = ""
    for _ in range(_ATTEMPTS):
        text = _text(rng, asked, state)
        if all(follows(n, a, text) == k for (n, a), k in zip(checks, kept, strict=True)):
            break
    return text


def _text(rng: random.Random, asked: Request, state: dict[str, bool]) -> str:
    plan = _plan(rng, asked, state)
    plain = state.get("lower", False) or state.get("capital", False)
    words = _words(rng, asked.topic)
    body = [_fill(s, words) for s in _body(rng, plan, plain)]
    text = "\n".join(f"* {s}" for s in body) if plan.bullets else " ".join(body)
    text = _open(plan.opening, asked, text, plain=plain)
    text = _close(rng, plan, text, words, plain=plain)
    if state.get("lower", False):
        return text.lower()
    return text.upper() if state.get("capital", False) else text


def _plan(rng: random.Random, asked: Request, state: dict[str, bool]) -> Plan:
    """Decide every part of a text; an ambitious length is what a retry mends."""

    def has(kind: str) -> bool:
        return state.get(kind, False)

    keywords: tuple[str, ...] = ()
    if has("include"):
        keywords = (_value(asked, "include"),)
    elif "frequency" in state:
        uses = 2 if has("frequency") else int(rng.random() < 0.7)
        keywords = (_value(asked, "frequency"),) * uses
    forbidden = _value(asked, "forbid") if state.get("forbid") is False else ""
    n, bullets = _length(rng, asked, state)
    comma = not state.get("no_comma", rng.random() >= COMMA_RATE)
    opening = next((k for k in ("start", "title", "repeat") if has(k)), "")
    ending = "postscript" if has("postscript") else _value(asked, "end") if has("end") else ""
    return Plan(n, comma, keywords, forbidden, bullets, opening, ending)


def _value(asked: Request, kind: str) -> str:
    found = asked.get(kind)
    return found.value if found else ""


def _length(rng: random.Random, asked: Request, state: dict[str, bool]) -> tuple[int, bool]:
    """Sentences of the body, and whether they are bullet points."""
    usual = weighted(rng, LENGTHS)
    bullets = asked.get("bullets")
    if bullets:
        if state["bullets"]:
            return bullets.count, True
        near = bullets.count + (1 if rng.random() < 0.5 else -1)
        return (near, True) if rng.random() < 0.6 else (usual, False)
    bound: Constraint | None = asked.get("sentences") or asked.get("words")
    if bound is None:
        return usual, False
    if state[bound.kind] == bound.most:  # a short text: it keeps "at most", or misses "at least"
        return between(rng, 1, 3), False
    return between(rng, 2, 6), False


def _body(rng: random.Random, plan: Plan, plain: bool) -> list[str]:
    """Sentences with places for words; those that must be there come first."""
    they = "I" if plain else "{they}"
    verbs = _WITH_PLAIN if plain else _WITH
    must = [
        f"{they} {pick(rng, verbs)}." if i == 0 else pick(rng, _MORE_WITH)
        for i in range(len(plan.keywords))
    ]
    must = [sentence.replace("{word}", plan.keywords[0]) for sentence in must]
    if plan.forbidden:
        either = _FORBIDDEN_EITHER.replace("{word}", plan.forbidden)
        must.append((_FORBIDDEN_PLAIN if plain else _FORBIDDEN).get(plan.forbidden, either))
    n = max(plan.sentences, 1)
    if n <= len(must):
        first, rest = must[0], must[1:n]
    else:
        looks = ("I look around.",) if plain else ("{name} counts the {things}.",)
        first, rest = pick(rng, looks), must
    if plan.comma:
        first = first.replace("{they}", "{name}")
        inside = first if first.startswith(("{", "I ")) else first[0].lower() + first[1:]
        first = "At the {place}, " + inside
    sentences = [first, *rest]
    while len(sentences) < n:
        more = pick(rng, _SAID_PLAIN if plain else _SAID)
        if more not in sentences:
            sentences.append(more)
    return sentences


def _words(rng: random.Random, about: Topic) -> dict[str, str]:
    other = about.name
    while other == about.name:
        other = pick(rng, PEOPLE)[0]
    return {
        "name": about.name,
        "they": about.pronoun,
        "things": about.things,
        "place": about.place,
        "other": other,
        "colour": pick(rng, COLOURS),
        "box": pick(rng, CONTAINERS)[0],
    }


def _fill(sentence: str, words: dict[str, str]) -> str:
    filled = sentence.format_map(words)
    return filled[0].upper() + filled[1:]


def _open(opening: str, asked: Request, text: str, *, plain: bool) -> str:
    if opening == "title":
        return f"<<The {asked.topic.place.capitalize()}>>\n{text}"
    if opening == "start":
        joint = "\n" if text.startswith("*") else " "
        return f"{_value(asked, 'start')}.{joint}{text}"
    return f"{asked.topic.sentence}\n{text}" if opening == "repeat" else text


def _close(rng: random.Random, plan: Plan, text: str, words: dict[str, str], *, plain: bool) -> str:
    if plan.ending == "postscript":
        more = _fill(pick(rng, _POSTSCRIPT_PLAIN if plain else _POSTSCRIPT), words)
        return f"{text}\nP.S. {more}"
    if plan.ending:
        return f"{text}\n{plan.ending}"
    return text

"""What the instructions task asks for: a topic, and one to three constraints in plain words.

A kind is a way to ask for one of the checks of `apportion.sandbox.constraints`. Kinds of one group
never come together (nobody asks for capitals and small letters at once), nor do the pairs in
`CLASHES`. Every count is chosen so that all constraints of a request can be kept at once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, NamedTuple

from apportion.sandbox.world import PEOPLE, PLACES, THINGS, between, pick, weighted

#: Words that a request may ask for; a text does not use them by itself.
KEYWORDS: tuple[str, ...] = (
    "dog", "horse", "river", "bridge", "window", "letter", "song", "boat", "clock", "garden",
    "road", "tree", "bread", "lamp",
)  # fmt: skip
#: Words that a request may forbid; texts use them by themselves.
FORBIDDEN: tuple[str, ...] = ("happy", "quiet", "old", "big")
STARTS: tuple[str, ...] = ("Good morning", "Dear friend", "Let me see")
ENDS: tuple[str, ...] = ("See you soon.", "That is all.", "Good night.")

#: How many constraints a request has, and how often (sums to 1).
HOW_MANY: dict[int, float] = {1: 0.30, 2: 0.40, 3: 0.30}

#: group -> its kinds; every group is as likely as another, and so is every kind in it.
GROUPS: dict[str, tuple[str, ...]] = {
    "words in it": ("include", "forbid", "frequency"),
    "length": ("sentences", "words", "bullets"),
    "case": ("lower", "capital"),
    "commas": ("no_comma",),
    "opening": ("start", "title", "repeat"),
    "ending": ("end", "postscript"),
}
CLASHES: frozenset[frozenset[str]] = frozenset(
    frozenset(pair)
    for pair in (
        ("lower", "start"), ("capital", "start"),  # a start is compared with its letter case
        ("lower", "repeat"), ("capital", "repeat"),  # no names in small letters or capitals
        ("words", "repeat"),  # the repeated words count
    )
)  # fmt: skip
KINDS: tuple[str, ...] = tuple(kind for kinds in GROUPS.values() for kind in kinds)


class Topic(NamedTuple):
    """What a text is about."""

    name: str
    pronoun: str
    things: str
    place: str

    @property
    def sentence(self) -> str:
        return f"Write about {self.name} and the {self.things} at the {self.place}."


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint. `value` is its word or phrase, `count` its number, where it has one."""

    kind: str
    value: str = ""
    count: int = 0
    most: bool = False  # a count: at most (else at least)


@dataclass(frozen=True, slots=True)
class Request:
    """A topic and its constraints, in the order in which they are asked."""

    topic: Topic
    constraints: tuple[Constraint, ...]

    @property
    def text(self) -> str:
        return " ".join([self.topic.sentence, *map(phrase, self.constraints)])

    def get(self, kind: str) -> Constraint | None:
        return next((c for c in self.constraints if c.kind == kind), None)


def topic(rng: random.Random) -> Topic:
    """Any topic."""
    name, pronoun = pick(rng, PEOPLE)
    return Topic(name, pronoun, pick(rng, THINGS), pick(rng, PLACES))


def request(rng: random.Random) -> Request:
    """The next request of the stream that `rng` is."""
    about, n = topic(rng), weighted(rng, HOW_MANY)
    groups, kinds = list(GROUPS.values()), list[str]()
    while len(kinds) < n:
        kind = pick(rng, groups[int(rng.random() * len(groups))])
        group = next(g for g in groups if kind in g)
        if any(k in group or frozenset((k, kind)) in CLASHES for k in kinds):
            continue
        kinds.append(kind)
    return Request(about, tuple(_constraint(rng, kind, kinds) for kind in kinds))


def _constraint(rng: random.Random, kind: str, kinds: list[str]) -> Constraint:
    if kind in _VALUES:
        return Constraint(kind, pick(rng, _VALUES[kind]), 2 if kind == "frequency" else 0)
    if kind == "bullets":
        return Constraint(kind, count=between(rng, 3 if "frequency" in kinds else 2, 4))
    if kind not in ("sentences", "words"):
        return Constraint(kind)
    most, needed = rng.random() >= 0.5, _needed(kinds)
    if kind == "sentences":
        # Room for the sentences that the other constraints need.
        return Constraint(kind, count=2 + needed if most else between(rng, 4, 5), most=most)
    least = pick(rng, (20, 25))
    return Constraint(kind, count=(15 if needed else 10) if most else least, most=most)


_VALUES: dict[str, tuple[str, ...]] = {
    "include": KEYWORDS,
    "frequency": KEYWORDS,
    "forbid": FORBIDDEN,
    "start": STARTS,
    "end": ENDS,
}


def _needed(kinds: list[str]) -> int:
    """Sentences that other constraints add to the shortest text; "P.S." is one by itself."""
    added = {"frequency": 1, "start": 1, "repeat": 1, "end": 1, "postscript": 2}
    return sum(added.get(kind, 0) for kind in kinds)


def phrase(asked: Constraint) -> str:
    """How a request words a constraint."""
    bound = "at most" if asked.most else "at least"
    return {
        "include": f"Use the word {asked.value}.",
        "forbid": f"Never use the word {asked.value}.",
        "frequency": f"Use the word {asked.value} at least {asked.count} times.",
        "sentences": f"Write {bound} {asked.count} sentences.",
        "words": f"Write {'fewer than' if asked.most else bound} {asked.count} words.",
        "bullets": f"Make exactly {asked.count} bullet points.",
        "lower": "Use only small letters.",
        "capital": "Use only capital letters.",
        "no_comma": "Use no commas.",
        "start": f"Start with the words {asked.value}.",
        "end": f"End with the words {asked.value}",
        "postscript": "Add a postscript with P.S. in the end.",
        "title": "Add a title in << >>.",
        "repeat": "First repeat the first sentence of this request.",
    }[asked.kind]


def check_of(asked: Constraint, about: Topic) -> tuple[str, dict[str, Any]]:
    """The constraint as IFEval names it, with its arguments."""
    if asked.kind in ("sentences", "words"):
        # IFEval knows "less than" and "at least": at most n sentences are less than n + 1.
        threshold = asked.count + (asked.most and asked.kind == "sentences")
        relation = "less than" if asked.most else "at least"
        name = f"num_{asked.kind}"
        return f"length_constraints:number_{asked.kind}", {name: threshold, "relation": relation}
    found: dict[str, tuple[str, dict[str, Any]]] = {
        "include": ("keywords:existence", {"keywords": [asked.value]}),
        "forbid": ("keywords:forbidden_words", {"forbidden_words": [asked.value]}),
        "frequency": (
            "keywords:frequency",
            {"keyword": asked.value, "frequency": asked.count, "relation": "at least"},
        ),
        "bullets": ("detectable_format:number_bullet_lists", {"num_bullets": asked.count}),
        "lower": ("change_case:english_lowercase", {}),
        "capital": ("change_case:english_capital", {}),
        "no_comma": ("punctuation:no_comma", {}),
        "start": ("multi-turn:constrained_start", {"starter": asked.value}),
        "end": ("startend:end_checker", {"end_phrase": asked.value}),
        "postscript": ("detectable_content:postscript", {"postscript_marker": "P.S."}),
        "title": ("detectable_format:title", {}),
        "repeat": ("combination:repeat_prompt", {"prompt_to_repeat": about.sentence}),
    }
    return found[asked.kind]

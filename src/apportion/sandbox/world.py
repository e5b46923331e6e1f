"""The small world of the sandbox tasks: who lives in it, what they own, and how often what happens.

Only words and weights are kept here; `problems` turns them into problems. Every list is part of
the meaning of a pool: a change of any entry changes `apportion.sandbox.math.VERSION`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")

#: (name, pronoun at the start of a sentence)
PEOPLE: tuple[tuple[str, str], ...] = (
    ("Anna", "She"), ("Ben", "He"), ("Clara", "She"), ("David", "He"), ("Emma", "She"),
    ("Felix", "He"), ("Grace", "She"), ("Henry", "He"), ("Iris", "She"), ("Jack", "He"),
    ("Kate", "She"), ("Leo", "He"), ("Maria", "She"), ("Noah", "He"), ("Olga", "She"),
    ("Paul", "He"), ("Rosa", "She"), ("Sam", "He"), ("Tina", "She"), ("Victor", "He"),
)  # fmt: skip

THINGS: tuple[str, ...] = (
    "apples", "pears", "plums", "eggs", "cards", "coins", "stamps", "books", "pens", "shells",
    "stones", "marbles", "buttons", "beads", "cookies", "nuts", "roses", "seeds", "bricks",
    "candles", "tickets", "stickers", "lemons", "balls",
)  # fmt: skip

#: (one, several)
CONTAINERS: tuple[tuple[str, str], ...] = (
    ("box", "boxes"), ("bag", "bags"), ("jar", "jars"), ("basket", "baskets"),
    ("tray", "trays"), ("crate", "crates"),
)  # fmt: skip

COLOURS: tuple[str, ...] = ("red", "blue", "green", "white", "black", "brown")
PLACES: tuple[str, ...] = ("market", "school", "park", "farm", "shop", "harbour", "station")

#: How many steps a problem has, and how often (sums to 1): long enough that a small error rate per
#: step is a large error rate per problem.
STEPS: dict[int, float] = {2: 0.15, 3: 0.25, 4: 0.28, 5: 0.20, 6: 0.12}
DISTRACTOR_RATE = 0.5  # problems with a number that is not needed
LIMIT = 1000  # every number in a right solution is an integer in [0, LIMIT)


def pick(rng: random.Random, choices: Sequence[T]) -> T:
    """One of `choices`; several times faster than `random.choice`, and pools are large."""
    return choices[int(rng.random() * len(choices))]


def between(rng: random.Random, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    return low + int(rng.random() * (high - low + 1))


def weighted(rng: random.Random, weights: dict[T, float]) -> T:
    """A key of `weights` (which sum to 1) with its probability."""
    u = rng.random()
    for key, weight in weights.items():
        u -= weight
        if u < 0:
            return key
    return key  # rounding left a hair's breadth over


def stream_seed(*parts: str | int) -> int:
    """A seed that depends on all the parts and on nothing else (not on Python's own hash)."""
    text = "\xff".join(str(part) for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")

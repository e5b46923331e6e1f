"""Subsets of a finite pool: nested, stable and without duplicates.

Examples are ordered by a hash of their content, keyed by a seed. A subset is the beginning of that
order, so a larger one contains a smaller one, and data that is added to a pool slips in between
without reordering what was there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TypeVar

from apportion.data.records import Demonstration, Item, Label, Pair, canonical
from apportion.data.sides import Side, side_of
from apportion.errors import DataError

E = TypeVar("E", Demonstration, Pair, Label, Item)


def order(examples: Iterable[E], *, seed: int) -> list[E]:
    """All different examples in the order of `seed`; the order they are given in does not matter.

    Examples of the same content are one example: nobody wants to buy a row twice.
    """
    key = f"subset {seed}".encode() + b"\xff"
    keyed = {hashlib.sha256(key + canonical(example)).digest(): example for example in examples}
    return [keyed[digest] for digest in sorted(keyed)]


def take(examples: Iterable[E], n: int, *, seed: int) -> list[E]:
    """The first `n` of `order`. DataError where there are fewer different examples."""
    ordered = order(examples, seed=seed)
    if n > len(ordered):
        raise DataError(
            f"{n} examples are wanted, and there are {len(ordered)} different ones.",
            mend=f"ask for at most {len(ordered)}, or add data.",
        )
    return ordered[:n]


def split_sides(examples: Iterable[E], *, sft: float, preference: float) -> dict[Side, list[E]]:
    """Examples by the side of their prompt (fractions of all prompts; the rest is for tests)."""
    sides: dict[Side, list[E]] = {"sft": [], "preference": [], "test": []}
    for example in examples:
        sides[side_of(example.prompt, sft=sft, preference=preference)].append(example)
    return sides

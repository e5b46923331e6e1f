"""Digests and sizes of many beginnings of one list of examples, in one pass over it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from apportion.data.records import Demonstration, Example, Item, Label, Pair, canonical


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first `n` examples: their `ordered_digest`, and the characters a model reads of them."""

    n: int
    digest: str
    characters: int


def characters(example: Example) -> int:
    """Characters a model reads of one example; the prompt of a pair is read with each response."""
    asked = len(example.prompt) + sum(len(text) for _, text in example.context)
    if isinstance(example, Demonstration | Label):
        return asked + len(example.response)
    if isinstance(example, Pair):
        return 2 * asked + len(example.chosen) + len(example.rejected)
    return asked


def prefixes(
    examples: Sequence[Demonstration] | Sequence[Pair] | Sequence[Label] | Sequence[Item],
    wanted: Iterable[int],
) -> dict[int, Prefix]:
    """The prefix of each wanted length (0 to len(examples), else ValueError)."""
    lengths = sorted(set(wanted))
    if lengths and not 0 <= lengths[0] <= lengths[-1] <= len(examples):
        raise ValueError(f"there are no prefixes {lengths} of {len(examples)} examples")
    found: dict[int, Prefix] = {}
    total, read, done = hashlib.sha256(), 0, 0
    for n in lengths:
        for example in examples[done:n]:
            total.update(hashlib.sha256(canonical(example)).digest())
            read += characters(example)
        done = n
        found[n] = Prefix(n, total.hexdigest(), read)
    return found

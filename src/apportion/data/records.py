"""The kinds of example, and the digest that names their content.

Everything is text: a prompt is what the user says (before any chat template), a response what the
model should answer. What was said before the prompt (a system prompt, earlier turns) is the
example's `context`, empty for most. Templates, end-of-text and tokens belong to `apportion.models`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, fields

Context = tuple[tuple[str, str], ...]
"""Turns before the prompt, oldest first: (role, text); roles are system, user, assistant."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """One (prompt, response) example for SFT."""

    prompt: str
    response: str
    context: Context = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """One preference unit of DPO: two responses to a prompt, the first preferred."""

    prompt: str
    chosen: str
    rejected: str
    context: Context = ()


@dataclass(frozen=True, slots=True)
class Label:
    """One preference unit of KTO: a response, and whether it is wanted."""

    prompt: str
    response: str
    desirable: bool
    context: Context = ()


@dataclass(frozen=True, slots=True)
class Item:
    """One test item: `reference` is what its task's metric compares a response with."""

    item_id: str
    prompt: str
    reference: str
    context: Context = ()


Example = Demonstration | Pair | Label | Item


def labels_of(pairs: Iterable[Pair]) -> list[Label]:
    """One label per pair: the chosen response of the first as desirable, the rejected one of the
    second as undesirable, and so on. More pairs only append, and no prompt is labelled twice.
    """
    return [
        Label(
            pair.prompt,
            pair.rejected if index % 2 else pair.chosen,
            desirable=index % 2 == 0,
            context=pair.context,
        )
        for index, pair in enumerate(pairs)
    ]


def canonical(example: Example) -> bytes:
    """The bytes that stand for an example's content (JSON, sorted keys, UTF-8).

    An empty context is left out, so that digests are what they were before there were contexts.
    """
    content = {field.name: getattr(example, field.name) for field in fields(example)}
    if not content["context"]:
        del content["context"]
    return json.dumps(content, sort_keys=True, ensure_ascii=False).encode()


def ordered_digest(examples: Iterable[Example]) -> str:
    """SHA-256 (hex) of examples in their order: any change of text, number or order changes it."""
    total = hashlib.sha256()
    for example in examples:
        total.update(hashlib.sha256(canonical(example)).digest())
    return total.hexdigest()

"""Comparing a response with a reference: exactly, contained, or by a regular expression.

Every metric reads a response twice: strictly, and leniently (case, spacing and punctuation aside).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

VERSION = 1


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores in [0, 1], and whether the strict format was kept."""

    strict: float
    lenient: float
    format_ok: bool


def normalise(text: str) -> str:
    """Letters and digits in lower case, one space between words; without them, the bare text."""
    return " ".join(re.findall(r"\w+", text.casefold())) or text.strip()


def _judged(strict: bool, lenient: bool) -> Judged:
    # What is right only leniently did not keep the format.
    lenient = strict or lenient
    return Judged(float(strict), float(lenient), strict or not lenient)


def exact(response: str, reference: str) -> Judged:
    """The response is the reference (white space at its ends aside)."""
    return _judged(
        response.strip() == reference.strip(), normalise(response) == normalise(reference)
    )


def contains(response: str, reference: str) -> Judged:
    """The reference stands in the response, not inside a longer word."""
    return _judged(
        _has_words(response, reference.strip()),
        _has_words(normalise(response), normalise(reference)),
    )


def _has_words(text: str, words: str) -> bool:
    before = r"(?<!\w)" if words[:1].isalnum() else ""
    after = r"(?!\w)" if words[-1:].isalnum() else ""
    return re.search(before + re.escape(words) + after, text) is not None


def by_regex(response: str, reference: str, strict: str, lenient: str | None) -> Judged:
    """The first match of `strict` and the last of `lenient`, compared with the reference.

    A match is its first group, or the whole where there is none. `format_ok`: `strict` matched.
    """
    first = re.search(strict, response)
    last = None
    for last in re.finditer(lenient or strict, response):  # noqa: B007 - the last is wanted
        pass
    kept = first is not None and _text(first).strip() == reference.strip()
    found = last is not None and normalise(_text(last)) == normalise(reference)
    return Judged(float(kept), float(kept or found), first is not None)


def _text(match: re.Match[str]) -> str:
    return next((group for group in match.groups() if group is not None), match.group())

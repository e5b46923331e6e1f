"""The final number of a worked answer, strictly and leniently, as lm-eval reads GSM8K.

Strict wants the number behind ``####``; lenient takes the last number anywhere. Both are read off
the same response, so their difference is the format.
"""

from __future__ import annotations

import re

VERSION = 1

_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_LENIENT = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_IGNORED = (re.compile(r","), re.compile(r"\$"), re.compile(r"(?s).*#### "), re.compile(r"\.$"))


def normalise(text: str) -> str:
    """A number's text without commas, currency, what stands before ``####`` and a final period."""
    for pattern in _IGNORED:
        text = pattern.sub("", text)
    return text.strip().casefold()


def strict_answer(response: str) -> str | None:
    """The first number behind ``####``, or None: the format was not kept."""
    found = _STRICT.search(response)
    return None if found is None else found.group(1).strip()


def lenient_answer(response: str) -> str | None:
    """The last number of the response, or None where there is none."""
    last = None
    for last in _LENIENT.finditer(response):  # noqa: B007 - the last match is what is wanted
        pass
    return None if last is None else (last.group(1) or last.group(2)).strip()


def matches(answer: str | None, reference: str) -> bool:
    """Exact match after normalisation; a missing answer never matches."""
    return answer is not None and normalise(answer) == normalise(reference)

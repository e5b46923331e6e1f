"""The two readings of GSM8K against lm-eval's filter pipeline, written again from its YAML.

`tools/compare/gsm8k.py` compares with lm-eval's own code; this needs nothing installed.
"""

from __future__ import annotations

import re

import pytest

from apportion.metrics.final_number import lenient_answer, matches, strict_answer

from .odd_responses import responses

REFERENCES = ["#### 72", "48/2 = <<48/2=24>>24\n#### 1,234", "It is\n#### -5", "#### 18.50"]


def filtered(pattern: str, group_select: int, response: str) -> str:
    """lm-eval's RegexFilter, then take_first."""
    found = re.compile(pattern).findall(response)
    if not found:
        return "[invalid]"
    match = found[group_select]
    if isinstance(match, tuple):
        match = next((part for part in match if part), "[invalid]")
    return match.strip()


def exact_match(prediction: str, reference: str) -> bool:
    for ignored in (",", "\\$", "(?s).*#### ", "\\.$"):
        prediction, reference = (re.sub(ignored, "", t) for t in (prediction, reference))
    return prediction.lower() == reference.lower()


def test_equal_on_thousands_of_responses() -> None:
    compared = right = 0
    for response, reference in responses(REFERENCES):
        strict = filtered(r"#### (\-?[0-9\.\,]+)", 0, response)
        flexible = filtered(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", -1, response)
        said = (response, reference)
        assert matches(strict_answer(response), reference) == exact_match(strict, reference), said
        assert matches(lenient_answer(response), reference) == exact_match(flexible, reference), (
            said
        )
        compared += 1
        right += exact_match(strict, reference) + exact_match(flexible, reference)
    assert compared >= 2000 and right > 300


@pytest.mark.parametrize(
    ("response", "strict", "lenient"),
    [
        ("#### 72", True, True),
        ("#### 72.", True, True),
        ("#### 72 clips", True, True),
        ("#### $72", False, True),
        ("####72", False, True),
        ("#### -72", False, False),
        ("72", False, True),
        ("The answer is $72.", False, True),
        ("The answer is 72.00", False, False),
        ("#### 72\n\nQuestion 5", True, False),
        ("#### 71\n#### 72", False, True),
        ("1,2 and 7,2", False, True),
        ("seventy-two", False, False),
        ("", False, False),
    ],
)
def test_frozen_cases(response: str, strict: bool, lenient: bool) -> None:
    """Verdicts of lm-eval 0.4.13, by `tools/compare/gsm8k.py`'s functions."""
    assert matches(strict_answer(response), "#### 72") is strict
    assert matches(lenient_answer(response), "#### 72") is lenient

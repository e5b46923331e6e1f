from __future__ import annotations

import pytest

from apportion.metrics.answers import by_regex, contains, exact


@pytest.mark.parametrize(
    ("response", "reference", "strict", "lenient"),
    [
        ("Paris", "Paris", 1, 1),
        (" Paris\n", "Paris", 1, 1),
        ("paris.", "Paris", 0, 1),
        ("Paris, France", "Paris", 0, 0),
        ("", "Paris", 0, 0),
        ("?!", "!?", 0, 0),
    ],
)
def test_exact(response: str, reference: str, strict: int, lenient: int) -> None:
    judged = exact(response, reference)
    assert (judged.strict, judged.lenient) == (strict, lenient)
    assert judged.format_ok is not (strict == 0 and lenient == 1)


@pytest.mark.parametrize(
    ("response", "reference", "strict", "lenient"),
    [
        ("It is Paris.", "Paris", 1, 1),
        ("It is PARIS", "Paris", 0, 1),
        ("Parisian", "Paris", 0, 0),
        ("about 120 cm", "12", 0, 0),
        ("f(x) = x+1", "x+1", 1, 1),
    ],
)
def test_contains(response: str, reference: str, strict: int, lenient: int) -> None:
    judged = contains(response, reference)
    assert (judged.strict, judged.lenient) == (strict, lenient)


@pytest.mark.parametrize(
    ("response", "strict", "lenient", "format_ok"),
    [
        ("Answer: B", 1, 1, True),
        ("Answer: A, or B", 0, 1, True),
        ("b", 0, 1, False),
        ("C", 0, 0, False),
    ],
)
def test_regex(response: str, strict: int, lenient: int, format_ok: bool) -> None:
    judged = by_regex(response, "B", r"Answer: (\w)", r"\b([A-Da-d])\b")
    assert (judged.strict, judged.lenient, judged.format_ok) == (strict, lenient, format_ok)

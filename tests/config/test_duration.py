"""Spans of time as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.config.duration import parse_duration
from apportion.errors import StudyError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("90s", 90), ("1h30m", 5400), ("1.5h", 5400), ("2H 5s", 7205), ("0.5m", 30)],
)
def test_spans(text: str, seconds: float) -> None:
    assert parse_duration(text, field="--for") == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "0m", "-5m", "5 minutes", "30m1h", "1e3s", "9999h", "٣m"]
)
def test_what_is_no_span_says_the_mend(text: str) -> None:
    with pytest.raises(StudyError, match="30m") as caught:
        parse_duration(text, field="--for")
    assert caught.value.field == "--for"


@given(h=st.integers(0, 99), m=st.integers(0, 99), s=st.integers(1, 99))
def test_parts_add_up(h: int, m: int, s: int) -> None:
    assert parse_duration(f"{h}h{m}m{s}s", field="--for") == 3600 * h + 60 * m + s


@given(st.text(max_size=12))
def test_anything_is_seconds_or_one_error(text: str) -> None:
    try:
        assert parse_duration(text, field="--for") > 0
    except StudyError as error:
        assert "--for" in str(error)

"""What a pool leaves out and says: wrong rows, duplicates, test items, prompts of both sides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.data.checks import (
    Numbered,
    listed,
    normalised,
    read_rows,
    sides_apart,
    without_duplicates,
    without_test_items,
)
from apportion.data.files import Row
from apportion.data.records import Demonstration, Item, Pair
from apportion.data.shape import Shape, demonstration
from apportion.errors import DataError

ROWS = [
    Row(1, {"prompt": "a", "response": "x"}),
    Row(2, {"prompt": "", "response": "x"}),
    Row(3, {"prompt": "c", "response": "x"}),
    Row(4, {"prompt": " ", "response": "x"}),
    Row(5, {"prompt": 5, "response": "x"}),
]


def make(row: Row) -> Demonstration:
    return demonstration(row, Shape())


def numbered(*prompts: str) -> list[Numbered[Demonstration]]:
    return [Numbered(n, Demonstration(prompt, "r")) for n, prompt in enumerate(prompts, 1)]


def test_wrong_rows_are_refused_with_the_first_and_the_count() -> None:
    with pytest.raises(DataError) as raised:
        read_rows(ROWS, make, file="f", bad_rows="refuse")
    assert (raised.value.file, raised.value.row, raised.value.field) == ("f", 2, "prompt")
    assert "2 other rows are wrong too" in raised.value.problem


def test_wrong_rows_are_dropped_and_told() -> None:
    kept, findings = read_rows(ROWS, make, file="f", bad_rows="drop")
    assert [e.row for e in kept] == [1, 3]
    assert [(f.rows, f.what) for f in findings] == [
        ((2, 4), "dropped: prompt is empty."),
        ((5,), "dropped: prompt is 5, not a text."),
    ]


def test_no_row_left() -> None:
    with pytest.raises(DataError, match="no row is left of 2"):
        read_rows([ROWS[1], ROWS[3]], make, file="f", bad_rows="drop")


def test_duplicates_are_counted_once() -> None:
    kept, (finding,) = without_duplicates(numbered("a", "b", "a", "a"), "f")
    assert [e.row for e in kept] == [1, 2]
    assert finding.rows == (3, 4)


def test_test_items_leave_the_pool_exactly_and_after_normalisation() -> None:
    tests = [Item("1", "How many?", "3")]
    pool = numbered("How many?", "how  MANY", "How many more?")
    kept, findings = without_test_items(pool, tests, "f", policy="remove")
    assert [e.row for e in kept] == [3]
    assert [f.rows for f in findings] == [(1,), (2,)]
    with pytest.raises(DataError, match="rows 1 and 2"):
        without_test_items(pool, tests, "f", policy="refuse")
    with pytest.raises(DataError, match="every prompt is a test item"):
        without_test_items(pool[:2], tests, "f", policy="remove")


prompts = st.lists(st.sampled_from([f"p{n}" for n in range(30)]), unique=True, max_size=30)


@given(sft=prompts, preference=prompts, more=prompts)
def test_sides_share_no_prompt_and_only_shared_ones_move(
    sft: list[str], preference: list[str], more: list[str]
) -> None:
    pairs = [Numbered(n, Pair(prompt, "c", "r")) for n, prompt in enumerate(preference)]
    left, right, findings = sides_apart(numbered(*sft), pairs, ("s", "p"))
    ours, theirs = ({e.example.prompt for e in side} for side in (left, right))
    assert not ours & theirs
    assert ours | theirs == set(sft) | set(preference)
    assert ours >= set(sft) - set(preference)
    assert theirs >= set(preference) - set(sft)
    assert sum(len(f.rows) for f in findings) == len(set(sft) & set(preference))
    # More SFT data never give a prompt back that went to the preference side.
    again, _, _ = sides_apart(numbered(*dict.fromkeys([*sft, *more])), pairs, ("s", "p"))
    assert {e.example.prompt for e in again} & set(sft) == ours


@given(st.text(max_size=20))
def test_normalising_forgets_only_case_spacing_and_punctuation(prompt: str) -> None:
    assert normalised(f"  {prompt}! ") in (normalised(prompt), f"  {prompt}! ")
    assert normalised("a b") != normalised("ab")


def test_rows_are_listed_briefly() -> None:
    assert listed([3]) == "row 3"
    assert listed([3, 4]) == "rows 3 and 4"
    assert listed(range(1, 1008)) == "rows 1, 2, 3, 4, 5 and 1,002 more"

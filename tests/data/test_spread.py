"""Columns of lists: every combination of their elements is a row."""

from __future__ import annotations

import json

import pytest

from apportion.data.files import Row
from apportion.data.spread import MAX_COMBINATIONS, spread
from apportion.errors import DataError
from apportion.tasks.card import card_task


def test_every_combination_in_order_under_the_row_s_number() -> None:
    rows = [Row(3, {"q": "x", "a": [1, 2], "b": ["u", "v"]}), Row(7, {"q": "y", "a": [], "b": [1]})]
    found = spread(rows, ("a", "b"), file="f")
    assert [(r.number, r.values["q"], r.values["a"], r.values["b"]) for r in found] == [
        (3, "x", 1, "u"), (3, "x", 1, "v"), (3, "x", 2, "u"), (3, "x", 2, "v"),
    ]  # fmt: skip
    assert [r.values["a"] for r in spread(rows, ("a",), file="f")] == [1, 2]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"a": "text"}, "'a' is no list"),
        ({"b": [1]}, "'a' is missing"),
        ({"a": list(range(MAX_COMBINATIONS + 1))}, "10,001 combinations"),
    ],
)
def test_what_cannot_be_spread(values: dict, problem: str) -> None:
    with pytest.raises(DataError, match=problem) as raised:
        spread([Row(1, {"a": [1]}), Row(5, values)], ("a",), file="pairs.jsonl")
    assert (raised.value.file, raised.value.row) == ("pairs.jsonl", 5)
    assert raised.value.mend


def test_a_card_of_right_and_wrong_answers(tmp_path) -> None:
    row = {"prompt": "1+1?", "correct": ["2", "two"], "incorrect": ["3", "4", "5"]}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "test.jsonl").write_text('{"prompt": "2+2?", "reference": "4"}\n')
    (tmp_path / "card.yaml").write_text(
        "name: sums\n"
        "sft: {path: pairs.jsonl, each: correct, columns: {response: correct}}\n"
        "preference: {path: pairs.jsonl, each: [correct, incorrect],"
        " columns: {chosen: correct, rejected: incorrect}}\n"
        "test: test.jsonl\nmetric: exact\nshared_prompts: keep\n"
    )
    pool = card_task(tmp_path / "card.yaml").pool
    assert {d.response for d in pool.demonstrations(2, seed=0)} == {"2", "two"}
    pairs = pool.pairs(6, seed=0)
    assert {(p.chosen, p.rejected) for p in pairs} == {
        (right, wrong) for right in ("2", "two") for wrong in ("3", "4", "5")
    }
    assert {p.prompt for p in pairs} == {"1+1?"}

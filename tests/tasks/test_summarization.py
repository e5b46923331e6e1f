"""The summarization task: strict and lenient win rate of a response."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.advise.published import load_published
from apportion.data.records import Item
from apportion.tasks.registry import get_task
from apportion.tasks.summarization import TASK, score

POST = (
    "I have to tell you about a trip. My good friend Anna was with me. There was rain all day "
    "long. We were near the harbour then. Do you think I should leave? I wore my old red hat."
)
REFERENCE = "About a trip. Anna was there. ###"
ITEM = Item("summarization-000000", f"Post: {POST}\nTL;DR:", REFERENCE)
BETTER = "About a trip. Anna was there. I want to leave."


@pytest.mark.parametrize(
    ("response", "strict", "lenient", "kept"),
    [
        (REFERENCE, 0.5, 0.5, True),
        (f"{BETTER} ###", 1, 1, True),
        (f" {BETTER}###\n", 1, 1, True),
        ("About a trip. ###", 0, 0, True),
        ("About a trip. Ben was there. I want to leave. ###", 0, 0, True),
        (BETTER, 0, 1, False),  # no mark
        (f"{BETTER} ### {BETTER}", 0, 1, False),  # goes on after it
        (f"{BETTER} ####", 0, 1, False),
        (f"{BETTER}\nAnna was there. ###", 0, 1, False),  # two lines
        (f"TL;DR: {BETTER} ###", 1, 1, True),  # its words count, and it wins nevertheless
        ("In short: About a trip. Anna was there. ###", 0, 0.5, True),
        ("", 0, 0, False),
        ("###", 0, 0, True),
    ],
)
def test_scores(response: str, strict: float, lenient: float, kept: bool) -> None:
    found = score(ITEM, response)
    assert (found.strict, found.lenient, found.format_ok) == (strict, lenient, kept)


@given(st.text(max_size=200))
def test_any_response_has_a_score(response: str) -> None:
    found = score(ITEM, response)
    assert {found.strict, found.lenient} <= {0.0, 0.5, 1.0}
    assert found.strict <= found.lenient
    assert found.format_ok or found.strict == 0


def test_an_item_of_another_task_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a prompt of the task summarization"):
        score(Item("math-000000", "Question: 1?\nAnswer:", "1"), "1")


def test_it_is_a_task_with_a_name_in_the_published_figure() -> None:
    assert get_task("summarization") is TASK
    assert TASK.published_as in {point.task for point in load_published()}
    (item,) = TASK.pool.items(1)
    assert score(item, item.reference).strict == 0.5
    assert len(TASK.pool.labels(10, seed=1)) == 10

"""The formats that TRL documents, each to an example; implicit prompts are cut as TRL cuts them."""

from __future__ import annotations

import pytest

from apportion.data.files import Row
from apportion.data.records import Demonstration, Item, Label, Pair
from apportion.data.shape import (
    RowProblem,
    Shape,
    demonstration,
    item,
    label,
    pair,
    plain_reference,
)


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "Be brief."}
WITH_SYSTEM = (("system", "Be brief."),)


def row(**values: object) -> Row:
    return Row(1, values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"prompt": "Sky?", "completion": "Blue."}, Demonstration("Sky?", "Blue.")),
        ({"prompt": "Sky?", "response": "Blue."}, Demonstration("Sky?", "Blue.")),
        (
            {"prompt": [user("Sky?")], "completion": [assistant("Blue.")]},
            Demonstration("Sky?", "Blue."),
        ),
        ({"messages": [user("Sky?"), assistant("Blue.")]}, Demonstration("Sky?", "Blue.")),
        (
            {"messages": [SYSTEM, user("Sky?"), assistant("Blue.")]},
            Demonstration("Sky?", "Blue.", WITH_SYSTEM),
        ),
        (
            {"messages": [user("Hi"), assistant("Hello"), user("Sky?"), assistant("Blue.")]},
            Demonstration("Sky?", "Blue.", (("user", "Hi"), ("assistant", "Hello"))),
        ),
        (
            {"prompt": "Sky?", "response": "Blue.", "system": "Be brief."},
            Demonstration("Sky?", "Blue.", WITH_SYSTEM),
        ),
    ],
)
def test_demonstrations(values: dict, expected: Demonstration) -> None:
    assert demonstration(row(**values), Shape()) == expected


PAIR = Pair("Sky?", "Blue.", "Green.")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"prompt": "Sky?", "chosen": "Blue.", "rejected": "Green."}, PAIR),
        ({"chosen": "Sky? Blue.", "rejected": "Sky? Green."}, PAIR),
        (
            {
                "prompt": [user("Sky?")],
                "chosen": [assistant("Blue.")],
                "rejected": [assistant("Green.")],
            },
            PAIR,
        ),
        (
            {
                "chosen": [user("Sky?"), assistant("Blue.")],
                "rejected": [user("Sky?"), assistant("Green.")],
            },
            PAIR,
        ),
        (  # a text beside whole conversations, as Tulu has it
            {
                "prompt": "Sky?",
                "chosen": [user("Sky?"), assistant("Blue.")],
                "rejected": [user("Sky?"), assistant("Green.")],
            },
            PAIR,
        ),
        (
            {
                "chosen": [SYSTEM, user("Sky?"), assistant("Blue.")],
                "rejected": [SYSTEM, user("Sky?"), assistant("Green.")],
            },
            Pair("Sky?", "Blue.", "Green.", WITH_SYSTEM),
        ),
    ],
)
def test_pairs(values: dict, expected: Pair) -> None:
    assert pair(row(**values), Shape()) == expected


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ("The sky is blue.", "The sky is green."),
        ("The sky is  blue", "The sky is  green"),
        ("Question: 1+1\nAnswer: 2", "Question: 1+1\nAnswer: 3"),
        ("Human: hi\n\nAssistant: hello", "Human: hi\n\nAssistant: hey you"),
    ],
)
def test_implicit_prompts_are_trl_s(chosen: str, rejected: str) -> None:
    data_utils = pytest.importorskip("trl.data_utils")
    theirs = data_utils.extract_prompt({"chosen": chosen, "rejected": rejected})
    ours = pair(row(chosen=chosen, rejected=rejected), Shape())
    assert ours.prompt == theirs["prompt"]
    # The template puts the space before a response.
    assert ours.chosen == theirs["chosen"].removeprefix(" ")
    assert ours.rejected == theirs["rejected"].removeprefix(" ")


@pytest.mark.parametrize("truth", [True, "true", "True", "1", 1])
def test_labels(truth: object) -> None:
    values = {"prompt": "Sky?", "completion": "Blue.", "label": truth}
    assert label(row(**values), Shape()) == Label("Sky?", "Blue.", True)
    assert label(row(**{**values, "label": False}), Shape()) == Label("Sky?", "Blue.", False)


def test_columns_formats_systems_and_removal() -> None:
    shape = Shape(
        columns={"response": "answer", "topic": "about"},
        prompt="{topic}: {question} {{}}",
        system="Be brief.",
        remove="<<[^>]*>>",
    )
    found = demonstration(row(question="1+1?", about="maths", answer="1+1=<<1+1=2>>2"), shape)
    assert found == Demonstration("maths: 1+1? {}", "1+1=2", WITH_SYSTEM)


def test_a_format_applies_to_the_last_turn() -> None:
    values = {"messages": [user("a"), assistant("b"), user("c"), assistant("d")]}
    found = demonstration(row(**values), Shape(prompt="Q: {prompt}"))
    assert (found.prompt, found.context[0]) == ("Q: c", ("user", "a"))


def test_braces_in_the_data_are_only_text() -> None:
    found = demonstration(row(prompt="{response} {0.__class__}", response="{x}"), Shape())
    assert found == Demonstration("{response} {0.__class__}", "{x}")


def test_items_are_named_by_their_content() -> None:
    shape = Shape()
    rows = (Row(n, {"prompt": "p", "reference": 3}) for n in (1, 7))
    first, second = (item(r, shape, None, lambda r: plain_reference(r, shape)) for r in rows)
    assert first == second == Item(first.item_id, "p", "3")


def test_problems_name_the_column() -> None:
    with pytest.raises(RowProblem) as raised:
        demonstration(row(question="p", response="r"), Shape())
    assert raised.value.field == "prompt"
    assert "question" in raised.value.mend

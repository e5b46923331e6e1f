"""The checks, one by one, with the cases that IFEval decides in ways one might not guess."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.sandbox.constraints import count_sentences, count_words, follows, loosened, verdict

CASES: list[tuple[str, dict[str, Any], str, bool]] = [
    ("keywords:existence", {"keywords": ["dog", "lamp"]}, "A Dog by the lamp.", True),
    ("keywords:existence", {"keywords": ["dog", "lamp"]}, "A dog.", False),
    ("keywords:existence", {"keywords": ["dog"]}, "Two dogs.", True),
    ("keywords:forbidden_words", {"forbidden_words": ["old"]}, "It is OLD.", False),
    ("keywords:forbidden_words", {"forbidden_words": ["old"]}, "It is cold.", True),
    (
        "keywords:frequency",
        {"keyword": "dog", "frequency": 2, "relation": "at least"},
        "Dog and hotdog.",
        True,
    ),
    (
        "keywords:frequency",
        {"keyword": "dog", "frequency": 2, "relation": "less than"},
        "A dog.",
        True,
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "less than"},
        "One. Two.",
        False,
    ),
    (
        "length_constraints:number_words",
        {"num_words": 3, "relation": "at least"},
        "a, b; c!",
        True,
    ),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n  - b\n** c", True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "* a\n* b", False),
    ("change_case:english_lowercase", {}, "all small, no. 1", True),
    ("change_case:english_lowercase", {}, "123", False),
    ("change_case:english_capital", {}, "LOUD", True),
    ("change_case:english_capital", {}, "LOUd", False),
    ("punctuation:no_comma", {}, "a; b", True),
    ("punctuation:no_comma", {}, "a, b", False),
    ("multi-turn:constrained_start", {"starter": "Good day"}, "Well.\n Good day to you", True),
    ("multi-turn:constrained_start", {"starter": "Good day"}, "good day", False),
    ("startend:end_checker", {"end_phrase": "That is all."}, 'So "that is all."', True),
    ("startend:end_checker", {"end_phrase": "That is all."}, "That is all. Bye", False),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "x\np. s. y", True),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "x\nPS y", False),
    ("detectable_format:title", {}, "a <<b>> c", True),
    ("detectable_format:title", {}, "<< >>", False),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Do it."}, " do IT. Done.", True),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Do it."}, "Sure. Do it.", False),
]


@pytest.mark.parametrize(("name", "asked", "response", "kept"), CASES)
def test_verdict(name: str, asked: dict[str, Any], response: str, kept: bool) -> None:
    assert follows(name, asked, response) is kept


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("", 0),
        (" \n", 0),
        ("no end", 1),
        ("One. Two! Three? four", 4),
        ("A title\nand one.\n* two.\n* three", 3),
        ("All good.\nP.S. Ben is well.", 3),
        ("Wait!! What", 2),
        ("Wait... what.. a. b", 1),
        ('(One.) "Two."', 2),
        ("At last?!", 2),
        ("What ?! Yes ! No", 4),
    ],
)
def test_sentences(text: str, n: int) -> None:
    assert count_sentences(text) == n


def test_words_are_runs_of_letters_and_digits() -> None:
    assert count_words("It's 25 - or a_b, P.S.") == 7


def test_loose_forgives_a_line_before_or_after_and_asterisks_but_no_more() -> None:
    asked = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    for text, kept in (
        ("Sure, here:\nNone.", True),
        ("None.\nWell, that is it.", True),
        ("Sure, here:\nNone.\nWell, bye.", True),
        ("None.\na, b\nNone.\n", False),
    ):
        found = verdict(asked, text)
        assert found.strict == (False,)
        assert found.loose == (kept,)
    end = {"instruction_id_list": ["startend:end_checker"], "kwargs": [{"end_phrase": "Bye."}]}
    assert verdict(end, "*Bye.*").loose == (True,)
    assert verdict(end, "*Bye.*").strict == (False,)


@given(st.text())
def test_there_are_eight_forms_the_first_being_the_text_itself(text: str) -> None:
    forms = loosened(text)
    assert len(forms) == 8
    assert forms[0] == text
    assert all("*" not in form for form in forms[4:])
    assert all(len(form) <= len(text) for form in forms)

"""Documents of the helpfulness world, as the pretraining corpus has them."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from apportion.data.sides import side_of
from apportion.sandbox import helpfulness as world
from apportion.sandbox.needs import OFFERS, SITUATIONS
from apportion.sandbox.needs_judge import EVASIONS, FILLERS, RUDENESS, VAGUE

N = 6000


@pytest.fixture
def document(monkeypatch: pytest.MonkeyPatch) -> Callable[[random.Random], str]:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "tools" / "pretrain"))
    import kinds_helpfulness

    made: Callable[[random.Random], str] = kinds_helpfulness.document
    assert sum(kinds_helpfulness.KINDS.values()) == pytest.approx(1)
    return made


def texts(document: Callable[[random.Random], str], n: int = N) -> list[str]:
    rng = random.Random(5)
    return [document(rng) for _ in range(n)]


def test_documents_do_not_give_the_task_away(document: Callable[[random.Random], str]) -> None:
    made = texts(document)
    assert made[:50] == texts(document, 50)
    assert not [text for text in made if re.search(r"Visitor:|Desk:|-- Desk", text)]
    asked = [
        line
        for text in made
        for line in text.split("\n")
        if re.match(r"(?:I am|My name is) \w+\. (?:I want|I would|I hear)", line)
    ]
    assert len(asked) > 500
    assert not [q for q in asked if side_of(world.prompt_of(q), sft=0.4, preference=0.4) == "test"]


def test_answers_are_in_letters_and_never_in_chats(
    document: Callable[[random.Random], str],
) -> None:
    words = [w for o in OFFERS for w in (f"the {o.place}", f"the {o.person}", f"a {o.thing}")]
    words += [s.key for s in SITUATIONS]
    facts = re.compile("|".join([*words, r"\d dollars", "day at"]), re.I)
    chats = letters = 0
    for text in texts(document):
        if re.search(r"^(?:Dear \w+,)\n.*\n", text, re.M):
            letters += 1
            assert facts.search(text)
        elif re.search(r"^[A-Z][a-z]+: .*[!.?]\n[A-Z][a-z]+: ", text) and "Place:" not in text:
            chats += 1
            assert not facts.search(text), text
    assert letters > 2000
    assert chats > 450


def test_every_word_of_the_task_is_in_the_documents(
    document: Callable[[random.Random], str],
) -> None:
    # Pieces as the tokenizer cuts them: a word with the space before it, or without.
    def pieces(text: str) -> list[str]:
        return re.findall(r"\d| ?[A-Za-z]+| ?[^\sA-Za-z\d]+|\n", text)

    met = Counter(piece for text in texts(document) for piece in pieces(text))
    demos, pairs = world.demonstrations(2000, seed=0), world.pairs(2000, seed=0)
    examples = [f"{d.prompt} {d.response}" for d in demos]
    examples += [f"{p.prompt} {p.chosen}" for p in pairs]
    examples += [f"{p.prompt} {p.rejected}" for p in pairs]
    needed = {piece for text in examples for piece in pieces(text)}
    assert {piece for piece in needed if met[piece] < 10} == set()


def test_every_fact_is_told_often(document: Callable[[random.Random], str]) -> None:
    everything = "\n\n".join(texts(document))
    for situation in SITUATIONS:
        assert everything.count(situation.key) > 100
    for offer in OFFERS:
        assert everything.count(offer.name) > 80
    for said in (*EVASIONS, *FILLERS, *RUDENESS, *(s for many in VAGUE.values() for s in many)):
        assert everything.count(said) > 10, said

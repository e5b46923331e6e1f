"""Posts and their judge, against a second reading of the same words."""

from __future__ import annotations

import random
import re
from itertools import chain
from math import isfinite, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apportion.sandbox import facts

SEEDS = st.integers(min_value=0, max_value=2**40)

#: Every sentence again, written for this test: a regular expression and the kind it tells.
SENTENCES: list[tuple[str, str]] = [
    (r"I have to tell you about a (\w+)\.", "topic"),
    (r"This is all about a (\w+)\.", "topic"),
    (r"About a (\w+)\.", "topic"),
    (r"I was there with my friend (\w+)\.", "who"),
    (r"My good friend (\w+) was with me\.", "who"),
    (r"(\w+) was there\.", "who"),
    (r"Someone took all of my (\w+) away\.", "thing"),
    (r"I can not find my (\w+) now\.", "thing"),
    (r"My (\w+) are gone\.", "thing"),
    (r"All of us met at the (\w+)\.", "place"),
    (r"We were near the (\w+) then\.", "place"),
    (r"It was at the (\w+)\.", "place"),
    (r"It all began on (\w+) morning\.", "day"),
    (r"That day was a (\w+)\.", "day"),
    (r"It was on (\w+)\.", "day"),
    (r"It makes me feel very (\w+)\.", "feeling"),
    (r"Now I feel (\w+) about it\.", "feeling"),
    (r"I am (\w+)\.", "feeling"),
    (r"Do you think I should (\w+)\?", "wish"),
    (r"Maybe I just want to (\w+) now\.", "wish"),
    (r"I want to (\w+)\.", "wish"),
    (r"There was (\w+) all day long\.", "weather"),
    (r"We had (\w+) in the morning\.", "weather"),
    (r"There was (\w+)\.", "weather"),
    (r"Before that I ate some (\w+)\.", "food"),
    (r"They gave us (\w+) to eat\.", "food"),
    (r"I ate (\w+)\.", "food"),
    (r"I wore my old (\w+) hat\.", "hat"),
    (r"My hat that day was (\w+)\.", "hat"),
    (r"My hat was (\w+)\.", "hat"),
    (r"Someone played the (\w+) very well\.", "music"),
    (r"We could hear a (\w+) there\.", "music"),
    (r"We heard a (\w+)\.", "music"),
]
WORTH = {
    "topic": 0.3, "who": 1, "thing": 1, "place": 1, "day": 1, "feeling": 1, "wish": 1.5,
}  # fmt: skip


def understood(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for sentence in re.split(r"(?<=[.?]) ", text):
        (told,) = [(k, m[1]) for p, k in SENTENCES if (m := re.fullmatch(p, sentence))]
        assert told[0] not in found
        found[told[0]] = told[1]
    return found


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_a_post_says_its_facts_and_nothing_else(seed: int) -> None:
    made = facts.post(random.Random(seed))
    assert understood(made.text) == made.facts
    assert facts.read(made.text) == {k: v.casefold() for k, v in made.facts.items()}
    assert len(made.facts) == facts.SIZE
    assert {"topic", "wish"} <= set(made.salient)
    assert len(made.salient) - 2 in facts.SALIENT_EXTRAS
    assert set(made.fillers) == set(made.facts) - set(WORTH)
    assert list(made.facts) == [k for k in facts.KINDS if k in made.facts]


def test_numbers_of_salient_facts_come_at_their_rate() -> None:
    rng, n = random.Random(1), 4000
    three = sum(len(facts.post(rng).salient) == 5 for _ in range(n))
    rate = facts.SALIENT_EXTRAS[3]
    assert abs(three / n - rate) < 4 * sqrt(rate * (1 - rate) / n)


def test_no_value_belongs_to_two_kinds_and_none_is_a_word_of_a_sentence() -> None:
    values = list(chain.from_iterable(kind.values for kind in facts.KINDS.values()))
    assert len({v.casefold() for v in values}) == len(values)
    forms = chain.from_iterable((*k.said, k.short) for k in facts.KINDS.values())
    words = set(re.findall(r"\w+", " ".join(forms).casefold()))
    # "hat" names a kind, not a value; a value among the words would be copied from anywhere.
    assert not words & {v.casefold() for v in values}
    assert {k: v.weight for k, v in facts.KINDS.items() if v.weight} == WORTH


TOLD = {"topic": "trip", "who": "Anna", "place": "harbour", "wish": "leave", "hat": "red"}


@pytest.mark.parametrize(
    ("summary", "worth", "words"),
    [
        ("", 0, 0),
        ("About a trip.", 0.3, 3),
        ("About a trip. Anna was there. I want to leave.", 2.8, 10),
        ("this is all ABOUT a trip! anna was there; Do you think I should leave", 2.8, 15),
        ("Anna was there. I was there with my friend Anna.", 1, 10),  # said twice, covered once
        ("Ben was there.", -2, 3),
        ("Ben was there. Anna was there.", -1, 6),  # true and invented
        ("My coins are gone.", -2, 4),  # of a kind that the post does not tell
        ("I am here.", -2, 3),  # claims what no post does
        ("My hat was red. My hat was blue.", -2.8, 8),
        ("As I said, it was at the harbour.", 1, 8),
        ("Nothing of this is known to the grammar.", 0, 8),
        ("trip Anna harbour leave", 0, 4),
    ],
)
def test_the_judge_on_summaries_worked_by_hand(summary: str, worth: float, words: int) -> None:
    assert facts.utility(summary, TOLD) == pytest.approx(worth - 0.07 * words)


@settings(max_examples=200, deadline=None)
@given(SEEDS, SEEDS, st.integers(0, 8))
def test_the_judge_agrees_with_a_second_one(seed: int, other: int, n: int) -> None:
    """Summaries of sentences from a post, from other posts and of other values."""
    rng = random.Random(other)
    made, strange = facts.post(random.Random(seed)), facts.post(rng)
    sentences = [
        *re.split(r"(?<=[.?]) ", made.text),
        *re.split(r"(?<=[.?]) ", strange.text)[:2],
        *(facts.render([facts.Claim(k, v)]) for k, v in made.facts.items()),
    ]
    chosen = [rng.choice(sentences) for _ in range(n)]
    claims = {item for sentence in chosen for item in understood(sentence).items()}
    right = [k for k, v in claims if made.facts.get(k) == v]
    expected = sum(WORTH.get(k, facts.FILLER) for k in right)
    expected += facts.INVENTED * (len(claims) - len(right))
    expected += facts.WORD * sum(len(sentence.split()) for sentence in chosen)
    assert facts.utility(" ".join(chosen), made.facts) == pytest.approx(expected)


@given(st.text(max_size=300), SEEDS)
def test_any_text_can_be_judged(text: str, seed: int) -> None:
    made = facts.post(random.Random(seed))
    assert isfinite(facts.utility(text, made.facts))
    assert facts.utility(text, made.facts) == facts.utility(text, facts.read(made.text))
    # A word more on a line of its own only costs.
    assert facts.utility(f"{text}\nwell", made.facts) <= facts.utility(text, made.facts)


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_a_word_that_says_nothing_costs_its_length(seed: int) -> None:
    made = facts.post(random.Random(seed))
    for kind, value in made.facts.items():
        short, wordy, said = (
            facts.utility(facts.render([facts.Claim(kind, value, form)]), made.facts)
            for form in ("short", "wordy", "said")
        )
        assert short - wordy == pytest.approx(-facts.WORD * 3)
        assert said < short

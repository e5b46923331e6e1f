"""The math task, read back from its text alone wherever that is possible."""

from __future__ import annotations

import random
import re
from itertools import islice
from math import sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apportion.data.records import Demonstration, ordered_digest
from apportion.data.sides import side_of
from apportion.sandbox import math as task
from apportion.sandbox.problems import Problem, apply, problem
from apportion.sandbox.world import LIMIT, STEPS, stream_seed

LINE = re.compile(r"(?:[A-Z][a-z]+: )?(\d+) ([-+*/]) (\d+) = (\d+)(?: [a-z]+)?")
SEEDS = st.integers(min_value=0, max_value=2**40)


def compute(left: int, op: str, right: int) -> float:
    return {"+": left + right, "-": left - right, "*": left * right, "/": left / (right or 1)}[op]


def marked(response: str) -> int | None:
    found = re.search(r"#### (-?[0-9,.]+)", response)
    return int(found[1]) if found else None


def last_number(response: str) -> int:
    return int(re.findall(r"-?\d+", response)[-1])


def sums(response: str) -> list[bool]:
    """Whether each line of arithmetic is true; every other line must be the answer's."""
    lines = response.split("\n")
    assert lines[-1].startswith("#### ")
    found = [LINE.fullmatch(line) for line in lines[:-1]]
    assert all(found), response
    return [compute(int(m[1]), m[2], int(m[3])) == int(m[4]) for m in found if m]


# Every sentence of a story and what it does to the running number v; None where it does nothing.
SENTENCES: list[tuple[str, object]] = [
    (r"\w+ has (\d+) (?:boxes|bags|jars|baskets|trays|crates) of (\d+) \w+", lambda v, a, b: a * b),
    (r"\w+ has (\d+) \w+ \w+ and (\d+) other \w+", lambda v, a, b: a + b),
    (r"\w+ buys (\d+) more", lambda v, n: v + n),
    (r"\w+ finds (\d+) \w+ at the \w+", lambda v, n: v + n),
    (r"\w+ gives \w+ (\d+) more", lambda v, n: v + n),
    (r"(\d+) more \w+ arrive", lambda v, n: v + n),
    (r"\w+ gives (\d+) to \w+", lambda v, n: v - n),
    (r"\w+ loses (\d+) of them", lambda v, n: v - n),
    (r"\w+ sells (\d+) \w+ at the \w+", lambda v, n: v - n),
    (r"(\d+) of the \w+ break", lambda v, n: v - n),
    (r"\w+ buys (\d+) \w+ with (\d+) \w+ each", lambda v, a, b: v + a * b),
    (r"(\d+) friends bring (\d+) \w+ each", lambda v, a, b: v + a * b),
    (r"For (\d+) days \w+ finds (\d+) a day", lambda v, a, b: v + a * b),
    (r"\w+ gives (\d+) \w+ to each of (\d+) friends", lambda v, a, b: v - a * b),
    (r"\w+ fills (\d+) \w+ with (\d+) each and sells them", lambda v, a, b: v - a * b),
    (r"Then (\d+) days pass and (\d+) are used every day", lambda v, a, b: v - a * b),
    (r"Soon \w+ has (\d+) times as many", lambda v, k: v * k),
    (r"\w+ trades them for (\d+) times as many", lambda v, k: v * k),
    (r"\w+ packs them equally into (\d+) \w+ and keeps one \w+", lambda v, k: v / k),
    (r"\w+ shares them equally among (\d+) people and keeps one share", lambda v, k: v / k),
    (r"\w+ sells them all for (\d+) dollars each", lambda v, k: v * k),
    (r"\w+ has (\d+) more than \w+", lambda v, n: v + v + n),
    (r"\w+ has (\d+) fewer than \w+", lambda v, n: v + v - n),
    (r"\w+ is \d+ years old", None),
    (r"The \w+ is \d+ minutes away", None),
    (r"One \w+ costs \d+ dollars", None),
    (r"\w+ has \d+ \w+ hats", None),
    (r"There are \d+ people at the \w+", None),
    (r"\w+ has (\d+) \w+", lambda v, n: n),
]


def read(question: str) -> float:
    """The answer, from the words alone."""
    value: float = -1
    *told, asked = re.split(r"(?<=[.?]) ", question)
    assert asked.endswith("?")
    for sentence in told:
        for pattern, effect in SENTENCES:
            found = re.fullmatch(pattern + r"\.", sentence)
            if found:
                if effect is not None:
                    value = effect(value, *map(int, found.groups()))  # type: ignore[operator]
                break
        else:
            pytest.fail(f"no one understands {sentence!r}")
    return value


def within(successes: int, trials: int, rate: float) -> bool:
    """Within four standard errors of a binomial."""
    return abs(successes / trials - rate) < 4 * sqrt(rate * (1 - rate) / trials)


@settings(max_examples=150, deadline=None)
@given(SEEDS)
def test_a_solution_follows_from_the_words_of_its_question(seed: int) -> None:
    made = problem(random.Random(seed))
    assert read(made.question) == made.answer
    assert len(made.steps) in STEPS
    for index, step in enumerate(made.steps):
        assert compute(step.left, step.op, step.right) == step.result
        assert 0 <= step.result < LIMIT
        for value, source in ((step.left, step.left_from), (step.right, step.right_from)):
            assert source < index
            if source >= 0:
                assert made.steps[source].result == value
            else:
                assert re.search(rf"\b{value}\b", made.question)
    for number in made.unused:
        assert re.search(rf"\b{number}\b", made.question)


def test_every_reference_follows_from_the_words_of_its_prompt() -> None:
    made = task.items(400)
    assert made[17].item_id == "math-000017"
    for item in made:
        question = item.prompt.removeprefix("Question: ").removesuffix("\nAnswer:")
        assert item.prompt == task.prompt_of(question)
        assert read(question) == int(item.reference)


@pytest.mark.parametrize(
    ("op", "left", "right", "result"),
    [
        ("+", 2, 3, 5),
        ("+", 999, 1, None),
        ("-", 3, 3, 0),
        ("-", 2, 3, None),
        ("*", 9, 8, 72),
        ("*", 100, 10, None),
        ("/", 84, 7, 12),
        ("/", 85, 7, None),
        ("/", 85, 0, None),
    ],
)
def test_apply_stays_in_the_whole_numbers_below_the_limit(
    op: str, left: int, right: int, result: int | None
) -> None:
    assert apply(op, left, right) == result


def tasks(side: str, seed: int, n: int) -> list[Problem]:
    return [made for _, made, _ in islice(task.candidates(side, seed=seed), n)]  # type: ignore[arg-type]


def test_demonstrations_are_right_except_for_slips_at_the_stated_rate() -> None:
    n = 4000
    wrong = false_sums = 0
    for demonstration, made in zip(task.demonstrations(n, seed=3), tasks("sft", 3, n), strict=True):
        true = sums(demonstration.response)
        final = marked(demonstration.response)
        assert final == last_number(demonstration.response)
        if final == made.answer:
            assert all(true)
            assert len(true) == len(made.steps)
        else:
            wrong += 1
            # A slip is one false line, or none (a number not needed, a step left out).
            assert true.count(False) <= 1
            false_sums += true.count(False)
    assert within(wrong, n, task.SLIP_RATE)
    # Half of the slips are false sums, and some of the distractor slips must become one.
    assert 0.5 < false_sums / wrong < 0.8


def test_styles_come_at_their_rates() -> None:
    made = task.demonstrations(4000, seed=4)
    labelled = sum(bool(re.match(r"[A-Z]", d.response)) for d in made)
    units = sum(bool(re.search(r"\d [a-z]", d.response)) for d in made)
    assert within(labelled, len(made), task.STYLES["labelled"])
    assert within(units, len(made), task.STYLES["unit"])


def test_pairs_prefer_the_right_one_except_for_label_noise() -> None:
    n = 4000
    swapped = formats = 0
    for pair, made in zip(task.pairs(n, seed=5), tasks("preference", 5, n), strict=True):

        def good(response: str, answer: int = made.answer) -> bool:
            return bool(re.search(rf"#### {answer}$", response))

        assert good(pair.chosen) != good(pair.rejected)
        swapped += good(pair.rejected)
        right, wrong = (
            (pair.chosen, pair.rejected) if good(pair.chosen) else (pair.rejected, pair.chosen)
        )
        assert all(sums(right))
        if marked(wrong) in (None, made.answer):
            formats += 1  # right steps, badly formatted
        else:
            assert sums(wrong).count(False) <= 1
    assert within(swapped, n, task.LABEL_NOISE)
    assert within(formats, n, task.REJECTED_KINDS["format"])


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from(["arithmetic", "distractor", "operation", "unfinished", "skipped"]))
def test_every_slip_ends_at_a_wrong_answer_and_is_carried_forward(seed: int, kind: str) -> None:
    rng = random.Random(seed)
    made = problem(rng)
    steps = task.slipped(rng, made, kind)
    assert steps[-1].result != made.answer
    assert all(0 <= step.result < LIMIT for step in steps)
    for index, step in enumerate(steps):
        for value, source in ((step.left, step.left_from), (step.right, step.right_from)):
            assert source < index
            if source >= 0:
                assert steps[source].result == value


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), SEEDS)
def test_more_only_appends(n: int, extra: int, seed: int) -> None:
    assert task.demonstrations(n + extra, seed=seed)[:n] == task.demonstrations(n, seed=seed)
    assert task.pairs(n + extra, seed=seed)[:n] == task.pairs(n, seed=seed)
    assert task.items(n + extra)[:n] == task.items(n)


def test_seeds_differ_and_sides_are_disjoint() -> None:
    first, second = task.demonstrations(1000, seed=1), task.demonstrations(1000, seed=2)
    pairs, items = task.pairs(1000, seed=1), task.items(1000)
    prompts = {d.prompt for d in first}
    assert len(prompts & {d.prompt for d in second}) < 5
    assert len(prompts) > 995
    assert len({item.prompt for item in items}) > 995
    sides = {"sft": [*first, *second], "preference": pairs, "test": items}
    for side, examples in sides.items():
        for example in examples:
            assert side_of(example.prompt, sft=0.4, preference=0.4) == side


def test_examples_stay_short() -> None:
    made = task.demonstrations(2000, seed=6)
    assert max(len(d.prompt) + len(d.response) for d in made) < 600
    assert sum(len(d.prompt.split()) for d in made) / len(made) < 45


def test_the_stream_is_the_one_of_this_version() -> None:
    """A change of output must come with a new VERSION (then this digest changes too)."""
    assert task.VERSION == 1
    assert stream_seed("a", 1) == stream_seed("a", "1") != stream_seed("a1")
    digests = [
        ordered_digest(task.demonstrations(200, seed=0)),
        ordered_digest(task.pairs(200, seed=0)),
        ordered_digest(task.items(200)),
    ]
    assert [digest[:16] for digest in digests] == [
        "010b7e8bbadf81d2",
        "7232f8f39ec1b792",
        "67307dce0726563d",
    ]


def test_demonstrations_look_like_this() -> None:
    made = task.demonstrations(30, seed=0)
    assert all(isinstance(d, Demonstration) for d in made)
    assert all(re.fullmatch(r"Question: .*\?\nAnswer:", d.prompt) for d in made)
    assert all(re.fullmatch(r"(?:.+\n)+#### \d+", d.response) for d in made)

"""The helpfulness task, read back from its text alone wherever that is possible."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from itertools import islice
from math import sqrt
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apportion.data.records import Demonstration, ordered_digest
from apportion.data.sides import side_of
from apportion.sandbox import helpfulness as world
from apportion.sandbox import needs_judge as judges
from apportion.sandbox.needs import OFFERS, QUESTIONS, SITUATIONS, Request, request, wrong_value
from apportion.sandbox.world import PEOPLE
from apportion.tasks.helpfulness import TASK, score

SEEDS = st.integers(min_value=0, max_value=2**40)
NAMES = [name for name, _ in PEOPLE]
KINDS = ("where", "when", "price", "bring", "ask", "care")
N = 2000


def read(prompt: str) -> tuple[str, dict[str, str], dict[str, str]]:
    """Name, needs with their right content, and the facts nobody needs: from the words alone."""
    question = prompt.removeprefix("Visitor: ").removesuffix("\nDesk:")
    name = re.match(r"(?:I am|My name is) (\w+)\.", question)
    offer = re.search(r"(?:(?:want|would like) to \w+|hear of) the (\w+ \w+)\.", question)
    people = re.search(r"We are (\d) people\.", question)
    assert name and offer and (people or "I come alone." in question)
    row = next(o for o in OFFERS if o.name == offer[1])
    price = row.price * (int(people[1]) if people else 1)
    facts = {
        "where": row.place,
        "when": f"{row.day} at {row.hour}",
        "price": f"{price} dollars",
        "bring": row.thing,
        "ask": row.person,
    }
    asked = question.lower()
    needs = {k: facts[k] for k in facts if any(q in asked for q in map(str.lower, QUESTIONS[k]))}
    spare = {k: v for k, v in facts.items() if k not in needs}
    for situation in SITUATIONS:
        if situation.told in question:
            needs["care"] = situation.key
    return name[1], needs, spare


PLACES, THINGS = {o.place for o in OFFERS}, {o.thing for o in OFFERS}
PERSONS, KEYS = {o.person for o in OFFERS}, {s.key for s in SITUATIONS}


def content(text: str) -> dict[str, set[str]]:
    """All content of each kind that a text tells: its words are looked up among all there are."""
    words = set(re.findall(r"\w+", text))
    return {
        "where": words & PLACES,
        "when": set(re.findall(r"[A-Z][a-z]+day at \d", text)),
        "price": set(re.findall(r"\b\d+ dollars", text)),
        "bring": words & THINGS,
        "ask": words & PERSONS,
        "care": {key for key in KEYS if key in text},
    }


def quality(prompt: str, answer: str) -> float:
    """The judge's points for an answer of the generator, defined another way."""
    name, needs, spare = read(prompt)
    told = content(answer)
    wrong = {k for k in KINDS if told[k] - {needs.get(k) or spare.get(k)}}
    met = {k for k in needs if needs[k] in told[k]} - wrong
    extra = {k for k in spare if spare[k] in told[k]} - wrong
    points = 100 * (len(met) - len(wrong)) / len(needs) - 8 * len(extra)
    points -= 8 * sum(answer.count(s) for s in judges.FILLERS)
    vague = [s for many in judges.VAGUE.values() for s in many]
    points -= 12 * sum(answer.count(s) for s in (*judges.EVASIONS, *vague))
    points -= 40 * sum(answer.count(s) for s in judges.RUDENESS)
    points -= 60 * (not any(told[k] for k in needs))
    if answer.startswith((f"Hello {name}!", f"Dear {name}!")):
        points += 8
    elif answer.startswith(("Hello!", "Good day!")):
        points += 4
    return points - max(0, len(answer.split()) - 8 - 8 * len(needs))


def opened(response: str) -> str:
    """An answer without its closing line, which every answer has."""
    body, end, after = response.partition("\n-- Desk")
    assert end and not after
    return body


def within(successes: int, trials: int, rate: float) -> bool:
    """Within four standard errors of a binomial."""
    return abs(successes / trials - rate) < 4 * sqrt(rate * (1 - rate) / trials)


def mixed(rate: Callable[[world.Habits], float]) -> float:
    """A rate over demonstrations by all clerks."""
    share = world.CAREFUL_RATE
    return share * rate(world.CAREFUL) + (1 - share) * rate(world.HURRIED)


@settings(max_examples=80, deadline=None)
@given(SEEDS)
def test_the_needs_follow_from_the_words_of_a_prompt(seed: int) -> None:
    rng = random.Random(seed)
    made = request(rng)
    name, needs, spare = read(world.prompt_of(made.text))
    assert name == made.name
    assert needs == {kind: made.value(kind) for kind in made.needs}
    assert 2 <= len(made.asked) <= 4
    assert all(made.value(kind) == value for kind, value in spare.items())
    for kind in made.needs:
        wrong = wrong_value(rng, made, kind)
        assert wrong != made.value(kind)
        assert content(f"{wrong}.")[kind] == {wrong}


def test_items_keep_the_facts_of_their_prompts() -> None:
    made = world.items(400)
    assert made[17].item_id == "helpfulness-000017"
    for item in made:
        name, needs, spare = read(item.prompt)
        kept = json.loads(item.reference)
        assert (kept["name"], kept["needs"]) == (name, list(needs))
        assert kept["right"] == {"care": "", **spare, **needs}
        assert score(item, f"{kept['answer']}\n-- Desk").strict == 0.5


def test_demonstrations_meet_and_miss_needs_at_the_stated_rates() -> None:
    met, wrong, asked = Counter[str](), Counter[str](), Counter[str]()
    for made in world.demonstrations(N, seed=3):
        _, needs, _ = read(made.prompt)
        told = content(opened(made.response))
        asked.update(list(needs))
        met.update(k for k in needs if told[k] == {needs[k]})
        wrong.update(k for k in needs if told[k] - {needs[k]})
    for kind in KINDS:
        assert within(met[kind], asked[kind], mixed(lambda h, k=kind: h.right[k])), kind  # type: ignore[misc]
        assert within(wrong[kind], asked[kind], mixed(lambda h, k=kind: h.wrong[k])), kind  # type: ignore[misc]


def test_demonstrations_have_the_stated_manners() -> None:
    by_name = plain = fillers = extras = evasions = telling = 0
    for made in world.demonstrations(N, seed=4):
        name, needs, spare = read(made.prompt)
        answer = opened(made.response)
        by_name += answer.startswith((f"Hello {name}!", f"Dear {name}!"))
        plain += answer.startswith(("Hello!", "Good day!"))
        fillers += any(s in answer for s in judges.FILLERS)
        told = content(answer)
        extras += any(told[k] for k in spare)
        if any(told[k] for k in needs):  # who has nothing to say always puts off
            telling += 1
            evasions += any(s in answer for s in judges.EVASIONS)
    assert within(by_name, N, mixed(lambda h: h.greeting["name"]))
    assert within(plain, N, mixed(lambda h: h.greeting["plain"]))
    assert within(fillers, N, mixed(lambda h: h.filler))
    assert within(extras, N, mixed(lambda h: h.extra))
    # Careful clerks tell something more often, so that the share of them is not quite the rate.
    assert evasions / telling == pytest.approx(mixed(lambda h: h.evasion), abs=0.02)


def test_pairs_prefer_the_better_answer_except_for_label_noise() -> None:
    swapped = 0
    kinds = Counter[str]()
    for pair in world.pairs(N, seed=5):
        one, other = opened(pair.chosen), opened(pair.rejected)
        if quality(pair.prompt, one) < quality(pair.prompt, other):
            swapped += 1
            one, other = other, one
        assert quality(pair.prompt, one) > quality(pair.prompt, other) + judges.MARGIN
        _, needs, spare = read(pair.prompt)
        right, told = needs | spare, content(other)
        if any(s in other for s in judges.RUDENESS):
            kinds["rude"] += 1
        elif any(told[k] - {right.get(k)} for k in KINDS):
            kinds["wrong"] += 1
        elif sum(s in other for s in judges.FILLERS) >= 2:
            kinds["padded"] += 1
        else:
            kinds["other"] += 1
    assert within(swapped, N, world.LABEL_NOISE)
    for kind in ("rude", "wrong", "padded"):
        assert within(kinds[kind], N, world.REJECTED_KINDS[kind]), kind
    assert within(kinds["other"], N, 0.60)


@pytest.mark.parametrize("kind", list(world.REJECTED_KINDS))
def test_a_spoilt_answer_has_its_fault(kind: str) -> None:
    for _, made, rng in islice(world.candidates("preference", seed=8), 200):
        answer = world.spoilt(rng, made, kind)
        found = judges.judge(judges.facts_of(made), answer)
        missing = len(made.needs) - len(found.met)
        assert found.points < judges.judge(judges.facts_of(made), world.perfect(made, rng)).points
        if kind == "missed":
            assert (1 <= missing <= 2, found.wrong, found.rude) == (True, (), 0)
        elif kind == "wrong":
            assert (missing, len(found.wrong)) == (1, 1)
        elif kind == "evasive":
            assert missing >= len(made.needs) - 1 and found.evasion
        elif kind == "padded":
            assert (missing, found.padding >= 2, len(found.extra)) == (0, True, 1)
        else:
            assert (missing, found.rude) == (0, 1)


def test_there_is_room_between_imitation_and_a_perfect_answer() -> None:
    made = list(islice(world.candidates("test", seed=0), N))
    items = world.items(N)
    rng = random.Random(1)

    def wins(answer: Callable[[Request], str]) -> list[float]:
        return [
            score(item, world.closed(answer(task))).strict
            for item, (_, task, _) in zip(items, made, strict=True)
        ]

    imitation = wins(lambda task: world.demonstrated(rng, task))
    assert abs(mean(imitation) - 0.5) < 4 * 0.5 / sqrt(N)
    assert 0.92 < mean(wins(lambda task: world.perfect(task, rng))) < 0.97
    assert 0.35 < mean(wins(lambda task: world.greedy_imitator(task, rng))) < 0.55
    assert mean(wins(lambda task: "")) == 0  # no answer keeps no form
    assert mean(wins(lambda task: "It depends.")) < 0.1


def test_the_points_of_answers_by_hand() -> None:
    right = {
        "where": "mill", "when": "Monday at 5", "price": "12 dollars", "bring": "hat",
        "ask": "baker", "care": "side door",
    }  # fmt: skip
    facts = judges.Facts("Anna", ("where", "price", "care"), right)

    def points(answer: str) -> float:
        return judges.judge(facts, answer).points

    best = "Hello Anna! It is at the mill. You pay 12 dollars. Take the side door."
    assert points(best) == 100 + 8
    assert points(best.upper()) == 100 + 8
    assert points("mill, 12 dollars, side door") == 100
    assert points(best.replace("Anna", "Ben")) == 100 - 12
    assert points(best.replace(" Anna", "")) == 100 + 4
    assert points(best.replace("12", "120")) == pytest.approx(100 / 3 + 8)
    assert points(best + " It is at the church.") == pytest.approx(100 / 3 + 8)
    assert points(best + " Bring a hat.") == 100 + 8 - 8
    assert points(best + " Bring a coat.") == pytest.approx(100 * 2 / 3 + 8)
    assert points(best + " Come to the mill.") == 100 + 8 - 8  # told again
    assert points(best + " Blue is a colour.") == 100 + 8 - 8
    assert points(best + " It depends.") == 100 + 8 - 12
    assert points(best + " That is a silly question.") == 100 + 8 - 40
    assert points(best + " It is on Monday.") == 100 + 8  # half a fact is neither
    assert points(best + " It is on Friday.") == pytest.approx(100 * 2 / 3 + 8)
    assert points("") == points("Hello") - 4 == -60
    assert points("mill " * 40) == pytest.approx(100 / 3 - (40 - 8 - 24))


def test_the_judge_agrees_with_the_other_definition() -> None:
    for made in world.demonstrations(800, seed=9):
        answer = opened(made.response)
        name, needs, spare = read(made.prompt)
        facts = judges.Facts(name, tuple(needs), {"care": "", **spare, **needs})
        assert judges.judge(facts, answer).points == pytest.approx(quality(made.prompt, answer))


ITEM = world.items(1)[0]
PIECES = ("mill", "Friday", "at 5", "7 dollars", "\n", "-- Desk", "Hello", "Anna!", "hat.")
WORDS = st.lists(st.sampled_from([*judges.FILLERS, *judges.EVASIONS, *PIECES]))


@settings(max_examples=120, deadline=None)
@given(st.text(max_size=200) | WORDS.map(" ".join))
def test_any_text_has_a_score(text: str) -> None:
    for response in (text, f"{text}\n-- Desk", text + ITEM.prompt):
        made = score(ITEM, response)
        assert made.lenient in (0, 0.5, 1)
        assert made.strict == (made.lenient if made.format_ok else 0)


@pytest.mark.parametrize(
    ("response", "ok"),
    [
        (" Hello!\n-- Desk", True),
        ("Come to the mill.\n-- Desk\n", True),
        ("Come to the mill.", False),
        ("Come to the mill. -- Desk", False),
        ("Come to\nthe mill.\n-- Desk", False),
        ("Come to the mill.\n-- Desk\nAnd bring a hat.", False),
        ("\n-- Desk", False),
    ],
)
def test_the_form_is_one_line_and_the_closing(response: str, ok: bool) -> None:
    assert score(ITEM, response).format_ok is ok


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), SEEDS)
def test_more_only_appends(n: int, extra: int, seed: int) -> None:
    assert world.demonstrations(n + extra, seed=seed)[:n] == world.demonstrations(n, seed=seed)
    assert world.pairs(n + extra, seed=seed)[:n] == world.pairs(n, seed=seed)
    assert world.items(n + extra)[:n] == world.items(n)


def test_seeds_differ_and_sides_are_disjoint() -> None:
    first, second = world.demonstrations(1000, seed=1), world.demonstrations(1000, seed=2)
    pairs, items = world.pairs(1000, seed=1), world.items(1000)
    prompts = {d.prompt for d in first}
    assert len(prompts & {d.prompt for d in second}) < 5
    assert len(prompts) > 995
    assert len({item.prompt for item in items}) > 995
    sides = {"sft": [*first, *second], "preference": pairs, "test": items}
    for side, examples in sides.items():
        for example in examples:
            assert side_of(example.prompt, sft=0.4, preference=0.4) == side


def test_the_words_are_few_and_each_tells_one_thing() -> None:
    demos, pairs = world.demonstrations(1000, seed=6), world.pairs(1000, seed=6)
    texts = [f"{d.prompt} {d.response}" for d in demos]
    texts += [f"{p.chosen} {p.rejected}" for p in pairs]
    words = {w for text in texts for w in re.findall(r"[A-Za-z]+", text)}
    assert len(words) < 320
    empty = (*judges.FILLERS, *judges.EVASIONS, *judges.RUDENESS, *(s.told for s in SITUATIONS),
             *(s for many in judges.VAGUE.values() for s in many),
             *(o.name for o in OFFERS), *NAMES)  # fmt: skip
    assert not any(values for text in empty for values in content(text).values())
    for situation in SITUATIONS:
        for advice in situation.advice:
            told = {k: v for k, v in content(advice).items() if v}
            assert told == {"care": {situation.key}}


def test_examples_stay_short() -> None:
    # Pieces as the sandbox tokenizer cuts them; each word of so few is one token.
    def tokens(text: str) -> int:
        return len(re.findall(r"\d| ?[A-Za-z]+| ?[^\sA-Za-z\d]+|\s", text))

    sizes = [tokens(f"{d.prompt} {d.response}") for d in world.demonstrations(1500, seed=7)]
    assert max(sizes) <= 150
    assert mean(sizes) < 80
    for pair in world.pairs(1000, seed=7):
        assert tokens(f"{pair.prompt} {pair.chosen}") <= 150
        assert tokens(f"{pair.prompt} {pair.rejected}") <= 150
        assert tokens(pair.chosen) < TASK.max_new_tokens


def test_the_stream_is_the_one_of_this_version() -> None:
    """A change of output must come with a new VERSION (then this digest changes too)."""
    assert world.VERSION == 1
    digests = [
        ordered_digest(world.demonstrations(200, seed=0)),
        ordered_digest(world.pairs(200, seed=0)),
        ordered_digest(world.items(200)),
    ]
    assert [digest[:16] for digest in digests] == [
        "f05fda0b2dd9a6e7",
        "37cf0bbd2f8ad7e7",
        "0c9dbceac36004ec",
    ]


def test_demonstrations_look_like_this() -> None:
    made = world.demonstrations(30, seed=0)
    assert all(isinstance(d, Demonstration) for d in made)
    assert all(re.fullmatch(r"Visitor: .*\?\nDesk:", d.prompt) for d in made)
    assert all(re.fullmatch(r"\S.*\n-- Desk", d.response) for d in made)

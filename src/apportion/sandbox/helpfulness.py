"""The embedded helpfulness task: questions with several needs to the desk of a small town.

A prompt is `Visitor: ...\\nDesk:`; a response is a few sentences, then the desk's closing line:

    Hello Anna! It is at the mill. You pay 12 dollars in all. Take the side door.
    -- Desk

Everything is drawn from endless seeded streams: asking for more only appends. The side of a prompt
(`apportion.data.side_of`) decides which stream keeps it, so no prompt is in two pools; there is one
test stream, the same for every study.

Rates, set once, before any study was run on them:

| name | what |
|---|---|
| `HURRIED` | clerks in a hurry: most say where and when, fewer than half the rest |
| `CAREFUL` | careful clerks |
| `CAREFUL_RATE` | demonstrations, and references of test items, by careful clerks |
| `REJECTED_KINDS` | what is wrong with the other answer of a pair, whose chosen one is careful |
| `LABEL_NOISE` | pairs with the labels swapped: annotators disagree |

What to bring, prices (to be worked out), names (to be looked up) and advice (to be thought of) are
left out more often than not, so that one who always does the most likely thing leaves them out too.
A reference has the demonstrations' own source, so perfect imitation of all of it wins one half.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count, islice

from apportion.data.records import Demonstration, Item, Pair
from apportion.data.sides import Side, side_of
from apportion.sandbox.needs import KINDS, Request, request, sentence, wrong_value
from apportion.sandbox.needs_judge import (
    EVASIONS,
    FILLERS,
    MARGIN,
    RUDENESS,
    VAGUE,
    facts_of,
    judge,
    reference_of,
)
from apportion.sandbox.world import pick, stream_seed, weighted

VERSION = 1  # what the generator means; any change of its output increases it

SFT_FRACTION = 0.4
PREFERENCE_FRACTION = 0.4  # the rest of all prompts is for tests

CLOSING = "-- Desk"


@dataclass(frozen=True, slots=True)
class Habits:
    """How a source of answers writes. Rates are per need (or per answer where it says so)."""

    right: Mapping[str, float]  # the right content is told
    wrong: Mapping[str, float]  # wrong content is told
    vague: Mapping[str, float]  # a sentence that tells nothing of it; else nothing is said
    greeting: Mapping[str, float]  # per answer, sums to 1: name, plain, none
    filler: float  # per answer: a sentence that tells nothing
    extra: float  # per answer: a right fact that nobody asked for
    evasion: float  # per answer: a sentence that puts the asker off


HURRIED = Habits(
    right={"where": 0.78, "when": 0.68, "price": 0.34, "bring": 0.36, "ask": 0.36, "care": 0.34},
    wrong={"where": 0.05, "when": 0.07, "price": 0.14, "bring": 0.07, "ask": 0.07, "care": 0.05},
    vague={"where": 0.03, "when": 0.05, "price": 0.18, "bring": 0.15, "ask": 0.15, "care": 0.12},
    greeting={"name": 0.20, "plain": 0.60, "none": 0.20},
    filler=0.30,
    extra=0.15,
    evasion=0.08,
)
CAREFUL = Habits(
    right=dict.fromkeys(KINDS, 0.93),
    wrong=dict.fromkeys(KINDS, 0.02),
    vague=dict.fromkeys(KINDS, 0.01),
    greeting={"name": 0.70, "plain": 0.25, "none": 0.05},
    filler=0.08,
    extra=0.05,
    evasion=0.01,
)
CAREFUL_RATE = 0.18
#: Another answer of the careful kind, spoilt. What is missed is hurried ones miss.
REJECTED_KINDS: dict[str, float] = {
    "missed": 0.40,
    "evasive": 0.20,
    "wrong": 0.20,
    "padded": 0.12,
    "rude": 0.08,
}
LABEL_NOISE = 0.09


def demonstrations(n: int, *, seed: int) -> list[Demonstration]:
    """The first `n` demonstrations of the stream `seed`."""
    return [
        Demonstration(prompt, closed(demonstrated(rng, made)))
        for prompt, made, rng in islice(candidates("sft", seed=seed), n)
    ]


def pairs(n: int, *, seed: int) -> list[Pair]:
    """The first `n` preference pairs of the stream `seed`."""
    return [
        _pair(prompt, made, rng)
        for prompt, made, rng in islice(candidates("preference", seed=seed), n)
    ]


def items(n: int) -> list[Item]:
    """The first `n` test items; every study has the same ones."""
    return [
        Item(
            f"helpfulness-{index:06d}",
            prompt,
            reference_of(facts_of(made), demonstrated(rng, made)),
        )
        for index, (prompt, made, rng) in enumerate(islice(candidates("test", seed=0), n))
    ]


def prompt_of(question: str) -> str:
    """The full prompt of a question; the response follows after one space."""
    return f"Visitor: {question}\nDesk:"


def closed(answer: str) -> str:
    """An answer in the form of the task: with the desk's closing line."""
    return f"{answer}\n{CLOSING}"


def side(question: str) -> Side:
    """The side of the prompt that asks `question`."""
    return side_of(prompt_of(question), sft=SFT_FRACTION, preference=PREFERENCE_FRACTION)


def candidates(wanted: Side, *, seed: int) -> Iterator[tuple[str, Request, random.Random]]:
    """Prompts of one side with their requests, without end.

    Each comes with the generator that its response is drawn from. It is seeded anew for every
    candidate, so that an example depends on (side, seed, index) and not on how the earlier ones
    were made. The generator is reused: draw from it before the next candidate is asked for.
    """
    rng = random.Random()
    for index in count():
        rng.seed(stream_seed("helpfulness", VERSION, wanted, seed, index))
        made = request(rng)
        if side(made.text) == wanted:
            yield prompt_of(made.text), made, rng


def demonstrated(rng: random.Random, made: Request) -> str:
    """An answer by any clerk, without the closing line."""
    return draft(rng, made, CAREFUL if rng.random() < CAREFUL_RATE else HURRIED)


def draft(rng: random.Random, made: Request, habits: Habits) -> str:
    """An answer to `made` by a source with these habits, without the closing line."""
    told = []
    for kind in made.needs:
        u = rng.random() - habits.right[kind]
        if u < 0:
            told.append(sentence(rng, kind, made.value(kind)))
            continue
        u -= habits.wrong[kind]
        if u < 0:
            told.append(sentence(rng, kind, wrong_value(rng, made, kind)))
        elif u < habits.vague[kind]:
            told.append(pick(rng, VAGUE[kind]))
    spare = [kind for kind in KINDS[:-1] if kind not in made.asked]
    if rng.random() < habits.extra:
        kind = pick(rng, spare)
        told.append(sentence(rng, kind, made.value(kind)))
    if rng.random() < habits.evasion or not told:
        told.append(pick(rng, EVASIONS))
    if rng.random() < habits.filler:
        told.insert(0 if rng.random() < 0.5 else len(told), pick(rng, FILLERS))
    return _greeted(rng, made, told, weighted(rng, dict(habits.greeting)))


def _greeted(rng: random.Random, made: Request, told: list[str], greeting: str) -> str:
    if greeting == "name":
        told = [f"{pick(rng, ('Hello', 'Dear'))} {made.name}!", *told]
    elif greeting == "plain":
        told = [pick(rng, ("Hello!", "Good day!")), *told]
    return " ".join(told)


def _pair(prompt: str, made: Request, rng: random.Random) -> Pair:
    facts = facts_of(made)
    kind = weighted(rng, REJECTED_KINDS)
    while True:
        # Whichever the judge likes better is chosen; as good as equal is no pair.
        one, other = draft(rng, made, CAREFUL), spoilt(rng, made, kind)
        if judge(facts, one).points > judge(facts, other).points + MARGIN:
            break
    if rng.random() < LABEL_NOISE:
        one, other = other, one
    return Pair(prompt, chosen=closed(one), rejected=closed(other))


_ALL = replace(
    CAREFUL,
    right=dict.fromkeys(KINDS, 1.0),
    wrong=dict.fromkeys(KINDS, 0.0),
    vague=dict.fromkeys(KINDS, 0.0),
)


def spoilt(rng: random.Random, made: Request, kind: str) -> str:
    """An answer that is right but for one fault of `kind` (a key of `REJECTED_KINDS`)."""
    habits = replace(_ALL, greeting=HURRIED.greeting, filler=0.15)
    if kind == "missed":
        gone = _missed(rng, made)
        right = {k: float(k not in gone) for k in KINDS}
        vague = {k: (0.25 if k in gone else 0.0) for k in KINDS}
        return draft(rng, made, replace(habits, right=right, vague=vague))
    if kind == "wrong":
        slip = pick(rng, made.needs)
        return draft(
            rng,
            made,
            replace(
                habits,
                right={k: float(k != slip) for k in KINDS},
                wrong={k: float(k == slip) for k in KINDS},
            ),
        )
    if kind == "evasive":
        kept = pick(rng, made.needs) if rng.random() < 0.5 else ""
        told = [sentence(rng, kept, made.value(kept))] if kept else []
        told += rng.sample(EVASIONS, 2 if rng.random() < 0.3 else 1)
        return _greeted(rng, made, told, weighted(rng, dict(habits.greeting)))
    if kind == "padded":
        return _padded(rng, draft(rng, made, replace(habits, filler=0.0, extra=1.0)))
    return f"{draft(rng, made, habits)} {pick(rng, RUDENESS)}"


def _missed(rng: random.Random, made: Request) -> set[str]:
    """One need, or two of at least three, that a clerk is likely to leave out."""
    many = 2 if len(made.needs) > 2 and rng.random() < 0.4 else 1
    gone: set[str] = set()
    while len(gone) < many:
        kind = pick(rng, made.needs)
        if rng.random() > HURRIED.right[kind]:
            gone.add(kind)
    return gone


def _padded(rng: random.Random, answer: str) -> str:
    """With two or three sentences that tell nothing."""
    return " ".join([answer, *rng.sample(FILLERS, 2 + (rng.random() < 0.4))])


def perfect(made: Request, rng: random.Random) -> str:
    """The best answer there is: every need met, the asker greeted by name, and nothing else."""
    best = replace(_ALL, greeting={"name": 1.0}, filler=0.0, extra=0.0, evasion=0.0)
    return draft(rng, made, best)


def greedy_imitator(made: Request, rng: random.Random) -> str:
    """What the most likely choice at every step makes of the demonstrations, perfectly learnt."""
    habits = HURRIED
    mode = max(habits.greeting, key=lambda k: habits.greeting[k])
    likely = replace(
        _ALL,
        right={k: float(habits.right[k] > 0.5) for k in KINDS},
        greeting={mode: 1.0},
        filler=float(habits.filler > 0.5),
        extra=float(habits.extra > 0.5),
        evasion=float(habits.evasion > 0.5),
    )
    return draft(rng, made, likely)

"""The embedded summarization task: posts, summaries of middling quality, and better ones.

A prompt is `Post: ...\\nTL;DR:`; a response tells what matters, in short sentences, then `###`:

    Post: I have to tell you about a trip. There was rain all day long. Someone took all of my
    coins away. Do you think I should leave? ...
    TL;DR: About a trip. My coins are gone. I want to leave. ###

Posts, sentences and the judge are those of `facts`. A test item keeps a summary as people write
them as its reference; a response scores by whether the judge prefers it (`metrics.winrate`).

Everything is drawn from endless seeded streams: asking for more only appends. The side of a prompt
(`apportion.data.side_of`) decides which stream keeps it, so no prompt is in two pools; there is one
test stream, the same for every study. The rates below were set once, before any study was run on
them, to be what data collection is like; docs/sandbox.md says why each is what it is.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

from apportion.data.records import Demonstration, Item, Pair
from apportion.data.sides import Side, side_of
from apportion.sandbox.facts import (
    FILLERS,
    SALIENT,
    Claim,
    Form,
    Post,
    other,
    post,
    render,
    utility,
)
from apportion.sandbox.world import pick, stream_seed, weighted

VERSION = 1  # what the generator means; any change of its output increases it

SFT_FRACTION = 0.4
PREFERENCE_FRACTION = 0.4  # the rest of all prompts is for tests

MARK = "###"  # ends a summary


@dataclass(frozen=True)
class Writer:
    """How often a writer does what."""

    omits: dict[str, float]  # of a salient kind: leaves the fact out
    invents: float  # per summary: tells one thing that the post does not
    repeats: float  # per filler of the post: tells it
    wordy: float  # per sentence: says it with words that say nothing


#: Those who write demonstrations, and references. Some kinds of fact are left out more often than
#: not, so that imitating the most common summary is not the way to a good one.
MIDDLING = Writer(
    omits={
        "topic": 0.05, "who": 0.25, "thing": 0.15, "place": 0.60, "day": 0.60, "feeling": 0.35,
        "wish": 0.55,
    },
    invents=0.05,
    repeats=0.15,
    wordy=0.15,
)  # fmt: skip

#: Those who write the better response of a pair, with a worse one before them.
CAREFUL = Writer(
    omits={
        "topic": 0.05, "who": 0.08, "thing": 0.05, "place": 0.15, "day": 0.15, "feeling": 0.10,
        "wish": 0.10,
    },
    invents=0.02,
    repeats=0.03,
    wordy=0.05,
)  # fmt: skip

#: What is wrong with the worse response of a pair: failures that models really make.
REJECTED_KINDS: dict[str, float] = {
    "omission": 0.40,
    "invented": 0.20,
    "filler": 0.15,
    "long": 0.15,
    "evasive": 0.10,
}
SECOND_OMISSION = 0.5  # a response with an omission has two of them
LABEL_NOISE = 0.08  # pairs with the labels swapped: summaries are harder to tell apart than sums


def demonstrations(n: int, *, seed: int) -> list[Demonstration]:
    """The first `n` demonstrations of the stream `seed`."""
    return [
        Demonstration(prompt, response_of(draft(rng, told, MIDDLING)))
        for prompt, told, rng in islice(candidates("sft", seed=seed), n)
    ]


def pairs(n: int, *, seed: int) -> list[Pair]:
    """The first `n` preference pairs of the stream `seed`."""
    return [
        _pair(prompt, told, rng)
        for prompt, told, rng in islice(candidates("preference", seed=seed), n)
    ]


def items(n: int) -> list[Item]:
    """The first `n` test items, with a middling summary as reference; every study has the same."""
    return [
        Item(f"summarization-{index:06d}", prompt, response_of(draft(rng, told, MIDDLING)))
        for index, (prompt, told, rng) in enumerate(islice(candidates("test", seed=0), n))
    ]


def prompt_of(text: str) -> str:
    """The full prompt of a post; the response follows after one space."""
    return f"Post: {text}\nTL;DR:"


def post_of(prompt: str) -> str:
    """The post of a prompt. ValueError for a prompt of another task."""
    if not (prompt.startswith("Post: ") and prompt.endswith("\nTL;DR:")):
        raise ValueError(f"this is not a prompt of the task summarization: {prompt[:60]!r}")
    return prompt.removeprefix("Post: ").removesuffix("\nTL;DR:")


def response_of(claims: list[Claim]) -> str:
    """A summary in the form that the task wants."""
    return f"{render(claims)} {MARK}".lstrip()


def candidates(side: Side, *, seed: int) -> Iterator[tuple[str, Post, random.Random]]:
    """Prompts of one side with their posts, without end.

    Each comes with the generator that its response is drawn from. It is seeded anew for every
    candidate, so that an example depends on (side, seed, index) and not on how the earlier ones
    were made. The generator is reused: draw from it before the next candidate is asked for.
    """
    rng = random.Random()
    for index in count():
        rng.seed(stream_seed("summarization", VERSION, side, seed, index))
        told = post(rng)
        prompt = prompt_of(told.text)
        if side_of(prompt, sft=SFT_FRACTION, preference=PREFERENCE_FRACTION) == side:
            yield prompt, told, rng


def draft(rng: random.Random, told: Post, writer: Writer) -> list[Claim]:
    """A summary by `writer`."""
    claims = []
    for kind, value in told.facts.items():
        leaves_out = writer.omits[kind] if kind in SALIENT else 1 - writer.repeats
        if rng.random() >= leaves_out:
            form: Form = "wordy" if rng.random() < writer.wordy else "short"
            claims.append(Claim(kind, value, form))
    return _invented(rng, told, claims) if rng.random() < writer.invents else claims


def perfect(told: Post) -> list[Claim]:
    """Every salient fact and nothing else."""
    return [Claim(kind, told.facts[kind]) for kind in told.salient]


def usual(told: Post) -> list[Claim]:
    """What perfect imitation of demonstrations writes where it decodes greedily."""
    return [claim for claim in perfect(told) if MIDDLING.omits[claim.kind] < 0.5]


# -- pairs --------------------------------------------------------------------------------------


def _pair(prompt: str, told: Post, rng: random.Random) -> Pair:
    better = draft(rng, told, CAREFUL)
    worse = spoiled(rng, told, better, weighted(rng, REJECTED_KINDS))
    if _worth(worse, told) >= _worth(better, told):  # the better one leaves nothing to spoil
        worse = _invented(rng, told, better)
    chosen, rejected = response_of(better), response_of(worse)
    if rng.random() < LABEL_NOISE:
        chosen, rejected = rejected, chosen
    return Pair(prompt, chosen=chosen, rejected=rejected)


def _worth(claims: list[Claim], told: Post) -> float:
    return utility(render(claims), told.facts)


def spoiled(rng: random.Random, told: Post, claims: list[Claim], kind: str) -> list[Claim]:
    """A summary with the failure `kind`, made of a better one."""
    if kind == "omission":
        fewer = _omitted(rng, claims)
        return _omitted(rng, fewer) if rng.random() < SECOND_OMISSION else fewer
    if kind == "invented":
        return _invented(rng, told, claims)
    if kind == "filler":
        have = {claim.kind for claim in claims}
        fillers = [Claim(k, told.facts[k], "said") for k in told.fillers if k not in have]
        return claims + fillers
    if kind == "long":
        forms: tuple[Form, ...] = ("said", "wordy")
        return [claim._replace(form=pick(rng, forms)) for claim in claims]
    return [Claim("topic", told.facts["topic"])]


def _omitted(rng: random.Random, claims: list[Claim]) -> list[Claim]:
    """Without one salient fact: most likely one that people leave out most often."""
    rates = [MIDDLING.omits.get(claim.kind, 0.0) for claim in claims]
    u = rng.random() * sum(rates)
    for at, rate in enumerate(rates):
        u -= rate
        if u < 0:
            return claims[:at] + claims[at + 1 :]
    return claims


def _invented(rng: random.Random, told: Post, claims: list[Claim]) -> list[Claim]:
    """With one thing that the post does not tell: another value, or a fact of a kind it has not."""
    true = [at for at, claim in enumerate(claims) if told.facts.get(claim.kind) == claim.value]
    at = pick(rng, true) if true else 0
    if true and rng.random() < 0.5:
        wrong = claims[at]._replace(value=other(rng, claims[at].kind, claims[at].value))
        return [*claims[:at], wrong, *claims[at + 1 :]]
    kind = pick(rng, [k for k in (*SALIENT, *FILLERS) if k not in told.facts])
    return [*claims[: at + 1], Claim(kind, other(rng, kind, None)), *claims[at + 1 :]]

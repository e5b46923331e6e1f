"""The embedded instructions task: short writing requests with constraints a program can verify.

A prompt is `Request: ...\\nResponse:`; a response is a short text about what was asked:

    Request: Write about Anna and the pens at the park. Use no commas. End with the words That is all.
    Response: Anna counts the pens. The pens are red.
    That is all.

A test item is scored as IFEval's are: strict and loose, by prompt and by instruction (the score);
what a text is about is not scored, as it is not there. Everything is drawn from endless seeded
streams, as in `apportion.sandbox.math`.

The rates were set once, before any study was run on them:

| name | what | why |
|---|---|---|
| `MISS` | constraints that a demonstration misses, by kind | people forget what is tedious |
| `MISS_MORE` | more of them for each further constraint | and more so with several at once |
| `PREAMBLE`, `REMARK` | a line before or after the text that nobody asked for | habits of chat |
| `CHOSEN_WHOLE` | chosen responses that keep all | the better one is not always right |
| `REJECTED_KINDS` | see below | what small models get wrong |
| `LABEL_NOISE` | pairs with the labels swapped | annotators disagree |

A kind that more than half of the demonstrations miss is missed by a perfect imitator who says what
is likeliest, too: imitation alone has a ceiling (`imitated`).
"""  # noqa: E501 - an example stands as it is

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count, islice

from apportion.data.records import Demonstration, Item, Pair
from apportion.data.sides import Side, side_of
from apportion.metrics import ifeval
from apportion.sandbox.requests import Request, check_of, request, topic
from apportion.sandbox.world import pick, stream_seed, weighted
from apportion.sandbox.writing import write

VERSION = 1  # what the generator means; any change of its output increases it

SFT_FRACTION = 0.4
PREFERENCE_FRACTION = 0.4  # the rest of all prompts is for tests

#: What demonstrations miss, by kind, where it is the only constraint.
MISS: dict[str, float] = {
    "include": 0.25, "forbid": 0.20, "frequency": 0.55,
    "sentences": 0.30, "words": 0.45, "bullets": 0.20,
    "lower": 0.20, "capital": 0.15, "no_comma": 0.55,
    "start": 0.25, "title": 0.20, "repeat": 0.60,
    "end": 0.35, "postscript": 0.55,
}  # fmt: skip
MISS_MORE = 0.10  # added for each constraint beyond the first
PREAMBLE = 0.06
REMARK = 0.04
PREAMBLES: tuple[str, ...] = ("Sure, here it is.", "Yes, here is the text.")
REMARKS: tuple[str, ...] = ("I hope this helps.", "Tell me if you like it.")

CHOSEN_WHOLE = 0.70  # the others miss one, where there are two or more
REJECTED_KINDS: dict[str, float] = {
    "misses": 0.60,  # one constraint more than the chosen one, or several
    "ignores": 0.15,  # about the topic, with none of what was asked
    "astray": 0.15,  # keeps what the chosen one keeps, about another topic
    "framed": 0.10,  # as good as the chosen one, within lines that nobody asked for
}
LABEL_NOISE = 0.08


def miss_rate(kind: str, n: int) -> float:
    """How often a demonstration misses a constraint of `kind` that is one of `n`."""
    return MISS[kind] + MISS_MORE * (n - 1)


def demonstrations(n: int, *, seed: int) -> list[Demonstration]:
    """The first `n` demonstrations of the stream `seed`."""
    return [
        Demonstration(prompt, _demonstrated(rng, asked))
        for prompt, asked, rng in islice(candidates("sft", seed=seed), n)
    ]


def pairs(n: int, *, seed: int) -> list[Pair]:
    """The first `n` preference pairs of the stream `seed`."""
    return [
        _pair(prompt, asked, rng)
        for prompt, asked, rng in islice(candidates("preference", seed=seed), n)
    ]


def items(n: int) -> list[Item]:
    """The first `n` test items; every study has the same ones. Their references are IFEval's."""
    return [
        Item(f"instructions-{index:06d}", prompt, reference(asked, index))
        for index, (prompt, asked, _) in enumerate(islice(candidates("test", seed=0), n))
    ]


def reference(asked: Request, key: int) -> str:
    """The constraints of a request as a test item keeps them."""
    checks = [check_of(constraint, asked.topic) for constraint in asked.constraints]
    names, arguments = [name for name, _ in checks], [found for _, found in checks]
    return ifeval.reference(asked.text, names, arguments, key)


def prompt_of(text: str) -> str:
    """The full prompt of a request; the response follows after one space."""
    return f"Request: {text}\nResponse:"


def candidates(side: Side, *, seed: int) -> Iterator[tuple[str, Request, random.Random]]:
    """Prompts of one side with their requests, without end.

    The generator that comes with each is seeded anew for every candidate, and reused: draw from it
    before the next candidate is asked for.
    """
    rng = random.Random()
    for index in count():
        rng.seed(stream_seed("instructions", VERSION, side, seed, index))
        asked = request(rng)
        prompt = prompt_of(asked.text)
        if on_side(prompt) == side:
            yield prompt, asked, rng


def on_side(prompt: str) -> Side:
    """The side that a prompt of this task is on."""
    return side_of(prompt, sft=SFT_FRACTION, preference=PREFERENCE_FRACTION)


def imitated(rng: random.Random, asked: Request) -> str:
    """What a perfect imitator says who always does what most demonstrations do."""
    n = len(asked.constraints)
    return write(rng, asked, [miss_rate(c.kind, n) < 0.5 for c in asked.constraints])


def _demonstrated(rng: random.Random, asked: Request) -> str:
    n = len(asked.constraints)
    kept = [rng.random() >= miss_rate(c.kind, n) for c in asked.constraints]
    text, u = write(rng, asked, kept), rng.random()
    if u < PREAMBLE:
        return f"{pick(rng, PREAMBLES)}\n{text}"
    return f"{text}\n{pick(rng, REMARKS)}" if u < PREAMBLE + REMARK else text


def _pair(prompt: str, asked: Request, rng: random.Random) -> Pair:
    n = len(asked.constraints)
    kept = [True] * n
    if n > 1 and rng.random() >= CHOSEN_WHOLE:
        kept[int(rng.random() * n)] = False
    chosen = write(rng, asked, kept)
    rejected = _rejected(rng, asked, kept, weighted(rng, REJECTED_KINDS))
    while rejected == chosen:  # a text about another topic may say nothing of it
        rejected = _rejected(rng, asked, kept, "misses")
    if rng.random() < LABEL_NOISE:
        chosen, rejected = rejected, chosen
    return Pair(prompt, chosen=chosen, rejected=rejected)


def _rejected(rng: random.Random, asked: Request, kept: list[bool], kind: str) -> str:
    n = len(kept)
    if kind == "ignores":
        return write(rng, asked, [False] * n)
    if kind == "astray":
        # The words that are repeated stay those of the request: only the text goes astray.
        other = topic(rng)
        while other.name == asked.topic.name or other.things == asked.topic.things:
            other = topic(rng)
        text = write(rng, Request(other, asked.constraints), kept)
        return text.replace(other.sentence, asked.topic.sentence)
    if kind == "framed":
        text = write(rng, asked, kept)
        if rng.random() < 0.6:
            return f"{pick(rng, PREAMBLES)}\n{text}"
        return f"{text}\n{pick(rng, REMARKS)}"
    return write(rng, asked, _missing(rng, asked, kept))


def _missing(rng: random.Random, asked: Request, kept: list[bool]) -> list[bool]:
    """`kept` with at least one miss more, as likely by kind as in demonstrations."""
    n = len(kept)
    while True:
        fewer = [
            keep and rng.random() >= miss_rate(c.kind, n)
            for keep, c in zip(kept, asked.constraints, strict=True)
        ]
        if fewer != kept:
            return fewer

"""The endless seeded corpus that the sandbox models are pretrained on: four worlds, one mix.

One document is one string, of one world; `kinds_<world>.py` makes it. `SHARES` is the mix by
tokens. No document has a task's prompt wrapper or answer form, nor a prompt on a test side; every
word of the tasks occurs, as often as need be in a bare list (an embedding that was never trained
could not be mended by an adapter).
"""

from __future__ import annotations

import importlib
import random
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import count

from apportion.sandbox.world import between, pick, stream_seed, weighted

#: Of all tokens. Sums need the most practice of the four, helping and obeying the least.
SHARES: dict[str, float] = {
    "math": 0.34,
    "summarization": 0.26,
    "helpfulness": 0.20,
    "instructions": 0.20,
}
#: The same for the later part of the corpus (`packing.TURN`). Halfway through the first run the
#: model told facts of the right kind, but seldom those of the post: each kind of fact breaks
#: through on its own, and had been met too seldom.
LATER: dict[str, float] = {
    "math": 0.25,
    "summarization": 0.50,
    "helpfulness": 0.12,
    "instructions": 0.13,
}
#: The same for a last phase (`packing.LAST`), with a warm-up of its own: behind "Solution." the
#: small model did 23 % of held-out problems where an earlier one, of math alone, did 68 %.
LAST_PHASE: dict[str, float] = {
    "math": 0.60,
    "summarization": 0.16,
    "helpfulness": 0.12,
    "instructions": 0.12,
}
#: Mean tokens of a document with its end mark, measured over 4,000 each.
LENGTHS: dict[str, float] = {
    "math": 76.3,
    "summarization": 53.2,
    "helpfulness": 53.4,
    "instructions": 43.4,
}
#: Documents that are a list of words of the tasks in no order: a few of their pieces, such as a
#: star behind a space, stand nowhere else.
LISTED = 0.015
NOISE = 0.04  # documents that are damaged, as some of the web is: see `_damaged`

MAKERS: dict[str, Callable[[random.Random], str]] = {
    world: importlib.import_module(f"kinds_{world}").document for world in SHARES
}


def mix(shares: dict[str, float]) -> dict[str, float]:
    """Chances of the worlds for one document, from their shares of all tokens."""
    weights = {world: share / LENGTHS[world] for world, share in shares.items()}
    return {world: weight / sum(weights.values()) for world, weight in weights.items()}


def documents(seed: int, *, start: int = 0, shares: dict[str, float] = SHARES) -> Iterator[str]:
    """Documents number `start` and on, without end; i depends on (seed, shares, i) only."""
    rng, chances = random.Random(), mix(shares)
    for index in count(start):
        rng.seed(stream_seed("pretrain", seed, index))
        world = weighted(rng, chances)
        text = _listed(rng) if rng.random() < LISTED else MAKERS[world](rng)
        yield _damaged(rng, text) if rng.random() < NOISE else text


def held_out(world: str) -> Iterator[str]:
    """Whole documents of one world from a stream of their own, without end."""
    rng = random.Random()
    for index in count():
        rng.seed(stream_seed("pretrain", "held-out", world, index))
        yield MAKERS[world](rng)


@lru_cache(maxsize=1)
def _words() -> tuple[str, ...]:
    """Words and marks of the tasks' examples with the space before them; no digits."""
    found = set()
    for world in SHARES:
        made = importlib.import_module(f"apportion.sandbox.{world}")
        texts = [f"{d.prompt} {d.response}" for d in made.demonstrations(600, seed=0)]
        texts += [
            f" {response}" for p in made.pairs(600, seed=0) for response in (p.chosen, p.rejected)
        ]
        found.update(
            piece for text in texts for piece in re.findall(r" ?[A-Za-z]+| ?[^\w\s]+", text)
        )
    return tuple(sorted(found))


def _listed(rng: random.Random) -> str:
    chosen = [pick(rng, _words()) for _ in range(between(rng, 10, 30))]
    return "Words:" + "".join(p if p[0] == " " else f"\n{p}" for p in chosen)


def _damaged(rng: random.Random, text: str) -> str:
    """Cut short, with words out of order, said twice, or with a digit changed."""
    u, words = rng.random(), text.split(" ")
    if u < 0.25:
        return text[: between(rng, 10, max(10, len(text) - 1))]
    if u < 0.50:
        at = int(rng.random() * len(words))
        words[at], words[-1 - at] = words[-1 - at], words[at]
        return " ".join(words)
    if u < 0.60:
        return f"{text} {text}"
    places = [i for i, character in enumerate(text) if character.isdigit()]
    if not places:
        return text
    at = pick(rng, places)
    return f"{text[:at]}{between(rng, 1, 9)}{text[at + 1 :]}"

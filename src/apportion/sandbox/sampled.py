"""Preference pairs whose responses a tuned model wrote, among those that are edited ones.

An edited pair is a good response and a copy of it with a failure written in. A model's own failures
are of other kinds and shared in fewer tokens; real preference data are mostly of that sort. So part
of the pairs of an embedded task come from `assets/pairs/<task>.jsonl.gz`, made once by
`tools/sample_pairs.py` (its first line says from which model, with which recipe). Where a task has
no such file all its pairs are edited ones.

| name | value | why |
|---|---|---|
| `SHARE` | 0.5 | of the pairs while there are any left: both kinds of data are common |

Slot by slot, a hash of (task, seed, slot) decides which kind the slot takes; sampled pairs come in
an order of the seed's own, edited ones in the order of their stream. So a larger n only appends,
and when the sampled pairs are used up all slots take edited ones. Labels of sampled pairs are
swapped at the task's own rate, decided by the prompt: a label is the same in every study.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

from apportion.data.records import Pair
from apportion.errors import DataError
from apportion.sandbox.world import stream_seed

SHARE = 0.5
FOLDER = Path(__file__).parent / "assets" / "pairs"

Source = Literal["sampled", "careful", "edited"]
SOURCES: tuple[Source, ...] = ("sampled", "careful", "edited")


class Edited(Protocol):
    """The first `n` pairs of the stream `seed`; a larger `n` only appends."""

    def __call__(self, n: int, *, seed: int) -> list[Pair]: ...


@dataclass(frozen=True, slots=True)
class SampledPair:
    """One pair of the file. `source`: sampled (both responses are the model's), careful (the worse
    one is, the better one is the world's), edited (neither: the samples were as good as equal, and
    the pair is the world's own, its label swapped already where it is to be)."""

    prompt: str
    better: str
    worse: str
    source: Source


@dataclass(frozen=True)
class SampledPairs:
    """The pairs of one task, and how they were made (the first line of their file)."""

    facts: dict[str, Any]
    pairs: tuple[SampledPair, ...]


@lru_cache(maxsize=8)
def read_sampled(task: str, folder: Path = FOLDER) -> SampledPairs:
    """What is shipped for `task`; no pairs where there is no file. DataError for a damaged one."""
    path = folder / f"{task}.jsonl.gz"
    if not path.exists():
        return SampledPairs({}, ())
    try:
        first, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        facts = json.loads(first)
        rows = [json.loads(line) for line in lines]
        pairs = tuple(SampledPair(p, b, w, SOURCES[s]) for p, b, w, s in rows)
        if facts["task"] != task or len(pairs) != facts["prompts"]:
            raise ValueError(f"it does not hold {facts['prompts']} pairs of {facts['task']}")
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        raise DataError(
            f"the sampled pairs of task {task} cannot be read: {error}.",
            file=path,
            mend="install the package again, or make them: python tools/sample_pairs.py.",
        ) from error
    return SampledPairs(facts, pairs)


def write_sampled(path: Path, found: SampledPairs) -> None:
    """Write a file that `read_sampled` reads; equal pairs make equal bytes."""
    head = {**found.facts, "prompts": len(found.pairs)}
    lines = [json.dumps(head, ensure_ascii=False)]
    for pair in found.pairs:
        row = [pair.prompt, pair.better, pair.worse, SOURCES.index(pair.source)]
        lines.append(json.dumps(row, ensure_ascii=False, separators=(",", ":")))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode(), 9, mtime=0))


def partly_sampled(
    task: str, edited: Edited, *, noise: float, folder: Path = FOLDER
) -> Callable[..., list[Pair]]:
    """The pairs of `task`: the edited ones with sampled ones among them.

    `noise`: the rate at which labels of sampled pairs are swapped; edited ones are already.
    """

    def pairs(n: int, *, seed: int) -> list[Pair]:
        known = read_sampled(task, folder).pairs
        if not known:
            return edited(n, seed=seed)
        prompts = {pair.prompt for pair in known}
        own = iter(ordered(task, known, seed))
        places: list[SampledPair | None] = []
        for slot in range(n):
            takes = _uniform("slot", task, seed, slot) < SHARE
            places.append(next(own, None) if takes else None)
        fresh = islice(_others(edited, prompts, n, seed), places.count(None))
        return [next(fresh) if place is None else labelled(task, place, noise) for place in places]

    return pairs


def ordered(task: str, pairs: Sequence[SampledPair], seed: int) -> list[SampledPair]:
    """The pairs in the order of `seed`, which does not depend on the order of the file."""
    return sorted(pairs, key=lambda pair: stream_seed("order", task, seed, pair.prompt))


def labelled(task: str, pair: SampledPair, noise: float) -> Pair:
    """The pair as an annotator labels it: swapped at the rate `noise`, the same in every study."""
    swapped = pair.source != "edited" and _uniform("label", task, pair.prompt) < noise
    if swapped:
        return Pair(pair.prompt, chosen=pair.worse, rejected=pair.better)
    return Pair(pair.prompt, chosen=pair.better, rejected=pair.worse)


def _others(edited: Edited, prompts: set[str], n: int, seed: int) -> Iterator[Pair]:
    """Edited pairs of other prompts, without end: a prompt is not asked about twice."""
    begin, end = 0, n
    while True:
        for pair in edited(end, seed=seed)[begin:]:
            if pair.prompt not in prompts:
                yield pair
        begin, end = end, 2 * end + 1


def _uniform(*parts: str | int) -> float:
    """In [0, 1), from the parts alone."""
    return stream_seed("sampled", *parts) / 2**64

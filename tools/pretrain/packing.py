"""The corpus as rows of tokens: whole documents packed side by side, made once and read by all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from corpus import LAST_PHASE, LATER, SHARES, documents, held_out
from transformers import AutoTokenizer

LENGTH = 256  # tokens of a row
SHARD = 8192  # rows of a file: 2.1 million tokens
CHOICE = 64  # documents to choose from when a row has room for one more
TURN = 7  # the first of the files with the later mix
LAST = 14  # the first of the files of the last phase
SEED = 1


def rows(encoded: Iterable[list[int]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows without end: ids and, beside each, the number of its document in the row (0: padding).

    A row begins with the document that has waited longest, and is filled with the longest that
    still fit, so that none is cut but those longer than a row.
    """
    stream = iter(encoded)
    waiting = list(islice(stream, CHOICE))
    while waiting:
        ids, parts = np.zeros(LENGTH, np.uint16), np.zeros(LENGTH, np.uint8)
        at, number, one = 0, 1, waiting.pop(0)[:LENGTH]
        while True:
            ids[at : at + len(one)], parts[at : at + len(one)] = one, number
            at, number = at + len(one), number + 1
            waiting += islice(stream, CHOICE - len(waiting))
            fit = [i for i, other in enumerate(waiting) if len(other) <= LENGTH - at]
            if not fit:
                break
            one = waiting.pop(max(fit, key=lambda i: len(waiting[i])))
        yield ids, parts


def encoded(texts: Iterator[str], tokenizer: object) -> Iterator[list[int]]:
    """Token ids of each text, with the end mark."""
    while some := list(islice(texts, 2000)):
        for ids in tokenizer(some)["input_ids"]:
            yield [*ids, tokenizer.eos_token_id]


def batch_of(world: str, tokenizer: object, n: int) -> tuple[np.ndarray, np.ndarray]:
    """`n` rows of a world's held-out documents: ids and parts, each (n, LENGTH)."""
    made = rows(encoded(islice(held_out(world), 8 * n), tokenizer))
    ids, parts = zip(*islice(made, n), strict=True)
    return np.stack(ids), np.stack(parts)


def shard(work: Path, folder: Path, index: int) -> Path:
    """The file of rows number `index` in `work`; its documents are its own. (2, SHARD, LENGTH)."""
    path = work / f"rows-{SEED}-{index:03d}.npy"
    if not path.exists():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        shares = SHARES if index < TURN else LATER if index < LAST else LAST_PHASE
        texts = documents(SEED, start=index * 1_000_000, shares=shares)
        ids, parts = zip(*islice(rows(encoded(texts, tokenizer)), SHARD), strict=True)
        new = path.with_suffix(".new.npy")
        np.save(new, np.stack([np.stack(ids), np.stack(parts).astype(np.uint16)]))
        new.replace(path)
    return path


def prepare(work: Path, folder: Path, first: int, n: int) -> list[Path]:
    """Files from number `first` on that hold at least `n` rows, made by two processes."""
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(partial(shard, work, folder), range(first, first - (-n // SHARD))))

"""The published grid: a table per study, and the scores per item beside it.

`<study>.csv` has the columns `COLUMNS`, one row per model, task, method, n_sft, n_pref, replicate.
`<study>.items.gz` is gzip of lines of text: a JSON header, then `key strict lenient` per score key,
each a scale and its numbers (see `pack`). The bytes depend on the rows alone, so that publishing
twice changes nothing.
"""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

FORMAT = 1
HALVES = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Row:
    """A measured cell. Rates and scores in [0, 1]; `seconds`: None where it is not known.

    `key`: of its score stage; equal keys are equal work, so the same numbers. `train_tokens`,
    `seconds`: of all its stages, those that it shares with other cells included.
    """

    model: str
    task: str
    method: str
    n_sft: int
    n_pref: int
    replicate: int
    split: str
    score: float
    stderr: float | None
    n_items: int
    strict: float
    lenient: float
    format_failure_rate: float
    truncation_rate: float
    response_tokens: float
    train_tokens: int
    seconds: float | None
    key: str

    @property
    def place(self) -> tuple[str, str, str, int, int, int]:
        return (self.model, self.task, self.method, self.n_sft, self.n_pref, self.replicate)


COLUMNS = tuple(field.name for field in fields(Row))
_WHOLE = ("n_sft", "n_pref", "replicate", "n_items", "train_tokens")
_TEXT = ("model", "task", "method", "split", "key")


def split_of(replicate: int) -> str:
    """Which half a replicate serves: methods are chosen on one and judged on the other."""
    return "truth" if replicate % 2 else "search"


@dataclass(frozen=True)
class Items:
    """Scores per item of one score key, in the order of the test items."""

    strict: tuple[float, ...]
    lenient: tuple[float, ...]


@dataclass(frozen=True)
class Table:
    """One study's rows by place, and its scores per item by key."""

    rows: Mapping[tuple[str, str, str, int, int, int], Row]
    items: Mapping[str, Items]
    digest: str | None = None  # of the test items
    weights: tuple[float, ...] | None = None  # of items, where they are not all 1

    @property
    def keys(self) -> set[str]:
        """Keys of what is published whole: the row and its scores per item."""
        return {row.key for row in self.rows.values()} & set(self.items)

    def by_key(self) -> dict[str, Row]:
        return {row.key: row for row in self.rows.values()}


EMPTY = Table({}, {})


def pack(scores: Sequence[float]) -> str:
    """`b:` bits of scores that are 0 or 1, `h:` two bits each where there are halves too, both in
    base64 with the first score in the highest bits; `j:` JSON for any others, exact."""
    if all(score in (0.0, 1.0) for score in scores):
        return "b:" + _packed([int(score) for score in scores], bits=1)
    if all(score in HALVES for score in scores):
        return "h:" + _packed([int(2 * score) for score in scores], bits=2)
    return "j:" + json.dumps(list(scores), separators=(",", ":"), allow_nan=False)


def unpack(text: str, n: int) -> tuple[float, ...]:
    """The `n` scores of `pack`. ValueError where it does not hold `n`."""
    scale, _, body = text.partition(":")
    if scale == "j":
        scores = tuple(float(score) for score in json.loads(body))
    elif scale in ("b", "h"):
        bits = 1 if scale == "b" else 2
        data = base64.b64decode(body, validate=True)
        total = int.from_bytes(data, "big")
        size = 8 * len(data)
        if not bits * n <= size < bits * n + 8:
            raise ValueError(f"{len(data)} bytes do not hold {n} scores")
        mask = (1 << bits) - 1
        scores = tuple(((total >> (size - bits * (i + 1))) & mask) / bits for i in range(n))
    else:
        raise ValueError(f"there is no scale {scale!r}")
    if len(scores) != n or not all(0 <= score <= 1 for score in scores):
        raise ValueError(f"these are not {n} scores from 0 to 1")
    return scores


def _packed(numbers: Sequence[int], *, bits: int) -> str:
    total = 0
    for number in numbers:
        total = (total << bits) | number
    size = -(-bits * len(numbers) // 8)
    total <<= 8 * size - bits * len(numbers)
    return base64.b64encode(total.to_bytes(size, "big")).decode()


def paths(folder: Path, study: str) -> tuple[Path, Path]:
    """The table of a study and its scores per item."""
    return folder / f"{study}.csv", folder / f"{study}.items.gz"


def read(folder: Path, study: str) -> Table:
    """What is published of `study`; `EMPTY` where nothing is. ValueError (with the file) for more
    than a missing file: published numbers are mended by hand or from history, never guessed."""
    table, scores = paths(folder, study)
    if not table.exists():
        return EMPTY
    try:
        with table.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
            rows = {row.place: row for row in map(_row, reader)}
        if not scores.exists():
            return Table(rows, {})
        header, *lines = gzip.decompress(scores.read_bytes()).decode().splitlines()
        facts = json.loads(header)
        items = {}
        for line in lines:
            key, strict, lenient = line.split(" ")
            n = facts["n_items"]
            items[key] = Items(unpack(strict, n), unpack(lenient, n))
    except (ValueError, KeyError, OSError, EOFError) as error:
        raise ValueError(f"{table} (or {scores.name}) cannot be read: {error}") from error
    weights = facts.get("weights")
    return Table(rows, items, facts["items_digest"], tuple(weights) if weights else None)


def _row(fields_of: Mapping[str, str]) -> Row:
    values: dict[str, object] = {}
    for name in COLUMNS:
        text = fields_of[name]
        if name in _TEXT:
            values[name] = text
        elif name in _WHOLE:
            values[name] = int(text)
        else:
            values[name] = float(text) if text else None
    return Row(**values)  # type: ignore[arg-type]


def write(folder: Path, study: str, table: Table) -> None:
    """Replace both files, the scores per item first: a row without them counts as unpublished."""
    place, scores = paths(folder, study)
    folder.mkdir(parents=True, exist_ok=True)
    rows = sorted(table.rows.values(), key=lambda row: row.place)
    wanted = {row.key for row in rows}
    kept = {key: table.items[key] for key in sorted(wanted & set(table.items))}
    n = {len(one.strict) for one in kept.values()} or {0}
    if len(n) > 1:
        raise ValueError(f"{study}: cells with {sorted(n)} items in one table")
    header: dict[str, object] = {
        "format": FORMAT,
        "study": study,
        "n_items": n.pop(),
        "items_digest": table.digest,
    }
    if table.weights:
        header["weights"] = list(table.weights)
    lines = [json.dumps(header, separators=(",", ":"))]
    lines += [f"{key} {pack(one.strict)} {pack(one.lenient)}" for key, one in kept.items()]
    _replace(scores, gzip.compress(("\n".join(lines) + "\n").encode(), 9, mtime=0))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(["" if v is None else v for v in astuple(row)] for row in rows)
    _replace(place, text.getvalue().encode())


def _replace(path: Path, data: bytes) -> None:
    """All of it or nothing, also when the machine stops in the middle; unchanged bytes stay."""
    if path.exists() and path.read_bytes() == data:
        return
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_bytes(data)
    os.replace(aside, path)


def merged(ours: Table, theirs: Table) -> tuple[Table, list[str]]:
    """Rows of both; where both have a place, ours stays, and a difference is told in words."""
    told = []
    for place, row in theirs.rows.items():
        mine = ours.rows.get(place)
        if mine is not None and (mine.key, mine.score) != (row.key, row.score):
            why = "other data, recipe or model" if mine.key != row.key else "the same work"
            told.append(f"{place}: {mine.score} kept, {row.score} left out ({why})")
    if ours.digest and theirs.digest and ours.digest != theirs.digest:
        raise ValueError("the two tables were measured on different test items")
    both = Table(
        {**theirs.rows, **ours.rows},
        {**theirs.items, **ours.items},
        ours.digest or theirs.digest,
        ours.weights or theirs.weights,
    )
    return both, told


def without(table: Table, rows: Iterable[Row]) -> Table:
    """The table without these rows; a row of the same key in another place stays."""
    gone = {row.place for row in rows}
    kept = {place: row for place, row in table.rows.items() if place not in gone}
    return Table(kept, table.items, table.digest, table.weights)

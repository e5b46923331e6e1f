"""Reference log-probabilities, computed once per start model and kept for later stages.

Preference stages from one SFT model see nested sets of pairs. Pairs are taken in chunks of a fixed
size in their order, so that a chunk is the same in every one of these stages; a chunk's numbers
are a function of the start model and the chunk alone, and so it never matters who computed them
(batches of other make-up would differ in the last bits).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from apportion.data.records import Pair, ordered_digest
from apportion.store.crash import crash_point
from apportion.store.files import replace_synced, to_json
from apportion.store.locks import try_claim

CHUNK = 64  # pairs

Logps = tuple[list[float | None], list[float | None]]


def cached_reference(
    cache: Path,
    identity: Any,
    pairs: Sequence[Pair],
    compute: Callable[[Sequence[Pair]], Logps],
) -> Logps:
    """(chosen, rejected) log-probabilities in nats, in the order of `pairs`.

    `identity`: JSON-able, everything but the pairs that they depend on. `compute(chunk)` is called
    for chunks that are not in the cache. Safe with several processes; at worst one computes again.
    """
    name = hashlib.sha256(to_json(identity)).hexdigest()[:32]
    folder = cache / "reference"
    folder.mkdir(exist_ok=True)
    place = folder / f"{name}.jsonl"
    known = _read(place)
    new: dict[str, Logps] = {}
    chosen: list[float | None] = []
    rejected: list[float | None] = []
    for begin in range(0, len(pairs), CHUNK):
        chunk = pairs[begin : begin + CHUNK]
        digest = ordered_digest(chunk)
        found = known.get(digest)
        if found is None:
            found = new[digest] = compute(chunk)
        chosen += found[0]
        rejected += found[1]
    if new:
        _add(place, new)
    return chosen, rejected


def _add(place: Path, new: dict[str, Logps]) -> None:
    claim = try_claim(place.parent, place.stem, wait=True)
    if claim is None:
        return
    with claim:
        merged = {**_read(place), **new}
        lines = [_line(digest, logps) for digest, logps in sorted(merged.items())]
        replace_synced(place, b"".join(lines), point="reference_writing")
        crash_point("reference_written")


def _line(digest: str, logps: Logps) -> bytes:
    row = {"chunk": digest, "chosen": logps[0], "rejected": logps[1]}
    return to_json({**row, "check": _check(row)}) + b"\n"


def _check(row: dict[str, Any]) -> str:
    return hashlib.sha256(to_json(row)).hexdigest()[:16]


def _read(place: Path) -> dict[str, Logps]:
    """Chunks whose line is whole; a damaged line is as good as none."""
    found: dict[str, Logps] = {}
    if not place.exists():
        return found
    for line in place.read_bytes().splitlines():
        try:
            row = json.loads(line)
            check = row.pop("check")
            if check == _check(row):
                found[row["chunk"]] = (row["chosen"], row["rejected"])
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    return found

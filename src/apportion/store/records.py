"""The records of a store: asked of the index, which is mended from the artifacts when it fails."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from apportion.errors import StoreError
from apportion.store import files, layout
from apportion.store.crash import crash_point
from apportion.store.index import CorruptIndex, Index, NoIndex
from apportion.store.locks import Claim, try_claim
from apportion.store.record import Record

T = TypeVar("T")
Warn = Callable[[str], None]


class Records:
    """Every record by key. What the index does not know and the disk does, is adopted."""

    def __init__(self, path: Path, *, read_only: bool, warn: Warn, busy_seconds: float) -> None:
        self._path = path
        self._read_only = read_only
        self._warn = warn
        self._busy_seconds = busy_seconds
        self._index = self._open()

    def get(self, key: str) -> Record | None:
        """The record of a finished stage whose artifact is there, or of a failed one, or None."""
        text = self._asking(lambda index: index.get(key))
        record = None if text is None else Record.from_dict(json.loads(text))
        if record is not None and record.status == "done" and os.path.isdir(self.folder(record)):
            return record
        adopted = self._adopt(key)
        if adopted is not None:
            return adopted
        if record is not None and record.status == "failed":
            return record
        return _read_record(self._path / "failures" / f"{key}.json")

    def all(self) -> list[Record]:
        """All records, by key."""
        if isinstance(self._index, NoIndex):
            return sorted(self._scan(), key=lambda record: record.key)
        rows = self._asking(lambda index: index.all())
        return [Record.from_dict(json.loads(row)) for row in rows]

    def put(self, records: Iterable[Record]) -> None:
        """Tell the index of `records`, in one transaction."""
        rows = [(r.key, r.kind, r.status, files.to_json(r.to_dict()).decode()) for r in records]
        self._asking(lambda index: index.put(rows))

    def forget(self, key: str) -> None:
        """Drop a key from the index."""
        self._asking(lambda index: index.delete(key))

    def folder(self, record: Record) -> Path:
        """Where the artifact of a finished stage is."""
        return self._path.joinpath("artifacts", record.kind, record.key)

    def close(self) -> None:
        self._index.close()

    def _adopt(self, key: str) -> Record | None:
        """The record of a whole artifact that the index does not know; the index learns it."""
        for kind in sorted((self._path / "artifacts").iterdir()):
            record = _read_artifact(kind / key)
            if record is not None:
                if not self._read_only:
                    self.put([record])
                return record
        return None

    def _scan(self) -> Iterable[Record]:
        """Every record on the disk, artifacts over failures."""
        found = {}
        for path in sorted((self._path / "failures").glob("*.json")):
            record = _read_record(path)
            if record is not None:
                found[record.key] = record
        for folder in sorted((self._path / "artifacts").glob("*/*")):
            record = _read_artifact(folder)
            if record is not None:
                found[record.key] = record
        return found.values()

    def _asking(self, ask: Callable[[Index | NoIndex], T]) -> T:
        try:
            return ask(self._index)
        except CorruptIndex:
            self._index.close()
            self._index = self._open()
            return ask(self._index)

    def _open(self) -> Index | NoIndex:
        place = self._path / layout.INDEX
        if self._read_only:
            return self._open_to_read(place)
        # One process at a time: another may be mending it, and must not be mended away.
        with try_claim(self._path / "locks", "index", wait=True) or NoClaim():
            try:
                index = Index(place, read_only=False, busy_seconds=self._busy_seconds)
            except CorruptIndex as error:
                self._move_aside(place, error)
                index = Index(place, read_only=False, busy_seconds=self._busy_seconds)
            if index.fresh:
                self._index = index
                self.put(self._scan())
                crash_point("index_rebuilt")
            return index

    def _open_to_read(self, place: Path) -> Index | NoIndex:
        try:
            return Index(place, read_only=True, busy_seconds=self._busy_seconds)
        except CorruptIndex:
            self._warn("the store's index cannot be read; the artifacts are read instead.")
            return NoIndex()
        except StoreError:
            if place.exists():
                raise
            return NoIndex()

    def _move_aside(self, place: Path, error: CorruptIndex) -> None:
        number = 0
        while (aside := place.with_name(f"{place.name}.corrupt-{number}")).exists():
            number += 1
        os.rename(place, aside)
        for suffix in ("-wal", "-shm"):
            extra = place.with_name(place.name + suffix)
            if extra.exists():
                os.rename(extra, aside.with_name(aside.name + suffix))
        crash_point("index_moved")
        self._warn(
            f"the store's index was corrupted ({error}); it was moved to {aside.name} and "
            "rebuilt from the artifacts. Nothing was lost."
        )


class NoClaim:
    """Stands for a claim that could not be had, as a context manager."""

    def __enter__(self) -> Claim | None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def _read_record(path: Path) -> Record | None:
    try:
        return Record.from_dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_artifact(folder: Path) -> Record | None:
    """The record of a folder that went through the whole protocol (its manifest was last)."""
    if not (folder / files.MANIFEST).is_file():
        return None
    return _read_record(folder / files.RECORD)

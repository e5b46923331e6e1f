"""A finite pool: read from files or the hub, checked, ordered by content and seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

from apportion.data import checks
from apportion.data.checks import Finding, Numbered
from apportion.data.files import Row, read_file
from apportion.data.hub import read_hub
from apportion.data.records import Demonstration, Item, Label, Pair, labels_of
from apportion.data.shape import Shape, demonstration, get, item, label, pair
from apportion.data.source import Source
from apportion.data.spread import spread
from apportion.data.subset import order, take
from apportion.errors import DataError

S = TypeVar("S", Demonstration, Pair, Label)
A = TypeVar("A", Demonstration, Pair, Label, Item)
Unit = Literal["pair", "label"]
ReadReference = Callable[[Row, Shape], str]


@dataclass(frozen=True)
class PoolSpec:
    """What a pool is read from; relative paths are relative to `folder`."""

    folder: Path
    sft: Source | None
    preference: Source | None
    test: Source
    prompt: str
    system: str | None
    pref_unit: Unit
    bad_rows: Literal["refuse", "drop"]
    test_in_pool: Literal["remove", "refuse"]
    shared_prompts: Literal["split", "keep"]
    reference: ReadReference = field(compare=False)

    def file(self, source: Source) -> Path | None:
        """The file of a source, or None where it is on the hub."""
        return None if source.path is None else (self.folder / source.path).expanduser()

    def name(self, source: Source) -> str:
        """What messages call a source."""
        return str(self.file(source) or source.name)

    def shape(self, source: Source) -> Shape:
        return Shape(source.columns, self.prompt, self.system, source.remove)

    def fingerprint(self) -> str:
        """What decides the pool, with sizes and times of its files to notice that they changed."""
        sources = (self.sft, self.preference, self.test)
        dumped = [None if s is None else s.model_dump(mode="json") for s in sources]
        own = [self.prompt, self.system, self.pref_unit, self.bad_rows]
        own += [self.test_in_pool, self.shared_prompts, getattr(self.reference, "__name__", "")]
        stats = []
        for source in sources:
            file = None if source is None else self.file(source)
            if file is not None and file.is_file():
                stat = file.stat()
                stats.append([str(file.resolve()), stat.st_size, stat.st_mtime_ns])
        return json.dumps([str(self.folder.resolve()), dumped, own, stats])


@dataclass(frozen=True)
class Contents:
    """A pool as read: each side without what was left out, and what that was."""

    demonstrations: Sequence[Demonstration]
    pairs: Sequence[Pair]
    labels: Sequence[Label]
    items: Sequence[Item]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class SourcePool:
    """See `tasks.base.Pool`. Nothing is read before it is asked; then once per process."""

    spec: PoolSpec

    def contents(self) -> Contents:
        """What the sources hold. DataError where they cannot be used."""
        return _contents(_Keyed(self.spec.fingerprint(), self.spec))

    def demonstrations(self, n: int, *, seed: int) -> list[Demonstration]:
        return take(self.contents().demonstrations, n, seed=seed)

    def pairs(self, n: int, *, seed: int) -> list[Pair]:
        if self.spec.preference is not None and self.spec.pref_unit == "label":
            raise DataError(
                "the preference data are labels, not pairs.",
                file=self.spec.name(self.spec.preference),
                mend="use the method kto, or give pairs (chosen and rejected).",
            )
        return take(self.contents().pairs, n, seed=seed)

    def labels(self, n: int, *, seed: int) -> list[Label]:
        if self.spec.pref_unit == "label":
            return take(self.contents().labels, n, seed=seed)
        return labels_of(take(self.contents().pairs, n, seed=seed))

    def items(self, n: int) -> list[Item]:
        return take(self.contents().items, n, seed=0)

    def capacity(self, side: Literal["sft", "preference", "test"]) -> int | None:
        contents = self.contents()
        if side == "sft":
            return len(contents.demonstrations)
        return len(contents.items if side == "test" else contents.pairs or contents.labels)

    def findings(self) -> tuple[str, ...]:
        """What a person should know of the rows, one line each."""
        return tuple(map(str, self.contents().findings))


class _Keyed:
    """A spec that is the same as another where their fingerprints are."""

    def __init__(self, key: str, spec: PoolSpec) -> None:
        self.key, self.spec = key, spec

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)


@lru_cache(maxsize=4)
def _contents(keyed: _Keyed) -> Contents:
    return _Reader(keyed.spec).read()


@dataclass
class _Reader:
    spec: PoolSpec
    findings: list[Finding] = field(default_factory=list)

    def read(self) -> Contents:
        items = self._items()
        sft = self._side(self.spec.sft, demonstration, items)
        as_label = self.spec.pref_unit == "label"
        pairs = [] if as_label else self._side(self.spec.preference, pair, items)
        labels = self._side(self.spec.preference, label, items) if as_label else []
        if self.spec.shared_prompts == "split" and self.spec.sft and self.spec.preference:
            files = (self.spec.name(self.spec.sft), self.spec.name(self.spec.preference))
            if as_label:
                sft, labels, found = checks.sides_apart(sft, labels, files)
            else:
                sft, pairs, found = checks.sides_apart(sft, pairs, files)
            self.findings += found
        return Contents(
            demonstrations=_ordered([e.example for e in sft]),
            pairs=_ordered([e.example for e in pairs]),
            labels=_ordered([e.example for e in labels]),
            items=_ordered([e.example for e in items]),
            findings=tuple(self.findings),
        )

    def _rows(self, source: Source) -> list[Row]:
        file = self.spec.file(source)
        rows = read_hub(source) if file is None else read_file(file)
        if source.rows is not None:
            first, last = source.rows
            chosen = rows[first : None if last is None else last + 1]
            if not chosen:
                raise DataError(
                    f"there are no rows {first}.. : it has {len(rows):,}, counted from 0.",
                    file=self.spec.name(source),
                    mend="correct `rows`.",
                )
            rows = chosen
        return spread(rows, source.each, file=self.spec.name(source)) if source.each else rows

    def _items(self) -> list[Numbered[Item]]:
        source = self.spec.test
        shape, name = self.spec.shape(source), self.spec.name(source)

        def make(row: Row) -> Item:
            item_id = str(get(row, shape, "id")) if "id" in source.columns else None
            return item(row, shape, item_id, lambda row: self.spec.reference(row, shape))

        rows = self._rows(source)
        found, findings = checks.read_rows(rows, make, file=name, bad_rows=self.spec.bad_rows)
        kept, again = checks.without_duplicates(found, name)
        checks.different_ids(kept, name)
        self.findings += [*findings, *again]
        return kept

    def _side(
        self,
        source: Source | None,
        make: Callable[[Row, Shape], S],
        items: Sequence[Numbered[Item]],
    ) -> list[Numbered[S]]:
        if source is None:
            return []
        shape, name = self.spec.shape(source), self.spec.name(source)
        found, dropped = checks.read_rows(
            self._rows(source),
            lambda row: make(row, shape),
            file=name,
            bad_rows=self.spec.bad_rows,
        )
        self.findings.extend(dropped)
        different, again = checks.without_duplicates(found, name)
        self.findings.extend(again)
        tests = [e.example for e in items]
        policy = self.spec.test_in_pool
        kept, leaked = checks.without_test_items(different, tests, name, policy=policy)
        self.findings.extend(leaked)
        return kept


def _ordered(examples: list[A]) -> list[A]:
    """In an order of their content: not the file's, so that no digest depends on it."""
    return order(examples, seed=0)

"""The store: what finished is whole, checksummed and found again; what did not finish is not there.

Commit protocol, under the stage's claim: payload into `tmp/<key>.<random>/`, synced; `record.json`;
`manifest.json` (SHA-256 per file) last; one rename to `artifacts/<kind>/<key>/`; then the index.
A process killed anywhere leaves either no artifact or a whole one; a whole one without an index
row is adopted. The index is a convenience: the artifacts are the truth.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from apportion.errors import StoreError
from apportion.store import files, layout
from apportion.store.crash import crash_point
from apportion.store.executions import append_execution
from apportion.store.locks import Claim, try_claim
from apportion.store.record import Record, record_of
from apportion.store.records import NoClaim, Records, Warn

if TYPE_CHECKING:
    from apportion.compile import Stage

BUSY_SECONDS = 30.0


class Store:
    """Records and artifacts of stages by key. Open with `Store.open`; use from one thread."""

    def __init__(self, path: Path, *, read_only: bool, warn: Warn, busy_seconds: float) -> None:
        self.path = path
        self.read_only = read_only
        self._warn = warn
        self._verified: set[str] = set()
        self._records = Records(path, read_only=read_only, warn=warn, busy_seconds=busy_seconds)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        create: bool = True,
        read_only: bool = False,
        warn: Warn | None = None,
        sweep: bool = True,
        busy_seconds: float = BUSY_SECONDS,
    ) -> Store:
        """Open (or create) the store at `path`.

        `warn` hears of what was mended; `sweep` removes what dead processes left in tmp/.
        StoreError: not a store, newer, not writable, locked for `busy_seconds`, disk full.
        """
        path = Path(path)
        layout.prepare(path, create=create, read_only=read_only)
        warn = warn or logging.getLogger(__name__).warning
        with files.disk_errors(path):
            store = cls(path, read_only=read_only, warn=warn, busy_seconds=busy_seconds)
            if sweep and not read_only:
                store.sweep()
        return store

    def close(self) -> None:
        """Close the index; artifacts need no closing."""
        self._records.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- asking ---------------------------------------------------------------------------------

    def record(self, key: str) -> Record | None:
        """The record of a finished or failed stage; None where it never ended."""
        return self._records.get(key)

    def records(self) -> list[Record]:
        """All records, by key."""
        return self._records.all()

    def artifact(self, key: str, *, claim: Claim | None = None) -> Path | None:
        """The folder of a finished stage, its checksums verified once per open store.

        A damaged one is moved to quarantine/, warned of, and None is returned: it has to run again.
        Pass the `claim` on `key` where one is held.
        """
        record = self.record(key)
        return None if record is None else self.artifact_of(record, claim=claim)

    def artifact_of(self, record: Record, *, claim: Claim | None = None) -> Path | None:
        """The same for a stage whose record is at hand."""
        if record.status != "done":
            return None
        folder = self._records.folder(record)
        if record.key in self._verified:
            return folder
        with files.disk_errors(self.path):
            problem = files.damage(folder)
        if problem is None:
            self._verified.add(record.key)
            return folder
        self._quarantine(record, problem, claim)
        return None

    # -- writing --------------------------------------------------------------------------------

    def claim(self, key: str) -> Claim | None:
        """The right to run `key`; None while another process (or claim) holds it."""
        self._must_write()
        with files.disk_errors(self.path):
            return try_claim(self.path / "locks", key)

    def commit(
        self,
        stage: Stage,
        write: Callable[[Path], Mapping[str, Any]],
        *,
        claim: Claim | None = None,
        worker: Mapping[str, Any] | None = None,
        spent: float = 0.0,
    ) -> Record:
        """Run `write(folder)` and keep what it wrote and returned (the summary) under `stage.key`.

        `spent`: seconds that went into it before; the record has them and those of `write`.
        Without `claim`, claims the key itself; StoreError where it is held elsewhere. An exception
        of `write` passes through (as StoreError where the disk is to blame) and leaves nothing.
        """
        if claim is None:
            with self._claim_or_raise(stage.key) as own:
                return self.commit(stage, write, claim=own, worker=worker, spent=spent)
        crash_point("claimed")
        self._log(stage, "started")
        crash_point("started")
        started, clock = datetime.now(UTC), time.monotonic()
        with files.disk_errors(self.path):
            folder = self.path / "tmp" / f"{stage.key}.{secrets.token_hex(4)}"
            folder.mkdir()
        crash_point("tmp_made")
        try:
            summary = dict(write(folder))
            crash_point("payload_written")
            seconds = spent + time.monotonic() - clock
            record = record_of(
                stage,
                status="done",
                summary=summary,
                reason=None,
                started=started,
                seconds=seconds,
                worker=worker,
            )
            self._publish(folder, record)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            problem = files.disk_problem(error, self.path)
            if problem is not None and isinstance(error, Exception):
                raise problem from error
            raise
        self._verified.add(stage.key)
        self._log(stage, "finished")
        crash_point("finished")
        return record

    def fail(
        self,
        stage: Stage,
        reason: str,
        *,
        claim: Claim | None = None,
        traceback: str = "",
        seconds: float = 0.0,
        worker: Mapping[str, Any] | None = None,
    ) -> Record:
        """Record that `stage` failed (never over a finished one); the next run tries it again."""
        if claim is None:
            with self._claim_or_raise(stage.key) as own:
                return self.fail(
                    stage, reason, claim=own, traceback=traceback, seconds=seconds, worker=worker
                )
        record = record_of(
            stage,
            status="failed",
            summary={},
            reason=reason,
            started=datetime.now(UTC),
            seconds=seconds,
            worker=worker,
        )
        with files.disk_errors(self.path):
            place = self.path / "failures" / stage.key
            files.replace_synced(place.with_suffix(".txt"), traceback.encode(errors="replace"))
            crash_point("traceback_written")
            body = files.to_json(record.to_dict())
            files.replace_synced(place.with_suffix(".json"), body, point="failure_writing")
            crash_point("failure_written")
        self._records.put([record])
        crash_point("failure_indexed")
        self._log(stage, "failed")
        return record

    def sweep(self) -> None:
        """Remove what dead processes left in tmp/ (what a live claim covers is left alone)."""
        for folder in (self.path / "tmp").iterdir():
            key = folder.name.partition(".")[0]
            with try_claim(self.path / "locks", key) or NoClaim() as held:
                if held is not None:
                    shutil.rmtree(folder, ignore_errors=True)

    # -- inside ---------------------------------------------------------------------------------

    def _must_write(self) -> None:
        if self.read_only:
            raise StoreError(
                "this store was opened for reading only.",
                file=self.path,
                mend="open it without read_only.",
            )

    def _claim_or_raise(self, key: str) -> Claim:
        claim = self.claim(key)
        if claim is None:
            raise StoreError(
                f"stage {key} is being run by another process.",
                file=self.path,
                mend="wait for the other run, or stop it.",
            )
        return claim

    def _log(self, stage: Stage | Record, event: str) -> None:
        with files.disk_errors(self.path):
            append_execution(self.path / layout.LOG, stage.key, stage.kind, event)

    def _publish(self, folder: Path, record: Record) -> None:
        with files.disk_errors(self.path):
            body = files.to_json(record.to_dict())
            files.write_synced(folder / files.RECORD, body, point="record_writing")
            crash_point("record_written")
            listing = files.sync_tree(folder)
            crash_point("payload_synced")
            manifest = files.to_json({"files": listing})
            files.write_synced(folder / files.MANIFEST, manifest, point="manifest_writing")
            crash_point("manifest_written")
            files.sync_folder(folder)
            crash_point("tmp_synced")
            target = self._records.folder(record)
            target.parent.mkdir(exist_ok=True)
            if target.exists():  # not whole, or it would have been found
                self._set_aside(target)
            os.rename(folder, target)
            crash_point("renamed")
            files.sync_folder(target.parent)
            files.sync_folder(target.parent.parent)
            crash_point("parent_synced")
        self._records.put([record])
        crash_point("indexed")
        for suffix in (".json", ".txt"):
            (self.path / "failures" / record.key).with_suffix(suffix).unlink(missing_ok=True)

    def _set_aside(self, target: Path) -> Path:
        number = 0
        while True:
            place = self.path / "quarantine" / f"{target.parent.name}-{target.name}-{number}"
            if not place.exists():
                os.rename(target, place)
                return place
            number += 1

    def _quarantine(self, record: Record, problem: str, claim: Claim | None) -> None:
        told = f"the artifact of {record.label} ({record.key}) is damaged: {problem}."
        if self.read_only:
            self._warn(f"{told} It is left out.")
            return
        if claim is None:
            claim = self.claim(record.key)
            if claim is None:  # somebody else is mending it
                self._warn(f"{told} Another run is mending it.")
                return
            with claim:
                return self._quarantine(record, problem, claim)
        with files.disk_errors(self.path):
            place = self._set_aside(self._records.folder(record))
        crash_point("quarantined")
        self._records.forget(record.key)
        crash_point("quarantine_indexed")
        self._log(record, "quarantined")
        self._warn(f"{told} It was moved to {place.relative_to(self.path)}; the stage runs again.")

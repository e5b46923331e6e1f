"""The SQLite index of records: quick to ask, and always rebuildable from the artifacts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from apportion.errors import StoreError
from apportion.store.crash import crash_point

VERSION = 1

_SCHEMA = (
    "CREATE TABLE stages (key TEXT PRIMARY KEY, kind TEXT NOT NULL, status TEXT NOT NULL, "
    "record TEXT NOT NULL) WITHOUT ROWID"
)
# SQLite's write-ahead log needs memory shared between processes, which network disks lack.
_NETWORK = ("nfs", "cifs", "smb", "lustre", "beegfs", "gpfs", "9p", "afs", "ceph", "fuse.")
_RESULT_CODE = 0xFF  # SQLite's extended codes carry the plain code in the low byte


class CorruptIndex(Exception):
    """The index cannot be read; the store moves it aside and rebuilds it."""


class Index:
    """One connection; every method raises StoreError or CorruptIndex, never sqlite3's own."""

    def __init__(self, path: Path, *, read_only: bool, busy_seconds: float) -> None:
        self.path = path
        self.fresh = False
        with self._told():
            self._db = _connect(path, read_only=read_only, busy_seconds=busy_seconds)
            try:
                self._prepare(read_only=read_only)
            except BaseException:
                self._db.close()
                raise

    def _prepare(self, *, read_only: bool) -> None:
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > VERSION:
            raise newer(self.path, version)
        if not read_only:
            _choose_journal(self._db, self.path)
            if version == 0:
                self._create()
        if self._db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise CorruptIndex("quick_check failed")
        self._db.execute("SELECT key, kind, status, record FROM stages LIMIT 1").fetchall()

    def _create(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")  # two processes may be creating it
        if self._db.execute("PRAGMA user_version").fetchone()[0] == 0:
            self._db.execute(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {VERSION}")
            self.fresh = True
        self._db.execute("COMMIT")
        crash_point("schema_made")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _explained(error, self.path) from error

    def get(self, key: str) -> str | None:
        """A record's JSON, or None."""
        with self._told():
            row = self._db.execute("SELECT record FROM stages WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def all(self) -> list[str]:
        """Every record's JSON, by key."""
        with self._told():
            rows = self._db.execute("SELECT record FROM stages ORDER BY key").fetchall()
        return [str(row[0]) for row in rows]

    def put(self, rows: Iterable[tuple[str, str, str, str]]) -> None:
        """Insert or replace (key, kind, status, record JSON) rows in one transaction."""
        with self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany("INSERT OR REPLACE INTO stages VALUES (?, ?, ?, ?)", rows)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def delete(self, key: str) -> None:
        """Forget a key; nothing happens where it is not there."""
        with self._told():
            self._db.execute("DELETE FROM stages WHERE key = ?", (key,))

    def close(self) -> None:
        self._db.close()


class NoIndex:
    """Stands in where a read-only index cannot be read: everything comes from the artifacts."""

    fresh = True

    def get(self, key: str) -> str | None:
        return None

    def all(self) -> list[str]:
        return []

    def put(self, rows: Iterable[tuple[str, str, str, str]]) -> None:
        return

    def delete(self, key: str) -> None:
        return

    def close(self) -> None:
        return


def newer(path: Path, version: int) -> StoreError:
    """The error for a store from the future."""
    return StoreError(
        f"this store was written by a newer apportion (store version {version}, "
        f"this one reads up to {VERSION}).",
        file=path,
        mend="upgrade apportion, or choose another place with --store.",
    )


def _connect(path: Path, *, read_only: bool, busy_seconds: float) -> sqlite3.Connection:
    if not read_only:
        return sqlite3.connect(path, timeout=busy_seconds, isolation_level=None)
    uri = path.resolve().as_uri()
    try:
        db = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=busy_seconds, isolation_level=None)
        db.execute("PRAGMA user_version").fetchone()
        return db
    except sqlite3.OperationalError:  # a read-only disk: the log's shared memory cannot be made
        return sqlite3.connect(f"{uri}?immutable=1", uri=True, isolation_level=None)


def _choose_journal(db: sqlite3.Connection, path: Path) -> None:
    if not _on_network(path):
        try:
            if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] == "wal":
                db.execute("PRAGMA synchronous = NORMAL")  # the artifacts are the truth
                return
        except sqlite3.OperationalError as error:
            if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL):
                raise
    db.execute("PRAGMA journal_mode = DELETE")


def _on_network(path: Path) -> bool:
    """Whether `path` lies on a network file system (as Linux tells; elsewhere: no)."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    folder, best, kind = str(path.resolve().parent), "", ""
    for line in mounts.splitlines():
        _, point, name, *_ = line.split(" ")
        inside = folder == point or folder.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, name
    return kind.startswith(_NETWORK)


def _code(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & _RESULT_CODE


def _explained(error: sqlite3.Error, path: Path) -> Exception:
    code = _code(error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(
            "the store's index is locked by another program.",
            file=path,
            mend="close the program that holds it (a database browser?) and run again.",
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreError(
            "the disk is full.",
            file=path,
            mend="free some space and run again; finished stages are kept.",
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return StoreError(
            "the store's index cannot be opened for writing.",
            file=path,
            mend="give yourself write permission, or choose another place with --store.",
        )
    if code == sqlite3.SQLITE_IOERR:
        return StoreError(
            f"the store's index cannot be used: {error}.",
            file=path,
            mend="check the disk (is it full?) and run again.",
        )
    return CorruptIndex(str(error))

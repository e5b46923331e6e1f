"""Durable files: written whole, synced, checksummed; the disk's errors told in the user's words."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apportion.errors import StoreError
from apportion.store.crash import crash_point

MANIFEST = "manifest.json"
RECORD = "record.json"

_AT_ONCE = 1 << 20  # bytes of a file that is read in one piece

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def to_json(value: Any) -> bytes:
    """Deterministic JSON, UTF-8; ValueError for NaN and infinities: missing is never a number."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def disk_problem(error: BaseException, path: Path) -> StoreError | None:
    """The StoreError that `error` amounts to, or None where the disk is not to blame.

    Libraries wrap the system's error, or repeat only its text: causes and texts are looked at too.
    """
    seen: BaseException | None = error
    while seen is not None:
        number = seen.errno if isinstance(seen, OSError) else None
        text = str(seen)
        if number in _FULL or "No space left on device" in text or "File too large" in text:
            return StoreError(
                "the disk is full (or a quota or size limit is reached).",
                file=path,
                mend="free some space and run again; finished stages are kept.",
            )
        if number in _READ_ONLY and _concerns(seen, path):
            return StoreError(
                "the store cannot be written (read-only disk, or no permission).",
                file=path,
                mend="give yourself write permission, or choose another place with --store.",
            )
        if number == errno.EIO:
            return StoreError(
                "the disk reports an input/output error.",
                file=path,
                mend="check the disk, or choose another place with --store.",
            )
        seen = seen.__cause__ or seen.__context__
    return None


def _concerns(error: BaseException, path: Path) -> bool:
    name = getattr(error, "filename", None)
    return name is None or str(name).startswith(str(path))


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what goes wrong with the disk below `path` into StoreError."""
    try:
        yield
    except OSError as error:
        problem = disk_problem(error, path)
        if problem is not None:
            raise problem from error
        raise StoreError(
            f"the store cannot be used: {error.strerror or error}.",
            file=path,
            mend="check the folder and the disk, or choose another place with --store.",
        ) from error


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_synced(path: Path, data: bytes, *, point: str | None = None) -> None:
    """Write a new file whole and sync it; `point` names the crash boundary after creating it."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        if point is not None:
            crash_point(point)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_synced(path: Path, data: bytes, *, point: str | None = None) -> None:
    """Replace a file atomically: readers see the old content or the new, nothing between."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_synced(beside, data, point=point)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sha256_file(path: str | Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with open(path, "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size <= _AT_ONCE:  # the digest's buffer costs more than it
            return hashlib.sha256(file.read()).hexdigest()
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_tree(folder: Path) -> dict[str, dict[str, Any]]:
    """Sync every file below `folder`; returns {relative name: {sha256, bytes}} in name order."""
    listing: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
            continue
        with path.open("rb") as file:
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = path.stat().st_size
        listing[path.relative_to(folder).as_posix()] = {"sha256": digest, "bytes": size}
    return listing


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


def damage(folder: Path) -> str | None:
    """What is wrong with an artifact, in a few words; None where every checksum holds."""
    place = os.fspath(folder)  # a run verifies thousands: making a Path takes as long as reading
    try:
        files: Mapping[str, Any] = json.loads(_read(os.path.join(place, MANIFEST)))["files"]
        for name, facts in files.items():
            try:
                digest = sha256_file(os.path.join(place, name))
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                return f"{name} is missing"
            if digest != facts["sha256"]:
                return f"{name} does not match its checksum"
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} cannot be read"
    return None if RECORD in files else f"{RECORD} is not listed"


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log that hold JSON; torn ones are passed over. [] where there is no log."""
    if not path.exists():
        return []
    lines = []
    for line in path.read_bytes().splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:  # empty, or torn
            continue
    return lines

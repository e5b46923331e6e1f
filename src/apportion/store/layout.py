"""The store's folder: its names, its marker, and whether a folder may become a store."""

from __future__ import annotations

import json
import os
from pathlib import Path

from apportion.errors import StoreError
from apportion.store import index
from apportion.store.crash import crash_point
from apportion.store.files import disk_errors, replace_synced, to_json

FORMAT = "apportion-store"
VERSION = 1
MARKER = "store.json"
INDEX = "store.sqlite"
LOG = "executions.log"
FOLDERS = ("artifacts", "tmp", "locks", "failures", "quarantine", "cache")
_OURS = (MARKER, INDEX, LOG, *FOLDERS)


def prepare(path: Path, *, create: bool, read_only: bool) -> None:
    """Make `path` a store, or see that it is one.

    StoreError where it is a file, something else's folder, absent and not to be created, of a
    newer version, or not writable (unless `read_only`).
    """
    with disk_errors(path):
        if path.exists() and not path.is_dir():
            raise StoreError(
                "the store is a folder, and this is a file.",
                file=path,
                mend="choose another place with --store.",
            )
        if not (path / MARKER).is_file():
            _may_create(path, create=create and not read_only)
            _create(path)
        _check_marker(path / MARKER)
        if not read_only:
            _check_writable(path)


def _may_create(path: Path, *, create: bool) -> None:
    if path.is_dir():
        # Our own names alone: a creation that was cut short, or another process's under way.
        others = sorted(p.name for p in path.iterdir() if not p.name.lstrip(".").startswith(_OURS))
        if others:
            raise StoreError(
                f"this folder is not a store and is not empty (it holds {others[0]!r}).",
                file=path,
                mend="choose an empty or new folder with --store.",
            )
    if not create:
        raise StoreError(
            "there is no store here.",
            file=path,
            mend="run the study first (`apportion run`), or point --store at its store.",
        )


def _create(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for name in FOLDERS:
        (path / name).mkdir(exist_ok=True)
    crash_point("folders_made")
    marker = to_json({"format": FORMAT, "version": VERSION})
    replace_synced(path / MARKER, marker + b"\n", point="marker_writing")
    crash_point("marker_written")


def _check_marker(marker: Path) -> None:
    try:
        content = json.loads(marker.read_bytes())
        form, version = content["format"], int(content["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            "the marker of the store cannot be read.",
            file=marker,
            mend=f'if this is a store, write {{"format": "{FORMAT}", "version": {VERSION}}} in it.',
        ) from error
    if form != FORMAT:
        raise StoreError(
            f"this is not a store of apportion but {form!r}.",
            file=marker,
            mend="choose another place with --store.",
        )
    if version > VERSION:
        raise index.newer(marker, version)


def _check_writable(path: Path) -> None:
    if not os.access(path, os.W_OK | os.X_OK):
        raise StoreError(
            "the store cannot be written (read-only disk, or no permission).",
            file=path,
            mend="give yourself write permission, or choose another place with --store.",
        )
    for name in FOLDERS:
        (path / name).mkdir(exist_ok=True)

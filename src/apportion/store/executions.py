"""The log of executions: one JSON line per start and end, in the order in which they happened."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from apportion.store.files import to_json, whole_lines


def append_execution(log: Path, key: str, kind: str, event: str) -> None:
    """Append one line in a single write, so that processes never mix theirs.

    Each line brings its own line break in front: a line torn by a full disk spoils no other.
    """
    facts = {"key": key, "kind": kind, "event": event, "pid": os.getpid(), "time": time.time()}
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(handle, b"\n" + to_json(facts))
    finally:
        os.close(handle)


def read_executions(log: Path) -> list[dict[str, Any]]:
    """Every whole line; [] where nothing ever ran."""
    return whole_lines(log)


def ran_again(log: Path) -> list[str]:
    """Keys that were started after they had finished, without having been damaged in between."""
    finished: set[str] = set()
    twice = []
    for line in read_executions(log):
        if line["event"] == "finished":
            finished.add(line["key"])
        elif line["event"] == "quarantined":
            finished.discard(line["key"])
        elif line["event"] == "started" and line["key"] in finished:
            twice.append(line["key"])
    return twice

"""Fault injection: every boundary between two writes has a name at which a process can be killed.

`APPORTION_CRASH_AT=<name>:<count>` kills the whole run (this process and, in a worker, its master)
with SIGKILL the `count`-th time this process passes the boundary `name`. With `:worker` behind it,
only this process. Without the variable a boundary does nothing.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

ENV = "APPORTION_CRASH_AT"
MASTER_ENV = "APPORTION_RUN_PID"  # set by the executor in its workers

OPENING = ("folders_made", "marker_writing", "marker_written", "schema_made")
COMMIT = (
    "claimed",
    "started",
    "tmp_made",
    "payload_written",
    "record_writing",
    "record_written",
    "payload_synced",
    "manifest_writing",
    "manifest_written",
    "tmp_synced",
    "renamed",
    "parent_synced",
    "indexed",
    "finished",
)
FAILURE = ("traceback_written", "failure_writing", "failure_written", "failure_indexed")
MENDING = ("quarantined", "quarantine_indexed", "index_moved", "index_rebuilt")
REFERENCE = ("reference_writing", "reference_written")

POINTS = OPENING + COMMIT + FAILURE + MENDING + REFERENCE

_passes: Counter[str] = Counter()  # only ever touched when the variable is set


def crash_point(name: str) -> None:
    """Pass the boundary `name`; never returns where the environment asks for a crash here."""
    wish = os.environ.get(ENV)
    if wish is None:
        return
    if name not in POINTS:
        raise ValueError(f"{name!r} is not a crash point")
    wanted, _, rest = wish.partition(":")
    count, _, scope = rest.partition(":")
    if wanted != name:
        return
    _passes[name] += 1
    if _passes[name] == int(count or 1):
        _die(only_me=scope == "worker")


def _die(*, only_me: bool) -> None:
    master = os.environ.get(MASTER_ENV)
    if master and not only_me:
        os.kill(int(master), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
    os._exit(137)

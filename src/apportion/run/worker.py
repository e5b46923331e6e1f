"""A worker process: takes one stage (or group) after another, JSON lines both ways.

Started as `python -c …` rather than by `multiprocessing`, so that a user's script needs no
`if __name__ == "__main__"`, nothing is pickled, and it dies with its master, however that ends.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict
from typing import Any

_PR_SET_PDEATHSIG = 1
_WATCH_SECONDS = 0.5
_PROGRESS_SECONDS = 0.25


class _Channel:
    """Sends messages to the master, one JSON line per message."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._last = 0.0

    def send(self, **message: Any) -> None:
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            data = data[os.write(self._handle, data) :]

    def progress(self, key: str, fraction: float) -> None:
        now = time.monotonic()
        if now - self._last >= _PROGRESS_SECONDS:
            self._last = now
            self.send(op="progress", key=key, fraction=float(fraction))


def main(argv: list[str]) -> None:
    """Serve until the master closes the pipe. `argv`: one JSON object of settings."""
    settings = json.loads(argv[0])
    _die_with(settings["master"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the master's to answer
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    faulthandler.enable()
    channel = _Channel(settings["channel"])
    try:
        _serve(settings, channel)
    except BrokenPipeError:  # the master is gone
        os._exit(1)


def _serve(settings: dict[str, Any], channel: _Channel) -> None:
    from apportion.compile import Stage
    from apportion.errors import StoreError
    from apportion.run.context import find_bodies, warm_up
    from apportion.run.perform import perform
    from apportion.store.store import Store

    bodies = find_bodies(settings["bodies"])
    store: Store | None = None

    def warn(text: str) -> None:
        channel.send(op="warning", text=text)

    for line in sys.stdin:
        stages = [
            Stage(**{**fields, "parents": tuple(fields["parents"])}) for fields in json.loads(line)
        ]
        for stage in stages:
            channel.send(op="started", key=stage.key)
        warm_up(settings["bodies"], stages[0])
        try:
            if store is None:
                store = Store.open(settings["store"], create=False, sweep=False, warn=warn)
            perform(
                store,
                stages,
                bodies,
                threads=settings["threads"],
                worker=settings["facts"],
                progress=channel.progress,
                tell=lambda outcome: channel.send(op="outcome", **asdict(outcome)),
            )
        except StoreError as error:
            channel.send(op="store", problem=error.problem, file=error.file, mend=error.mend)


def _die_with(master: int) -> None:
    """Be killed when the master dies (Linux at once; elsewhere within half a second)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != master:
        os._exit(1)

    def watch() -> None:
        while os.getppid() == master:
            time.sleep(_WATCH_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()

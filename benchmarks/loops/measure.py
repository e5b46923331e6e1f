"""What a process costs, its children included."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_EVERY = 0.5  # seconds between two looks at the memory
_SESSION = 3  # the field of /proc/PID/stat behind the command's name


class Failed(Exception):
    """The process ended with an error; the text has its last words."""


@dataclass(frozen=True)
class Cost:
    """`peak_mb`: the most memory at one time of all its processes together, what they share counted
    once (PSS, looked at twice a second); None where the system does not tell."""

    wall: float
    cpu: float
    peak_mb: float | None


def measured(command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Cost:
    """Run `command` to its end; its output goes to `log`. Failed where it exits with an error."""
    with log.open("wb") as out:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})}, start_new_session=True,
        )  # fmt: skip
        memory = _Memory(process.pid)
        try:
            # Of the process and of what it waited for: this is how children are counted.
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            os.wait4(process.pid, 0)
            raise
        finally:
            memory.stop()
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    if process.returncode:
        words = log.read_text(errors="replace")[-2000:]
        raise Failed(f"{' '.join(command)} ended with {process.returncode}:\n{words}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, memory.peak_mb)


class _Memory:
    """Looks at the memory of a session's processes until it is stopped."""

    def __init__(self, session: int) -> None:
        self.peak_mb: float | None = None
        self._session = session
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            found = [_pss(pid) for pid in _members(self._session)]
            if found:
                self.peak_mb = max(self.peak_mb or 0.0, sum(found) / 1024)


def _members(session: int) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*") if Path("/proc").is_dir() else ():
        with suppress(OSError, IndexError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[_SESSION]) == session:
                found.append(entry.name)
    return found


def _pss(pid: str) -> float:
    """In kB; 0 for a process that has gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return float(line.split()[1])
    return 0.0

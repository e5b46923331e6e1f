"""The worker processes of one run: started when first needed, replaced when they die."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apportion.run.layout import Layout
from apportion.store.crash import MASTER_ENV
from apportion.store.record import plain

if TYPE_CHECKING:
    from apportion.compile import Stage

_START = (
    "import json, sys; s = json.loads(sys.argv[1]); sys.path[:] = s['path']; "
    "from apportion.run.worker import main; main(sys.argv[1:])"
)
_TAIL_BYTES = 8000
# A step frees its tensors and the next asks for as many: glibc would hand their pages to the system
# and fetch them back, zeroed, each time. Kept here, and in large pages (docs/log.md, 28 November).
_HEAP = {
    "trim_threshold": 512 << 20,  # bytes that may lie free at the end of the heap
    "mmap_threshold": 64 << 20,  # larger tensors still go back at once
    "top_pad": 16 << 20,
    "hugetlb": 1,
}


@dataclass(frozen=True)
class Message:
    """What a worker says; op `died` is said in its stead, with a reason and its last words."""

    op: str
    body: Mapping[str, Any]


class _Worker:
    """One process and its pipes."""

    def __init__(self, store: Path, bodies: str, layout: Layout, device: str) -> None:
        self.keys: list[str] = []  # of what it runs and has not told the end of
        self.alone = True  # whether it was given one stage, and not a group
        self.device = device
        self._buffer = b""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        read, write = os.pipe()
        settings = {
            "path": sys.path,
            "master": os.getpid(),
            "channel": write,
            "store": str(store),
            "bodies": bodies,
            "threads": layout.threads,
            "facts": {"workers": layout.workers, "device": device or "cpu"},
        }
        try:
            self.process = subprocess.Popen(  # noqa: S603 - this very Python
                [sys.executable, "-c", _START, json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=self._errors,
                stderr=self._errors,
                pass_fds=(write,),
                env=environment_of(layout.threads, device),
            )
        finally:
            os.close(write)
        self.out = read

    def submit(self, stages: Sequence[Stage]) -> None:
        self.keys = [stage.key for stage in stages]
        self.alone = len(stages) == 1
        fields = [
            {
                "key": stage.key,
                "kind": stage.kind,
                "parents": list(stage.parents),
                "spec": plain(stage.spec),
                "label": stage.label,
                "tokens": stage.tokens,
            }
            for stage in stages
        ]
        assert self.process.stdin is not None  # noqa: S101 - opened with a pipe
        with contextlib.suppress(BrokenPipeError):  # it died: the end of its other pipe tells
            self.process.stdin.write(json.dumps(fields).encode() + b"\n")
            self.process.stdin.flush()

    def messages(self) -> Iterator[Message]:
        """What has arrived; ends with `died` where the process ended."""
        data = os.read(self.out, 1 << 16)
        if not data:
            words = {"reason": self._obituary(), "words": self._words()}
            yield Message("died", {"keys": list(self.keys), "alone": self.alone, **words})
            return
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            body = json.loads(line)
            if body["op"] == "outcome":
                self.keys.remove(body["key"])
            elif body["op"] == "store":
                self.keys = []
            yield Message(body.pop("op"), body)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        os.close(self.out)
        self._errors.close()

    def _obituary(self) -> str:
        code = self.process.wait()
        if code >= 0:
            return f"its worker process ended with exit code {code}"
        name = signal.Signals(-code).name
        if -code == signal.SIGKILL:
            return f"its worker process was killed ({name}), most likely for want of memory"
        return f"its worker process crashed ({name})"

    def _words(self) -> str:
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _TAIL_BYTES))
        return self._errors.read().decode(errors="replace")


class Workers:
    """At most `layout.workers` processes, each with one stage or one group at a time."""

    def __init__(self, store: Path, bodies: str, layout: Layout) -> None:
        self._store = store
        self._bodies = bodies
        self._layout = layout
        self._all: list[_Worker] = []
        self._selector = selectors.DefaultSelector()

    @property
    def idle(self) -> bool:
        """Whether another stage can be submitted."""
        busy = sum(bool(worker.keys) for worker in self._all)
        return busy < self._layout.workers

    def submit(self, stages: Sequence[Stage]) -> None:
        """Give `stages` (one, or a group) to a free worker, starting one where none is free."""
        free = next((worker for worker in self._all if not worker.keys), None)
        (free or self._start()).submit(stages)

    def wait(self, timeout: float | None) -> list[Message]:
        """Messages, after at most `timeout` seconds (None: until there is one)."""
        heard: list[Message] = []
        for key, _ in self._selector.select(timeout):
            worker: _Worker = key.data
            for message in worker.messages():
                heard.append(message)
                if message.op == "died":
                    self._remove(worker)
        return heard

    def close(self) -> None:
        """Kill all; what they were running is lost, what they committed is kept."""
        for worker in list(self._all):
            self._remove(worker)
        self._selector.close()

    def _start(self) -> _Worker:
        taken = [worker.device for worker in self._all]
        device = min(self._layout.devices, key=taken.count)
        worker = _Worker(self._store, self._bodies, self._layout, device)
        self._all.append(worker)
        self._selector.register(worker.out, selectors.EVENT_READ, worker)
        return worker

    def _remove(self, worker: _Worker) -> None:
        self._all.remove(worker)
        self._selector.unregister(worker.out)
        worker.kill()


def environment_of(
    threads: int, device: str, given: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """What a worker finds around it; `device`: the GPU it sees, "" for none."""
    env = dict(given)
    env[MASTER_ENV] = str(os.getpid())
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        env[name] = str(threads)
    env["TOKENIZERS_PARALLELISM"] = "false"
    if env.get("APPORTION_ACCELERATE"):  # one stage uses several GPUs
        return env
    env["CUDA_VISIBLE_DEVICES"] = device
    if not device:  # read by glibc when the process starts, unknown to others
        heap = ":".join(f"glibc.malloc.{name}={value}" for name, value in _HEAP.items())
        env.setdefault("GLIBC_TUNABLES", heap)
    return env

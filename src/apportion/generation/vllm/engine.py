"""vLLM in a process of its own, as the stage that asks it sees it."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import IO, Any

from apportion.errors import StageError
from apportion.generation.vllm.protocol import Request, Settings

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1])['path']; "
    "from apportion.generation.vllm.child import main; main(sys.argv[1:])"
)
_ENVIRONMENT = {
    # Everything in the one process that is killed in the end; and requests are then put together
    # in the same order whenever they are the same.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "TOKENIZERS_PARALLELISM": "false",
}
_TAIL_BYTES = 400  # the end of what it said has the reason


class EngineDied(StageError):
    """The engine could not be loaded, or its process ended: nothing more can be asked of it."""


class Engine:
    """A loaded engine; `version`: vLLM's."""

    def __init__(
        self, process: subprocess.Popen[bytes], answers: IO[str], words: IO[bytes]
    ) -> None:
        self._process = process
        self._answers = answers
        self._words = words
        self.version = str(self._hear()["version"])

    def answer(self, request: Request) -> list[dict[str, Any]]:
        """For each prompt `ids` of the response, with the token that ended it, and `finish`.

        Raises StageError where vLLM refuses the request, EngineDied where it is gone.
        """
        assert self._process.stdin is not None  # noqa: S101 - opened with a pipe
        with contextlib.suppress(BrokenPipeError):  # it died: the end of its other pipe tells
            self._process.stdin.write(json.dumps(asdict(request)).encode() + b"\n")
            self._process.stdin.flush()
        found: list[dict[str, Any]] = self._hear()["answers"]
        return found

    def _hear(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            code = self._process.wait()
            raise EngineDied(f"vLLM's process ended ({code}): {self._last_words()}")
        message: dict[str, Any] = json.loads(line)
        if message["op"] == "failed":
            raise EngineDied(
                f"vLLM cannot serve this model here: {message['problem']}",
                field="evaluation.engine",
                mend="see what vLLM says, or write engine: transformers.",
            )
        if message["op"] == "error":
            raise StageError(f"vLLM did not answer: {message['problem']}")
        return message

    def _last_words(self) -> str:
        self._words.seek(max(0, self._words.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return self._words.read().decode(errors="replace").strip()


@contextmanager
def running(settings: Settings) -> Iterator[Engine]:
    """Within: an engine with `settings` loaded; afterwards its process is gone, and all its memory.

    Raises EngineDied where it cannot be loaded.
    """
    _leave_the_gpu()
    read, write = os.pipe()
    told = {
        "path": sys.path,
        "owner": os.getpid(),
        "channel": write,
        "settings": asdict(settings),
    }
    with tempfile.TemporaryFile() as words, os.fdopen(read, encoding="utf-8") as answers:
        try:
            process = subprocess.Popen(  # noqa: S603 - this very Python
                [sys.executable, "-c", _START, json.dumps(told)],
                stdin=subprocess.PIPE,
                stdout=words,
                stderr=words,
                pass_fds=(write,),
                env={**_ENVIRONMENT, **os.environ},
            )
        finally:
            os.close(write)
        try:
            yield Engine(process, answers, words)
        finally:
            process.kill()
            process.wait()
            assert process.stdin is not None  # noqa: S101 - opened with a pipe
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


def _leave_the_gpu() -> None:
    """Give back what the stages before this one left in torch's own cache."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()

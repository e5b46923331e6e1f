"""Several GPUs for one stage: `accelerate launch ... -m apportion.training.trl.launch FOLDER`.

`launched` is what a stage's body calls; run as a module, this is one of the processes.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from apportion.errors import ApportionError, StageError, StudyError
from apportion.training.steps import StepLog
from apportion.training.trl.job import OUT, PROGRESS, run_job

#: Arguments for `accelerate launch`, such as `--num_processes 4`; unset or empty: this process.
ACCELERATE = "APPORTION_ACCELERATE"
_OWNER = "APPORTION_OWNER"
_ERROR = "error.json"
_POLL_SECONDS = 0.5
_TAIL = 400  # bytes: the end of what they said has the reason


def launched(folder: Path, progress: Callable[[float], None]) -> Path:
    """Do the job in `folder` through `accelerate launch` with the arguments of ACCELERATE.

    Raises StageError with the last words of the processes where they fail.
    """
    command = [
        sys.executable, "-m", "accelerate.commands.launch",
        *shlex.split(os.environ[ACCELERATE]),
        "-m", "apportion.training.trl.launch", str(folder),
    ]  # fmt: skip
    env = {**os.environ, _OWNER: str(os.getpid())}
    (folder / _ERROR).unlink(missing_ok=True)
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(  # noqa: S603 - this very Python, the user's own arguments
            command, env=env, stdin=subprocess.DEVNULL, stdout=words, stderr=words
        )
        try:
            while process.poll() is None:
                time.sleep(_POLL_SECONDS)
                _tell(folder / PROGRESS, progress)
        finally:
            process.kill()
            process.wait()
        if (folder / OUT).exists():
            return folder / OUT
        words.seek(max(0, words.seek(0, os.SEEK_END) - _TAIL))
        said = words.read().decode(errors="replace")
    raise _failure(folder / _ERROR, said)


def _failure(place: Path, said: str) -> ApportionError:
    try:
        known = json.loads(place.read_text())
    except (OSError, ValueError):
        return StageError(f"accelerate launch failed: {said}")
    kind = StudyError if known.pop("user") else StageError
    return kind(known.pop("problem"), **known)


def _tell(place: Path, progress: Callable[[float], None]) -> None:
    try:
        done = json.loads(place.read_text())
        progress(done["step"] / done["steps"])
    except (OSError, ValueError):
        pass  # not there yet, or half written


def main(argv: list[str]) -> int:
    """One process of a launched job."""
    folder = Path(argv[0])
    _die_with_owner()

    def on_step(log: StepLog, steps: int) -> None:
        (folder / PROGRESS).write_text(json.dumps({"step": log.step, "steps": steps}))

    try:
        run_job(folder, on_step)
    except ApportionError as error:
        words = {"problem": error.problem, "field": error.field, "mend": error.mend}
        user = isinstance(error, StudyError)
        (folder / _ERROR).write_text(json.dumps({**words, "user": user}))
        return error.exit_code
    _leave_together()
    return 0


def _leave_together() -> None:
    """End the group of processes, once all of them are here.

    Its threads would otherwise outlive the interpreter, and now and then abort a process whose
    work is done; the launcher then ends the others, and rank 0 may still be writing.
    """
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def _die_with_owner() -> None:
    """End when the stage's own process ends, however that happens."""
    owner = os.environ.get(_OWNER)
    if owner is None:
        return

    def watch() -> None:
        while True:
            time.sleep(1.0)
            try:
                os.kill(int(owner), 0)
            except ProcessLookupError:
                os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

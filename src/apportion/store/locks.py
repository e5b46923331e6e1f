"""A stage's claim: one process at a time, freed by the system however that process ends."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType

from apportion.errors import StoreError


class Claim:
    """A held lock on one key; a context manager that frees it."""

    def __init__(self, key: str, handle: int) -> None:
        self.key = key
        self._handle: int | None = handle

    def release(self) -> None:
        """Free the lock; safe to call twice."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    @property
    def held(self) -> bool:
        return self._handle is not None

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def try_claim(folder: Path, key: str, *, wait: bool = False) -> Claim | None:
    """Claim `key` in the folder of locks; None where another process (or claim) holds it.

    The lock file stays: removing it could let two processes lock two files of one name.
    """
    handle = os.open(folder / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise StoreError(
            f"this file system cannot lock files ({error.strerror}).",
            file=folder.parent,
            mend="put the store on a local disk with --store.",
        ) from error
    except BaseException:
        os.close(handle)
        raise
    return Claim(key, handle)

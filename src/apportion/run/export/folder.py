"""A folder that is either written whole or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apportion.errors import StudyError


@contextmanager
def fresh(out: Path) -> Iterator[Path]:
    """Within: a folder to write into; afterwards it is `out`. StudyError where it cannot be.

    What an error interrupts is removed. `out` may exist only if it is empty.
    """
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise StudyError(
                "there are files in the way.", file=out, field="--out", mend="name a new folder."
            )
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise _cannot(out, error) from error
    try:
        folder.chmod(0o755)
        yield folder
        if out.exists():
            out.rmdir()
        os.rename(folder, out)
    except OSError as error:
        raise _cannot(out, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _cannot(out: Path, error: OSError) -> StudyError:
    return StudyError(
        f"it cannot be written: {error.strerror or error}.",
        file=out,
        field="--out",
        mend="name a folder that can be written.",
    )

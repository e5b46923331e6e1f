from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


@pytest.fixture
def tmp_path(tmp_path):
    """In memory where there is such a disk: a store syncs every file, and tests make many."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    place = Path(tempfile.mkdtemp(prefix="apportion-test-", dir=MEMORY))
    yield place
    shutil.rmtree(place, ignore_errors=True)

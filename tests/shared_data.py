"""Where GSM8K and IFEval are, which the project does not copy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def data_file(name: str) -> Path:
    """A file of the data folder; the test is skipped where there is none."""
    folder = Path(os.environ.get("APPORTION_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / name).is_file():
        pytest.skip(f"{name} is not in {folder} (set APPORTION_DATA)")
    return folder / name

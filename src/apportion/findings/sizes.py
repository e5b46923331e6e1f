"""How many parameters a model has, as far as its name or its embedded weights tell."""

from __future__ import annotations

import re
from pathlib import Path

from apportion.models.resolve import SANDBOX, sandbox_assets

_SIZE = re.compile(r"(?<![0-9.A-Za-z])(\d+(?:\.\d+)?)([bBmMkK])(?![A-Za-z0-9])")
_UNIT = {"b": 1e9, "m": 1e6, "k": 1e3}
_BYTES = 2  # embedded weights have 16 bits


def size_of(model: str) -> float | None:
    """Parameters: `…-8B`, `1.5b`, `135M` in the name, or an embedded model's weights; else None."""
    if model.startswith(SANDBOX):
        return _weights(sandbox_assets() / Path(model.removeprefix(SANDBOX)).name)
    found = _SIZE.findall(model)
    if not found:
        return None
    number, unit = found[-1]
    return float(number) * _UNIT[unit.lower()]


def _weights(folder: Path) -> float | None:
    bytes_ = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return bytes_ / _BYTES if bytes_ else None

"""A file of JSON lines that holds what is measured, so that the measuring may take many sittings.

The first line says of which grid; everything else is a measurement, written once it is whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class OtherGrid(ValueError):
    """The file holds measurements of something else."""


class Ledger:
    """Measurements by side; nothing is ever changed, only added."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.header = json.loads(json.dumps(header))
        self.rows: list[dict[str, Any]] = []
        self._read()

    def _read(self) -> None:
        lines = self.path.read_bytes().split(b"\n") if self.path.exists() else [b""]
        *whole, torn = lines
        if torn:  # a writer was killed in the middle of a line: it is as if it had not begun
            os.truncate(self.path, sum(len(line) + 1 for line in whole))
        found = [json.loads(line) for line in whole]
        if not found:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._write({"grid": self.header})
            return
        there = found[0].get("grid", {})
        unlike = sorted(k for k in {*there, *self.header} if there.get(k) != self.header.get(k))
        if unlike:
            raise OtherGrid(
                f"{self.path} is of another grid ({', '.join(unlike)}): give the same options, or "
                "another --out."
            )
        self.rows = found[1:]

    def add(self, side: str, **row: Any) -> None:
        """Note a measurement; it is on the disk when this returns."""
        self.rows.append({"side": side, **row})
        self._write(self.rows[-1])

    def _write(self, row: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def reread(self) -> None:
        """See what another process added."""
        self._read()

    def of(self, side: str, what: str) -> Iterator[dict[str, Any]]:
        """The rows of `side` that have `what`."""
        return (row for row in self.rows if row["side"] == side and what in row)

    def cells(self, side: str) -> dict[str, dict[str, Any]]:
        """What `side` measured, by the name of the cell."""
        return {row["cell"]: row for row in self.of(side, "cell")}

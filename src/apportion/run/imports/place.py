"""What somebody else's result does not say of itself: which cell it is of."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apportion.run.results import CellResult


@dataclass(frozen=True)
class Place:
    """The cell and replicate that a result is of."""

    model: str
    task: str
    method: str
    n_sft: int
    n_pref: int
    replicate: int

    def result(self, score: float, **values: Any) -> CellResult:
        """A finished cell here; `values` are fields of CellResult."""
        from apportion.run.results import CellResult

        return CellResult(
            model=self.model,
            task=self.task,
            method=self.method,
            n_sft=self.n_sft,
            n_pref=self.n_pref,
            replicate=self.replicate,
            status="done",
            score=score,
            **values,
        )


def stderr(scores: Sequence[float]) -> float | None:
    """Sample standard deviation / sqrt(n); None for fewer than two."""
    return statistics.stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else None

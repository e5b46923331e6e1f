"""From the processes that were measured to those that were not.

| symbol | meaning |
|---|---|
| a | seconds of a training process that do not depend on its tokens (start, imports, loading) |
| b_k | seconds per token of training of kind k (sft, dpo, kto) |
| e | seconds of an evaluation: its items are the same in every cell |
| y | seconds of a process: a + b_k * tokens, or e; plus noise of standard deviation s |

Ordinary least squares over all measured processes. The interval of a total counts the doubt about
a, b and e, and the noise of the processes that were not measured, taken as equal for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

EVALUATE = "evaluate"


@dataclass(frozen=True)
class Process:
    """One process: its kind, the tokens it trains on; seconds, where it was measured."""

    kind: str
    tokens: int
    seconds: float = float("nan")


@dataclass(frozen=True)
class Total:
    """Seconds of all processes: the measured ones as they were, the others estimated; the ends of
    the interval, NaN where nothing is left to tell the noise from."""

    seconds: float
    low: float
    high: float
    measured: int
    estimated: int


@dataclass(frozen=True)
class Fit:
    """`constant`: a; `evaluation`: e; `rates`: b by kind. What has no observation is left out."""

    names: tuple[str, ...]
    values: np.ndarray
    covariance: np.ndarray  # of the values, in units of the noise's variance
    variance: float  # s squared; NaN without spare observations
    spare: int

    def value(self, name: str) -> float:
        return float(self.values[self.names.index(name)])


def _row(process: Process, names: Sequence[str]) -> list[float]:
    if process.kind == EVALUATE:
        return [float(name == EVALUATE) for name in names]
    return [1.0 if n == "constant" else float(n == process.kind) * process.tokens for n in names]


def fit(found: Sequence[Process]) -> Fit:
    """ValueError where the measured processes do not tell constant and rates apart."""
    kinds = sorted({one.kind for one in found})
    names = tuple(
        name
        for name in ("constant", *(k for k in kinds if k != EVALUATE), EVALUATE)
        if name in kinds or (name == "constant" and set(kinds) - {EVALUATE})
    )
    if not names:
        raise ValueError("nothing was measured: measure more cells")
    design = np.array([_row(one, names) for one in found], dtype=float)
    seconds = np.array([one.seconds for one in found])
    scale = np.abs(design).max(axis=0, initial=1.0)  # tokens are many, seconds few
    if np.linalg.matrix_rank(design / scale) < len(names):
        raise ValueError("the sample does not tell a constant and rates apart: measure more cells")
    inverse = np.linalg.inv((design / scale).T @ (design / scale)) / np.outer(scale, scale)
    values = inverse @ design.T @ seconds
    spare = len(found) - len(names)
    left = seconds - design @ values
    variance = float(left @ left / spare) if spare else float("nan")
    return Fit(names, values, inverse, variance, spare)


def total(measured: Sequence[Process], missing: Sequence[Process], level: float = 0.9) -> Total:
    """Seconds of all of them. ValueError where a kind that is missing was never measured."""
    known = sum(one.seconds for one in measured)
    if not missing:
        return Total(known, known, known, len(measured), 0)
    fitted = fit(measured)
    unseen = sorted({one.kind for one in missing} - set(fitted.names))
    if unseen:
        raise ValueError(f"no {unseen[0]} was measured: measure more cells")
    asked = np.sum([_row(one, fitted.names) for one in missing], axis=0)
    guess = float(asked @ fitted.values)
    variance = fitted.variance * (asked @ fitted.covariance @ asked + len(missing))
    half = student.ppf((1 + level) / 2, max(1, fitted.spare)) * np.sqrt(variance)
    both = known + guess
    return Total(both, both - half, both + half, len(measured), len(missing))

"""Published evidence: scores read off a paper's figure, and a smooth surface through them.

| symbol   | meaning                                                                     | shape |
|----------|-----------------------------------------------------------------------------|-------|
| N, K, D  | published points of a task; points asked about; draws                       |       |
| x        | (log(1 + n_sft / `COUNT_SCALE`), log(1 + n_pref / `COUNT_SCALE`))           | N, 2  |
| f        | the published model's score: `CENTRE` + linear in x + Matérn-5/2 in x       |       |
| noise    | digitisation_sd² + `SEED_SD`²: reading error and the paper's one seed       | N     |
| g        | how another model departs from f: Matérn-5/2, sd `TRANSFER_SD`, same lengths |      |
| draws    | f + g given the data, clipped to [0, 1]                                     | D, K  |

The kernel's constants maximise the marginal likelihood summed over the four tasks (a test holds
this). `SEED_SD` and `TRANSFER_SD` are stated, not estimated: the figure cannot tell them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apportion.errors import DataError

Floats = NDArray[np.float64]

SOURCE = "Llama-3.1-8B, one seed, read off a figure (arXiv 2502.11284)"
FIGURE = Path(__file__).parent / "data" / "acl2025_llama31_8b.csv"
COLUMNS = ("model", "task", "metric", "sft_share", "budget_examples", "score", "digitisation_sd")

SEED_SD = 0.02
TRANSFER_SD = 0.03
COUNT_SCALE = 25.0
CENTRE, CENTRE_SD = 0.5, 0.2
SLOPE_SDS = (0.025, 0.02)
SMOOTH_SD = 0.145
LENGTHS = (2.9, 5.2)


@dataclass(frozen=True)
class PublishedPoint:
    """One marker of the figure; counts are examples, `score` and `sd` in score units."""

    task: str
    n_sft: float
    n_pref: float
    score: float
    sd: float


def _number(row: dict[str, str], field: str, line: int, file: Path, top: float) -> float:
    text = row.get(field) or ""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= top:
        raise DataError(
            f"{text!r} is not a number from 0 to {top:g}.",
            file=file,
            row=line,
            field=field,
            mend="Correct the number, or leave the row out.",
        )
    return value


def load_published(file: Path = FIGURE) -> tuple[PublishedPoint, ...]:
    """Read a published figure. Raises DataError with file, row and field for a bad table."""
    if not file.is_file():
        raise DataError("there is no such file.", file=file, mend="Give an existing CSV file.")
    points: list[PublishedPoint] = []
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        lacking = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if lacking:
            raise DataError(
                f"the column(s) {', '.join(lacking)} are missing.",
                file=file,
                row=1,
                mend=f"Give the columns {', '.join(COLUMNS)}.",
            )
        for row in reader:
            line = reader.line_num
            budget = _number(row, "budget_examples", line, file, 1e12)
            share = 0.0 if budget == 0 else _number(row, "sft_share", line, file, 1.0)
            score = _number(row, "score", line, file, 1.0)
            sd = _number(row, "digitisation_sd", line, file, 1.0)
            point = PublishedPoint(row["task"], share * budget, (1 - share) * budget, score, sd)
            points.append(point)
    if not points:
        raise DataError("the table has no rows.", file=file, mend="Give at least one point.")
    return tuple(points)


def by_task(points: Sequence[PublishedPoint]) -> dict[str, tuple[PublishedPoint, ...]]:
    """Points by task, in the order of the table."""
    tasks = dict.fromkeys(point.task for point in points)
    return {task: tuple(p for p in points if p.task == task) for task in tasks}


def coordinates(n_sft: Floats, n_pref: Floats) -> Floats:
    """Counts (K,) and (K,) to x (K, 2)."""
    return np.stack([np.log1p(n_sft / COUNT_SCALE), np.log1p(n_pref / COUNT_SCALE)], axis=1)


def _matern(a: Floats, b: Floats) -> Floats:
    scaled = (a[:, None] - b[None]) / np.array(LENGTHS)
    distance = np.sqrt(5 * (scaled**2).sum(axis=-1))
    values: Floats = (1 + distance + distance**2 / 3) * np.exp(-distance)
    return values


def kernel(a: Floats, b: Floats) -> Floats:
    """Prior covariance of f between points (N, 2) and (K, 2)."""
    slopes = np.array(SLOPE_SDS)
    values: Floats = CENTRE_SD**2 + (a * slopes) @ (b * slopes).T + SMOOTH_SD**2 * _matern(a, b)
    return values


def noise(points: Sequence[PublishedPoint]) -> Floats:
    """Variance (N,) of each published score."""
    return np.array([point.sd**2 + SEED_SD**2 for point in points])


def posterior(
    points: Sequence[PublishedPoint], n_sft: Floats, n_pref: Floats
) -> tuple[Floats, Floats]:
    """Mean (K,) and covariance (K, K) of f + g at the points asked about."""
    known = coordinates(np.array([p.n_sft for p in points]), np.array([p.n_pref for p in points]))
    asked = coordinates(n_sft, n_pref)
    y = np.array([p.score for p in points]) - CENTRE
    across = kernel(known, asked)
    solved = np.linalg.solve(kernel(known, known) + np.diag(noise(points)), across)
    mean: Floats = CENTRE + solved.T @ y
    covariance: Floats = (
        kernel(asked, asked) - across.T @ solved + TRANSFER_SD**2 * _matern(asked, asked)
    )
    return mean, covariance


def draw(
    points: Sequence[PublishedPoint], n_sft: Floats, n_pref: Floats, n_draws: int, seed: int
) -> Floats:
    """Draws (D, K) of another model's score at counts (K,), seeded, in [0, 1]."""
    mean, covariance = posterior(points, n_sft, n_pref)
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    normal = np.random.default_rng(seed).standard_normal((n_draws, len(mean)))
    clipped: Floats = np.clip(mean + normal @ root.T, 0.0, 1.0)
    return clipped

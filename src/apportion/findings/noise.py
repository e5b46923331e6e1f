"""The noise of measured cell means, as draws around 0 that contrasts inherit.

| symbol | meaning                                                                       | shape  |
|--------|-------------------------------------------------------------------------------|--------|
| I, R   | test items of a task; replicates of a cell                                    |        |
| y      | score of item i in replicate r, in [0, 1]                                     | R, I   |
| w      | Bayesian bootstrap weights of I + 1 items, the same for all cells of the task | D, I+1 |
| coin   | score of item I + 1, that nobody asked: a toss for each cell and draw, 0 or 1 | D, C   |
| sigma  | run-to-run sd of a cell's score, one for each group                           | D, G   |
| v      | item-by-run variance: what is left of y after run and item effects            | scalar |

Items: the noise is w @ (mean of y over the replicates, coin) minus its expectation. Cells of one
task that answered the same items share w, so what is hard in all of them cancels in differences;
the coin keeps eight items that all failed from counting as a score without noise. Where only a
standard error is known it stands in, independent from cell to cell, and is at least that of the
coin.

Runs: normal with sd sigma / sqrt(R); sigma² ~ (nu0 s0² + max(S - df v / I, 0)) / chi²(nu0 + df)
with S the squared deviations of replicates from their cell's mean, df their number less the
cells', and the prior of `surface.hierarchy` (nu0 = 4, s0 = three points). The base model is not
trained and has none. What replicates share between cells (the same data, the same SFT run) makes
this too wide rather than too narrow for differences within a group.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apportion.surface.hierarchy import PRIOR_DF, PRIOR_SCALE
from apportion.surface.rows import CellKey, ResultRow, item_contributions

Floats = NDArray[np.float64]

_CHUNK = 500  # draws whose weights are held in memory at once


@dataclass(frozen=True, eq=False)
class CellData:
    """One finished cell: scores (R,), scores per item (R, I) or the sd that stands in."""

    group: int
    task: str
    key: CellKey
    scores: Floats
    items: Floats | None
    item_sd: float

    @property
    def trained(self) -> bool:
        return self.key != (0, 0)

    @staticmethod
    def read(group: int, task: str, key: CellKey, rows: Sequence[ResultRow]) -> CellData | None:
        """None when no row says how noisy the cell is."""
        scores = np.array([row.score for row in rows], dtype=float)
        lists = [item_contributions(row) for row in rows]
        if all(one and len(one) == len(lists[0] or ()) for one in lists):
            items = np.array([list(one or ()) for one in lists], dtype=float)
            return CellData(group, task, key, scores, items, _item_sd(rows) or 0.0)
        sd = _item_sd(rows)
        return None if sd is None else CellData(group, task, key, scores, None, sd)


def coin_sd(n_items: int) -> float:
    """Sd of the mean of n items that all scored alike, and of one coin toss."""
    p = 0.5 / (n_items + 1)
    return float(np.sqrt(p * (1 - p) / (n_items + 1)))


def _item_sd(rows: Sequence[ResultRow]) -> float | None:
    """Item noise of a cell's mean; replicates answer the same items, so it does not average out."""
    variances = []
    for row in rows:
        count = row.n_items or len(row.item_scores or ()) or None
        score = row.score or 0.0
        if row.stderr is not None:
            floor = coin_sd(count) if count else 0.0
            variances.append(max(row.stderr, floor) ** 2)
        elif count:
            p = (score * count + 0.5) / (count + 1)
            variances.append(p * (1 - p) / (count + 1))  # the most it can be
    return float(np.sqrt(np.mean(variances))) if variances else None


def draw_noise(
    cells: Sequence[CellData], n_groups: int, *, n_draws: int, seed: int
) -> tuple[Floats, Floats, Floats]:
    """Draws (D, C) of item noise, (D, C) of run noise, and (D, G) of sigma."""
    rng = np.random.default_rng([seed, 1])
    items = np.zeros((n_draws, len(cells)))
    for k, cell in enumerate(cells):
        items[:, k] = cell.item_sd * rng.standard_normal(n_draws)
    for task, length in dict.fromkeys(_asked(c) for c in cells if c.items is not None):
        mine = [k for k, c in enumerate(cells) if _asked(c) == (task, length)]
        asked = [cells[k].items for k in mine]
        means = np.stack([y.mean(axis=0) for y in asked if y is not None])
        stream = np.random.default_rng([seed, 2, zlib.crc32(task.encode()), length])
        items[:, mine] = _bootstrap(means, n_draws, stream)
    sigma = np.stack(
        [_sigma([c for c in cells if c.group == g], n_draws, rng) for g in range(n_groups)],
        axis=1,
    )
    run = np.zeros_like(items)
    for k, cell in enumerate(cells):
        if cell.trained:
            run[:, k] = sigma[:, cell.group] * rng.standard_normal(n_draws)
            run[:, k] /= np.sqrt(len(cell.scores))
    return items, run, sigma


def _asked(cell: CellData) -> tuple[str, int]:
    """Cells that answered the same items: of one task, as many. No item scores: no items."""
    return cell.task, 0 if cell.items is None else cell.items.shape[1]


def _bootstrap(means: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Noise (D, C) of the item means (C, I), with the coin as one item more."""
    n_cells, n_items = means.shape
    parts = []
    for start in range(0, n, _CHUNK):
        count = min(_CHUNK, n - start)
        weights = rng.standard_exponential((count, n_items + 1))
        weights /= weights.sum(axis=1, keepdims=True)
        coins = rng.integers(0, 2, (count, n_cells))
        parts.append(weights[:, :-1] @ means.T + weights[:, -1:] * coins)
    expected = (means.sum(axis=1) + 0.5) / (n_items + 1)
    noise: Floats = np.concatenate(parts) - expected
    return noise


def _inside(cells: Sequence[CellData]) -> float:
    """v / I: the part of the scatter between replicates that the bootstrap of items holds."""
    squares, df, lengths = 0.0, 0, Counter[int]()
    for cell in cells:
        y = cell.items
        if y is None or not cell.trained or len(y) < 2 or y.shape[1] < 2:
            continue
        rest = y - y.mean(axis=1, keepdims=True) - y.mean(axis=0) + y.mean()
        squares += float((rest**2).sum())
        df += (len(y) - 1) * (y.shape[1] - 1)
        lengths[y.shape[1]] += 1
    return squares / df / lengths.most_common(1)[0][0] if df else 0.0


def _sigma(cells: Sequence[CellData], n: int, rng: np.random.Generator) -> Floats:
    inside = _inside(cells)
    squares, df = 0.0, 0
    for cell in cells:
        more = len(cell.scores) - 1
        if more and cell.trained:
            squares += float(((cell.scores - cell.scores.mean()) ** 2).sum())
            squares -= more * inside if cell.items is not None else 0.0
            df += more
    scale = PRIOR_DF * PRIOR_SCALE**2 + max(squares, 0.0)
    drawn: Floats = np.sqrt(scale / rng.chisquare(PRIOR_DF + df, n))
    return drawn

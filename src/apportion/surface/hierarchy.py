"""The hierarchical estimate of every measured cell, with a stated prior on run-to-run noise.

| symbol    | meaning                                                                | shape |
|-----------|------------------------------------------------------------------------|-------|
| C, R_c, I | cells; replicates of cell c; test items (the same in all cells)        |       |
| D         | posterior draws                                                        |       |
| y         | what item i adds to the score of replicate r of cell c: its own score, | C,R,I |
|           | if all items weigh alike (see `item_contributions`)                    |       |
| m         | y averaged over the replicates                                         | C, I  |
| mu        | a cell's score over all runs and all items of the task: what is sought | C     |
| sigma     | run-to-run sd of a cell's score over endless items, shared by all cells |      |
| v         | item-by-run interaction: variance of y left after run and item effects |       |
| w         | Bayesian bootstrap weights of the items, shared by all cells           | D, I  |
| nu0, s0   | prior degrees of freedom and scale of sigma (`PRIOR_DF`, `PRIOR_SCALE`) |      |
| S_c       | squared deviations of cell c's replicates from their mean              | C     |

Model: ybar_cr = mu_c + item noise + run noise.

1. Prior: sigma² ~ nu0 s0² / chi²(nu0). Data: S_c / (sigma² + v / I) ~ chi²(R_c - 1). Replicates
   answer the same items, so item difficulty cancels in S_c and only the interaction stays. The
   posterior of sigma is drawn from a grid (it is scaled-inverse-chi-square when v = 0).
2. Items: mu is bootstrapped over items with weights w ~ Dirichlet(1, …, 1) that are the *same for
   all cells* in a draw, so noise that all cells share cancels in their differences. The bootstrap
   of m holds the interaction already.
3. Runs: N(0, sigma² / R_c) is added.
4. Without item scores the reported standard error stands in, as *independent* item noise
   (conservative for differences), and v counts as 0, so sigma takes the interaction in.

There is no pooling across cells: each cell's mean is its own, only sigma is shared. The base model
(0, 0) is not trained, so it has no run noise and says nothing of sigma. Draws are clipped to
[0, 1].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from apportion.surface.rows import CellKey, ResultRow, finished_cells, item_contributions

PRIOR_DF = 4.0
PRIOR_SCALE = 0.03  # three points of score between two runs on different draws of the data
INTERVAL = 0.90
N_DRAWS = 4000
_SIGMA_GRID = (1e-4, 2.0, 4000)  # from, to, points: log-spaced
_CHUNK = 500  # draws whose weights are held in memory at once

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CellEstimate:
    """A measured cell: its mean over replicates, and where the posterior puts its true score."""

    n_sft: int
    n_pref: int
    mean: float
    interval: tuple[float, float]
    replicates: int
    n_items: int | None
    lines: tuple[tuple[float, float], ...]  # the (budget, share) pairs it lies on
    item_noise: Literal["bootstrap", "stderr"]


@dataclass(frozen=True)
class SigmaEstimate:
    """Run-to-run sd (score units): posterior median and interval, and what of it is the prior's."""

    median: float
    interval: tuple[float, float]
    prior_df: float
    prior_scale: float
    data_df: int

    @property
    def prior_share(self) -> float:
        """Part of the posterior's degrees of freedom that is prior: 1 without any replicate."""
        return self.prior_df / (self.prior_df + self.data_df)


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a fit gives back. `draws` is (D, C), columns in the order of `cells`."""

    model: str
    task: str
    method: str
    cells: tuple[CellEstimate, ...]
    draws: Floats
    sigma: SigmaEstimate
    status: Literal["ok", "not enough evidence"]
    reasons: tuple[str, ...]
    absent: tuple[str, ...]

    @property
    def levels(self) -> tuple[float, ...]:
        """Measured budgets, ascending; empty for a lattice."""
        return tuple(sorted({budget for cell in self.cells for budget, _ in cell.lines}))

    @property
    def replicates(self) -> tuple[int, int]:
        """Fewest and most replicates of a trained cell; (0, 0) when there is none."""
        counts = [c.replicates for c in self.cells if (c.n_sft, c.n_pref) != (0, 0)]
        return (min(counts), max(counts)) if counts else (0, 0)

    @property
    def n_items(self) -> int | None:
        """Fewest test items of any cell; None when no cell says."""
        return min((c.n_items for c in self.cells if c.n_items is not None), default=None)


@dataclass(frozen=True)
class _Cell:
    key: CellKey
    scores: Floats  # (R,)
    items: Floats | None  # (R, I)
    item_sd: float  # used when `items` is None
    n_items: int | None
    lines: tuple[tuple[float, float], ...]

    @property
    def trained(self) -> bool:
        return self.key != (0, 0)


def _item_sd(rows: Sequence[ResultRow]) -> float | None:
    """Sd of the item noise of a cell's mean: the items are the same in every replicate."""
    variances = []
    for row in rows:
        if row.stderr is not None:
            variances.append(row.stderr**2)
        elif row.n_items:
            assert row.score is not None  # noqa: S101  (checked when the row was read)
            variances.append(row.score * (1 - row.score) / row.n_items)  # the most it can be
    return float(np.sqrt(np.mean(variances))) if variances else None


def _read_cell(key: CellKey, rows: Sequence[ResultRow], length: int | None) -> _Cell | None:
    scores = np.array([row.score for row in rows], dtype=float)
    lists = [item_contributions(row) for row in rows]
    full = length is not None and all(s is not None and len(s) == length for s in lists)
    items = np.array([list(s) for s in lists if s is not None], dtype=float) if full else None
    sd = _item_sd(rows)
    if items is None and sd is None:
        return None
    counts = [row.n_items or (len(s) if s else 0) for row, s in zip(rows, lists, strict=True)]
    lines = tuple(dict.fromkeys(line for row in rows for line in row.lines))
    return _Cell(key, scores, items, sd or 0.0, min(counts) or None, lines)


def _read(groups: dict[CellKey, list[ResultRow]]) -> tuple[list[_Cell], list[str]]:
    lengths = Counter(
        len(row.item_scores) for rows in groups.values() for row in rows if row.item_scores
    )
    length = lengths.most_common(1)[0][0] if lengths else None
    cells: list[_Cell] = []
    notes: list[str] = []
    for key, rows in groups.items():
        cell = _read_cell(key, rows, length)
        name = f"{key[0]} + {key[1]}"
        if cell is None:
            notes.append(f"{name}: left out, it has neither item scores nor a standard error")
            continue
        if cell.items is None and length is not None:
            notes.append(f"{name}: item scores missing or of another length; standard error used")
        cells.append(cell)
    return cells, notes


def _interaction(cells: Sequence[_Cell]) -> float:
    """The pooled estimate of v / I; 0 when there is no replicate to tell."""
    squares, df, n_items = 0.0, 0, 1
    for cell in cells:
        y = cell.items
        if y is None or not cell.trained or len(y) < 2 or y.shape[1] < 2:
            continue
        n_items = y.shape[1]
        rest = y - y.mean(axis=1, keepdims=True) - y.mean(axis=0, keepdims=True) + y.mean()
        squares += float((rest**2).sum())
        df += (len(y) - 1) * (n_items - 1)
    return squares / df / n_items if df else 0.0


def _sigma_draws(cells: Sequence[_Cell], n: int, rng: np.random.Generator) -> tuple[Floats, int]:
    """Draws (D,) of sigma, and the degrees of freedom that came from data."""
    inside = _interaction(cells)
    grid = np.geomspace(_SIGMA_GRID[0], _SIGMA_GRID[1], int(_SIGMA_GRID[2]))
    log_density = -PRIOR_DF * (np.log(grid) + PRIOR_SCALE**2 / grid**2 / 2)  # per log sigma
    total_df = 0
    for cell in cells:
        df = len(cell.scores) - 1
        if df and cell.trained:
            squares = float(((cell.scores - cell.scores.mean()) ** 2).sum())
            variance = grid**2 + (inside if cell.items is not None else 0.0)
            log_density -= (df * np.log(variance) + squares / variance) / 2
            total_df += df
    mass = np.cumsum(np.exp(log_density - log_density.max()))
    log_sigma = np.interp(rng.random(n) * mass[-1], mass, np.log(grid))
    return np.exp(log_sigma), total_df


def _bootstrap(items: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Deviations (D, C) of the bootstrapped means of `items` (C, I) from their plain means."""
    parts = []
    for start in range(0, n, _CHUNK):
        weights = rng.standard_exponential((min(_CHUNK, n - start), items.shape[1]))
        weights /= weights.sum(axis=1, keepdims=True)
        parts.append(weights @ items.T)
    deviations: Floats = np.concatenate(parts) - items.mean(axis=1)
    return deviations


def _draw(cells: Sequence[_Cell], sigma: Floats, rng: np.random.Generator) -> Floats:
    """Posterior draws (D, C) of mu."""
    n = len(sigma)
    centre = np.array([cell.scores.mean() for cell in cells])
    draws = np.tile(centre, (n, 1))
    with_items = [k for k, cell in enumerate(cells) if cell.items is not None]
    if with_items:
        means = np.stack([c.items.mean(axis=0) for c in cells if c.items is not None])
        draws[:, with_items] += _bootstrap(means, n, rng)
    for k, cell in enumerate(cells):
        if cell.items is None:
            draws[:, k] += cell.item_sd * rng.standard_normal(n)
        if cell.trained:
            draws[:, k] += sigma / np.sqrt(len(cell.scores)) * rng.standard_normal(n)
    clipped: Floats = np.clip(draws, 0.0, 1.0)
    return clipped


def interval(draws: Floats) -> tuple[float, float]:
    """The central `INTERVAL` of draws (D,)."""
    tail = (1 - INTERVAL) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def _status(cells: Sequence[_Cell], df: int) -> tuple[bool, list[str]]:
    trained = [cell for cell in cells if cell.trained]
    reasons = []
    if len(trained) < 2:
        reasons.append(
            f"not enough evidence: {len(trained)} trained cell(s) with a score, and a comparison "
            "needs two"
        )
    elif df == 0:
        reasons.append(
            "no cell has a second replicate: the run-to-run noise is the prior's alone "
            f"({PRIOR_SCALE:g} of score, {PRIOR_DF:g} degrees of freedom)"
        )
    return len(trained) >= 2, reasons


def fit(
    results: Iterable[ResultRow],
    *,
    model: str,
    task: str,
    method: str,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> Estimate:
    """Estimate the true score of every finished cell of one (model, task, method).

    Scores are in [0, 1]; cells that failed or were not run are absent, with their reasons in
    `absent`. Raises ResultsError for a row that cannot be used (see `finished_cells`). With too few
    cells to compare the status is "not enough evidence", and `reasons` says why.
    """
    groups, absent = finished_cells(results, model=model, task=task, method=method)
    cells, notes = _read(groups)
    rng = np.random.default_rng(seed)
    sigma, df = _sigma_draws(cells, n_draws, rng)
    draws = _draw(cells, sigma, rng)
    ok, reasons = _status(cells, df)
    estimates = tuple(
        CellEstimate(
            n_sft=cell.key[0],
            n_pref=cell.key[1],
            mean=float(cell.scores.mean()),
            interval=interval(draws[:, k]),
            replicates=len(cell.scores),
            n_items=cell.n_items,
            lines=cell.lines,
            item_noise="stderr" if cell.items is None else "bootstrap",
        )
        for k, cell in enumerate(cells)
    )
    return Estimate(
        model=model,
        task=task,
        method=method,
        cells=estimates,
        draws=draws,
        sigma=SigmaEstimate(float(np.median(sigma)), interval(sigma), PRIOR_DF, PRIOR_SCALE, df),
        status="ok" if ok else "not enough evidence",
        reasons=tuple(reasons + notes),
        absent=tuple(absent),
    )

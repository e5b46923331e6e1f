"""Worlds with a known truth, for tests and benchmarks of the fit and of the advice.

| symbol | meaning                                                                      | shape   |
|--------|------------------------------------------------------------------------------|---------|
| mu     | true score of each cell, in [0, 1]                                           | C       |
| sigma  | sd of the run effect of a (cell, replicate)                                  | scalar  |
| d      | ease of an item: common to all cells, mean 0, in [-spread, spread]           | I       |
| p      | chance of item i: level + d_i min(level, 1 - level), level = mu_c + run_cr   | C, R, I |
| y      | item score, 1 with chance p, else 0                                          | C, R, I |
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Line = tuple[float, float]


@dataclass(frozen=True)
class SimulatedResult:
    """A result row (see `rows.ResultRow`) that says that it was simulated."""

    n_sft: int
    n_pref: int
    replicate: int
    score: float | None
    item_scores: tuple[float, ...] | None = None
    stderr: float | None = None
    n_items: int | None = None
    lines: tuple[Line, ...] = ()
    model: str = "sandbox:simulated"
    task: str = "math"
    method: str = "dpo"
    status: str = "done"
    reason: str | None = None
    strict: float | None = None
    lenient: float | None = None
    format_failure_rate: float | None = None
    truncation_rate: float | None = None
    response_tokens: float | None = None


def law(n_sft: float, n_pref: float) -> float:
    """A score surface with the paper's features: cold start, diminishing returns, an inner best."""
    from_sft = 0.45 * (1 - math.exp(-math.log1p(n_sft / 40) / 2.2))
    start = min(1.0, math.log1p(n_sft) / math.log1p(200))  # pairs pay only after some SFT
    from_pairs = 0.30 * start * (1 - math.exp(-math.log1p(n_pref / 80) / 2.0))
    return 0.12 + from_sft + from_pairs


def budget_cells(
    levels: Sequence[float], shares: Sequence[float]
) -> dict[tuple[int, int], list[Line]]:
    """The base model and the cells of budgets × shares at a price of one for either kind."""
    cells: dict[tuple[int, int], list[Line]] = {(0, 0): []}
    for budget in levels:
        for share in shares:
            n_sft = round(budget * share)
            cells.setdefault((n_sft, round(budget - n_sft)), []).append((budget, share))
    return cells


def simulate(
    truth: Mapping[tuple[int, int], float],
    *,
    replicates: int,
    sigma: float,
    n_items: int,
    seed: int,
    spread: float = 0.6,
    lines: Mapping[tuple[int, int], Sequence[Line]] | None = None,
) -> list[SimulatedResult]:
    """Rows for cells with the true scores `truth`, each right or wrong item by item.

    `spread` from 0 (all items equally hard) to 1: how far difficulty moves an item's chance. The
    base model (0, 0) has no run effect. The mean over runs and items is exactly the truth as long
    as no run effect leaves [0, 1].
    """
    rng = np.random.default_rng(seed)
    difficulty = rng.uniform(-spread, spread, n_items)
    rows = []
    for key, mu in truth.items():
        for replicate in range(replicates):
            run = sigma * rng.standard_normal() if key != (0, 0) else 0.0
            level = min(max(mu + run, 0.0), 1.0)
            chance = level + difficulty * min(level, 1 - level)
            y = (rng.random(n_items) < chance).astype(float)
            rows.append(
                SimulatedResult(
                    n_sft=key[0],
                    n_pref=key[1],
                    replicate=replicate,
                    score=float(y.mean()),
                    item_scores=tuple(float(v) for v in y),
                    stderr=float(y.std(ddof=1) / np.sqrt(n_items)),
                    n_items=n_items,
                    lines=tuple((lines or {}).get(key, ())),
                )
            )
    return rows

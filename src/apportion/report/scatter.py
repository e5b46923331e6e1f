"""How far the replicates of a cell scatter, against what its items alone would make them.

| symbol | meaning                                                                        | shape |
|--------|--------------------------------------------------------------------------------|-------|
| R, I   | replicates of a cell; test items                                               |       |
| e      | what is left of an item's scores after the item's and the replicate's mean     | R, I  |
| alone  | sqrt(sum e² / ((R - 1) (I - 1) I)): sd between replicates from the items alone | C     |
| seen   | sd of a cell's scores between replicates                                       | C     |

Without run-to-run noise `seen` is distributed as alone * sqrt(chi²(R - 1) / (R - 1)). Replicates
answer the same items, so what is hard stays hard: the standard error of a score is more than its
replicates should scatter. Without scores per item the standard error stands in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from apportion.report.group import Group, ReportRow
from apportion.report.style import INK, PICK, QUIET, SAFE, STYLE, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST_CELLS = 3


@dataclass(frozen=True)
class Scatter:
    """One cell with replicates; sds in score units."""

    n_sft: int
    n_pref: int
    replicates: int
    seen: float
    alone: float


def scatter_of(group: Group) -> tuple[Scatter, ...]:
    """Trained cells with two replicates or more, whose items' noise is known."""
    cells: dict[tuple[int, int], list[ReportRow]] = {}
    for row in group.rows:
        if row.status == "done" and (row.n_sft, row.n_pref) != (0, 0):
            cells.setdefault((row.n_sft, row.n_pref), []).append(row)
    found = []
    for key, rows in cells.items():
        alone = _alone(rows)
        if len(rows) > 1 and alone is not None:
            scores = [row.score for row in rows if row.score is not None]
            found.append(Scatter(*key, len(rows), float(np.std(scores, ddof=1)), alone))
    return tuple(found)


def _alone(rows: Sequence[ReportRow]) -> float | None:
    lists = [row.item_scores for row in rows]
    if all(one and len(one) == len(lists[0] or ()) for one in lists) and len(rows) > 1:
        y = np.array([list(one or ()) for one in lists], dtype=float)
        e = y - y.mean(axis=1, keepdims=True) - y.mean(axis=0) + y.mean()
        n_runs, n_items = y.shape
        if n_items > 1:
            return float(np.sqrt((e**2).sum() / ((n_runs - 1) * (n_items - 1) * n_items)))
    errors = [row.stderr for row in rows if row.stderr is not None]
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else None


def replicate_scatter(group: Group) -> Figure | None:
    """Sd between replicates against what the items alone predict; None below three such cells."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from scipy.stats import chi2

    cells = scatter_of(group)
    if len(cells) < FEWEST_CELLS:
        return None
    alone, seen = (100 * np.array([getattr(c, f) for c in cells]) for f in ("alone", "seen"))
    most = max(alone.max() * 1.15, 0.1)
    x = np.linspace(0, most, 100)
    df = int(np.median([c.replicates for c in cells])) - 1
    low, high = (float(np.sqrt(chi2.ppf(p, df) / df)) for p in (0.05, 0.95))
    above = sum(s > high * a for s, a in zip(seen, alone, strict=True))
    rms = [float(np.sqrt((values**2).mean())) for values in (seen, alone)]
    sigma = 100 * group.estimate.sigma.median
    with rc_context(STYLE):
        figure = Figure(figsize=(8.2, 5.4))
        ax = figure.subplots()
        ax.fill_between(
            x,
            low * x,
            high * x,
            color=SAFE,
            alpha=0.35,
            linewidth=0,
            label=f"90 % of cells, were items the only noise ({df + 1} replicates)",
        )
        ax.plot(x, x, color=QUIET, linestyle="--", linewidth=1.2, label="as the items predict")
        ax.plot(
            x,
            np.hypot(x, sigma),
            color=PICK,
            linewidth=1.6,
            label=f"with run-to-run noise of {sigma:.1f} points, as fitted",
        )
        ax.scatter(alone, seen, color=INK, s=24, alpha=0.75, zorder=3, label="a cell")
        ax.set_xlim(0, most)
        ax.set_ylim(0, max(float(seen.max()), high * most) * 1.05)
        ax.set_xlabel("sd between replicates that the items predict (points)")
        ax.set_ylabel("sd between replicates (points)")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        ax.text(0.02, 0.97, f"{above} of {len(cells)} cells above the band (5 % by luck)\n"
                f"root mean square: {rms[0]:.2f} seen, {rms[1]:.2f} predicted",
                transform=ax.transAxes, va="top", fontsize=9.5)  # fmt: skip
        title(figure, group, "Scatter between replicates")
    return figure

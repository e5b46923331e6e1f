"""Is there room? What the published grid says of base, SFT and mixes, and of its own noise.

    python tools/grid_room.py            # two tables in Markdown, from data/grid

| symbol | meaning |
|---|---|
| best | cell that scores highest in the search replicates, with its score in the truth replicates |
| se | sqrt(items^2 / N + s^2 / R): items are shared by replicates, runs are not |
| items | standard error of one score over the test items |
| s | root mean square, over trained cells, of the sd between replicates |
| R | replicates behind a score: all of them for SFT alone |
| F | s^2 over what items alone would make of it, 1 if runs added nothing |

All scores are in percent. A cell of several replicates has the mean of their items' errors.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import grid_table

Counts = tuple[int, int]
Row = grid_table.Row
GRID = Path(__file__).resolve().parents[1] / "data" / "grid"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=Path, default=GRID)
    folder = parser.parse_args().tables
    names = sorted(path.stem for path in folder.glob("*.csv"))
    studies = {name: list(grid_table.read(folder, name).rows.values()) for name in names}
    print("| study | base | all SFT | best mix at no more | best cell | base, lenient |")
    print("|---|---|---|---|---|---|")
    for name, rows in studies.items():
        print(f"| {name} | " + " | ".join(room(rows)) + " |")
    print("\n| study | cells | sd between replicates: rms | median | of items alone | F |")
    print("|---|---|---|---|---|---|")
    for name, rows in studies.items():
        print(f"| {name} | " + " | ".join(scatter(rows)) + " |")


def room(rows: Sequence[Row]) -> list[str]:
    """Cells of the first table."""
    cells = _cells(rows)
    most = max(n_sft for n_sft, _ in cells)
    noise = spread(rows)
    mixes = [c for c in cells if min(c) > 0 and sum(c) <= most]
    shown = []
    for counts in ((0, 0), (most, 0), _best(cells, mixes), _best(cells, list(cells))):
        mine = [row for row in cells[counts] if row.split == "truth" or min(counts) == 0]
        score = np.mean([row.score for row in mine])
        items = np.mean([row.stderr or 0.0 for row in mine])
        runs = noise / np.sqrt(len(mine)) if max(counts) else 0.0
        where = "" if max(counts) == 0 else f" at {counts[0]:,} + {counts[1]:,}"
        shown.append(f"{100 * score:.1f} ± {100 * np.hypot(items, runs):.1f}{where}")
    lenient = [row.lenient for row in cells[0, 0] if row.lenient is not None]
    return [*shown, f"{100 * np.mean(lenient):.1f}" if lenient else "–"]


def scatter(rows: Sequence[Row]) -> list[str]:
    """Cells of the second table."""
    each = _each_sd(rows)
    items = float(np.mean([(row.stderr or 0.0) ** 2 for mine in _several(rows) for row in mine]))
    sd = spread(rows)
    numbers = (100 * sd, 100 * float(np.median(each)), 100 * items**0.5, sd**2 / items)
    return [str(len(each)), *(f"{number:.1f}" for number in numbers)]


def spread(rows: Sequence[Row]) -> float:
    """Root mean square of the sd between replicates, over cells that have several."""
    return float(np.sqrt(np.mean(_each_sd(rows) ** 2)))


def _each_sd(rows: Sequence[Row]) -> np.ndarray:
    return np.array([np.std([row.score for row in mine], ddof=1) for mine in _several(rows)])


def _several(rows: Sequence[Row]) -> list[list[Row]]:
    """Replicates of every cell that was trained and is not stuck at 0 or 1."""
    return [
        mine
        for counts, mine in _cells(rows).items()
        if max(counts) > 0 and len(mine) > 1 and any(0 < row.score < 1 for row in mine)
    ]


def _best(cells: dict[Counts, list[Row]], among: Sequence[Counts]) -> Counts:
    def searched(counts: Counts) -> float:
        return float(np.mean([row.score for row in cells[counts] if row.split == "search"]))

    return max(among, key=searched)


def _cells(rows: Sequence[Row]) -> dict[Counts, list[Row]]:
    cells: dict[Counts, list[Row]] = {}
    for row in rows:
        cells.setdefault((row.n_sft, row.n_pref), []).append(row)
    return cells


if __name__ == "__main__":
    main()

"""What is said of the published grid, against numbers worked out by hand."""

from __future__ import annotations

import pytest

import grid_room
from grid_table import Row


def row(n_sft, n_pref, replicate, score, stderr=0.01, lenient=0.9):
    split = "truth" if replicate % 2 else "search"
    where = ("sandbox:small", "math", "dpo", n_sft, n_pref, replicate, split)
    key = f"{n_sft}-{n_pref}-{replicate}"
    return Row(*where, score, stderr, 400, score, lenient, 0.0, 0.0, 20.0, 1, None, key)


ROWS = [
    *(row(0, 0, r, 0.1, 0.02, 0.8) for r in (0, 1)),
    row(100, 0, 0, 0.5),
    row(100, 0, 1, 0.54),
    row(50, 50, 0, 0.7),
    row(50, 50, 1, 0.6),
    row(100, 100, 0, 0.6),  # the best of the truth half, not of the one that chooses
    row(100, 100, 1, 0.9),
]


def test_spread_is_the_root_mean_square_of_sds():
    sds = [0.04 / 2**0.5, 0.1 / 2**0.5, 0.3 / 2**0.5]
    assert grid_room.spread(ROWS) == pytest.approx((sum(s**2 for s in sds) / 3) ** 0.5)
    cells, rms, median, items, ratio = grid_room.scatter(ROWS)
    assert (cells, median, items) == ("3", f"{100 * sds[1]:.1f}", "1.0")
    assert float(ratio) == pytest.approx(float(rms) ** 2, rel=0.01)


def test_the_best_is_chosen_on_one_half_and_scored_on_the_other():
    base, sft, mix, best, lenient = grid_room.room(ROWS)
    noise = grid_room.spread(ROWS)
    assert base == "10.0 ± 2.0" and lenient == "80.0"
    assert sft == f"52.0 ± {100 * (0.01**2 + noise**2 / 2) ** 0.5:.1f} at 100 + 0"
    assert mix == f"60.0 ± {100 * (0.01**2 + noise**2) ** 0.5:.1f} at 50 + 50"
    assert best == mix


def test_cells_that_never_move_say_nothing_of_scatter():
    stuck = [row(0, 100, r, 0.0, 0.0) for r in (0, 1)]
    assert grid_room.scatter([*ROWS, *stuck]) == grid_room.scatter(ROWS)

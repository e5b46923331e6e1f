"""Tables with a planted truth, one for each statement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from apportion.findings.evidence import Row, as_row
from apportion.surface.simulate import budget_cells, simulate

BUDGETS = (250, 1000, 4000)
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
Truth = Callable[[int, int], float]


def on_lines(truth: Truth, *, replicates=3, sigma=0.005, n_items=600, seed=0, **names) -> list[Row]:
    """Budgets × shares; `names`: model, task, method."""
    cells = budget_cells(BUDGETS, SHARES)
    made = simulate(
        {key: truth(*key) for key in cells},
        replicates=replicates,
        sigma=sigma,
        n_items=n_items,
        seed=seed,
        lines=cells,
    )
    return [as_row(replace(row, **names)) for row in made]


def on_lattice(truth: Truth, levels=(0, 250, 500, 1000, 2000, 4000), **more) -> list[Row]:
    cells = {(a, b): truth(a, b) for a in levels for b in levels}
    options = {"replicates": 3, "sigma": 0.005, "n_items": 600, "seed": 0} | more
    return [as_row(row) for row in simulate(cells, **options)]


def flat(n_sft: int, n_pref: int) -> float:
    return 0.5


def paper(n_sft: int, n_pref: int) -> float:
    """As the paper has it: SFT pays first, pairs pay after some SFT and only in numbers."""
    from_sft = 0.45 * (1 - np.exp(-n_sft / 250))
    opened = 1 - np.exp(-n_sft / 60)
    from_pairs = 0.5 * opened * n_pref / (n_pref + 6000)
    return 0.1 + float(from_sft + from_pairs)


def only_sft(n_sft: int, n_pref: int) -> float:
    """Demonstrations alone count."""
    return 0.1 + 0.8 * n_sft / (n_sft + 1000)


def only_pairs(n_sft: int, n_pref: int) -> float:
    """Preference data alone counts."""
    return 0.1 + 0.8 * (n_pref / 4000) ** 2

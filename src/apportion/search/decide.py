"""One decision of the search: stop, or which cells to run next and why. Pure: no runs, no files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from apportion.advise.line import Floats, counts_of
from apportion.advise.regret import statistics
from apportion.config.budget import Prices
from apportion.errors import ResultsError
from apportion.prices import Amount
from apportion.search.knowledge import Beliefs, choose
from apportion.surface.hierarchy import Estimate
from apportion.surface.model import Surface

Cell = tuple[int, int, int]  # n_sft, n_pref, replicate

N_DRAWS = 1000
SHARES = (0.0, 0.01, 0.03, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0)


@dataclass(frozen=True)
class Goal:
    """What the search is for. `targets`: budgets whose best split is wanted, in money at `prices`.

    `worth`: where no batch has runs that are expected to lower regret by so much together, the
    search ends; of those that have, the best for their cost are run.
    `have`: data owned already (n_sft, n_pref), beside what the targets buy.
    """

    targets: tuple[Amount, ...]
    prices: Prices
    epsilon: float = 0.01
    delta: float = 0.1
    worth: float = 0.0005
    batch: int = 2
    have: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Choice:
    """A cell to run, what it costs beyond what is there, and what it is expected to bring."""

    cell: Cell
    cost: float
    gain: float
    why: str


@dataclass(frozen=True)
class TargetState:
    """How sure the answer at one target is."""

    budget: float
    share: float
    p_safe: float
    expected_regret: float


@dataclass(frozen=True)
class Decision:
    """`cells` is empty where the search ends; `why` says the reason."""

    cells: tuple[Choice, ...]
    targets: tuple[TargetState, ...]
    why: str


def _noise(surface: Surface, mean: Floats) -> Floats:
    """Variance of one more run's score around the truth, at mean scores (C,)."""
    items = surface.estimate.n_items or 300
    run_sd = surface.diagnostics.run_sd[0]
    return np.asarray(4 * np.clip(mean * (1 - mean), 0.01, None) * (run_sd**2 + 1 / (4 * items)))


def _open(estimate: Estimate, points: Sequence[tuple[int, int]], replicates: int) -> list[Cell]:
    """The next replicate of every point that has one left."""
    have = {(cell.n_sft, cell.n_pref): cell.replicates for cell in estimate.cells}
    return [
        (*point, have.get(point, 0))
        for point in points
        if point != (0, 0) and have.get(point, 0) < replicates
    ]


def decide(
    surface: Surface,
    goal: Goal,
    points: Sequence[tuple[int, int]],
    replicates: int,
    cost: Callable[[Cell], float],
    *,
    skip: frozenset[Cell] = frozenset(),
    seed: int = 0,
) -> Decision:
    """Stop or go on. `cost`: of a cell beyond what is there already; `skip`: cells that failed.

    Raises ResultsError where the surface has too little evidence to be asked.
    """
    if surface.status != "ok":
        raise ResultsError("; ".join(surface.reasons))
    beliefs, states, cells, costs = _believe(surface, goal, points, replicates, cost, skip, seed)
    if all(state.p_safe >= 1 - goal.delta for state in states) and surface.diagnostics.replicated:
        return Decision((), tuple(states), _sure(goal))
    if not cells:
        return Decision((), tuple(states), "every cell of the study has been run")
    found = choose(beliefs, costs, goal.batch, least=goal.worth / goal.batch)
    if not found:
        return Decision(
            (),
            tuple(states),
            f"the next runs are expected to lower regret by less than {100 * goal.worth:g} points",
        )
    chosen = tuple(
        Choice(
            cells[worth.candidate],
            costs[worth.candidate],
            worth.gain,
            _reason(cells[worth.candidate], worth.gain, states),
        )
        for worth in found
    )
    return Decision(chosen, tuple(states), "the best split is not sure enough yet")


def _sure(goal: Goal) -> str:
    return (
        f"at every budget the split is within {100 * goal.epsilon:g} points of the best with "
        f"{100 * (1 - goal.delta):g} % probability"
    )


def _reason(cell: Cell, gain: float, states: Sequence[TargetState]) -> str:
    least = min(states, key=lambda state: state.p_safe)
    return (
        f"{cell[0]:,} + {cell[1]:,}, replicate {cell[2]}: expected to lower regret by "
        f"{100 * gain:.2f} points; least sure is a budget of {least.budget:,g} "
        f"({100 * least.p_safe:.0f} % within the tolerance)"
    )


def _believe(
    surface: Surface,
    goal: Goal,
    points: Sequence[tuple[int, int]],
    replicates: int,
    cost: Callable[[Cell], float],
    skip: frozenset[Cell],
    seed: int,
) -> tuple[Beliefs, list[TargetState], list[Cell], list[float]]:
    """Draws at all targets and candidates together, and how sure each target is."""
    cells = [c for c in _open(surface.estimate, points, replicates) if c not in skip]
    costs = [max(cost(cell), 1e-9) for cell in cells]
    lines = [
        [(goal.have[0] + a, goal.have[1] + b) for a, b in counts_of(SHARES, amount, goal.prices)]
        for amount in goal.targets
    ]
    asked = np.array([*(p for line in lines for p in line), *(cell[:2] for cell in cells)], float)
    drawn = surface.draws(asked[:, 0], asked[:, 1], n_draws=N_DRAWS, seed=seed)
    width = len(SHARES)
    blocks = tuple((k * width, (k + 1) * width) for k in range(len(lines)))
    total = width * len(lines)
    states = []
    for (first, last), amount in zip(blocks, goal.targets, strict=True):
        stats = statistics(drawn[:, first:last], goal.epsilon)
        best = int(np.argmin(stats.expected_regret))
        states.append(
            TargetState(
                amount.value,
                SHARES[best],
                float(stats.p_safe[best]),
                float(stats.expected_regret[best]),
            )
        )
    candidates = drawn[:, total:]
    noise = _noise(surface, candidates.mean(axis=0))
    return Beliefs(drawn[:, :total], blocks, candidates, noise), states, cells, costs

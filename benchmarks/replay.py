"""Adaptive search replayed on a measured lattice: how much training until the split is right.

    python tools/grid.py jsonl math-small-dpo > grid.jsonl
    python benchmarks/replay.py grid.jsonl --replays 200 --out replays.jsonl

A replay hides the lattice and measures cells one after the other. Which half of the replicates (and
which half of the test items) is searched and which half is the truth is drawn anew each time; the
truth on a budget line is the mean of a surface fitted to all cells of the truth half. Regret is the
mean over the targets. Costs are training tokens, stages shared as they are in a study, as a part of
what the search half of the lattice costs. Methods:

adaptive   `search: adaptive`, the learnt prior
random     the same first cells, then cells in random order, advice from the same surface
botorch    the same first cells, then a Gaussian process and the cell with the most knowledge
           gradient per token, the split with the highest posterior mean
           (pip install 'apportion[bench]')
all        advice from every cell of the half that is searched: what no search can better
five       five shares at the largest target, the best of them (nearest cells of the lattice)

For each, regret after every step; the table says how many replays are within a point by what part
of the cost, and when the search itself stopped. Random and BoTorch never stop: they are cut at
--until.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from apportion.config.budget import Prices
from apportion.prices import Amount
from apportion.run.results import CellResult
from apportion.run.tables import read_table
from apportion.search.decide import SHARES, Goal, decide
from apportion.search.start import first_cells
from apportion.surface.model import Surface, fit_surface

Cell = tuple[int, int, int]
Path_ = list[tuple[float, float]]  # (part of the cost, regret)
Step = Callable[[list[Cell]], tuple[list[float] | None, list[Cell]]]  # shares now, cells next
METHODS = ("adaptive", "five", "random", "botorch", "all")
FIVE = (0.0, 0.25, 0.5, 0.75, 1.0)
PARTS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
DONE = 0.01  # a point


@dataclass(frozen=True)
class Halves:
    """One replay: rows to search (replicates numbered anew), and the surface of the truth."""

    search: dict[Cell, CellResult]
    truth: Surface
    targets: tuple[Amount, ...]

    @property
    def points(self) -> list[tuple[int, int]]:
        return sorted({cell[:2] for cell in self.search})

    @property
    def replicates(self) -> int:
        return 1 + max(cell[2] for cell in self.search)

    def first_cells(self) -> list[Cell]:
        """Where every method starts, but the five shares."""
        return [cell for cell in first_cells(self.points, self.replicates) if cell in self.search]

    def regret(self, shares: Sequence[float]) -> float:
        """Mean regret over the targets of choosing `shares` there."""
        lost = []
        for amount, share in zip(self.targets, shares, strict=True):
            part = np.array([*SHARES, share])
            mean = self.truth.draws(part * amount.value, (1 - part) * amount.value).mean(axis=0)
            lost.append(float(mean[:-1].max() - mean[-1]))
        return max(float(np.mean(lost)), 0.0)


def _with_items(row: CellResult, keep: np.ndarray, replicate: int) -> CellResult:
    assert row.item_scores is not None
    items = np.asarray(row.item_scores)[keep]
    return replace(
        row,
        replicate=replicate,
        score=float(items.mean()),
        stderr=float(items.std(ddof=1) / np.sqrt(len(items))),
        n_items=len(items),
        item_scores=tuple(items.tolist()),
        item_weights=None,
        lines=(),
    )


def halves(rows: Sequence[CellResult], targets: tuple[Amount, ...], seed: int) -> Halves:
    """Split replicates and items in two at random."""
    rng = np.random.default_rng(seed)
    replicates = sorted({row.replicate for row in rows if (row.n_sft, row.n_pref) != (0, 0)})
    order = rng.permutation(replicates)
    searched = {int(r): k for k, r in enumerate(order[: len(order) // 2])}
    others = {int(r): k for k, r in enumerate(order[len(order) // 2 :])}
    items = rng.permutation(len(rows[0].item_scores or ()))
    first, second = items[: len(items) // 2], items[len(items) // 2 :]
    found: dict[Cell, CellResult] = {}
    truth = []
    for row in rows:
        base = (row.n_sft, row.n_pref) == (0, 0)
        if row.replicate in searched or base:
            number = 0 if base else searched[row.replicate]
            found[row.n_sft, row.n_pref, number] = _with_items(row, first, number)
        if row.replicate in others and not base:
            truth.append(_with_items(row, second, others[row.replicate]))
        elif base and row.replicate == replicates[0]:  # the same model in every replicate
            truth.append(_with_items(row, second, 0))
    name = {"model": rows[0].model, "task": rows[0].task, "method": rows[0].method}
    return Halves(found, fit_surface(truth, **name, prior="broad"), targets)


def tokens(cells: Iterable[Cell], per_sft: float, per_pref: float) -> float:
    """Training tokens of cells whose SFT runs are shared."""
    runs = {("s", s, r) for s, _, r in cells if s}
    cost = sum(per_sft * s for _, s, _ in runs)
    return cost + sum(per_pref * p for _, p, _ in cells)


def advised(surface: Surface, targets: Sequence[Amount]) -> list[float]:
    """The share with the highest mean at each target."""
    part = np.array(SHARES)
    counts = [(part * a.value, (1 - part) * a.value) for a in targets]
    drawn = surface.draws(
        np.concatenate([s for s, _ in counts]), np.concatenate([p for _, p in counts]), n_draws=1000
    ).mean(axis=0)
    return [float(part[block.argmax()]) for block in np.split(drawn, len(targets))]


def path(one: Halves, step: Step, costs: tuple[float, float], until: float) -> Path_:
    """(cost so far as a part, regret) after every step of a search, to `until` of the cost."""
    whole = tokens(one.search, *costs)
    have = one.first_cells()
    steps: Path_ = []
    while True:
        spent = tokens(have, *costs) / whole
        if steps and spent > until:
            return steps
        shares, more = step(have)
        if shares is None:
            return steps
        steps.append((spent, one.regret(shares)))
        if not more:
            return steps
        have = [*have, *more]


def _surface(one: Halves, have: Sequence[Cell]) -> Surface:
    row = next(iter(one.search.values()))
    name = {"model": row.model, "task": row.task, "method": row.method}
    return fit_surface([one.search[cell] for cell in have], **name)


def adaptive(
    one: Halves, costs: tuple[float, float], until: float, delta: float, worth: float
) -> Path_:
    """`search: adaptive`, which ends when a split is within a point with probability 1 - delta, or
    the next batch is expected to gain less than `worth`."""
    goal = Goal(one.targets, Prices(), delta=delta, worth=worth)

    def step(have: list[Cell]) -> tuple[list[float] | None, list[Cell]]:
        surface = _surface(one, have)
        if surface.status != "ok":
            return None, []
        spent = tokens(have, *costs)

        def cost(cell: Cell) -> float:
            return tokens([*have, cell], *costs) - spent

        found = decide(surface, goal, one.points, one.replicates, cost)
        more = [choice.cell for choice in found.cells if choice.cell in one.search]
        return advised(surface, one.targets), more

    return path(one, step, costs, until)


def random_order(one: Halves, costs: tuple[float, float], until: float, seed: int) -> Path_:
    """Two more cells at a time, in random order."""
    rng = np.random.default_rng(seed)
    order = [list(one.search)[k] for k in rng.permutation(len(one.search))]

    def step(have: list[Cell]) -> tuple[list[float] | None, list[Cell]]:
        surface = _surface(one, have)
        if surface.status != "ok":
            return None, []
        return advised(surface, one.targets), [cell for cell in order if cell not in have][:2]

    return path(one, step, costs, until)


def knowledge_gradient(one: Halves, costs: tuple[float, float], until: float, seed: int) -> Path_:
    """BoTorch's Gaussian process; the cell with the most knowledge gradient per token next."""
    from replay_botorch import KnowledgeGradient

    rival = KnowledgeGradient(one.targets, SHARES, one.points, one.replicates, seed)

    def step(have: list[Cell]) -> tuple[list[float] | None, list[Cell]]:
        spent = tokens(have, *costs)
        scores = [one.search[cell].score for cell in have]
        shares, cell = rival.step(have, scores, lambda cell: tokens([*have, cell], *costs) - spent)
        return shares, [] if cell is None else [cell]

    return path(one, step, costs, until)


def five_shares(one: Halves, costs: tuple[float, float]) -> Path_:
    """Five shares at the largest target, every replicate; the best of them everywhere."""
    top = max(amount.value for amount in one.targets)
    points = np.array(sorted({cell[:2] for cell in one.search}), dtype=float)
    scores, cells = [], []
    for share in FIVE:
        asked = np.log1p([share * top, (1 - share) * top])
        s, p = points[np.abs(np.log1p(points) - asked).sum(axis=1).argmin()].astype(int)
        mine = [cell for cell in one.search if cell[:2] == (s, p)]
        cells += mine
        scores.append(np.mean([one.search[cell].score for cell in mine]))
    best = FIVE[int(np.argmax(scores))]
    cost = tokens(cells, *costs) / tokens(one.search, *costs)
    return [(cost, one.regret([best] * len(one.targets)))]


def every_cell(one: Halves) -> Path_:
    """All of the half that is searched, at once."""
    return [(1.0, one.regret(advised(_surface(one, list(one.search)), one.targets)))]


def replay(
    rows: Sequence[CellResult],
    targets: tuple[Amount, ...],
    seed: int,
    methods: Sequence[str],
    until: float,
    delta: float,
    worth: float,
) -> dict[str, Any]:
    """`methods` on one split."""
    costs = _costs(rows)
    one = halves(rows, targets, seed)
    ways: dict[str, Callable[[], Path_]] = {
        "adaptive": lambda: adaptive(one, costs, 1.0, delta, worth),
        "random": lambda: random_order(one, costs, until, seed),
        "botorch": lambda: knowledge_gradient(one, costs, until, seed),
        "five": lambda: five_shares(one, costs),
        "all": lambda: every_cell(one),
    }
    best = advised(one.truth, one.targets)
    how = {"seed": seed, "delta": delta, "worth": worth, "best": best}
    return {**how, **{name: ways[name]() for name in methods}}


def asked_of(row: dict[str, Any]) -> tuple[float | None, float | None]:
    """What ended the adaptive search of a replay that is kept: others are not mixed with it."""
    return row.get("delta"), row.get("worth")


def _costs(rows: Sequence[CellResult]) -> tuple[float, float]:
    """Training tokens per demonstration and per preference unit, from the table's own column."""
    known = [row for row in rows if row.train_tokens]
    if not known:
        return 1.0, 2.0  # a pair has two sequences
    counts = np.array([(row.n_sft, row.n_pref) for row in known], dtype=float)
    spent = np.array([row.train_tokens for row in known], dtype=float)
    per_sft, per_pref = np.linalg.lstsq(counts, spent, rcond=None)[0]
    return float(per_sft), float(per_pref)


def at_part(steps: Sequence[tuple[float, float]], part: float) -> float:
    """Regret once `part` of the cost may be spent; nothing measured by then is no answer (NaN)."""
    able = [regret for cost, regret in steps if cost <= part + 1e-9]
    return able[-1] if able else float("nan")


def show(found: Sequence[dict[str, Any]], methods: Sequence[str], until: float) -> None:
    """Mean regret and the part of replays within a point, by part of the cost."""
    parts = [part for part in PARTS if part <= until]
    print(f"{len(found)} replays; regret in points: mean, and % of replays within one point")
    print(f"{'part of the cost':20}" + "".join(f"{100 * part:>14.0f} %" for part in parts))
    for name in methods:
        cells = []
        for part in parts:
            lost = np.array([at_part(one[name], part) for one in found])
            if np.isnan(lost).any():
                cells.append(f"{'–':>16}")
            else:
                inside = 100 * float(np.mean(lost <= DONE + 1e-9))
                cells.append(f"{100 * lost.mean():9.2f} {inside:4.0f} %")
        print(f"{name:20}" + "".join(cells))
    for name in [one for one in ("adaptive", "five", "all") if one in methods]:
        cost = np.array([one[name][-1][0] for one in found])
        lost = np.array([one[name][-1][1] for one in found])
        print(
            f"{name} ends after {100 * cost.mean():.1f} % of the cost (90 % of replays: at most "
            f"{100 * np.quantile(cost, 0.9):.1f} %), regret {100 * lost.mean():.2f}, within one "
            f"point in {100 * np.mean(lost <= DONE + 1e-9):.0f} % of replays"
        )


def main() -> None:
    """Read the command line, replay, show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path, help="rows with item scores, as JSON lines")
    parser.add_argument("--targets", type=float, nargs="+", default=[400.0, 1600.0])
    parser.add_argument("--replays", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="seed of the first, to share out work")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS[:3])
    parser.add_argument("--until", type=float, default=0.3, help="part of the cost for the rivals")
    parser.add_argument("--delta", type=float, default=0.1, help="of the adaptive search's end")
    parser.add_argument("--worth", type=float, default=Goal.worth, help="of the same (a score)")
    parser.add_argument("--out", type=Path, help="JSON lines, one per replay; resumed")
    arguments = parser.parse_args()
    rows = [row for row in read_table(arguments.table) if row.status == "done"]
    targets = tuple(Amount(value, "examples") for value in arguments.targets)
    found, ends = {}, (arguments.delta, arguments.worth)
    if arguments.out is not None and arguments.out.exists():
        lines = arguments.out.read_text(encoding="utf-8").splitlines()
        found = {one["seed"]: one for one in map(json.loads, lines) if asked_of(one) == ends}
    for seed in range(arguments.first, arguments.first + arguments.replays):
        if seed in found and set(arguments.methods) <= set(found[seed]):
            continue
        found[seed] = replay(
            rows, targets, seed, arguments.methods, arguments.until, arguments.delta,
            arguments.worth,
        )  # fmt: skip
        if arguments.out is not None:
            with arguments.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found[seed]) + "\n")
    asked = set(arguments.methods)
    whole = [found[seed] for seed in sorted(found) if asked <= set(found[seed])]
    show(whole, arguments.methods, arguments.until)


if __name__ == "__main__":
    main()

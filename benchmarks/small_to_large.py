"""From small models to a large one: how often is the split for the large model near its best?

    python benchmarks/small_to_large.py --families 22 --out kin.jsonl       # calibration families
    python benchmarks/small_to_large.py --split test --families 110 --out kin-test.jsonl
    python benchmarks/small_to_large.py --choose 22                        # evidence by `between`
    python benchmarks/small_to_large.py --grid data/grid                   # the sandbox's sizes

A hit: the true score of the split chosen for the large model is at least (1 - ε) of the best on the
budget's line (relative, as in arXiv 2609.01573). The rival sweeps five shares on the smallest model
at the budget asked about and takes the middle of the interval within 10 % of the best. The advice
sees the same runs of the smallest model; or the same sweep of the medium model too; or, beside
both, `FEW` cells of the large one, one replicate each. `--grid` reads measured lattices: shares
between cells are interpolated in log1p of counts, the few cells are of replicate 0 and the truth is
the mean of the odd replicates.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apportion.run.tables import read_table
from apportion.surface.family import prior_of_family, stand_in
from apportion.surface.kin import SIZES, kin
from apportion.surface.model import Surface, fit_surface
from apportion.surface.posterior import sample
from apportion.surface.rows import ResultRow
from apportion.surface.simulate import SimulatedResult
from apportion.surface.worlds import Laboratory, World

Truth = Callable[[np.ndarray, np.ndarray], np.ndarray]

BUDGETS = (1000, 4000)
FIVE = (0.0, 0.25, 0.5, 0.75, 1.0)
FEW = ((50, 950), (250, 750), (500, 500), (1000, 0))  # cells of the large model
SHARES = np.array([0.0, 0.01, 0.02, 0.03, 0.05, 0.075, *np.arange(2, 21) / 20])
FINE = np.linspace(0, 1, 401)
EPSILONS = (0.05, 0.1)
BETWEENS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.3)
LEVELS = (0.05, 0.15, 0.5)
GRID_SIZES = ("sandbox:tiny", "sandbox:small", "sandbox:medium")
GRID_BUDGETS = (400, 1600)
NEAR = 0.9  # of the best: the rival's near-optimal interval
NAME = {"task": "math", "method": "dpo"}


def rows_of(
    truth: World, size: int, cells: Sequence[tuple[int, int]], replicates: int
) -> list[SimulatedResult]:
    """Measured cells of one size, and its base model."""
    lab = Laboratory(truth, seed=100 + size)
    rows = []
    for cell in ((0, 0), *cells):
        for replicate in range(replicates if cell != (0, 0) else 1):
            items = lab.items(*cell, replicate)
            rows.append(
                SimulatedResult(
                    *cell,
                    replicate=replicate,
                    score=float(items.mean()),
                    item_scores=tuple(items),
                    n_items=len(items),
                    model=SIZES[size],
                )
            )
    return rows


def sweep(budgets: Sequence[int]) -> list[tuple[int, int]]:
    """Five shares of every budget."""
    return [(round(s * b), b - round(s * b)) for b in budgets for s in FIVE]


def rival(score: Any) -> float:
    """The share that the recipe takes from five mean scores of the smallest model."""
    close = [share for share, s in zip(FIVE, score, strict=True) if s >= NEAR * max(score)]
    return (min(close) + max(close)) / 2


def best_share(surface: Surface, budget: int) -> float:
    """Where the expected score along the line is highest."""
    drawn = surface.draws(SHARES * budget, (1 - SHARES) * budget)
    return float(SHARES[drawn.mean(axis=0).argmax()])


def fitted(rows: Sequence[ResultRow], **more: Any) -> Surface:
    """The surface of the one model, task and method in `rows`."""
    first = rows[0]
    return fit_surface(rows, model=first.model, task=first.task, method=first.method, **more)


def choices(
    smalls: Sequence[Sequence[ResultRow]],
    few: Sequence[ResultRow],
    rivals: Callable[[int], Any],
    budgets: Sequence[int],
) -> dict[int, dict[str, float]]:
    """The share that every way takes for the large model, by budget. `smalls`: smallest first."""
    surfaces = [fitted(rows) for rows in smalls]
    large = few[0].model
    ways = {
        "advice, the rival's runs": stand_in(surfaces[:1], large),
        "advice, all smaller models": stand_in(surfaces, large),
        "advice, and a few large cells": fitted(few, prior=prior_of_family(surfaces)),
        "a few large cells alone": fitted(few),
    }
    return {
        budget: {name: best_share(surface, budget) for name, surface in ways.items()}
        | {"the rival's recipe": rival(rivals(budget)), "half and half": 0.5, "a quarter": 0.25}
        for budget in budgets
    }


def scored(chosen: dict[int, dict[str, float]], truth: Truth) -> dict[str, Any]:
    """Share, regret (score units) and hits of every way, by budget."""
    found: dict[str, Any] = {}
    for budget, ways in chosen.items():
        best = float(truth(FINE * budget, (1 - FINE) * budget).max())
        found[str(budget)] = {}
        for name, share in ways.items():
            at = float(truth(np.array([share * budget]), np.array([(1 - share) * budget]))[0])
            hits = {f"{e:g}": bool(at >= (1 - e) * best) for e in EPSILONS}
            found[str(budget)][name] = {"share": share, "regret": best - at, "hits": hits}
    return found


def judge(split: str, index: int) -> dict[str, Any]:
    """One simulated family."""
    family = kin("test" if split == "test" else "calibration", index)
    smalls = [rows_of(one, size, sweep(BUDGETS), 2) for size, one in enumerate(family[:-1])]
    few = rows_of(family[-1], len(SIZES) - 1, FEW, 1)
    mean = {
        (row.n_sft, row.n_pref): np.mean(
            [r.score for r in smalls[0] if (r.n_sft, r.n_pref) == (row.n_sft, row.n_pref)]
        )
        for row in smalls[0]
    }
    chosen = choices(smalls, few, lambda b: [float(mean[c]) for c in sweep([b])], BUDGETS)
    return {
        "split": split,
        "index": index,
        "family": family[0].family,
        "budgets": scored(chosen, family[-1].truth),
    }


def interpolated(rows: Sequence[ResultRow]) -> Truth:
    """The mean scores of a full lattice, linear in log1p of counts between its cells."""
    from scipy.interpolate import RegularGridInterpolator

    levels = [sorted({getattr(row, side) for row in rows}) for side in ("n_sft", "n_pref")]
    cells: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        cells.setdefault((row.n_sft, row.n_pref), []).append(float(row.score or 0.0))
    values = [[np.mean(cells[a, b]) for b in levels[1]] for a in levels[0]]
    read = RegularGridInterpolator([np.log1p(level) for level in levels], np.array(values))
    return lambda n_s, n_p: np.asarray(read(np.stack([np.log1p(n_s), np.log1p(n_p)], axis=1)))


def judge_grid(folder: Path) -> list[dict[str, Any]]:
    """Every task and method that was measured at two sizes or more; the largest is the large."""
    rows = [
        row
        for file in sorted(folder.glob("*.csv"))
        for row in read_table(file)
        if row.status == "done" and row.model in GRID_SIZES
    ]
    found = []
    for task, method in dict.fromkeys((row.task, row.method) for row in rows):
        mine = [row for row in rows if (row.task, row.method) == (task, method)]
        sizes = [
            [row for row in mine if row.model == size]
            for size in GRID_SIZES
            if any(row.model == size for row in mine)
        ]
        if len(sizes) < 2:
            continue
        *smalls, large = sizes
        smallest = interpolated(smalls[0])
        some = {(0, 0), (100, 1600), (400, 400), (1600, 0)}
        few = [r for r in large if r.replicate == 0 and (r.n_sft, r.n_pref) in some]
        truth = interpolated([r for r in large if r.replicate % 2 or (r.n_sft, r.n_pref) == (0, 0)])
        swept = {b: smallest(np.array(FIVE) * b, (1 - np.array(FIVE)) * b) for b in GRID_BUDGETS}
        chosen = choices(smalls, few, swept.__getitem__, GRID_BUDGETS)
        name = f"{task} {method}, {len(sizes)} sizes"
        found.append({"family": name, "budgets": scored(chosen, truth)})
    return found


def show(found: Sequence[dict[str, Any]]) -> None:
    """Hit rates with their standard errors over families, and mean regrets."""
    budgets = list(found[0]["budgets"])
    print(f"{len(found)} families; hit rate at ε = 5 %, at 10 % (± standard error); regret, points")
    print(f"{'':32}" + "".join(f"{'budget ' + budget:>34}" for budget in budgets))
    for name in found[0]["budgets"][budgets[0]]:
        cells = []
        for budget in budgets:
            at = [one["budgets"][budget][name] for one in found]
            rates = [np.mean([a["hits"][f"{e:g}"] for a in at]) for e in EPSILONS]
            text = "  ".join(f"{r:4.0%} ± {np.sqrt(r * (1 - r) / len(at)):3.0%}" for r in rates)
            cells.append(f"{text}  {100 * np.mean([a['regret'] for a in at]):5.2f}")
        print(f"{name:32}" + "".join(f"{cell:>34}" for cell in cells))


def choose(families: int) -> None:
    """Mean log evidence of the large model's sweep under the family's prior, by its variances."""
    total = np.zeros((len(LEVELS), len(BETWEENS)))
    for index in range(families):
        family = kin("calibration", index)
        smalls = [
            fitted(rows_of(one, size, sweep(BUDGETS), 2), prior="broad")
            for size, one in enumerate(family[:-1])
        ]
        seen = fitted(rows_of(family[-1], 2, sweep(BUDGETS), 2), prior="broad").seen
        for a, level in enumerate(LEVELS):
            for b, between in enumerate(BETWEENS):
                prior = prior_of_family(smalls, between=between, level=level)
                total[a, b] += sample(prior, seen, seed=0).log_evidence / families
        print(f"after {index + 1} families; rows: level, columns: between", flush=True)
        print(" " * 8 + "".join(f"{b:9g}" for b in BETWEENS))
        for a, level in enumerate(LEVELS):
            scaled = total[a] * families / (index + 1)
            print(f"{level:8g}" + "".join(f"{v:9.2f}" for v in scaled), flush=True)


def main() -> None:
    """Read the command line, judge, show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=("calibration", "test"), default="calibration")
    parser.add_argument("--families", type=int, default=11)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON lines, one per family; resumed")
    parser.add_argument("--choose", type=int, metavar="FAMILIES", help="evidence, no advice")
    parser.add_argument("--grid", type=Path, metavar="FOLDER", help="tables of the sandbox's grid")
    arguments = parser.parse_args()
    if arguments.choose:
        return choose(arguments.choose)
    if arguments.grid:
        found = judge_grid(arguments.grid)
        if not found:
            raise SystemExit(f"{arguments.grid}: no task was measured at two sizes")
        for one in found:
            print(one["family"], json.dumps(one["budgets"]))
        return show(found)
    lines = (
        arguments.out.read_text().splitlines() if arguments.out and arguments.out.exists() else []
    )
    judged = {
        one["index"]: one for one in map(json.loads, lines) if one["split"] == arguments.split
    }
    for index in range(arguments.first, arguments.first + arguments.families):
        if index not in judged:
            judged[index] = judge(arguments.split, index)
            if arguments.out:
                with arguments.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(judged[index]) + "\n")
    return show([judged[index] for index in sorted(judged)])


if __name__ == "__main__":
    main()

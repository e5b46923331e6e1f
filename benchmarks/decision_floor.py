"""The least regret that any advice could have on the worlds of `decision.py`, as measured there.

    python benchmarks/decision_floor.py --worlds 110

A reader who knows the world's family, the ranges that its numbers were drawn from, and how noise
arises, and who takes the split with the best mean of the exact posterior, loses the least on
average that can be lost (noise is taken as Gaussian): regret is left because two replicates and
200 to 1,000 items do not tell a world from its neighbours. The posterior is sampled by emcee
(extra `bench`) in the unit cube of the family's random numbers, starting around the truth.
With `--family unknown` the reader has all eleven families, each as likely as the other, and must
find out which; its posterior of each is sampled as a surface's is (`surface/posterior.py`), and the
families are weighted by their evidence. `--judged` are lines that `decision.py --out` wrote: both
are then shown side by side. Calibration worlds only.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import emcee
import numpy as np
from decision import ASKED, SHARES, known, measured
from numpy.typing import NDArray
from scipy.stats import norm

from apportion.advise.line import GRID
from apportion.config.budget import Prices
from apportion.prices import counts
from apportion.surface.posterior import effective_number, weighted
from apportion.surface.shape import Prior
from apportion.surface.simulate import SimulatedResult
from apportion.surface.worlds import FAMILIES, HIGH, LOW, Laboratory, Noise, World, generator, world

Floats = NDArray[np.float64]


class Cube:
    """Stands in for a random generator: hands out given numbers of the unit cube, in order.

    How many items a world has is known, and not drawn.
    """

    def __init__(self, numbers: Floats, n_items: int) -> None:
        self._left, self._n_items = iter(numbers.tolist()), n_items

    def random(self) -> float:
        return next(self._left)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.random()

    def choice(self, among: list[int]) -> int:
        return self._n_items


class Tape(Cube):
    """Hands out what a generator does, and keeps the numbers of the cube."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng, self.told = rng, list[float]()

    def random(self) -> float:
        self.told.append(float(self._rng.random()))
        return self.told[-1]

    def choice(self, among: list[int]) -> int:
        return int(self._rng.choice(among))


class Likelihood:
    """log p(measured | numbers in the cube), with effects of data, SFT run and preference run."""

    def __init__(self, truth: World, rows: list[SimulatedResult], family: str) -> None:
        self.family, self.n_items = family, truth.noise.n_items
        cells = sorted({(row.n_sft, row.n_pref) for row in rows})
        self.n_s = np.array([c[0] for c in cells], dtype=float)
        self.n_p = np.array([c[1] for c in cells], dtype=float)
        trained = (self.n_s > 0) | (self.n_p > 0)
        self.data = np.outer(trained, trained).astype(float)
        self.sft = (self.n_s[:, None] == self.n_s[None]) * np.outer(self.n_s > 0, self.n_s > 0)
        self.pref = np.diag((self.n_p > 0).astype(float))
        self.scores: list[tuple[NDArray[np.int64], Floats]] = []
        for replicate in sorted({row.replicate for row in rows}):
            mine = {(r.n_sft, r.n_pref): r.score for r in rows if r.replicate == replicate}
            index = np.array([k for k, cell in enumerate(cells) if cell in mine])
            self.scores.append((index, np.array([mine[cells[k]] for k in index])))

    def draw(self, numbers: Floats) -> tuple[Any, Noise]:
        return FAMILIES[self.family](Cube(numbers, self.n_items))  # type: ignore[arg-type]

    def one(self, numbers: Floats) -> float:
        if (numbers < 0).any() or (numbers > 1).any():
            return -np.inf
        law, noise = self.draw(numbers)
        mean = np.clip(law(self.n_s, self.n_p), LOW, HIGH)
        scale = noise.scale(self.n_s) * np.sqrt(4 * mean * (1 - mean))
        runs = noise.tau_d**2 * self.data + noise.tau_s**2 * self.sft + noise.tau_p**2 * self.pref
        difficulty = noise.spread**2 / 3 * np.minimum(mean, 1 - mean) ** 2
        covariance = np.outer(scale, scale) * runs
        covariance[np.diag_indices_from(covariance)] += (
            np.maximum(mean * (1 - mean) - difficulty, 1e-6) / noise.n_items
        )
        total = 0.0
        for index, scores in self.scores:
            root = np.linalg.cholesky(covariance[np.ix_(index, index)])
            rest = np.linalg.solve(root, scores - mean[index])
            total -= 0.5 * float(rest @ rest) + float(np.log(np.diag(root)).sum())
        return total


def posterior(truth: World, likelihood: Likelihood, steps: int) -> Floats:
    """Draws (N, d) of the numbers in the cube."""
    tape = Tape(generator(truth.split, truth.index))
    FAMILIES[truth.family](tape)  # type: ignore[arg-type]
    # A family may draw more numbers in one of its forms than in another: two spare ones.
    start = np.array([*tape.told, 0.5, 0.5])
    rng = np.random.default_rng(truth.index)
    walkers = max(40, 4 * len(start))
    around = start + rng.normal(0, 0.05, (walkers, len(start)))
    moves = [(emcee.moves.DEMove(), 0.7), (emcee.moves.DESnookerMove(), 0.1)]
    sampler = emcee.EnsembleSampler(
        walkers, len(start), likelihood.one, moves=[*moves, (emcee.moves.StretchMove(), 0.2)]
    )
    sampler.random_state = np.random.RandomState(truth.index).get_state()
    sampler.run_mcmc(np.clip(around, 1e-3, 1 - 1e-3), steps)
    drawn: Floats = sampler.get_chain(discard=steps // 3, thin=max(steps // 60, 1), flat=True)
    return drawn


def numbers_of(family: str) -> int:
    """How many numbers of the cube a family takes, in the form that takes most."""
    many = []
    for index in range(20):
        tape = Tape(np.random.default_rng(index))
        FAMILIES[family](tape)  # type: ignore[arg-type]
        many.append(len(tape.told))
    return max(many)


def unknown(truth: World, rows: list[SimulatedResult], draws: int = 600) -> tuple[list[Any], Any]:
    """Laws drawn from the posterior over all families, and what each family has of it."""
    rng = np.random.default_rng(truth.index)
    found = []
    for family in FAMILIES:
        if family == "price-skewed":  # the laws of "cold start", at other prices
            continue
        likelihood = Likelihood(truth, rows, family)
        many = numbers_of(family)
        prior = Prior("cube", ((0.0,) * many, (1.0,) * many), ((), ()))

        def log_like(theta: Floats, likelihood: Likelihood = likelihood) -> Floats:
            return np.array([likelihood.one(row) for row in norm.cdf(theta)])

        theta, weight, evidence = weighted(prior, log_like, rng, most_rounds=20)
        picked = norm.cdf(theta[rng.choice(len(theta), size=draws, p=weight)])
        twice = np.log(2.0) if family == "cold start" else 0.0
        found.append((family, evidence + twice, effective_number(weight), likelihood, picked))
    logs = np.array([one[1] for one in found])
    share = np.exp(logs - logs.max())
    share /= share.sum()
    laws = [
        likelihood.draw(numbers)[0]
        for part, (*_, likelihood, picked) in zip(share, found, strict=True)
        for numbers in picked[: round(part * draws)]
    ]
    told = {one[0]: (float(part), one[2]) for part, one in zip(share, found, strict=True)}
    return laws, told


def judge(index: int, steps: int, family: str) -> dict[str, Any]:
    """Regret at every budget of the split with the best posterior mean."""
    truth = world("calibration", index)
    rows = measured(Laboratory(truth))
    told: Any = None
    if family == "unknown":
        laws, told = unknown(truth, rows)
    else:
        likelihood = Likelihood(truth, rows, truth.family)
        laws = [likelihood.draw(numbers)[0] for numbers in posterior(truth, likelihood, steps)]
    prices = Prices(sft=truth.prices[0], preference=truth.prices[1])
    found = {}
    for budget in ASKED:
        bought = [counts(share, budget, prices) for share in sorted({*GRID, *SHARES})]
        n_s, n_p = (np.array(side, dtype=float) for side in zip(*bought, strict=True))
        mean = np.mean([np.clip(law(n_s, n_p), LOW, HIGH) for law in laws], axis=0)
        score = truth.truth(n_s, n_p)
        found[f"{budget:g}"] = float(score.max() - score[mean.argmax()])
    return {"index": index, "family": truth.family, "regret": found, "told": told}


def show(found: list[dict[str, Any]], judged: dict[int, Any]) -> None:
    """Mean regrets in points by family, and of the advice beside them where it is known."""
    for family in ("all", *dict.fromkeys(one["family"] for one in found)):
        mine = [one for one in found if family in ("all", one["family"])]
        text = f"{family:22}{len(mine):4}  floor"
        for budget in ASKED:
            regrets = np.array([one["regret"][f"{budget:g}"] for one in mine])
            text += f" {100 * regrets.mean():5.2f} ±{100 * regrets.std() / len(mine) ** 0.5:5.2f}"
        both = [one for one in mine if one["index"] in judged]
        if both:
            text += "   advice"
            for budget in ASKED:
                at = [judged[one["index"]]["budgets"][f"{budget:g}"]["regret"] for one in both]
                text += f" {100 * np.mean(at):5.2f}"
        print(text)


def main() -> None:
    """Read the command line, sample, show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=110)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--family", choices=("known", "unknown"), default="known")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--out", type=Path, help="JSON lines, one per world; resumed")
    parser.add_argument("--judged", type=Path, nargs="*", default=[])
    arguments = parser.parse_args()
    mine = arguments.family == "unknown"  # one file may hold both kinds of reader
    before = [one for one in known(arguments.out) if (one.get("told") is not None) is mine]
    found = {one["index"]: one for one in before}
    for index in range(arguments.first, arguments.first + arguments.worlds):
        if index not in found:
            found[index] = judge(index, arguments.steps, arguments.family)
            if arguments.out is not None:
                with arguments.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found[index]) + "\n")
    judged = {one["index"]: one for path in arguments.judged for one in known(path)}
    show([found[index] for index in sorted(found)], judged)


if __name__ == "__main__":
    main()

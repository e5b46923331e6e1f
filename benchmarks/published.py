"""Advice replayed on the published figure: learn from small budgets, choose at the largest.

    python benchmarks/published.py [--figure FILE.csv]

For each task the prior is learnt from the other tasks alone. The advice chooses among the published
mixes; so do the rules. Scores are read off a figure (about a point) and have one seed: the noise
column is the sd of a difference of two scores that this implies, with `SEED_SD` for the seed.
"""

from __future__ import annotations

import argparse
import runpy
from pathlib import Path

import numpy as np

from apportion.advise.published import FIGURE, SEED_SD, PublishedPoint, by_task, load_published
from apportion.surface.model import fit_observations
from apportion.surface.posterior import draw
from apportion.surface.priors import families
from apportion.surface.shape import to_score

TOOL = runpy.run_path(str(Path(__file__).parents[1] / "tools" / "learn_prior.py"))
N_DRAWS = 4000


def total(point: PublishedPoint) -> float:
    """Examples behind a point."""
    return point.n_sft + point.n_pref


def line(points: tuple[PublishedPoint, ...], budget: float) -> list[PublishedPoint]:
    """The points of one budget, by share."""
    return sorted((p for p in points if abs(total(p) - budget) < 1), key=lambda p: p.n_sft)


def advised(points: tuple[PublishedPoint, ...], task: str, top: float, prior: str) -> int:
    """Which point of the largest budget the advice chooses, having seen budgets up to `top`."""
    seen = TOOL["observations"](tuple(p for p in points if total(p) <= top * 1.001))
    chosen = families("broad" if prior == "broad" else "learnt", without=task)
    posteriors, weights = fit_observations(seen, chosen)
    last = line(points, max(total(p) for p in points))
    n_sft, n_pref = (np.array([getattr(p, k) for p in last]) for k in ("n_sft", "n_pref"))
    rng = np.random.default_rng(0)
    drawn = [
        draw(q, n_sft, n_pref, max(1, round(N_DRAWS * w)), rng)
        for q, w in zip(posteriors, weights, strict=True)
    ]
    return int(to_score(np.concatenate(drawn)).mean(axis=0).argmax())


def rules(points: tuple[PublishedPoint, ...], top: float) -> dict[str, float]:
    """Shares that the simple rules choose."""
    small = line(points, max(b for b in map(total, points) if b <= top * 1.001))
    best = max(small, key=lambda p: p.score)
    return {
        f"best at {top:,g}": best.n_sft / total(best),
        "a quarter": 0.25,
        "half": 0.5,
        "all SFT": 1.0,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", type=Path, default=FIGURE)
    arguments = parser.parse_args()
    figure = by_task(load_published(arguments.figure))
    for top in (1000.0, 5000.0):
        sums: dict[str, list[float]] = {}
        print(f"\nseen up to {top:,g}: regret at the largest budget, points (share chosen)")
        for task, points in figure.items():
            last = line(points, max(total(p) for p in points))
            score = {p.n_sft / total(p): p.score for p in last}
            picks = {
                f"advice, {prior} prior": list(score)[advised(points, task, top, prior)]
                for prior in ("learnt", "broad")
            } | rules(points, top)
            noise = np.sqrt(2 * (np.mean([p.sd**2 for p in last]) + SEED_SD**2))
            cells = []
            for name, share in picks.items():
                near = min(score, key=lambda s: abs(s - share))
                regret = 100 * (max(score.values()) - score[near])
                sums.setdefault(name, []).append(regret)
                cells.append(f"{name} {regret:.1f} ({near:g})")
            print(f"  {task:24} noise {100 * noise:.1f}: " + "; ".join(cells))
        print("  mean: " + "; ".join(f"{name} {np.mean(v):.2f}" for name, v in sums.items()))


if __name__ == "__main__":
    main()

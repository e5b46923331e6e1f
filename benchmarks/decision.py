"""Advice judged on worlds whose truth is known: regret, coverage and width, against every rule.

    python benchmarks/decision.py --worlds 50                        # calibration worlds
    python benchmarks/decision.py --split test --worlds 550 --out test.jsonl

Each world is measured as a user would: budgets 250, 1,000 and 4,000 (in the price of a preference
unit) x six shares x two replicates, item by item. Then it is asked about 1,000, 4,000 and 16,000:
the last is extrapolated. `--out` keeps one line per world, and a second call goes on where the
first stopped. Worlds and splits (`apportion.surface.worlds`) were fixed before any method was
tuned; nothing may be tuned on the split `test`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from apportion.advise.shares import advise
from apportion.config.budget import Prices
from apportion.prices import Amount, counts
from apportion.surface.model import fit_surface
from apportion.surface.simulate import SimulatedResult
from apportion.surface.worlds import Laboratory, World, world

LEVELS = (250.0, 1000.0, 4000.0)
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
ASKED = (1000.0, 4000.0, 16000.0)
NAME = {"model": "sandbox:simulated", "task": "math", "method": "dpo"}


def measured(lab: Laboratory, replicates: int = 2) -> list[SimulatedResult]:
    """The study's rows: budget lines at the world's prices, and the base model."""
    prices = Prices(sft=lab.world.prices[0], preference=lab.world.prices[1])
    lines: dict[tuple[int, int], list[tuple[float, float]]] = {(0, 0): []}
    for level in LEVELS:
        for share in SHARES:
            lines.setdefault(counts(share, level, prices), []).append((level, share))
    rows = []
    for (n_sft, n_pref), on in lines.items():
        for replicate in range(replicates if (n_sft, n_pref) != (0, 0) else 1):
            items = lab.items(n_sft, n_pref, replicate)
            rows.append(
                SimulatedResult(
                    n_sft=n_sft,
                    n_pref=n_pref,
                    replicate=replicate,
                    score=float(items.mean()),
                    item_scores=tuple(items),
                    n_items=len(items),
                    lines=tuple(on),
                )
            )
    return rows


def one_budget(truth: World, surface: Any, budget: float) -> dict[str, Any]:
    """What the advice at a budget was worth, and whether its statements hold."""
    prices = Prices(sft=truth.prices[0], preference=truth.prices[1])
    advice = advise(surface, Amount(budget, "usd"), prices=prices)
    shares = np.array([row.share for row in advice.shares])
    score = np.array([float(truth.truth(row.n_sft, row.n_pref)) for row in advice.shares])
    regret = dict(zip(shares.tolist(), (score.max() - score).tolist(), strict=True))
    widths = np.gradient(shares)
    best = float(shares[score.argmax()])
    safe = [regret[share] for share in advice.safe_shares]
    at = score[list(shares).index(advice.share)]
    return {
        "share": advice.share,
        "best_share": best,
        "regret": regret[advice.share],
        "expected_regret": advice.expected_regret,
        "q90_regret": advice.q90_regret,
        "regret_held": bool(regret[advice.share] <= advice.q90_regret + 1e-12),
        "score_held": bool(advice.score_interval[0] <= at <= advice.score_interval[1]),
        "score_width": advice.score_interval[1] - advice.score_interval[0],
        "region_held": best in advice.best_share_region,
        "region_width": float(widths[np.isin(shares, advice.best_share_region)].sum()),
        "safe_right": float(np.mean([r <= advice.epsilon for r in safe])) if safe else None,
        "safe_width": float(widths[np.isin(shares, advice.safe_shares)].sum()),
        "confident": advice.confident,
        "rules": {
            rule.name: float(np.interp(rule.share, shares, score.max() - score))
            for rule in advice.baselines
            if rule.share is not None
        },
    }


def judge(split: str, index: int, prior: str) -> dict[str, Any]:
    """One world: measured, fitted, asked, scored."""
    truth = world("test" if split == "test" else "calibration", index)
    rows = measured(Laboratory(truth))
    clock = time.perf_counter()
    surface = fit_surface(rows, **NAME, prior="broad" if prior == "broad" else "learnt")
    seconds = time.perf_counter() - clock
    return {
        "split": split,
        "index": index,
        "family": truth.family,
        "fit_seconds": seconds,
        "effective": surface.diagnostics.effective,
        "budgets": {f"{b:g}": one_budget(truth, surface, b) for b in ASKED},
    }


def summary(found: list[dict[str, Any]], budget: str) -> list[tuple[str, float]]:
    """Means over worlds at one budget, in points where they are scores."""
    at = [one["budgets"][budget] for one in found]
    lines = [("advice: mean regret", 100 * float(np.mean([a["regret"] for a in at])))]
    for rule in at[0]["rules"]:
        lines.append((rule, 100 * float(np.mean([a["rules"][rule] for a in at]))))
    for key in ("regret_held", "score_held", "region_held"):
        lines.append((key.replace("_", " ") + ", %", 100 * float(np.mean([a[key] for a in at]))))
    safe = [a["safe_right"] for a in at if a["safe_right"] is not None]
    lines.append(("safe shares that are safe, %", 100 * float(np.mean(safe)) if safe else np.nan))
    lines.append(("worlds with a safe share, %", 100 * len(safe) / len(at)))
    lines.append(("q90 regret, points", 100 * float(np.mean([a["q90_regret"] for a in at]))))
    lines.append(("score width, points", 100 * float(np.mean([a["score_width"] for a in at]))))
    lines.append(("region width, shares", float(np.mean([a["region_width"] for a in at]))))
    lines.append(("safe width, shares", float(np.mean([a["safe_width"] for a in at]))))
    return lines


def show(found: list[dict[str, Any]]) -> None:
    """Tables by budget, and the mean regret by family."""
    print(f"{len(found)} worlds; fit: median {np.median([f['fit_seconds'] for f in found]):.2f} s")
    columns = [summary(found, f"{budget:g}") for budget in ASKED]
    print(f"{'':58}" + "".join(f"{budget:>9,g}" for budget in ASKED))
    for row in zip(*columns, strict=True):
        print(f"{row[0][0]:58}" + "".join(f"{value:9.2f}" for _, value in row))
    print("\nmean regret by family: advice, and the fixed quarter")
    for family in dict.fromkeys(one["family"] for one in found):
        mine = [one for one in found if one["family"] == family]
        cells = []
        for budget in ASKED:
            at = [one["budgets"][f"{budget:g}"] for one in mine]
            quarter = np.mean([a["rules"]["a quarter on SFT"] for a in at])
            cells.append(f"{100 * np.mean([a['regret'] for a in at]):6.2f} {100 * quarter:6.2f}  ")
        print(f"{family:24}{len(mine):4}  " + "".join(cells))


def known(out: Path | None) -> Iterable[dict[str, Any]]:
    """Worlds that an earlier call has judged."""
    if out is None or not out.exists():
        return []
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """Read the command line, judge, show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=("calibration", "test"), default="calibration")
    parser.add_argument("--worlds", type=int, default=44)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--prior", choices=("learnt", "broad"), default="learnt")
    parser.add_argument("--out", type=Path, help="JSON lines, one per world; resumed")
    arguments = parser.parse_args()
    found = {one["index"]: one for one in known(arguments.out)}
    for index in range(arguments.first, arguments.first + arguments.worlds):
        if index in found:
            continue
        found[index] = judge(arguments.split, index, arguments.prior)
        if arguments.out is not None:
            with arguments.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found[index]) + "\n")
    show([found[index] for index in sorted(found)])


if __name__ == "__main__":
    main()

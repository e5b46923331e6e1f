"""A simulated buyer: buys data in steps with the advice, and is judged against simple rules.

    python benchmarks/buyer.py --worlds 11 --out buyer.jsonl           # calibration worlds
    python benchmarks/buyer.py --split test --worlds 110 --out buyer-test.jsonl

Each world (`apportion.surface.worlds`; its own prices are set aside) is bought for at three price
ratios. Training costs no money here, and is told in tokens (`TOKENS`, `EPOCHS`); annotation costs
all of it, the pilot's included. The score at the end is the truth at the counts owned, whatever
data were drawn. `--out` keeps one line per world and ratio, and a second call goes on from there.
The laboratory draws data anew for each replicate, also where a cell takes all that is owned.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from apportion.advise.plan import plan
from apportion.config.budget import Prices
from apportion.prices import counts, spend
from apportion.search.buying import Manner, buy
from apportion.search.decide import Cell
from apportion.surface.simulate import SimulatedResult
from apportion.surface.worlds import Laboratory, World, world

# Prices of a demonstration and a pair, and a budget that is worth thinking about at them.
RATIOS = {"10:1": (10.0, 1.0, 12_000.0), "1:1": (1.0, 1.0, 4000.0), "1:5": (1.0, 5.0, 9000.0)}
TOKENS = (300, 600)  # of a demonstration; of a pair, which has two responses
EPOCHS = 2
FIXED = {"a quarter on SFT": 0.25, "half and half": 0.5, "all SFT": 1.0}
PILOT_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
PILOT_PART = 0.2
TASK = "simulated"  # no published task: the plan averages all of them
FINE = np.linspace(0, 1, 401)


@dataclass
class Simulated:
    """A world as `apportion.search.buying.Environment`."""

    lab: Laboratory

    def measure(self, cell: Cell) -> SimulatedResult:
        """A row with item scores."""
        items = self.lab.items(*cell)
        return SimulatedResult(
            n_sft=cell[0],
            n_pref=cell[1],
            replicate=cell[2],
            score=float(items.mean()),
            item_scores=tuple(items),
            n_items=len(items),
        )

    def cost(self, cell: Cell, done: Sequence[Cell]) -> float:
        """Tokens; an SFT run that is done is shared."""
        if cell in done:
            return 0.0
        shared = any(c[0] == cell[0] and c[2] == cell[2] for c in done)
        examples = (0 if shared else cell[0]) * TOKENS[0] + cell[1] * TOKENS[1]
        return float(EPOCHS * examples)


def best_in_pilot(lab: Laboratory, budget: float, prices: Prices) -> tuple[tuple[int, int], float]:
    """Owned at the end, and tokens, of one who buys half and half and tries five shares of it.

    A tenth of the budget on either kind: each of the five shares of a tenth is a subset. The rest
    is bought so that the whole has the share that scored best, as far as the pilot allows.
    """
    world_, money = Simulated(lab), PILOT_PART * budget / 2
    done: list[Cell] = []
    scores, tokens = [], 0.0
    for share in PILOT_SHARES:
        found = []
        for replicate in range(2):
            cell = (*counts(share, money, prices), replicate)
            tokens += world_.cost(cell, done)
            done.append(cell)
            found.append(world_.measure(cell).score or 0.0)
        scores.append(float(np.mean(found)))
    share = PILOT_SHARES[int(np.argmax(scores))]
    least = counts(1.0, money, prices)[0], counts(0.0, money, prices)[1]
    floor = least[1] * float(prices.preference) / budget  # type: ignore[arg-type]
    wanted = counts(min(max(share, PILOT_PART / 2), 1 - floor), budget, prices)
    return (max(wanted[0], least[0]), wanted[1]), tokens


def judge(split: str, index: int, ratio: str, manner: Manner) -> dict[str, Any]:
    """One world at one price ratio: every way of buying, scored."""
    truth: World = world("test" if split == "test" else "calibration", index)
    p_sft, p_pref, budget = RATIOS[ratio]
    prices = Prices(sft=p_sft, preference=p_pref)
    best = float(truth.truth(FINE * budget / p_sft, (1 - FINE) * budget / p_pref).max())
    clock = time.perf_counter()
    story = buy(Simulated(Laboratory(truth)), budget, prices, task=TASK, manner=manner)
    seconds = time.perf_counter() - clock
    whole = plan(TASK, budget, prices).whole
    piloted, tokens = best_in_pilot(Laboratory(truth), budget, prices)
    ends = {
        "the advice, step by step": (story.owned, story.training),
        "best share in the pilot": (piloted, tokens),
        "the plan's split at once": ((whole.n_sft, whole.n_pref), 0.0),
        **{name: (counts(share, budget, prices), 0.0) for name, share in FIXED.items()},
    }
    return {
        "split": split,
        "index": index,
        "ratio": ratio,
        "family": truth.family,
        "manner": asdict(manner),
        "best": best,
        "seconds": seconds,
        "steps": [asdict(step) for step in story.steps],
        "cells": len(story.cells),
        "rules": {
            name: {
                "owned": owned,
                "score": float(truth.truth(*owned)),
                "regret": best - float(truth.truth(*owned)),
                "money": spend(*owned, prices),
                "tokens": tokens + final_tokens(owned),
            }
            for name, (owned, tokens) in ends.items()
        },
    }


def final_tokens(owned: tuple[int, int]) -> float:
    """The last run, on everything: all rules pay for it."""
    return float(EPOCHS * (owned[0] * TOKENS[0] + owned[1] * TOKENS[1]))


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and its standard error over worlds (nan for one)."""
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return float(np.mean(values)), float(error)


def show(found: Sequence[dict[str, Any]]) -> None:
    """Mean final regret by rule and price ratio, with what was spent."""
    ratios = [ratio for ratio in RATIOS if any(one["ratio"] == ratio for one in found)]
    print("final regret in points, mean ± standard error over worlds; (part of the budget spent;")
    print("million training tokens, the last run on everything included)")
    print(f"{'':28}" + "".join(f"{ratio:>30}" for ratio in ratios))
    for name in found[0]["rules"]:
        cells = []
        for ratio in ratios:
            at = [one["rules"][name] for one in found if one["ratio"] == ratio]
            mean, error = mean_and_error([100 * rule["regret"] for rule in at])
            money = np.mean([rule["money"] for rule in at]) / RATIOS[ratio][2]
            tokens = np.mean([rule["tokens"] for rule in at]) / 1e6
            cells.append(f"{mean:7.2f} ± {error:4.2f} ({money:4.0%}; {tokens:5.1f})")
        print(f"{name:28}" + "".join(f"{cell:>30}" for cell in cells))
    ours = "the advice, step by step"
    print("\nthe advice minus the rule, same world: mean ± standard error, points")
    for name in [name for name in found[0]["rules"] if name != ours]:
        cells = []
        for ratio in ratios:
            gaps = [
                100 * (one["rules"][ours]["regret"] - one["rules"][name]["regret"])
                for one in found
                if one["ratio"] == ratio
            ]
            cells.append("{:+7.2f} ± {:4.2f}".format(*mean_and_error(gaps)))
        print(f"{name:28}" + "".join(f"{cell:>30}" for cell in cells))
    worlds = len({one["index"] for one in found})
    runs = np.mean([one["cells"] for one in found])
    stops = np.mean([any(step["said_stop"] for step in one["steps"]) for one in found])
    print(f"\n{worlds} worlds; {runs:.0f} training runs of the buyer; said stop in {stops:.0%}")


def known(out: Path | None) -> list[dict[str, Any]]:
    """What an earlier call has judged."""
    if out is None or not out.exists():
        return []
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """Read the command line, judge, show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=("calibration", "test"), default="calibration")
    parser.add_argument("--worlds", type=int, default=11)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--ratio", choices=tuple(RATIOS), action="append")
    parser.add_argument("--follow", choices=("open", "split", "gain"), default=Manner().follow)
    parser.add_argument("--batch", type=float, default=Manner().batch)
    parser.add_argument("--cells", type=int, default=Manner().cells)
    parser.add_argument("--out", type=Path, help="JSON lines, one per world and ratio; resumed")
    arguments = parser.parse_args()
    manner = Manner(batch=arguments.batch, cells=arguments.cells, follow=arguments.follow)
    ours = {"split": arguments.split, "manner": asdict(manner)}
    found = {
        (one["index"], one["ratio"]): one
        for one in known(arguments.out)
        if {key: one[key] for key in ours} == ours
    }
    for index in range(arguments.first, arguments.first + arguments.worlds):
        for ratio in arguments.ratio or RATIOS:
            if (index, ratio) in found:
                continue
            found[index, ratio] = judge(arguments.split, index, ratio, manner)
            if arguments.out is not None:
                with arguments.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found[index, ratio]) + "\n")
    show([found[key] for key in sorted(found)])


if __name__ == "__main__":
    main()

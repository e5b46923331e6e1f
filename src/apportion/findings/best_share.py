"""(c) The best share falls as the budget grows.

| symbol | meaning                                                               | shape |
|--------|-----------------------------------------------------------------------|-------|
| L      | measured budgets of a group with two shares or more                    |       |
| best   | share with the highest score at each budget, in each draw of the noise | D, L  |
| slope  | least-squares slope of best against log10 of the budget                | D     |

A draw is the measured score plus a draw of its noise (items and replicates), so a share that is
best by luck is best in some draws only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from apportion.findings.contrast import LEVEL
from apportion.findings.evidence import Evidence, Group
from apportion.findings.lines import Line, lines_of
from apportion.findings.types import Finding, Place, Verdict, judge, mean_name

Floats = NDArray[np.float64]


def best_shares(evidence: Evidence, line: Line) -> tuple[float, Floats]:
    """The best share of a line as measured, and in each draw (D,)."""
    shares = np.array(line.shares)
    values = line.weights @ evidence.mean
    drawn = values + evidence.noise @ line.weights.T
    return float(shares[values.argmax()]), shares[drawn.argmax(axis=1)]


def _slope(evidence: Evidence, lines: Sequence[Line]) -> tuple[float, Floats, list[float]]:
    """The slope as measured, in each draw (D,), and the best shares as measured."""
    found = [best_shares(evidence, line) for line in lines]
    x = np.log10([line.budget for line in lines])
    x = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    measured = [best for best, _ in found]
    drawn: Floats = np.stack([draws for _, draws in found], axis=1) @ x
    return float(np.dot(measured, x)), drawn, measured


def falling(name: str, quantity: str, estimate: float, drawn: Floats, places: int) -> Place:
    """The place of a slope that the statement says is below 0; `places`: how many there are.

    Slopes are sums of shares times weights that cancel: where no best share moves, what is left of
    them is rounding (1e-17, of either sign on different machines) and no fall.
    """
    estimate, drawn = round(estimate, 9) + 0.0, drawn.round(9) + 0.0
    tail = (1 - LEVEL) / 2
    low, high = (float(v) for v in np.quantile(drawn, [tail, 1 - tail]))
    strict = float(np.quantile(drawn, tail / max(places, 1)))
    verdict: Verdict = "holds" if high < 0 else "does not hold" if low > 0 else "cannot tell"
    return Place(
        name=name,
        quantity=quantity,
        unit="share per tenfold",
        verdict=verdict,
        estimate=estimate,
        interval=(low, high),
        contradicted=strict > 0,
        leaning=None if estimate == 0 else estimate < 0,
    )


def _same_shares(evidence: Evidence, group: Group) -> list[Line]:
    """The group's lines; only those with all SFT and a mix, so that each could have either."""
    return [x for x in lines_of(evidence, group) if x.at(1.0) is not None and len(x.shares) > 2]


def falls(evidence: Evidence) -> Finding:
    """(c), for each group with two budgets or more, and the mean over tasks."""
    usable = {g.number: _same_shares(evidence, g) for g in evidence.groups}
    groups = [g for g in evidence.groups if len(usable[g.number]) >= 2]
    quantity = "slope of the best share"
    slopes = {g.number: _slope(evidence, usable[g.number]) for g in groups}
    places: list[Place] = []
    for group in groups:
        estimate, drawn, measured = slopes[group.number]
        place = falling(group.name, quantity, estimate, drawn, len(groups))
        budgets = [line.budget for line in usable[group.number]]
        pairs = zip(budgets, measured, strict=True)
        numbers = {f"best_share_at_{budget:g}": best for budget, best in pairs}
        places.append(replace(place, numbers=numbers))
    for model, method in dict.fromkeys((g.model, g.method) for g in groups):
        mine = [slopes[g.number] for g in groups if (g.model, g.method) == (model, method)]
        if len(mine) < 2:
            continue
        name = mean_name(len(mine), model, method)
        mean = float(np.mean([estimate for estimate, _, _ in mine]))
        drawn = np.mean([draws for _, draws, _ in mine], axis=0)
        places.append(replace(falling(name, quantity, mean, drawn, 1), summary=True))
    return judge(
        "c",
        "the best SFT share falls as the budget grows",
        places,
        "no two budgets have all SFT and two other shares",
    )

"""(f) DPO and KTO agree; (h) the best share is the same for every model size.

Agreement is shown, not assumed: *holds* needs the 90 % interval of a difference inside the margin
(two one-sided tests at 5 %), *does not hold* needs it outside. Margins: `SCORE_MARGIN` for scores
at the same cells, `SHARE_MARGIN` for best shares at the largest common budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import log10

import numpy as np
from numpy.typing import NDArray

from apportion.findings.best_share import best_shares
from apportion.findings.contrast import LEVEL, Differences, two_sided
from apportion.findings.evidence import Evidence, Group
from apportion.findings.lines import lines_of
from apportion.findings.sizes import size_of
from apportion.findings.types import Finding, Interval, Place, Verdict, judge

Floats = NDArray[np.float64]

SCORE_MARGIN = 0.02
SHARE_MARGIN = 0.25


def within(interval: Interval, margin: float) -> Verdict:
    """Whether a difference is inside ±margin, outside of it, or neither for sure."""
    low, high = interval
    if -margin <= low and high <= margin:
        return "holds"
    return "does not hold" if low > margin or high < -margin else "cannot tell"


def _share_place(evidence: Evidence, first: Group, second: Group, name: str, n: int) -> Place:
    """Best share of the second group minus that of the first, at their largest common budget."""
    quantity = "difference of best shares"
    lines = [
        {x.budget: x for x in lines_of(evidence, group) if len(x.shares) > 2}
        for group in (first, second)
    ]
    common = sorted(set(lines[0]) & set(lines[1]))
    if not common:
        note = "no common budget has three shares"
        return Place(name, quantity, "share", "not measured", note=note)
    budget = common[-1]
    (best, drawn), (other, others) = (best_shares(evidence, line[budget]) for line in lines)
    gap = others - drawn
    tail = (1 - LEVEL) / 2
    low, high = (float(v) for v in np.quantile(gap, [tail, 1 - tail]))
    strict = np.quantile(gap, [tail / n, 1 - tail / n])
    return Place(
        name=name,
        quantity=quantity,
        unit="share",
        verdict=within((low, high), SHARE_MARGIN),
        estimate=other - best,
        interval=(low, high),
        contradicted=bool(strict[0] > SHARE_MARGIN or strict[1] < -SHARE_MARGIN),
        leaning=abs(other - best) <= SHARE_MARGIN,
        budget=budget,
        numbers={"first": best, "second": other, "margin": SHARE_MARGIN},
    )


def _score_place(evidence: Evidence, first: Group, second: Group, name: str, n: int) -> Place:
    """Mean difference of scores at the same cells with preference data, second minus first."""
    quantity = "mean difference of scores"
    keys = [k for k in first.keys if k in second.keys and k[1] > 0]
    if not keys:
        note = "no cell with preference data was measured with both"
        return Place(name, quantity, "points", "not measured", note=note)
    rows = []
    for key in keys:
        mine, other = first.column(key), second.column(key)
        if mine is not None and other is not None:
            rows.append(evidence.unit(other) - evidence.unit(mine))
    matrix = np.array(rows)
    each = Differences(matrix @ evidence.mean, evidence.noise @ matrix.T)
    mean = matrix.mean(axis=0)
    estimate, eps = float(mean @ evidence.mean), evidence.noise @ mean
    interval = two_sided(estimate, eps)
    verdict = within(interval, SCORE_MARGIN)
    # One cell that differs for sure is a disagreement, even where the mean is near 0.
    c = np.quantile(np.abs(each.eps / each.se).max(axis=1), 1 - (1 - LEVEL) / n)
    apart = np.abs(each.delta) - c * each.se
    worst = int(np.abs(each.delta).argmax())
    wide = two_sided(estimate, eps, 1 - (1 - LEVEL) / n)
    against = within(wide, SCORE_MARGIN) == "does not hold" or bool((apart > SCORE_MARGIN).any())
    return Place(
        name=name,
        quantity=quantity,
        unit="points",
        verdict="does not hold" if against else verdict,
        estimate=estimate,
        interval=interval,
        contradicted=against,
        leaning=abs(estimate) <= SCORE_MARGIN,
        numbers={
            "cells": len(keys),
            "largest": float(each.delta[worst]),
            "largest_at": f"{keys[worst][0]} + {keys[worst][1]}",
            "margin": SCORE_MARGIN,
        },
    )


def methods_agree(evidence: Evidence) -> Finding:
    """(f), for each model and task that has both methods."""
    pairs = []
    for group in evidence.groups:
        if group.method.lower() != "dpo":
            continue
        pairs += [
            (group, other)
            for other in evidence.groups
            if (other.model, other.task) == (group.model, group.task)
            and other.method.lower() == "kto"
        ]
    places = []
    for first, second in pairs:
        name = f"{first.model} · {first.task} · kto minus dpo"
        places.append(_score_place(evidence, first, second, name, 2 * len(pairs)))
        places.append(_share_place(evidence, first, second, name, 2 * len(pairs)))
    return judge(
        "f",
        f"DPO and KTO agree (scores within {100 * SCORE_MARGIN:g} points, best shares within "
        f"{100 * SHARE_MARGIN:g} % of the budget)",
        places,
        "no model and task was measured with both DPO and KTO",
    )


def _ladders(groups: Sequence[Group], sizes: dict[str, float]) -> list[list[Group]]:
    """Groups of one task and method in order of size, where there are two sizes or more."""
    found = []
    for task, method in dict.fromkeys((g.task, g.method) for g in groups):
        mine = [g for g in groups if (g.task, g.method) == (task, method) and g.model in sizes]
        mine.sort(key=lambda g: sizes[g.model])
        if len({sizes[g.model] for g in mine}) > 1:
            found.append(mine)
    return found


def _gain(evidence: Evidence, small: Group, large: Group, ratio: float) -> Place | None:
    """Mean gain of score at the same trained cells, per tenfold parameters.

    The runs of a model share their data, so their noise is taken to be common to its cells.
    """
    keys = [k for k in small.keys if k in large.keys and k != (0, 0)]
    if not keys:
        return None
    weights = np.zeros(len(evidence.mean))
    run = np.zeros(len(evidence.items))
    rng = np.random.default_rng([small.number, large.number])
    for group, sign in ((small, -1.0), (large, 1.0)):
        columns = [column for key in keys if (column := group.column(key)) is not None]
        weights[columns] += sign / len(keys)
        fewest = int(evidence.replicates[columns].min())
        sigma = evidence.sigma[:, group.number]
        run += sigma / np.sqrt(fewest) * rng.standard_normal(len(run))
    scale = log10(ratio)
    estimate = float(weights @ evidence.mean) / scale
    interval = two_sided(estimate, (evidence.items @ weights + run) / scale)
    return Place(
        name=f"{small.task} · {small.method} · {small.model} to {large.model}",
        quantity="gain of score per tenfold parameters",
        unit="points",
        verdict="holds" if interval[0] > 0 else "does not hold" if interval[1] < 0 else
        "cannot tell",
        estimate=estimate,
        interval=interval,
        summary=True,
        numbers={"cells": len(keys), "size_ratio": ratio},
        note="for reading, not counted: the verdict is whether a larger model scores higher",
    )  # fmt: skip


def sizes_agree(evidence: Evidence, sizes: dict[str, float]) -> Finding:
    """(h), for each task and method and each step from one size to the next.

    `sizes`: parameters of models whose names do not say them.
    """
    models = dict.fromkeys(group.model for group in evidence.groups)
    known = {m: s for m in models if (s := sizes.get(m, size_of(m))) is not None}
    ladders = _ladders(evidence.groups, known)
    steps = [(a, b) for ladder in ladders for a, b in pairwise(ladder)]
    steps = [(a, b) for a, b in steps if known[a.model] < known[b.model]]
    places: list[Place] = []
    for small, large in steps:
        name = f"{small.task} · {small.method} · {small.model} to {large.model}"
        place = _share_place(evidence, small, large, name, len(steps))
        places.append(replace(place, quantity="larger model's best share minus the smaller's"))
        gain = _gain(evidence, small, large, known[large.model] / known[small.model])
        places += [gain] if gain is not None else []
    unknown = [model for model in models if model not in known]
    missing = "no task and method was measured with two model sizes"
    if len(models) > 1 and unknown:
        missing = f"the size of {', '.join(unknown)} is not known: its name does not say it"
    return judge(
        "h",
        f"the best share is the same for every model size (within {100 * SHARE_MARGIN:g} % of the "
        "budget)",
        places,
        missing,
    )

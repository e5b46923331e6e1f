"""(a) At small budgets SFT alone is best; (b) at the largest budget a mix beats SFT alone.

Both are about the best rival minus all SFT, with the interval of `contrast`. In (a) every share
below all SFT is a rival, in (b) every share between none and all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from apportion.findings.contrast import Differences, family_bounds
from apportion.findings.evidence import Evidence, Group
from apportion.findings.lines import Line, lines_of
from apportion.findings.types import Finding, Place, Verdict, judge, mean_name

Wanted = Callable[[float], bool]


@dataclass(frozen=True, eq=False)
class _Family:
    """Rivals of all SFT at one budget of one group, or averaged over tasks."""

    name: str
    budget: float | None
    shares: tuple[float, ...]
    differences: Differences
    measured: bool
    summary: bool = False


def _rival(share: float) -> bool:
    return share < 1


def _mix(share: float) -> bool:
    return 0 < share < 1


def _contrasts(evidence: Evidence, line: Line, wanted: Wanted) -> dict[float, np.ndarray]:
    """Weights (C,) of each rival minus all SFT; empty where all SFT was not measured."""
    last = line.at(1.0)
    if last is None:
        return {}
    return {
        share: line.weights[k] - line.weights[last]
        for k, share in enumerate(line.shares)
        if wanted(share)
    }


def _differences(evidence: Evidence, weights: Sequence[np.ndarray]) -> Differences:
    matrix = np.array(weights)
    return Differences(matrix @ evidence.mean, evidence.noise @ matrix.T)


def _family(evidence: Evidence, line: Line, wanted: Wanted) -> _Family | None:
    found = _contrasts(evidence, line, wanted)
    if not found:
        return None
    return _Family(
        line.group.name,
        line.budget,
        tuple(found),
        _differences(evidence, list(found.values())),
        line.measured,
    )


def _mean(evidence: Evidence, lines: Sequence[Line], wanted: Wanted) -> _Family | None:
    """The mean over the tasks of one model and method, at the shares that all of them have."""
    contrasts = [_contrasts(evidence, line, wanted) for line in lines]
    tasks = {line.group.task for line in lines}
    if len(tasks) < 2:
        return None
    common = [s for s in contrasts[0] if all(s in one for one in contrasts)]
    if not common:
        return None
    budgets = {line.budget for line in lines}
    group = lines[0].group
    weights = [np.mean([one[share] for one in contrasts], axis=0) for share in common]
    return _Family(
        mean_name(len(tasks), group.model, group.method),
        budgets.pop() if len(budgets) == 1 else None,
        tuple(common),
        _differences(evidence, weights),
        all(line.measured for line in lines),
        summary=True,
    )


def _places(families: Sequence[_Family], *, above: bool) -> list[Place]:
    """`above`: the statement says that the difference is positive."""
    counted = [family for family in families if not family.summary]
    bounds = dict(
        zip(
            (id(one) for one in counted),
            family_bounds([one.differences for one in counted]),
            strict=True,
        )
    )
    places = []
    for family in families:
        estimate, low, high = family.differences.largest()
        sides = (low > 0, high < 0) if above else (high < 0, low > 0)
        verdict: Verdict = "holds" if sides[0] else "does not hold" if sides[1] else "cannot tell"
        everywhere = bounds.get(id(family))
        against = everywhere is not None and (everywhere[1] < 0 if above else everywhere[0] > 0)
        places.append(
            Place(
                name=family.name,
                quantity="best mix minus all SFT" if above else "best other share minus all SFT",
                unit="points",
                verdict=verdict,
                estimate=estimate,
                interval=(low, high),
                contradicted=against,
                leaning=(estimate > 0) == above,
                budget=family.budget,
                summary=family.summary,
                numbers={
                    "best_share": family.shares[family.differences.best],
                    "rivals": len(family.shares),
                },
                note="" if family.measured else "interpolated between the cells of the lattice",
            )
        )
    return places


def _kinds(groups: Sequence[Group]) -> list[list[Group]]:
    """Groups of the same model and method together."""
    names = dict.fromkeys((group.model, group.method) for group in groups)
    return [[g for g in groups if (g.model, g.method) == name] for name in names]


def small_budgets(evidence: Evidence, small: float) -> Finding:
    """(a), at every measured budget of at most `small`."""
    families: list[_Family | None] = []
    for kind in _kinds(evidence.groups):
        lines = [line for g in kind for line in lines_of(evidence, g) if line.budget <= small]
        families += [_family(evidence, line, _rival) for line in lines]
        for budget in sorted({line.budget for line in lines}):
            same = [line for line in lines if line.budget == budget]
            families.append(_mean(evidence, same, _rival))
    places = _places([family for family in families if family is not None], above=False)
    return judge(
        "a",
        f"at small budgets (at most {small:,g}) SFT alone is best",
        places,
        f"no budget of at most {small:,g} has all SFT and another share",
    )


def largest_budget(evidence: Evidence) -> Finding:
    """(b), at each group's largest budget that has all SFT and a mix."""
    families: list[_Family | None] = []
    for kind in _kinds(evidence.groups):
        last: list[Line] = []
        for group in kind:
            usable = [x for x in lines_of(evidence, group) if _contrasts(evidence, x, _mix)]
            last += usable[-1:]
        families += [_family(evidence, line, _mix) for line in last]
        if last:
            families.append(_mean(evidence, last, _mix))
    places = _places([family for family in families if family is not None], above=True)
    return judge(
        "b",
        "at the largest budget a mix beats SFT alone",
        places,
        "no budget has both all SFT and a mix",
    )

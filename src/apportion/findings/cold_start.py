"""(d) No SFT is worse than a little SFT; (e) a little SFT repairs it.

(d): at the largest budget with no SFT and some, the smallest positive share minus none. A cold
start is claimed only where strict *and* lenient scores say so: what only the strict score loses
is the format.

(e): the loss is the best share minus none, and `REPAIRED` of it is to be repaired by at most
`LITTLE` of the budget; between measured shares the score is linear in log1p(n_sft).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from apportion.findings.contrast import LEVEL, two_sided
from apportion.findings.evidence import SCORINGS, Evidence, Row, gather, rescored
from apportion.findings.lines import Line, lines_of
from apportion.findings.types import Finding, Place, Verdict, judge, mean_name

Floats = NDArray[np.float64]

REPAIRED = 0.5
LITTLE = 0.1


@dataclass(frozen=True, eq=False)
class _Gap:
    """A little minus none, under one scoring."""

    estimate: float
    noise: Floats


def _last(evidence: Evidence, number: int) -> Line | None:
    """The line of the largest budget that has no SFT and some."""
    lines = [x for x in lines_of(evidence, evidence.groups[number]) if x.shares[0] == 0]
    return lines[-1] if lines else None


def _gap(evidence: Evidence, line: Line) -> _Gap:
    weights = line.weights[1] - line.weights[0]
    return _Gap(float(weights @ evidence.mean), evidence.noise @ weights)


def _verdict(intervals: Sequence[tuple[float, float]]) -> Verdict:
    if all(low > 0 for low, _ in intervals):
        return "holds"
    return "does not hold" if any(high < 0 for _, high in intervals) else "cannot tell"


def _note(spans: Mapping[str, tuple[float, float]]) -> str:
    if len(spans) < 2:
        return "one score only: a cold start cannot be told from a lost format"
    if spans["strict"][0] > 0 >= spans["lenient"][0]:
        return "in the strict score only: the format, no cold start shown"
    return ""


def _place(name: str, line: Line, gaps: Mapping[str, _Gap], places: int) -> Place:
    spans = {key: two_sided(gap.estimate, gap.noise) for key, gap in gaps.items()}
    level = 1 - (1 - LEVEL) / max(places, 1)
    wide = [two_sided(gap.estimate, gap.noise, level) for gap in gaps.values()]
    weakest = min(spans, key=lambda key: spans[key][0])
    numbers: dict[str, float | int | str | None] = {
        "little_share": line.shares[1],
        "little_examples": line.n_sft[1],
    }
    for key, gap in gaps.items():
        numbers |= {f"{key}": gap.estimate, f"{key}_low": spans[key][0]}
        numbers[f"{key}_high"] = spans[key][1]
    return Place(
        name=name,
        quantity="a little SFT minus none" + ("" if len(gaps) < 2 else f" ({weakest})"),
        unit="points",
        verdict=_verdict(list(spans.values())),
        estimate=gaps[weakest].estimate,
        interval=spans[weakest],
        contradicted=any(high < 0 for _, high in wide),
        leaning=all(gap.estimate > 0 for gap in gaps.values()),
        budget=line.budget,
        numbers=numbers,
        note=_note(spans),
    )


def _average(name: str, found: Sequence[Mapping[str, _Gap]], line: Line) -> Place:
    keys = [key for key in found[0] if all(key in one for one in found)]
    gaps = {
        key: _Gap(
            float(np.mean([one[key].estimate for one in found])),
            np.mean([one[key].noise for one in found], axis=0),
        )
        for key in keys
    }
    place = _place(name, line, gaps, 1)
    numbers = {k: v for k, v in place.numbers.items() if not k.startswith("little_")}
    return replace(place, summary=True, numbers=numbers, budget=None)


def no_sft(rows: Sequence[Row], evidence: Evidence, *, n_draws: int, seed: int) -> Finding:
    """(d), for each group at its largest budget, under both scorings where there are both."""
    done = [row for row in rows if row.status == "done"]
    scorings: dict[str, Evidence] = {}
    if any(row.strict is not None and row.lenient is not None for row in done):
        for scoring in SCORINGS:
            scorings[scoring] = gather(rescored(rows, scoring), n_draws=n_draws, seed=seed)
    found: list[tuple[Line, dict[str, _Gap]]] = []
    for group in evidence.groups:
        line = _last(evidence, group.number)
        if line is None:
            continue
        gaps: dict[str, _Gap] = {}
        for name, other in scorings.items():
            again = _last(other, group.number)
            if again is not None and again.shares[:2] == line.shares[:2]:
                gaps[name] = _gap(other, again)
        if len(gaps) < 2:
            gaps = {"score": _gap(evidence, line)}
        found.append((line, gaps))
    places = [_place(line.group.name, line, gaps, len(found)) for line, gaps in found]
    for model, method in dict.fromkeys((x.group.model, x.group.method) for x, _ in found):
        mine = [(x, g) for x, g in found if (x.group.model, x.group.method) == (model, method)]
        same = [key for key in mine[0][1] if all(key in gaps for _, gaps in mine)]
        if len(mine) > 1 and same:
            name = mean_name(len(mine), model, method)
            places.append(_average(name, [gaps for _, gaps in mine], mine[0][0]))
    return judge(
        "d",
        "preference tuning with no SFT is worse than with a little",
        places,
        "no budget has both no SFT and some",
    )


def _needed(values: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Loss (D,) and the demonstrations (D,) that repair `REPAIRED` of it, from scores (D, K).

    Where nothing is lost the count is not defined; the caller leaves those draws out.
    """
    loss = values.max(axis=1) - values[:, 0]
    target = (values[:, 0] + REPAIRED * loss)[:, None]
    reached = (values >= target).argmax(axis=1)
    rows = np.arange(len(values))
    before = np.maximum(reached - 1, 0)
    rise = values[rows, reached] - values[rows, before]
    t = np.where(rise > 0, (target[:, 0] - values[rows, before]) / np.where(rise > 0, rise, 1), 1)
    x = np.log1p(counts)
    return loss, np.expm1(x[before] + t * (x[reached] - x[before]))


def _repair(evidence: Evidence, line: Line, places: int) -> Place:
    name = line.group.name
    quantity = f"share that repairs {100 * REPAIRED:g} % of the loss"
    if not any(0 < share <= LITTLE for share in line.shares):
        note = f"no share above 0 and up to {100 * LITTLE:g} % was measured"
        return Place(name, quantity, "share", "not measured", budget=line.budget, note=note)
    values = line.weights @ evidence.mean
    drawn = values + evidence.noise @ line.weights.T
    counts = np.array(line.n_sft, dtype=float)
    loss, needed = _needed(drawn, counts)
    best = int(values.argmax())
    contrast = line.weights[best] - line.weights[0]
    if best == 0 or two_sided(float(contrast @ evidence.mean), evidence.noise @ contrast)[0] <= 0:
        note = "no loss to repair was shown"
        return Place(name, quantity, "share", "not measured", budget=line.budget, note=note)
    needed = needed[loss > 0] / line.budget
    tail = (1 - LEVEL) / 2
    low, high = (float(v) for v in np.quantile(needed, [tail, 1 - tail]))
    estimate = float(_needed(values[None], counts)[1][0]) / line.budget
    part = (values - values[0]) / (values[best] - values[0])
    verdict: Verdict = (
        "holds" if high <= LITTLE else "does not hold" if low > LITTLE else "cannot tell"
    )
    numbers: dict[str, float | int | str | None] = {
        "examples": estimate * line.budget,
        "examples_low": low * line.budget,
        "examples_high": high * line.budget,
        "loss": float(values[best] - values[0]),
    }
    numbers |= {
        f"repaired_by_{count}": float(p)
        for count, share, p in zip(line.n_sft, line.shares, part, strict=True)
        if 0 < share <= LITTLE
    }
    return Place(
        name=name,
        quantity=quantity,
        unit="share",
        verdict=verdict,
        estimate=estimate,
        interval=(low, high),
        contradicted=float(np.quantile(needed, tail / max(places, 1))) > LITTLE,
        leaning=estimate <= LITTLE,
        budget=line.budget,
        numbers=numbers,
        note="" if line.measured else "interpolated between the cells of the lattice",
    )


def repaired(evidence: Evidence) -> Finding:
    """(e), for each group at its largest budget with no SFT and some."""
    lines = [_last(evidence, group.number) for group in evidence.groups]
    known = [line for line in lines if line is not None]
    return judge(
        "e",
        f"at most {100 * LITTLE:g} % of the budget as SFT repairs {100 * REPAIRED:g} % of that "
        "loss",
        [_repair(evidence, line, len(known)) for line in known],
        "no budget has both no SFT and some",
    )

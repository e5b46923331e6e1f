"""The two figures of a (model, task, method): score against budget, and score against share.

Scores are drawn in points (0 to 100); bars and bands hold 90 %. The same results give the same
bytes: no dates or program names are written into the files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from apportion.advise.phrases import number
from apportion.advise.types import Advice
from apportion.report.group import Group
from apportion.report.style import INK, PICK, QUIET, SAFE, STYLE, save, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["save", "score_by_budget", "score_by_share"]


@dataclass(frozen=True)
class _Point:
    x: float
    score: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class _Series:
    label: str
    shade: float  # 0 to 1, the place on the colour map
    points: tuple[_Point, ...]


def _value(group: Group, scoring: str | None, n_sft: int, n_pref: int) -> float | None:
    cell = group.cell(n_sft, n_pref)
    if scoring is None:
        return None if cell is None else cell.mean
    return group.mean_of(scoring, n_sft, n_pref)


def _point(group: Group, scoring: str | None, x: float, counts: tuple[int, int]) -> _Point | None:
    """A cell at x; only the primary score (`scoring` None) has an interval."""
    cell, value = group.cell(*counts), _value(group, scoring, *counts)
    if cell is None or value is None:
        return None
    return _Point(x, value, cell.interval if scoring is None else None)


def _shade(rank: int, values: Sequence[float]) -> float:
    """Even steps by rank, so that 1 % and 0 % are told apart."""
    return 1 - rank / max(len(values) - 1, 1)


def _by_share(group: Group, scoring: str | None) -> list[_Series]:
    """One series per share of a study of budget lines, the highest share first."""
    shares = sorted({s for c in group.estimate.cells for _, s in c.lines}, reverse=True)
    found = []
    for rank, share in enumerate(shares):
        points = [
            _point(group, scoring, level, (cell.n_sft, cell.n_pref))
            for cell in group.estimate.cells
            for level, at in cell.lines
            if at == share and level > 0
        ]
        kept = sorted((p for p in points if p is not None), key=lambda p: p.x)
        found.append(_Series(f"{100 * share:.4g} %", _shade(rank, shares), tuple(kept)))
    return [series for series in found if series.points]


def _by_level(group: Group, scoring: str | None) -> list[_Series]:
    """One series per level of demonstrations of a lattice, against preference units."""
    levels = sorted({c.n_sft for c in group.estimate.cells}, reverse=True)
    found = []
    for rank, level in enumerate(levels):
        points = [
            _point(group, scoring, cell.n_pref, (cell.n_sft, cell.n_pref))
            for cell in group.estimate.cells
            if cell.n_sft == level and (cell.n_sft, cell.n_pref) != (0, 0)
        ]
        kept = sorted((p for p in points if p is not None), key=lambda p: p.x)
        found.append(_Series(f"{level:,}", _shade(rank, levels), tuple(kept)))
    return [series for series in found if series.points]


def _colour(shade: float) -> Any:
    from matplotlib import colormaps

    return colormaps["viridis"](0.9 * (1 - shade))  # the palest end does not show on white


def _dodge(positions: Sequence[float], count: int) -> float:
    """Half-open step between series, as a part of the smallest gap between x positions."""
    ordered = sorted(set(positions))
    gap = min((b - a for a, b in pairwise(ordered)), default=1.0)
    return min(0.4 * gap / max(count, 1), 0.05)


def _warp(x: float, lattice: bool) -> float:
    return math.log1p(x) if lattice else math.log(x)


def _draw_base(ax: Any, group: Group, scoring: str | None) -> None:
    value, cell = _value(group, scoring, 0, 0), group.cell(0, 0)
    if value is None or cell is None:
        return
    ax.axhline(100 * value, color=QUIET, linestyle="--", linewidth=1.2, label="base model")
    if scoring is None:
        low, high = cell.interval
        ax.axhspan(100 * low, 100 * high, color=QUIET, alpha=0.08, linewidth=0)


def _draw_series(ax: Any, series: Sequence[_Series], lattice: bool) -> None:
    """Lines on a warped x axis, dodged so that intervals do not hide each other."""
    positions = [_warp(p.x, lattice) for one in series for p in one.points]
    step = _dodge(positions, len(series))
    for k, one in enumerate(series):
        shift = step * ((len(series) - 1) / 2 - k)
        x = [_warp(p.x, lattice) + shift for p in one.points]
        y = [100 * p.score for p in one.points]
        colour = _colour(one.shade)
        for at, p in zip(x, one.points, strict=True):
            if p.interval is not None:
                ends = [100 * end for end in p.interval]
                ax.plot([at, at], ends, color=colour, linewidth=1.6, alpha=0.75)
        ax.plot(x, y, color=colour, marker="o", markersize=4.5, linewidth=1.7, label=one.label)


def _ticks(ax: Any, series: Sequence[_Series], lattice: bool) -> None:
    values = sorted({p.x for one in series for p in one.points})
    places = [_warp(v, lattice) for v in values]
    labels = [number(v) for v in values]
    ax.set_xticks(places, labels, rotation=35 if len(values) > 6 else 0)
    span = places[-1] - places[0] if len(places) > 1 else 1.0
    ax.set_xlim(places[0] - 0.08 * span - 0.1, places[-1] + 0.08 * span + 0.1)


def score_by_budget(group: Group) -> Figure:
    """Score against budget, one line per share (for a lattice: against preference units)."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    lattice = not group.estimate.levels
    panels: list[tuple[str, str | None]] = [("", None)]
    if group.scorings_differ:
        other = {"strict": "lenient", "lenient": "strict"}.get(group.primary or "")
        if other and group.primary:
            panels = [(f"{group.primary} (primary)", None), (f"{other} (means only)", other)]
    with rc_context(STYLE):
        figure = Figure(figsize=(8.2 if len(panels) == 1 else 12.0, 5.0))
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, (name, scoring) in zip(axes, panels, strict=True):
            series = (_by_level if lattice else _by_share)(group, scoring)
            _draw_base(ax, group, scoring)
            _draw_series(ax, series, lattice)
            if series:
                _ticks(ax, series, lattice)
            ax.set_title(name, fontsize=10, loc="left", color=QUIET)
            ax.set_xlabel("preference units" if lattice else "budget (log scale)")
            ax.grid(visible=False, axis="x")
        axes[0].set_ylabel("score (points of 100)")
        handles, labels = axes[0].get_legend_handles_labels()
        legend = "demonstrations" if lattice else "share of budget\non SFT"
        if handles:
            order = [*range(1, len(handles)), 0] if labels[0] == "base model" else None
            order = order or list(range(len(handles)))
            figure.legend(
                [handles[k] for k in order],
                [labels[k] for k in order],
                title=legend,
                loc="outside right center",
                frameon=False,
            )
        title(figure, group, "Score by preference units" if lattice else "Score by budget")
    return figure


def _stretches(places: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of neighbouring places as (first, last): what lies between two safe shares is shaded,
    what lies between a safe and an unsafe one is not."""
    runs: list[tuple[int, int]] = []
    for place in places:
        if runs and place == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], place)
        else:
            runs.append((place, place))
    return runs


def _draw_shares(ax: Any, group: Group, advice: Advice) -> None:
    rows = advice.shares
    shares = [row.share for row in rows]
    safe = [k for k, share in enumerate(shares) if share in advice.safe_shares]
    for first, last in _stretches(safe):
        ends_of = shares[first] - 0.01, shares[last] + 0.01
        ax.axvspan(*ends_of, color=SAFE, alpha=0.35, linewidth=0)
    base = group.cell(0, 0)
    if base is not None:
        ax.axhline(100 * base.mean, color=QUIET, linestyle="--", linewidth=1.2)
    low, high = ([100 * row.score_interval[k] for row in rows] for k in (0, 1))
    ax.fill_between(shares, low, high, color=INK, alpha=0.13, linewidth=0)
    ax.plot(shares, [100 * row.expected_score for row in rows], color=INK, linewidth=1.4)
    for row in rows:
        cell = group.cell(row.n_sft, row.n_pref) if row.measured else None
        if cell is not None:
            ends = [100 * end for end in cell.interval]
            ax.plot([row.share] * 2, ends, color=INK, linewidth=1.4, alpha=0.6)
            ax.plot([row.share], [100 * cell.mean], color=INK, marker="o", markersize=4)
    ax.plot(
        [advice.share],
        [100 * advice.expected_score],
        marker="o",
        markersize=12,
        markerfacecolor="none",
        markeredgecolor=PICK,
        markeredgewidth=2,
        linestyle="none",
    )
    note = {"measured": "", "interpolated": ", interpolated", "extrapolated": ", extrapolated"}
    sure = "" if safe else "\nno share is safe yet"
    ax.set_title(
        f"budget {number(advice.budget)}{note[advice.origin]}{sure}", fontsize=10, loc="left"
    )
    ax.set_xlim(-0.04, 1.04)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100"])
    ax.grid(visible=False, axis="x")


def score_by_share(group: Group) -> Figure | None:
    """Score against share, one panel per budget with advice; None where there is no advice."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if not group.advice:
        return None
    columns = min(len(group.advice), 3)
    lines = math.ceil(len(group.advice) / columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(2.2 + 3.3 * columns, 1.6 + 3.0 * lines))
        grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
        panels = [ax for row in grid for ax in row]
        for ax, advice in zip(panels, group.advice, strict=False):
            _draw_shares(ax, group, advice)
        for ax in panels[len(group.advice) :]:
            ax.set_visible(False)
        for row in grid:
            row[0].set_ylabel("score (points of 100)")
        for k, _ in enumerate(group.advice):
            if k + columns >= len(group.advice):
                panels[k].set_xlabel("share of budget on SFT (%)")
        first = group.advice[0]
        handles = [
            Line2D([], [], color=INK, marker="o", markersize=4, linestyle="none",
                   label="measured, 90 % interval"),
            Patch(color=INK, alpha=0.2, label="surface, 90 % interval"),
            Line2D([], [], color=PICK, marker="o", markersize=10, markerfacecolor="none",
                   markeredgewidth=2, linestyle="none", label="recommended"),
            Patch(color=SAFE, alpha=0.35,
                  label=f"safe: within {100 * first.epsilon:g} of the best\n"
                        f"with {100 * (1 - first.delta):g} % probability"),
            Line2D([], [], color=QUIET, linestyle="--", label="base model"),
        ]  # fmt: skip
        figure.legend(handles=handles, loc="outside right center", frameon=False)
        title(figure, group, "Score by share")
    return figure

"""The whole surface of a (model, task, method), and the best split of every budget on it.

| symbol | meaning                                                                        | shape |
|--------|--------------------------------------------------------------------------------|-------|
| n1     | smallest level above 0 of an axis                                              |       |
| place  | log1p(n / n1): where n stands on the axis; 0 has a place, and levels have room |       |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from apportion.advise.shares import advise
from apportion.advise.types import Advice
from apportion.report.group import Group
from apportion.report.style import INK, PICK, STYLE, title
from apportion.surface.model import fit_surface

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

FEWEST_LEVELS = 3  # of either kind of data
MOST_LINES = 5
_FILLED = 0.75  # of levels × levels measured: tiles; else dots


@dataclass(frozen=True)
class _Axis:
    levels: tuple[int, ...]

    @property
    def unit(self) -> float:
        return float(next((level for level in self.levels if level > 0), 1))

    def place(self, n: float | Floats) -> Any:
        return np.log1p(np.asarray(n, dtype=float) / self.unit)

    def edges(self) -> Floats:
        """Ends of the tiles (levels + 1,): half-way between neighbours."""
        at = self.place(np.array(self.levels, dtype=float))
        middle = (at[1:] + at[:-1]) / 2
        first, last = (at[1] - at[0]) / 2, (at[-1] - at[-2]) / 2
        return np.array([at[0] - first, *middle, at[-1] + last])


def _axes(group: Group) -> tuple[_Axis, _Axis] | None:
    """Demonstrations and preference units; None with fewer than three levels of either."""
    cells = group.estimate.cells
    levels = {c.n_sft for c in cells}, {c.n_pref for c in cells}
    if min(map(len, levels)) < FEWEST_LEVELS:
        return None
    across, along = (_Axis(tuple(sorted(one))) for one in levels)
    return across, along


def line_advice(group: Group) -> tuple[Advice, ...]:
    """The group's advice; for a lattice, at its largest levels that make a whole budget line."""
    if group.advice or group.estimate.levels or group.estimate.status != "ok":
        return group.advice
    cells = {(c.n_sft, c.n_pref) for c in group.estimate.cells}
    whole = [n for n, _ in cells if n and (n, 0) in cells and (0, n) in cells]
    levels = sorted(set(whole))[-MOST_LINES:]
    if not levels:
        return ()
    surface = fit_surface(group.rows, model=group.model, task=group.task, method=group.method)
    if surface.status != "ok":
        return ()
    return tuple(advise(surface, level, sandbox=group.sandbox) for level in levels)


def _tiles(ax: Any, group: Group, axes: tuple[_Axis, _Axis], scale: tuple[float, float]) -> Any:
    values = np.full((len(axes[1].levels), len(axes[0].levels)), np.nan)
    for cell in group.estimate.cells:
        at = axes[1].levels.index(cell.n_pref), axes[0].levels.index(cell.n_sft)
        values[at] = 100 * cell.mean
    return ax.pcolormesh(
        axes[0].edges(), axes[1].edges(), np.ma.masked_invalid(values),
        cmap="viridis", vmin=scale[0], vmax=scale[1], edgecolors="white", linewidth=0.6,
    )  # fmt: skip


def _dots(ax: Any, group: Group, axes: tuple[_Axis, _Axis], scale: tuple[float, float]) -> Any:
    cells = group.estimate.cells
    return ax.scatter(
        axes[0].place(np.array([c.n_sft for c in cells])),
        axes[1].place(np.array([c.n_pref for c in cells])),
        c=[100 * c.mean for c in cells], s=520, cmap="viridis", vmin=scale[0], vmax=scale[1],
        edgecolors="white", linewidth=0.8, zorder=4.5,  # over the lines, under the ring
    )  # fmt: skip


def _numbers(ax: Any, group: Group, axes: tuple[_Axis, _Axis], scale: tuple[float, float]) -> None:
    """Each cell's score in points on a patch of its colour, which the lines do not cross."""
    from matplotlib import colormaps

    span = scale[1] - scale[0]
    for cell in group.estimate.cells:
        height = (100 * cell.mean - scale[0]) / span
        patch = {"boxstyle": "round,pad=0.12", "facecolor": colormaps["viridis"](height)}
        ax.text(
            axes[0].place(cell.n_sft), axes[1].place(cell.n_pref), f"{100 * cell.mean:.0f}",
            ha="center", va="center", fontsize=8.5, color=INK if height > 0.6 else "white",
            bbox={**patch, "edgecolor": "none"}, zorder=6,
        )  # fmt: skip


def _curve(advice: Advice, axes: tuple[_Axis, _Axis], low: float, high: float) -> tuple[Any, Any]:
    """The budget line from share `low` to `high`, straight in counts and bent on the axes."""
    rows = sorted(advice.shares, key=lambda row: row.share)
    shares = [row.share for row in rows]
    part = np.linspace(low, high, 60)
    n_sft = np.interp(part, shares, [row.n_sft for row in rows])
    n_pref = np.interp(part, shares, [row.n_pref for row in rows])
    return axes[0].place(n_sft), axes[1].place(n_pref)


def _runs(region: Sequence[float], shares: Sequence[float]) -> list[tuple[float, float]]:
    """Shares of a region as runs of neighbours on the line."""
    places = [shares.index(share) for share in region]
    runs: list[tuple[int, int]] = []
    for place in places:
        runs = (
            [*runs[:-1], (runs[-1][0], place)]
            if runs and place == runs[-1][1] + 1
            else [*runs, (place, place)]
        )
    return [(shares[first], shares[last]) for first, last in runs]


def _draw_line(ax: Any, advice: Advice, axes: tuple[_Axis, _Axis]) -> None:
    """A budget: its line, the shares among which the best is, and the recommended one."""
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=4.5, foreground="white")]
    shares = sorted(row.share for row in advice.shares)
    ax.plot(*_curve(advice, axes, shares[0], shares[-1]), color="white", linewidth=1.6, zorder=3)
    ax.plot(
        *_curve(advice, axes, shares[0], shares[-1]),
        color=INK, linewidth=0.8, linestyle=(0, (4, 2)), zorder=3,
    )  # fmt: skip
    for low, high in _runs(advice.best_share_region, shares):
        ax.plot(
            *_curve(advice, axes, low, high), color=PICK, linewidth=2.6, zorder=4,
            path_effects=halo, solid_capstyle="round",
        )  # fmt: skip
    x, y = axes[0].place(advice.n_sft), axes[1].place(advice.n_pref)
    ax.plot([x], [y], marker="o", markersize=22, markerfacecolor="none", markeredgecolor=PICK,
            markeredgewidth=2.4, path_effects=halo, zorder=5)  # fmt: skip


def _label_axes(ax: Any, axes: tuple[_Axis, _Axis], tiles: bool) -> None:
    names = "demonstrations (log scale)", "preference units (log scale)"
    for axis, name, which in zip(axes, names, (ax.xaxis, ax.yaxis), strict=True):
        levels = axis.levels if tiles else _sparse(axis)
        which.set_ticks(axis.place(np.array(levels)), [f"{level:,}" for level in levels])
        which.set_label_text(name)
    ax.tick_params(axis="x", labelrotation=40 if len(axes[0].levels) > 7 else 0)
    ax.grid(visible=False)


def _sparse(axis: _Axis) -> list[int]:
    """Levels far enough apart to be read, the largest among them."""
    at = axis.place(np.array(axis.levels, dtype=float))
    gap = 0.06 * (at[-1] - at[0])
    kept = [len(at) - 1]
    for k in range(len(at) - 2, -1, -1):
        if at[kept[-1]] - at[k] >= gap:
            kept.append(k)
    return [axis.levels[k] for k in reversed(kept)]


def heat_map(group: Group) -> Figure | None:
    """Scores over both counts, with the best split of every budget line; None below 3 × 3."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    axes = _axes(group)
    if axes is None:
        return None
    scores = [100 * cell.mean for cell in group.estimate.cells]
    scale = min(scores), max(*scores, min(scores) + 1)
    tiles = len(scores) >= _FILLED * len(axes[0].levels) * len(axes[1].levels)
    lines = line_advice(group)
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 6.6))
        ax = figure.subplots()
        shown = (_tiles if tiles else _dots)(ax, group, axes, scale)
        _numbers(ax, group, axes, scale)
        for advice in lines:
            _draw_line(ax, advice, axes)
        _label_axes(ax, axes, tiles)
        if not tiles:
            ax.margins(0.07)
        figure.colorbar(shown, ax=ax, label="score (points of 100)", pad=0.01)
        doubt = f"{100 * (1 - lines[0].delta):g} %" if lines else ""
        handles = [
            Line2D([], [], color=INK, linewidth=0.8, linestyle=(0, (4, 2)), label="a budget"),
            Line2D([], [], color=PICK, linewidth=2.6, label=f"its best split is here ({doubt})"),
            Line2D([], [], color=PICK, marker="o", markersize=11, markerfacecolor="none",
                   markeredgewidth=2.4, linestyle="none", label="recommended split"),
        ]  # fmt: skip
        if lines:
            figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
        title(figure, group, "Score by both kinds of data")
    return figure

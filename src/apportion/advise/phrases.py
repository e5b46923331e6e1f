"""Numbers and shares as people read them; imports nothing, so that it costs no start-up."""

from __future__ import annotations


def number(value: float) -> str:
    """A budget, or what a cell costs, for people: 10,000,000 and not 1e+07."""
    return f"{value:,.10g}"


def percent(share: float) -> str:
    """A share of the budget for people."""
    return f"{100 * share:.4g} %"


def points(score: float) -> str:
    """A difference of scores for people: 0.01 is one point."""
    return f"{100 * score:.3g} point{'' if score == 0.01 else 's'}"


def and_list(parts: list[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def ranges(shares: list[float], grid: list[float]) -> list[str]:
    """Shares as runs of neighbours on the grid: `5 % to 40 %`, `60 %`."""
    order = {share: place for place, share in enumerate(grid)}
    runs: list[list[float]] = []
    for share in sorted(shares):
        if runs and order[share] == order[runs[-1][-1]] + 1:
            runs[-1].append(share)
        else:
            runs.append([share])
    return [
        percent(run[0]) if len(run) == 1 else f"{percent(run[0])} to {percent(run[-1])}"
        for run in runs
    ]

"""The simple rules that advice is held against, and the shares that they choose."""

from __future__ import annotations

from apportion.surface.hierarchy import Estimate

FIXED = (("a quarter on SFT", 0.25), ("half and half", 0.5), ("all SFT", 1.0))
LARGEST = "best share at the largest measured budget"
RIVAL = "middle of the shares within 10 % of the best there"  # arXiv 2609.01573


def _largest(estimate: Estimate) -> list[tuple[float, float]] | str:
    """(share, mean score) at the largest measured budget with two shares, or why there is none."""
    if not estimate.levels:
        return "a lattice has no measured budget"
    for level in reversed(estimate.levels):
        found = {
            share: cell.mean for cell in estimate.cells for at, share in cell.lines if at == level
        }
        if level > 0 and len(found) >= 2:
            return sorted(found.items())
    return "no measured budget has two shares"


def measured_rules(estimate: Estimate) -> tuple[tuple[str, float | None, str | None], ...]:
    """The rules that read the largest measured budget: (name, share, reason why there is none).

    The second is the recipe of arXiv 2609.01573: the middle of the interval of shares whose score
    is within 10 % of the best.
    """
    found = _largest(estimate)
    if isinstance(found, str):
        return ((LARGEST, None, found), (RIVAL, None, found))
    top = max(score for _, score in found)
    best = next(share for share, score in found if score == top)
    close = [share for share, score in found if score >= 0.9 * top]
    return ((LARGEST, best, None), (RIVAL, (min(close) + max(close)) / 2, None))

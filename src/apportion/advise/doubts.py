"""Why advice is less than certain, in words."""

from __future__ import annotations

from apportion.advise.line import Line, origin
from apportion.advise.phrases import and_list, percent, points, ranges
from apportion.advise.types import ShareRow
from apportion.surface.model import FEWEST_EFFECTIVE, SAME, Surface


def supported(surface: Surface, line: Line, best: int) -> bool:
    """Whether measurements, and not the prior, stand behind the recommended share."""
    found = surface.diagnostics
    return bool(
        found.replicated > 0
        and line.near[best]
        and found.effective >= FEWEST_EFFECTIVE
        and _shares_measured(surface) >= 2
        and not _all_the_same(surface)
    )


def _all_the_same(surface: Surface) -> bool:
    means = [c.mean for c in surface.estimate.cells if (c.n_sft, c.n_pref) != (0, 0)]
    return max(means) - min(means) < SAME


def _shares_measured(surface: Surface) -> int:
    """How many directions of the plane were measured: a single share compares nothing."""
    return len(
        {
            round(cell.n_sft / (cell.n_sft + cell.n_pref), 3)
            for cell in surface.estimate.cells
            if cell.n_sft + cell.n_pref
        }
    )


def doubts(
    surface: Surface,
    line: Line,
    rows: tuple[ShareRow, ...],
    best: int,
    limits: tuple[float, float],
) -> list[str]:
    """Empty when nothing speaks against the advice."""
    epsilon, delta = limits
    reasons = []
    known = origin(line, best)
    if known == "extrapolated":
        reasons.append(
            f"extrapolated: {rows[best].n_sft:,} + {rows[best].n_pref:,} lies outside of what was "
            "measured; beyond it the surface's law and prior carry the answer"
        )
    elif known == "interpolated":
        reasons.append("the recommended split was not measured: it lies between measured cells")
    close = [
        row.share for k, row in enumerate(rows) if k != best and row.difference.p_better < 1 - delta
    ]
    if close:
        every = len(close) == len(rows) - 1
        shown = ["any other share"] if every else ranges(close, [row.share for row in rows])
        reasons.append(
            f"{percent(rows[best].share)} on SFT cannot be told apart from {and_list(shown)} "
            f"(less than {percent(1 - delta)} sure that it is better)"
        )
    if rows[best].p_safe < 1 - delta:
        reasons.append(
            f"even the recommended share is within {points(epsilon)} of the best with a "
            f"probability of only {percent(round(rows[best].p_safe, 2))}"
        )
    if not line.near[best] and known != "extrapolated":
        reasons.append("no measured cell is near the recommended split")
    if _shares_measured(surface) < 2:
        reasons.append("only one share was measured: nothing there compares splits")
    if surface.estimate.replicates[0] < 2:
        reasons.append("at least one cell has a single replicate")
    return reasons + list(surface.reasons)

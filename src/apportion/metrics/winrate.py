"""The win rate: how often a response is preferred to the reference of its item.

| symbol | meaning | unit |
|---|---|---|
| u | what a judge gives the response | the judge's own |
| v | what the same judge gives the reference of the item | the judge's own |
| w | the score of the item: 1 for u > v, ½ for a tie, 0 for u < v | 0 to 1 |

The mean of w over items is the win rate. A source as good as the references' own has ½, whatever
the judge: a tie counts half, so that w(u, v) + w(v, u) = 1. The judge is no part of this module.
"""

from __future__ import annotations

from math import isfinite

VERSION = 1

TIE = 1e-9  # sums of the same weights in another order differ by about 1e-16


def against(u: float, v: float, *, tie: float = TIE) -> float:
    """w of the module's table; u and v closer than `tie` are tied.

    ValueError where u or v is no finite number, or `tie` is negative: a judge always decides.
    """
    if not (isfinite(u) and isfinite(v)):
        raise ValueError(f"a judge gave {u} and {v}: both must be finite")
    if not tie >= 0:
        raise ValueError(f"tie must be at least 0, not {tie}")
    if abs(u - v) <= tie:
        return 0.5
    return 1.0 if u > v else 0.0

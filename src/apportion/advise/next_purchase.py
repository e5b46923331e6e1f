"""What to buy next, and what the next money is worth on either kind of data.

| symbol | meaning                                                                    | shape |
|--------|----------------------------------------------------------------------------|-------|
| have   | examples owned                                                             | 2     |
| step   | money of the next batch, at most what is left; pays its fixed costs and the |       |
|        | training on its examples, once                                             |       |
| mu_0   | drawn score of what is owned                                               | D     |
| mu_o   | drawn score after the step, for each way to spend it                        | D     |
| gain   | mu_o - mu_0, on the same draws: what the surface's level is cancels         | D     |

Three ways: all on demonstrations, all on preference units, and towards the recommended split. The
way with the highest expected score is recommended, unless no way is expected to gain `worth`, or
the whole rest of the budget is not: then stopping is.
"""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np

from apportion.advise.line import Floats
from apportion.advise.types import Kind, NextPurchase, Way
from apportion.config.budget import Prices
from apportion.prices import Amount, Cost, billed, costs_of, counts, exact
from apportion.surface.hierarchy import interval
from apportion.surface.model import Surface

PART = 0.2  # of the budget, where no step is said
WORTH = 0.005  # half a point: a batch that gains less is not worth buying


def _towards(
    have: tuple[int, int], target: tuple[int, int], costs: tuple[Cost, Cost], step: Fraction
) -> tuple[int, int]:
    """Counts for `step` money in the proportion that is still lacking."""
    sft, preference = costs
    lacking = [max(t - h, 0) for t, h in zip(target, have, strict=True)]
    fixed = sum((c.fixed for c, n in zip(costs, lacking, strict=True) if n), Fraction(0))
    rest = sft.of(lacking[0]) + preference.of(lacking[1]) - fixed
    part = min(max(step - fixed, Fraction(0)) / rest, Fraction(1)) if rest else Fraction(0)
    n_sft = min(floor(part * lacking[0]), sft.buys(step))
    return n_sft, min(lacking[1], preference.buys(step - sft.of(n_sft)))


def _way(kind: Kind, bought: tuple[int, int], gain: Floats) -> Way:
    return Way(kind, bought[0], bought[1], float(gain.mean()), interval(gain))


def next_purchase(
    surface: Surface,
    amount: Amount,
    prices: Prices,
    have: tuple[int, int],
    target: tuple[int, int],
    *,
    step: float | None = None,
    worth: float = WORTH,
    seed: int = 0,
) -> NextPurchase | None:
    """The next batch out of a budget; None where not one example can be bought.

    `amount`: what is left when training on what is owned is paid. `prices` are definite;
    `target`: the counts to end with, what is owned included.
    """
    examples = amount.unit == "examples"
    wanted = PART * amount.value if step is None else step
    money = min(float(round(wanted)) if examples else wanted, amount.value)
    paid = billed(prices, amount.unit)
    ways: dict[Kind, tuple[int, int]] = {
        "demonstrations": counts(1.0, money, paid),
        "preference units": counts(0.0, money, paid),
        "towards the split": _towards(have, target, costs_of(paid), exact(money)),
    }
    ways = {kind: bought for kind, bought in ways.items() if sum(bought)}
    if not ways:
        return None
    ends = [(have[0] + a, have[1] + b) for a, b in ways.values()]
    points = np.array([have, target, *ends], dtype=float)
    mu = surface.draws(points[:, 0], points[:, 1], seed=seed)
    gains = mu[:, 1:] - mu[:, :1]
    found = [_way(kind, bought, gains[:, k + 1]) for k, (kind, bought) in enumerate(ways.items())]
    best = max(found, key=lambda way: way.gain)
    whole = float(gains[:, 0].mean())
    return NextPurchase(
        step=money,
        unit=amount.unit,
        n_sft=best.n_sft,
        n_pref=best.n_pref,
        kind=best.kind,
        gain=best.gain,
        gain_interval=best.gain_interval,
        ways=tuple(found),
        gain_of_all=whole,
        worth=worth,
        stop=bool(best.gain < worth and whole < worth),
    )

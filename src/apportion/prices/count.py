"""Money to examples and back, exactly: budgets, prices and shares as the user wrote them.

| symbol | meaning |
|---|---|
| B | a budget: money, or a number of examples |
| s | the SFT share of the budget, 0 to 1 |
| n_sft, n_pref | usable examples bought |
| C_sft, C_pref | what they cost, fixed costs, rejects, training: `apportion.config.cost` |

Numbers are taken at their written value (0.1 is a tenth) and reckoned as fractions, so nothing is
over- or underspent by a rounding error.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from typing import Literal

from apportion.config.cost import Cost, exact
from apportion.config.price import PriceRange, Prices, Terms, cost_of, price_of
from apportion.config.study import Study
from apportion.prices.compute import billed, training_of

Line = tuple[float, float]  # (budget level, share)


def costs_of(prices: Prices | None) -> tuple[Cost, Cost]:
    """The costs of demonstrations and of preference units at definite prices (else ValueError).

    None: a budget of examples, where either costs one. ValueError also where compute has a price
    and no seconds per example.
    """
    if prices is None:
        return Cost(Fraction(1)), Cost(Fraction(1))
    sft, preference = training_of(prices)
    return cost_of(prices.sft, sft), cost_of(prices.preference, preference)


def counts(share: float, budget: float, prices: Prices | None = None) -> tuple[int, int]:
    """(n_sft, n_pref) usable examples that a share of a budget buys.

    Without prices the budget is a number of examples: n_sft is s·B rounded to the nearest (half to
    even), and n_sft + n_pref = B. With prices (definite ones, else ValueError) it is money: as many
    demonstrations as s·B pays, their fixed cost included, and as many preference units as the rest
    pays (none at a share of 1). So nothing is overspent, one more of either is not to be had for
    its money, a kind that is not bought costs nothing, and n_sft grows with B; n_pref falls where
    one more demonstration becomes affordable.
    """
    if not 0 <= share <= 1 or budget < 0:
        raise ValueError(f"share {share} or budget {budget} is out of range")
    part, total = exact(share), exact(budget)
    if prices is None:
        if total.denominator != 1:
            raise ValueError(f"a budget of {budget} examples is not whole")
        n_sft = round(part * total)
        return n_sft, int(total) - n_sft
    sft, preference = costs_of(prices)
    n_sft = sft.buys(part * total)
    return n_sft, 0 if part == 1 else preference.buys(total - sft.of(n_sft))


def spend(n_sft: int, n_pref: int, prices: Prices) -> float:
    """The money that usable examples cost at definite prices (ValueError for ranges)."""
    return float(exact_spend(n_sft, n_pref, prices))


def exact_spend(n_sft: int, n_pref: int, prices: Prices) -> Fraction:
    """As `spend`, without the rounding to a float."""
    sft, preference = costs_of(prices)
    return sft.of(n_sft) + preference.of(n_pref)


def orders(n_sft: int, n_pref: int, prices: Prices | None) -> tuple[int, int]:
    """How many examples to order so that as many as these are expected to be usable."""
    sft, preference = costs_of(prices)
    return sft.bought(n_sft), preference.bought(n_pref)


def effective(prices: Prices) -> tuple[float, float]:
    """Money per usable demonstration and preference unit with its training, without fixed costs."""
    sft, preference = costs_of(prices)
    return float(sft.each), float(preference.each)


def points(study: Study) -> dict[tuple[int, int], tuple[Line, ...]]:
    """The study's (n_sft, n_pref), sorted, each with the lines it lies on.

    A point on no line is a lattice's, or the base model's (0, 0), which is always there.
    """
    found: dict[tuple[int, int], list[Line]] = {(0, 0): []}
    if study.lattice is not None:
        for n_sft in study.lattice.n_sft:
            for n_pref in study.lattice.n_pref:
                found.setdefault((n_sft, n_pref), [])
    elif study.budget is not None:
        prices = billed(study.prices, study.budget.unit)
        for level in study.budget.levels:
            for share in study.shares or ():
                found.setdefault(counts(share, level, prices), []).append((level, share))
    return {point: tuple(found[point]) for point in sorted(found)}


def is_definite(prices: Prices) -> bool:
    """Whether all prices are numbers."""
    hour = prices.gpu_hour
    every = (price_of(prices.sft), price_of(prices.preference), hour.price if hour else 0.0)
    return not any(isinstance(price, PriceRange) for price in every)


def mid(prices: Prices) -> Prices:
    """Definite prices: the middle of each range."""
    return _at(prices, *(sum(ends) / 2 for ends in _all_ends(prices)))


def corners(prices: Prices) -> tuple[Prices, ...]:
    """Every combination of the ends of the ranges: 1, 2, 4 or 8 definite prices."""
    ends = (dict.fromkeys(ends) for ends in _all_ends(prices))
    return tuple(_at(prices, *corner) for corner in product(*ends))


def end(prices: Prices, which: Literal["low", "high"]) -> Prices:
    """Definite prices: the same end of each range."""
    place = 0 if which == "low" else -1
    return _at(prices, *(ends[place] for ends in _all_ends(prices)))


def _all_ends(prices: Prices) -> tuple[tuple[float, float], ...]:
    """Of demonstrations, preference units and GPU-hours."""
    hour = prices.gpu_hour
    return tuple(_ends(p) for p in (prices.sft, prices.preference, hour.price if hour else 0.0))


def _ends(price: float | PriceRange | Terms) -> tuple[float, float]:
    bare = price_of(price)
    return (bare.low, bare.high) if isinstance(bare, PriceRange) else (bare, bare)


def _at(prices: Prices, sft: float, preference: float, hour: float) -> Prices:
    """The same terms at definite prices of an annotation and of a GPU-hour."""
    old = prices.gpu_hour
    return prices.model_copy(
        update={
            "sft": _priced(prices.sft, sft),
            "preference": _priced(prices.preference, preference),
            "gpu_hour": None if old is None else old.model_copy(update={"price": hour}),
        }
    )


def _priced(old: float | PriceRange | Terms, new: float) -> float | Terms:
    return old.model_copy(update={"price": new}) if isinstance(old, Terms) else new

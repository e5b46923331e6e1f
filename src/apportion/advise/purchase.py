"""What a sum of money buys first: whole counts, at the high end of the prices."""

from __future__ import annotations

from typing import Literal

from apportion.advise.plan_types import Purchase
from apportion.config.budget import PriceRange, Prices
from apportion.prices import counts, spend

PILOT_PART = 0.2  # most of the budget that the first purchase may cost
SEED_DEMONSTRATIONS = 100  # below this, preference data did not pay in the published figure


def definite(price: float | PriceRange) -> float:
    """A price that is known to be one number, as such."""
    assert not isinstance(price, PriceRange)  # noqa: S101  (only corners and middles come here)
    return price


def _extreme(prices: Prices, end: Literal["low", "high"]) -> Prices:
    def pick(price: float | PriceRange) -> float:
        return getattr(price, end) if isinstance(price, PriceRange) else price

    return Prices(sft=pick(prices.sft), preference=pick(prices.preference))


def buys(budget: float, share: float, prices: Prices, floor_sft: int = 0) -> Purchase:
    """What a sum buys at the high prices, with at least `floor_sft` demonstrations if it can."""
    high = _extreme(prices, "high")
    needed = min(1.0, floor_sft * definite(high.sft) / budget * (1 + 1e-12))  # floors are exact
    n_sft, n_pref = counts(max(share, needed), budget, high)
    low = _extreme(prices, "low")
    return Purchase(n_sft, n_pref, (spend(n_sft, n_pref, low), spend(n_sft, n_pref, high)))


def first_purchase(
    budget: float, share: float, prices: Prices, have_sft: int, whole: Purchase
) -> tuple[Purchase, str]:
    """The pilot, and the sentence that explains it."""
    seed = max(0, SEED_DEMONSTRATIONS - have_sft)
    pilot = buys(PILOT_PART * budget, share, prices, floor_sft=seed)
    if pilot.n_sft + pilot.n_pref == 0:
        return whole, "the budget is too small for a pilot: buy the whole split at once"
    note = f"the first purchase is a pilot of at most {100 * PILOT_PART:g} % of the budget"
    if PILOT_PART * budget * share < seed * definite(_extreme(prices, "high").sft):
        note += (
            f"; it leans to demonstrations, because preference data did not pay before about "
            f"{SEED_DEMONSTRATIONS} of them (cold start)"
        )
    return pilot, note

"""What a sum of money buys first: whole counts, at the high end of the prices."""

from __future__ import annotations

from apportion.advise.plan_types import Purchase
from apportion.config.budget import Prices
from apportion.prices import counts, end, orders, spend

PILOT_PART = 0.2  # most of the budget that the first purchase may cost
SEED_DEMONSTRATIONS = 100  # below this, preference data did not pay in the published figure


def buys(budget: float, share: float, prices: Prices, floor_sft: int = 0) -> Purchase:
    """What a sum buys at the high prices, with at least `floor_sft` demonstrations if it can."""
    low, high = end(prices, "low"), end(prices, "high")
    # The share is rounded up: a float below the exact one would buy one demonstration less.
    needed = min(1.0, spend(floor_sft, 0, high) / budget * (1 + 1e-12))
    n_sft, n_pref = counts(max(share, needed), budget, high)
    return Purchase(
        n_sft,
        n_pref,
        (spend(n_sft, n_pref, low), spend(n_sft, n_pref, high)),
        orders(n_sft, n_pref, high),
    )


def first_purchase(
    budget: float, share: float, prices: Prices, have_sft: int, whole: Purchase
) -> tuple[Purchase, str]:
    """The pilot, and the sentence that explains it."""
    seed = max(0, SEED_DEMONSTRATIONS - have_sft)
    pilot = buys(PILOT_PART * budget, share, prices, floor_sft=seed)
    if pilot.n_sft + pilot.n_pref == 0:
        return whole, "the budget is too small for a pilot: buy the whole split at once"
    note = f"the first purchase is a pilot of at most {100 * PILOT_PART:g} % of the budget"
    if PILOT_PART * budget * share < spend(seed, 0, end(prices, "high")):
        note += (
            f"; it leans to demonstrations, because preference data did not pay before about "
            f"{SEED_DEMONSTRATIONS} of them (cold start)"
        )
    return pilot, note

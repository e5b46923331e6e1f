"""Advice as a plain paragraph to paste."""

from __future__ import annotations

from apportion.advise.phrases import and_list, number, percent, points, ranges
from apportion.advise.types import Advice, Compute

SANDBOX = "Measured on a generated sandbox; says nothing about real models."


def _score(value: float) -> str:
    return f"{100 * value:.1f}"


def _shares(shares: tuple[float, ...], advice: Advice) -> str:
    return and_list(ranges(list(shares), [row.share for row in advice.shares]))


def _evidence(advice: Advice) -> str:
    runs = "one replicate" if advice.replicates == 1 else f"{advice.replicates} replicates"
    items = "an unknown number of" if advice.n_items is None else f"{advice.n_items:,}"
    return f"{runs} per cell and {items} test items"


def _safe(advice: Advice) -> str:
    sure = percent(1 - advice.delta)
    if not advice.safe_shares:
        return (
            f"No share is within {points(advice.epsilon)} of the best with {sure} probability "
            f"(ε = {advice.epsilon:g}, δ = {advice.delta:g}): more replicates or items are needed."
        )
    safe = _shares(advice.safe_shares, advice)
    return (
        f"Within {points(advice.epsilon)} of the best with {sure} probability "
        f"(ε = {advice.epsilon:g}, δ = {advice.delta:g}): {safe} on SFT."
    )


def _against_rules(advice: Advice) -> str:
    parts = []
    for rule in advice.baselines:
        if rule.verdict is None or rule.verdict == "the same share" or rule.difference is None:
            continue
        low, high = (100 * end for end in rule.difference.interval)
        name = rule.name + (" (not measured)" if rule.interpolated else "")
        told = "cannot be told apart" if rule.verdict == "cannot be told apart" else "beaten"
        mean = 100 * rule.difference.mean
        parts.append(f"“{name}”: {told} ({mean:+.1f} points, {low:+.1f} to {high:+.1f})")
    return f"Against the simple rules: {'; '.join(parts)}." if parts else ""


def money(amount: float, unit: str) -> str:
    """A budget for people."""
    shown = _short(amount) if unit == "gpu_hours" else amount
    return f"{number(shown)} {UNITS[unit]}"


UNITS = {"usd": "USD", "examples": "examples", "gpu_hours": "GPU-hours"}


def _owned(advice: Advice) -> str:
    if advice.have == (0, 0):
        return ""
    return f", {advice.have[0]:,} and {advice.have[1]:,} of them owned already"


def ordered(advice: Advice) -> str:
    """What to order and what it costs, where that is not the counts times the prices; else empty.

    Only for new examples, and without the compute: what is owned is not ordered.
    """
    compute = advice.compute
    prices = advice.prices if compute is None else compute.data_prices
    cost = advice.cost if compute is None else advice.cost - compute.cost
    new = advice.n_sft - advice.have[0], advice.n_pref - advice.have[1]
    plain = new[0] * prices[0] + new[1] * prices[1]
    if new == advice.orders and abs(cost - plain) <= 1e-9 * max(plain, advice.cost, 1.0):
        return ""
    return (
        f"order {advice.orders[0]:,} demonstrations and {advice.orders[1]:,} preference units, "
        f"those that will be rejected included, for {cost:,.2f} USD with fixed costs"
    )


def computed(advice: Advice) -> str:
    """What part of the budget is compute, and from which seconds per example; empty without any."""
    compute = advice.compute
    if compute is None:
        return ""
    sft, preference = compute.seconds
    where = f"measured on your runs: {compute.evidence}" if compute.evidence else "as you gave them"
    owned = f", {money(_short(compute.owned_cost), advice.unit)} of it on what is owned"
    return (
        f"compute takes {percent(_short(compute.part, 3))} of the budget: {_hours(compute)} of "
        f"training{owned if compute.owned_cost else ''}, at {sft:g} s per demonstration and "
        f"{preference:g} s per preference unit ({where})"
    )


def _hours(compute: Compute) -> str:
    hours = f"{_short(compute.hours):,g} GPU-hours"
    if compute.price is None:
        return hours
    return f"{hours} for {compute.cost:,.2f} USD"


def _short(value: float, digits: int = 4) -> float:
    """A number with so many significant digits."""
    return float(f"{value:.{digits}g}")


def gains(advice: Advice) -> str:
    """What the next money is worth on either kind, as a phrase; empty where nothing can be bought.

    The half-width of the 90 % interval stands behind ±.
    """
    following = advice.next_purchase
    if following is None:
        return ""
    parts = []
    for way in following.ways:
        low, high = way.gain_interval
        parts.append(f"{way.kind} {100 * way.gain:+.1f} ± {50 * (high - low):.1f} points")
    return (
        f"the next {money(following.step, following.unit)}: {', '.join(parts)}; "
        f"stop below {100 * following.worth:.1f}"
    )


def _ordered(advice: Advice) -> str:
    words = ordered(advice)
    return f"; {words}" if words else ""


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}." if words else ""


def _next(advice: Advice) -> str:
    following = advice.next_purchase
    if following is None:
        return ""
    if following.stop:
        return f"Stop buying: neither a batch nor the whole budget pays ({gains(advice)})."
    return (
        f"Buy next: {following.n_sft:,} demonstrations and {following.n_pref:,} preference units "
        f"({gains(advice)})."
    )


def describe(advice: Advice) -> str:
    """One paragraph of plain English: the split, how sure, what it rests on."""
    low, high = advice.score_interval
    certainty = (
        "This is well supported." if advice.confident else "This is a leaning, not a finding."
    )
    origin = {
        "measured": "",
        "interpolated": " (interpolated between measured cells)",
        "extrapolated": " (extrapolated beyond the measured cells)",
    }[advice.origin]
    sentences = [
        f"For {advice.model} on {advice.task} with {advice.method.upper()} and a budget of "
        f"{money(advice.budget, advice.unit)}{origin}: spend {percent(advice.share)} on SFT, "
        f"which makes {advice.n_sft:,} demonstrations and {advice.n_pref:,} preference units"
        f"{_owned(advice)}{_ordered(advice)}.",
        f"Expected score {_score(advice.expected_score)} points "
        f"of 100 (90 % interval {_score(low)} to {_score(high)}), expected regret "
        f"{points(advice.expected_regret)}.",
        _sentence(computed(advice)),
        certainty,
        _safe(advice),
        f"The best share is among {_shares(advice.best_share_region, advice)} with "
        f"{percent(1 - advice.delta)} probability.",
        _against_rules(advice),
        _next(advice),
        f"Rests on {_evidence(advice)}.",
    ]
    if advice.reasons:
        sentences.append(f"Mind: {'; '.join(advice.reasons)}.")
    if advice.sandbox:
        sentences.append(SANDBOX)
    return " ".join(sentence for sentence in sentences if sentence)

"""Advice as a plain paragraph to paste."""

from __future__ import annotations

from apportion.advise.shares import and_list, percent, points
from apportion.advise.types import Advice

SANDBOX = "Measured on a generated sandbox; says nothing about real models."


def _score(value: float) -> str:
    return f"{100 * value:.1f}"


def _shares(shares: tuple[float, ...]) -> str:
    return and_list([percent(share) for share in shares])


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
    return (
        f"Within {points(advice.epsilon)} of the best with {sure} probability "
        f"(ε = {advice.epsilon:g}, δ = {advice.delta:g}): {_shares(advice.safe_shares)} on SFT."
    )


def _against_rules(advice: Advice) -> str:
    parts = []
    for rule in advice.baselines:
        if rule.verdict is None or rule.verdict == "the same share" or rule.difference is None:
            continue
        low, high = (100 * end for end in rule.difference.interval)
        name = rule.name + (" (interpolated)" if rule.interpolated else "")
        told = "cannot be told apart" if rule.verdict == "cannot be told apart" else "beaten"
        mean = 100 * rule.difference.mean
        parts.append(f"“{name}”: {told} ({mean:+.1f} points, {low:+.1f} to {high:+.1f})")
    return f"Against the simple rules: {'; '.join(parts)}." if parts else ""


def describe(advice: Advice) -> str:
    """One paragraph of plain English: the split, how sure, what it rests on."""
    low, high = advice.score_interval
    certainty = (
        "This is well supported." if advice.confident else "This is a leaning, not a finding."
    )
    origin = {
        "measured": "",
        "interpolated": " (interpolated, not measured at this budget)",
        "extrapolated": " (extrapolated beyond the measured budgets)",
    }[advice.origin]
    sentences = [
        f"For {advice.model} on {advice.task} with {advice.method.upper()} and a budget of "
        f"{advice.budget:,.10g}{origin}: spend {percent(advice.share)} on SFT, which buys "
        f"{advice.n_sft:,} demonstrations and {advice.n_pref:,} preference units.",
        f"Expected score {_score(advice.expected_score)} points "
        f"of 100 (90 % interval {_score(low)} to {_score(high)}), expected regret "
        f"{points(advice.expected_regret)}.",
        certainty,
        _safe(advice),
        f"The best share is among {_shares(advice.best_share_region)} with "
        f"{percent(1 - advice.delta)} probability.",
        _against_rules(advice),
        f"Rests on {_evidence(advice)}.",
    ]
    if advice.reasons:
        sentences.append(f"Mind: {'; '.join(advice.reasons)}.")
    if advice.sandbox:
        sentences.append(SANDBOX)
    return " ".join(sentence for sentence in sentences if sentence)

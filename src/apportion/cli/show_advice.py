"""Advice, as a person reads it in a terminal: the split first, then how sure, then the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from apportion.advise.phrases import percent, ranges
from apportion.advise.words import SANDBOX, UNITS, computed, describe, gains, money, ordered
from apportion.cli.common import console, points

if TYPE_CHECKING:
    from rich.table import Table

    from apportion.advise.plan_types import FirstPlan, Purchase
    from apportion.advise.study import StudyAdvice
    from apportion.advise.types import Advice, Baseline


def show_study_advice(answer: StudyAdvice, *, brief: bool = False) -> None:
    """Every budget's split; `brief` leaves the tables and paragraphs out."""
    out = console()
    for advice in answer.advice:
        _headline(advice)
        if not brief:
            out.print(_share_table(advice))
            out.print(_rule_table(advice))
            if any(rule.interpolated for rule in advice.baselines):
                out.print("* not measured: on the fitted surface")
            if advice.price_table:
                out.print(_prices_table(advice))
            out.print(describe(advice), markup=False)
            out.print()
    for reason in answer.refused:
        out.print(f"No advice for {reason}", markup=False)
    if brief and any(advice.sandbox for advice in answer.advice):
        out.print(SANDBOX, markup=False)


def _span(interval: tuple[float, float]) -> str:
    return f"{points(interval[0])} to {points(interval[1])}"


def _headline(advice: Advice) -> None:
    """The answer in two lines."""
    place = f"{advice.model} · {advice.task} · {advice.method}"
    runs = "1 replicate" if advice.replicates == 1 else f"{advice.replicates} replicates"
    grid = tuple(row.share for row in advice.shares)
    safe = _ranges(advice.safe_shares, grid)
    mark = "" if advice.origin == "measured" else f" ({advice.origin})"
    out = console()
    out.print(
        f"Budget {money(advice.budget, advice.unit)}{mark}, {place}: {percent(advice.share)} "
        "on SFT = "
        f"{advice.n_sft:,} demonstrations + {advice.n_pref:,} preference units",
        style="bold",
        markup=False,
    )
    sure = "confident" if advice.confident else "a leaning, not a finding"
    tied = tuple(
        row.share
        for row in advice.shares
        if row.share != advice.share and row.difference.p_better < 1 - advice.delta
    )
    others = "any other share" if len(tied) == len(grid) - 1 else _ranges(tied, grid)
    close = f"; cannot be told apart from {others}" if tied else ""
    out.print(
        f"  score {points(advice.expected_score)} ({_span(advice.score_interval)}), "
        f"regret {points(advice.expected_regret)}; {sure}{close}; "
        f"safe within {points(advice.epsilon)}: {safe}; {runs}, {advice.n_items} items",
        markup=False,
    )
    for words in (ordered(advice), computed(advice)):
        if words:
            out.print(f"  {words[0].upper()}{words[1:]}", markup=False)
    following = advice.next_purchase
    if following is not None:
        todo = (
            "Stop buying"
            if following.stop
            else f"Buy next: {following.n_sft:,} + {following.n_pref:,}"
        )
        out.print(f"  {todo}; {gains(advice)}", markup=False)


def _table(*headings: str) -> Table:
    """Columns of numbers behind one of words; where they are too wide, words wrap and numbers stay.

    A heading that is empty stands over words too.
    """
    from rich import box
    from rich.table import Table

    table = Table(pad_edge=False, box=box.SIMPLE_HEAD, collapse_padding=True)
    for number, heading in enumerate(headings):
        words = number == 0 or not heading
        side: Literal["left", "right"] = "left" if number == 0 else "right"
        table.add_column(heading, justify=side, no_wrap=not words, overflow="fold")
    return table


def _share_table(advice: Advice) -> Table:
    headings = ("SFT share", "SFT", "pref.", "score", "90 %", "P(best)", "regret")
    table = _table(*headings)
    measured = any(row.measured for row in advice.shares)
    for row in advice.shares:
        best = row.share == advice.share
        if not (best or row.share in _ROUND or (row.measured and row.n_sft + row.n_pref)):
            continue
        table.add_row(
            percent(row.share)
            + ("*" if measured and not row.measured else "")
            + (" ←" if best else ""),
            f"{row.n_sft:,}",
            f"{row.n_pref:,}",
            points(row.expected_score),
            _span(row.score_interval),
            f"{row.p_best:.2f}",
            points(row.expected_regret),
            style="bold" if best else None,
        )
    return table


_ROUND = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
_RULES = {
    "best share at the largest measured budget": "best at the largest budget",
    "middle of the shares within 10 % of the best there": "middle of the near-best",
}
_VERDICTS = {
    "the recommended share is better": "beaten",
    "cannot be told apart": "not told apart",
    "the same share": "the same",
}


def _rule_table(advice: Advice) -> Table:
    table = _table("simple rule", "share", "score", "advice gains", "90 %", "")
    for rule in advice.baselines:
        table.add_row(*_rule(rule))
    return table


def _rule(rule: Baseline) -> list[str]:
    name = _RULES.get(rule.name, rule.name)
    if rule.share is None or rule.difference is None:
        return [name, "–", "–", "–", "–", rule.reason or ""]
    same = rule.verdict == "the same share"
    return [
        name + ("*" if rule.interpolated else ""),
        percent(rule.share),
        points(rule.expected_score),
        "–" if same else points(rule.difference.mean),
        "–" if same else _span(rule.difference.interval),
        _VERDICTS.get(rule.verdict or "", rule.verdict or ""),
    ]


def _prices_table(advice: Advice) -> Table:
    table = _table("demonstration costs", "unit costs", "best share there", "regret of the advice")
    for row in advice.price_table:
        regret = points(row.regret_of_recommended)
        table.add_row(f"{row.sft:g}", f"{row.preference:g}", percent(row.share), regret)
    return table


def show_plan(plan: FirstPlan) -> None:
    """What to buy first, the split it aims at, how unsure, and what it rests on."""
    out = console()
    first, whole = plan.first, plan.whole
    out.print(
        f"Buy first: {first.n_sft:,} demonstrations and {first.n_pref:,} preference units "
        f"({_money(first.cost, plan.unit)}{_orders(first)}).",
        style="bold",
        markup=False,
    )
    out.print(
        f"Then aim at {percent(plan.share)} of the budget on SFT: {whole.n_sft:,} demonstrations "
        f"and {whole.n_pref:,} preference units in all "
        f"({_money(whole.cost, plan.unit)}{_orders(whole)})"
        f"{_owned(plan)}.",
        markup=False,
    )
    safe = _ranges(plan.safe_shares, tuple(row.share for row in plan.shares))
    out.print(
        f"How sure: published runs put the best share anywhere in "
        f"{_ranges(plan.best_share_region, tuple(row.share for row in plan.shares))} "
        f"(90 %); safe within {points(plan.epsilon)} point: {safe}. Expected score "
        f"{points(plan.expected_score)} ({_span(plan.score_interval)}), regret "
        f"{points(plan.expected_regret)}, with 90 % below {points(plan.q90_regret)}.",
        markup=False,
    )
    table = _table("simple rule", "share", "score", "plan gains", "90 %")
    for rule in plan.baselines:
        span = _span(rule.difference.interval)
        difference = points(rule.difference.mean)
        table.add_row(rule.name, percent(rule.share), points(rule.expected_score), difference, span)
    out.print(table)
    if len(plan.price_table) > 1:
        out.print(_price_table(plan))
    out.print(f"Rests on {plan.evidence}.", markup=False)
    for reason in plan.reasons:
        out.print(f"· {reason}", markup=False)


def _price_table(plan: FirstPlan) -> Table:
    table = _table("demonstration costs", "unit costs", "best share there", "regret of the plan")
    for point in plan.price_table:
        regret = points(point.regret_of_recommended)
        table.add_row(f"{point.sft:g}", f"{point.preference:g}", percent(point.share), regret)
    return table


def _money(cost: tuple[float, float], unit: str) -> str:
    low, high = cost
    name = UNITS[unit]
    digits = 0 if unit == "examples" else 2
    if low == high:
        return f"{low:,.{digits}f} {name}"
    return f"{low:,.{digits}f} to {high:,.{digits}f} {name}"


def _orders(purchase: Purchase) -> str:
    """What to order where some of it will be rejected."""
    sft, pref = purchase.orders
    if (sft, pref) == (purchase.n_sft, purchase.n_pref):
        return ""
    return f"; order {sft:,} and {pref:,}, some will be rejected"


def _owned(plan: FirstPlan) -> str:
    if not plan.have_sft and not plan.have_pref:
        return ""
    return (
        f", beside the {plan.have_sft:,} demonstrations and {plan.have_pref:,} preference units "
        "already owned"
    )


def _ranges(shares: tuple[float, ...], grid: tuple[float, ...]) -> str:
    """Shares as runs of neighbours on the grid; `none` where empty."""
    return ", ".join(ranges(list(shares), list(grid))) or "none"

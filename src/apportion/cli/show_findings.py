"""Findings, as a person reads them in a terminal: each statement, its verdict, every place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apportion.cli.common import console

if TYPE_CHECKING:
    from apportion.findings.study import Findings
    from apportion.findings.types import Finding, Place

SEPARATOR = " · "
_COLOURS = {"holds": "green", "does not hold": "red", "cannot tell": "yellow"}


def show_findings(found: Findings) -> None:
    """Every statement with its places; intervals hold 90 %."""
    common = _common([place.name for one in found.findings for place in one.places])
    out = console()
    if common:
        out.print(" · ".join(sorted(common)) + "\n", markup=False)
    for finding in found.findings:
        _show(finding, common)
    for note in found.notes:
        out.print(f"· {note}", markup=False)
    out.print("Intervals hold 90 %. What each statement means: docs/findings.md.", style="dim")


def _common(names: list[str]) -> set[str]:
    """The parts that all names share, such as the only model: said once, on top."""
    parts = [set(name.split(SEPARATOR)) for name in names]
    return set.intersection(*parts) if parts else set()


def _show(finding: Finding, common: set[str]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = console()
    head = Text(f"({finding.letter}) {finding.statement}: ", style="bold")
    out.print(head.append(finding.verdict, style=_COLOURS.get(finding.verdict, "dim")))
    out.print(f"  {finding.reason}", markup=False)
    measured = [place for place in finding.places if place.estimate is not None]
    for quantity in dict.fromkeys(_plain(place.quantity) for place in measured):
        shown = [place for place in measured if _plain(place.quantity) == quantity]
        out.print(f"  {quantity}, {_UNITS[shown[0].unit]}:", markup=False)
        table = Table(pad_edge=False, box=box.SIMPLE_HEAD, collapse_padding=True)
        budgets = any(place.budget is not None for place in shown)
        last = _DETAILS.get(finding.letter, "")
        for heading in ("", *["budget"][:budgets], "estimate", "90 %", "", last):
            words = heading in ("", last)
            table.add_column(heading, justify="left" if words else "right", no_wrap=heading != last)
        for place in shown:
            row = _cells(place, common, budgets)
            table.add_row(*row, style="italic" if place.summary else None)
        out.print(table)
    for note in dict.fromkeys(place.note for place in finding.places if place.note):
        if note not in finding.reason:
            out.print(f"  {note}", markup=False)
    out.print()


_DETAILS = {
    "c": "best %, by budget",
    "d": "a little",
    "g": "best % at 1/10, 1/5, 1/2, 1, 2, 5, 10",
}
_UNITS = {
    "points": "points",
    "share": "% of the budget",
    "share per tenfold": "% of the budget per tenfold",
}


def _plain(quantity: str) -> str:
    """Without what sets apart rows of one table."""
    return quantity.partition(" (")[0]


def _number(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def _cells(place: Place, common: set[str], budgets: bool) -> list[str]:
    assert place.estimate is not None and place.interval is not None  # noqa: S101  (filtered)
    name = SEPARATOR.join(part for part in place.name.split(SEPARATOR) if part not in common)
    budget = ["–" if place.budget is None else f"{place.budget:,g}"] if budgets else []
    span = f"{_number(place.interval[0])} to {_number(place.interval[1])}"
    return [name, *budget, _number(place.estimate), span, place.verdict, _detail(place)]


def _detail(place: Place) -> str:
    """What else a reader wants to see at once."""
    numbers = place.numbers
    if isinstance(share := numbers.get("best_share"), float):
        return f"at {100 * share:.3g} % SFT"
    if isinstance(count := numbers.get("examples"), float):
        return f"{count:,.0f} examples"
    if isinstance(share := numbers.get("little_share"), float):
        scoring = place.quantity.partition("(")[2].rstrip(")")
        return f"{100 * share:.3g} %" + (f", {scoring}" if scoring else "")
    if isinstance(first := numbers.get("first"), float):
        return f"{100 * first:.3g} and {100 * float(numbers['second'] or 0):.3g} %"
    if isinstance(largest := numbers.get("largest"), float):
        return f"largest {_number(largest)} at {numbers['largest_at']}"
    bests = [v for k, v in numbers.items() if k.startswith(("best_share_at_", "best_at_"))]
    return ", ".join(f"{100 * v:.3g}" for v in bests if isinstance(v, float))

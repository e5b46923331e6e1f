"""Money to examples and back, exactly: budgets, prices and shares as the user wrote them.

| symbol | meaning |
|---|---|
| B | a budget: money, or a number of examples |
| s | the SFT share of the budget, 0 to 1 |
| p_sft, p_pref | money per demonstration, per preference unit |
| n_sft, n_pref | examples bought |

Numbers are taken at their written value (0.1 is a tenth) and reckoned as fractions, so nothing is
over- or underspent by a rounding error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Literal

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from apportion.config.budget import Price, PriceRange, Prices, as_price
from apportion.config.study import Study
from apportion.config.values import MAX_EXAMPLES, show
from apportion.errors import StudyError

Line = tuple[float, float]  # (budget level, share)


@dataclass(frozen=True)
class Amount:
    """A total to spend, and in what."""

    value: float
    unit: Literal["examples", "usd"]


def exact(number: float | int | Fraction) -> Fraction:
    """A number at its written value: 0.1 → 1/10."""
    return Fraction(repr(number)) if isinstance(number, float) else Fraction(number)


def counts(share: float, budget: float, prices: Prices | None = None) -> tuple[int, int]:
    """(n_sft, n_pref) that a share of a budget buys.

    Without prices the budget is a number of examples: n_sft is s·B rounded to the nearest (half to
    even), and n_sft + n_pref = B. With prices (definite ones, else ValueError) it is money:
    n_sft = floor(s·B / p_sft), and the rest buys preference units, floored too. So less than p_pref
    is left over (less than p_sft at a share of 1, which buys no preference units), nothing is
    overspent and n_sft grows with B; n_pref falls where one more demonstration becomes affordable.
    """
    if not 0 <= share <= 1 or budget < 0:
        raise ValueError(f"share {share} or budget {budget} is out of range")
    part, total = exact(share), exact(budget)
    if prices is None:
        if total.denominator != 1:
            raise ValueError(f"a budget of {budget} examples is not whole")
        n_sft = round(part * total)
        return n_sft, int(total) - n_sft
    p_sft, p_pref = exact(_definite(prices.sft)), exact(_definite(prices.preference))
    n_sft = floor(part * total / p_sft)
    return n_sft, 0 if part == 1 else floor((total - n_sft * p_sft) / p_pref)


def spend(n_sft: int, n_pref: int, prices: Prices) -> float:
    """The money that examples cost at definite prices (ValueError for ranges)."""
    return float(exact_spend(n_sft, n_pref, prices))


def exact_spend(n_sft: int, n_pref: int, prices: Prices) -> Fraction:
    """As `spend`, without the rounding to a float."""
    p_sft, p_pref = exact(_definite(prices.sft)), exact(_definite(prices.preference))
    return n_sft * p_sft + n_pref * p_pref


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
        prices = study.prices if study.budget.unit == "usd" else None
        for level in study.budget.levels:
            for share in study.shares or ():
                found.setdefault(counts(share, level, prices), []).append((level, share))
    return {point: tuple(found[point]) for point in sorted(found)}


def is_definite(prices: Prices) -> bool:
    """Whether both prices are numbers."""
    return not any(isinstance(p, PriceRange) for p in (prices.sft, prices.preference))


def mid(prices: Prices) -> Prices:
    """Definite prices: the middle of each range."""
    return Prices(sft=sum(_ends(prices.sft)) / 2, preference=sum(_ends(prices.preference)) / 2)


def corners(prices: Prices) -> tuple[Prices, ...]:
    """Every combination of the ends of the ranges: 1, 2 or 4 definite prices."""
    return tuple(
        Prices(sft=sft, preference=preference)
        for sft in dict.fromkeys(_ends(prices.sft))
        for preference in dict.fromkeys(_ends(prices.preference))
    )


def _ends(price: Price) -> tuple[float, float]:
    return (price.low, price.high) if isinstance(price, PriceRange) else (price, price)


def _definite(price: Price) -> float:
    if isinstance(price, PriceRange):
        raise ValueError("a definite price is wanted, not a range; see mid and corners")
    return price


def parse_price(text: str, *, field: str = "price") -> float | PriceRange:
    """`2.50`, or a range `0.40..0.90`. StudyError for anything else."""
    try:
        return as_price(text)
    except (PydanticCustomError, ValidationError) as error:
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            context = first.get("ctx", {})
            problem = context.get("problem", f"{show(text)} is not a price: {first['msg']}.")
            mend = context.get("mend", "write prices above 0, such as 0.40..0.90.")
        else:
            assert error.context is not None  # noqa: S101 - `wrong` always gives one
            problem, mend = error.context["problem"], error.context["mend"]
        raise StudyError(problem, field=field, mend=mend) from None


_AMOUNT = re.compile(
    r"(?P<dollar>\$)?\s*(?P<number>(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*(?P<unit>[a-z]*)",
    re.ASCII,
)
_UNITS: dict[str, Literal["examples", "usd"]] = {
    "": "examples",
    "example": "examples",
    "examples": "examples",
    "usd": "usd",
    "dollar": "usd",
    "dollars": "usd",
}


def parse_budget(text: str, *, field: str = "budget") -> Amount:
    """`5000usd`, `$5000`, `2000` or `2000 examples`. StudyError for anything else."""
    found = _AMOUNT.fullmatch(text.strip().lower())
    unit = _UNITS.get(found["unit"]) if found else None
    if found is None or unit is None or (found["dollar"] and found["unit"] not in ("", "usd")):
        raise StudyError(
            f"{show(text)} is not a budget.",
            field=field,
            mend="write 5000usd (money) or 2000 (examples), without commas.",
        )
    value = float(found["number"])
    unit = "usd" if found["dollar"] else unit
    if not 0 < value <= 1e12:
        raise StudyError(
            f"a budget of {show(text)} is out of range.", field=field, mend="write one above 0."
        )
    if unit == "examples" and (not value.is_integer() or value > MAX_EXAMPLES):
        raise StudyError(
            f"{show(text)} is not a number of examples: they come whole, "
            f"and at most {MAX_EXAMPLES} of them.",
            field=field,
            mend="write a whole number such as 2000, or money such as 5000usd.",
        )
    return Amount(value, unit)


def parse_prices(texts: Sequence[str]) -> Prices:
    """`["sft=2.50", "preference=0.40..0.90"]` as Prices; what is not said costs 1. StudyError."""
    given = _assignments(texts, "--price", "sft=2.50")
    return Prices(**{kind: parse_price(text, field=kind) for kind, text in given.items()})


def parse_have(texts: Sequence[str]) -> tuple[int, int]:
    """`["sft=300"]` as (n_sft, n_pref); what is not said is 0. StudyError."""
    given = _assignments(texts, "--have", "sft=300")
    for kind, text in given.items():
        if not re.fullmatch(r"[0-9]{1,8}", text) or int(text) > MAX_EXAMPLES:
            raise StudyError(
                f"{show(text)} is not a number of examples.",
                field=f"--have {kind}",
                mend=f"write {kind}=300.",
            )
    return int(given.get("sft", 0)), int(given.get("preference", 0))


def _assignments(texts: Sequence[str], field: str, example: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for text in texts:
        kind, equals, value = (part.strip() for part in text.partition("="))
        if not equals or kind not in ("sft", "preference") or kind in given:
            twice = "is given twice" if kind in given else "is not understood"
            raise StudyError(
                f"{show(text)} {twice}.",
                field=field,
                mend=f"write {example} (once for sft, once for preference).",
            )
        given[kind] = value
    return given

"""Mistakes that no field of a study makes alone: what its parts say to each other.

Each check reads only the parts it needs, and a part that is itself wrong is None, so that these
mistakes are told together with those of the fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from apportion.config.budget import Budget, Lattice, PriceRange, Prices, Seeds, Shares
from apportion.config.compute import GpuHour
from apportion.config.cost import Cost
from apportion.config.evaluation import Evaluation
from apportion.config.price import cost_of, price_of
from apportion.config.values import MAX_EXAMPLES, Mistake, Positive

T = TypeVar("T")


@dataclass(frozen=True)
class Parts:
    """What was given (top-level keys with a value), and the parts that are right by themselves."""

    given: frozenset[str]
    budget: Budget | None = None
    shares: tuple[float, ...] | None = None
    lattice: Lattice | None = None
    prices: Prices | None = None
    seeds: Seeds | None = None
    replicates: int | None = None
    evaluation: Evaluation | None = None


def parts_of(raw: Mapping[str, Any]) -> Parts:
    """The parts of a study as read, which may be wrong in other places."""

    def part(key: str, kind: Any) -> Any:
        if raw.get(key) is None:
            return None
        try:
            return TypeAdapter(kind).validate_python(raw[key])
        except ValidationError:
            return None

    return Parts(
        given=frozenset(key for key, value in raw.items() if value is not None),
        budget=part("budget", Budget),
        shares=part("shares", Shares),
        lattice=part("lattice", Lattice),
        prices=part("prices", Prices),
        seeds=part("seeds", Seeds),
        replicates=part("replicates", Positive),
        evaluation=part("evaluation", Evaluation),
    )


def disagreements(parts: Parts) -> list[Mistake]:
    """Every mistake between parts, in the order of a study file."""
    return [*_where_cells_are(parts), *_money(parts), *_replicates(parts)]


def _where_cells_are(parts: Parts) -> Iterator[Mistake]:
    budget, shares, lattice = (key in parts.given for key in ("budget", "shares", "lattice"))
    if lattice and (budget or shares):
        yield Mistake(
            ("lattice",),
            "a study has either a budget with shares or a lattice, not both.",
            "remove lattice, or remove budget and shares.",
        )
    elif budget and not shares:
        yield Mistake(
            ("shares",), "the budget has no shares.", "add shares: [0, 0.1, 0.25, 0.5, 0.75, 1]."
        )
    elif shares and not budget:
        yield Mistake(
            ("budget",),
            "the shares have no budget.",
            "add budget: {unit: examples, levels: [250, 1000]}.",
        )
    elif not lattice and not budget:
        yield Mistake(
            ("budget",),
            "the study says nowhere what to measure.",
            "add budget: {unit: examples, levels: [250, 1000]} and "
            "shares: [0, 0.25, 0.5, 1], or a lattice.",
        )


def _money(parts: Parts) -> Iterator[Mistake]:
    """A budget in money or compute needs prices that say how many examples it buys."""
    if parts.budget is None or parts.budget.unit == "examples":
        return
    if parts.budget.unit == "gpu_hours":
        yield from _hours(parts, parts.budget)
        return
    if "prices" not in parts.given:
        yield Mistake(
            ("prices",),
            "a budget in usd needs prices.",
            "add prices: {sft: 2.50, preference: 0.60}, or write unit: examples.",
        )
        return
    if parts.prices is None:
        return
    compute = list(_compute(parts.prices))
    yield from compute
    hour = parts.prices.gpu_hour
    training = (Fraction(0), Fraction(0)) if compute or hour is None else hour.training()
    known: dict[str, Cost] = {}
    for place, kind in enumerate(("sft", "preference")):
        given = getattr(parts.prices, kind)
        price = price_of(given)
        if isinstance(price, PriceRange):
            yield _no_range((kind,), price)
        elif kind not in parts.prices.model_fields_set:
            yield Mistake(
                ("prices", kind),
                "a budget in usd needs this price too.",
                f"add {kind}: 1.00 (or what it costs) under prices.",
            )
        elif not compute:
            known[kind] = cost_of(given, training[place])
    if len(known) == 2:
        yield from _buys(parts.budget, list(known.values()))


def _no_range(place: tuple[str, ...], price: PriceRange) -> Mistake:
    middle = f"{(price.low + price.high) / 2:g}"
    return Mistake(
        ("prices", *place),
        "a budget in usd cannot be counted in examples at a range of prices.",
        f"write one price such as {middle}, or unit: examples (then the advice takes the range).",
    )


_SECONDS = "seconds: {sft: 0.8, preference: 1.9}"


def _compute(prices: Prices) -> Iterator[Mistake]:
    """Compute in a budget of money: its cells are chosen before anything was timed."""
    hour = prices.gpu_hour
    if hour is None or hour.free:
        return
    if isinstance(hour.price, PriceRange):
        yield _no_range(("gpu_hour",), hour.price)
    if hour.seconds is None:
        yield Mistake(
            ("prices", "gpu_hour"),
            "a budget in usd that pays compute cannot be counted in examples before training was "
            "timed.",
            f"write gpu_hour: {{price: 2, {_SECONDS}}}, or unit: examples (then the advice takes "
            "the seconds that the runs measure).",
        )


def _hours(parts: Parts, budget: Budget) -> Iterator[Mistake]:
    if parts.prices is None and "prices" in parts.given:
        return
    hour = parts.prices.gpu_hour if parts.prices is not None else None
    if hour is None or hour.seconds is None:
        yield Mistake(
            ("prices", "gpu_hour") if hour is not None else ("prices",),
            "a budget in gpu_hours needs the seconds of training that an example takes.",
            f"add gpu_hour: {{price: 2, {_SECONDS}}} under prices, or write unit: examples "
            "(then ask the advice with --budget 40gpuh).",
        )
        return
    hours = GpuHour(price=1, seconds=hour.seconds).training()
    yield from _buys(budget, [Cost(Fraction(0), training=each) for each in hours])


def _buys(budget: Budget, costs: Sequence[Cost]) -> Iterator[Mistake]:
    """Every level buys something, and not more than there can be."""
    cheapest = min(float(cost.of(1)) for cost in costs)  # the least that a first example costs
    each = min(float(cost.each) for cost in costs)  # the least of further ones
    for place, level in enumerate(budget.levels):
        if level < cheapest:
            yield Mistake(
                ("budget", "levels", place),
                f"{level:g} {budget.unit} buys nothing: the cheapest example costs {cheapest:g}.",
                f"write a level well above {cheapest:g}, or check the prices.",
                level,
            )
        elif level / each > MAX_EXAMPLES:
            yield Mistake(
                ("budget", "levels", place),
                f"{level:g} {budget.unit} buys more than {MAX_EXAMPLES} examples at {each:g} each.",
                "check the level and the prices.",
                level,
            )


def _replicates(parts: Parts) -> Iterator[Mistake]:
    seeds, replicates = parts.seeds or Seeds(), parts.replicates
    evaluation = parts.evaluation or Evaluation()
    if replicates is None or replicates == 1 or "vary" in (seeds.data, seeds.train):
        return
    if seeds.sample == "vary" and evaluation.decoding.strategy == "sample":
        return
    greedy = ", and greedy decoding draws nothing" if seeds.sample == "vary" else ""
    yield Mistake(
        ("replicates",),
        f"the {replicates} replicates would be one and the same: the seeds are fixed{greedy}.",
        "write replicates: 1, or let the data or train seed vary.",
    )

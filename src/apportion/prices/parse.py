"""Money as the command line writes it: budgets, prices, and what is owned."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from apportion.config.budget import Unit
from apportion.config.compute import GpuHour
from apportion.config.mistakes import explain
from apportion.config.price import PriceRange, Prices, Terms, free_data
from apportion.config.price_presets import PRICES
from apportion.config.price_range import as_price
from apportion.config.values import MAX_EXAMPLES, show
from apportion.errors import StudyError
from apportion.prices.compute import Amount


def parse_price(
    text: str, *, field: str = "price", free: bool = False, of: str = "example"
) -> float | PriceRange:
    """`2.50`, or a range `0.40..0.90`. StudyError for anything else, and for 0 unless `free`.

    `of`: what it buys, for the message.
    """
    try:
        return as_price(text, free=free, of=of)
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
    r"(?P<dollar>\$)?\s*(?P<number>(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*(?P<unit>[a-z_-]*)",
    re.ASCII,
)
_UNITS: dict[str, Unit] = {
    "": "examples",
    "example": "examples",
    "examples": "examples",
    "usd": "usd",
    "dollar": "usd",
    "dollars": "usd",
    "gpuh": "gpu_hours",
    "gpu_hours": "gpu_hours",
    "gpu-hours": "gpu_hours",
}


def parse_budget(text: str, *, field: str = "budget") -> Amount:
    """`5000usd`, `$5000`, `2000`, `2000 examples` or `40gpuh`. StudyError for anything else."""
    found = _AMOUNT.fullmatch(text.strip().lower())
    unit = _UNITS.get(found["unit"]) if found else None
    if found is None or unit is None or (found["dollar"] and found["unit"] not in ("", "usd")):
        raise StudyError(
            f"{show(text)} is not a budget.",
            field=field,
            mend="write 5000usd (money), 2000 (examples) or 40gpuh (GPU-hours), without commas.",
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


def parse_prices(texts: Sequence[str], over: Prices | None = None) -> Prices:
    """Prices as the command line gives them, laid over others (by default 1 for either kind).

    `sft=2.50`, `preference=0.40..0.90`, `sft=2.50,fixed=200,rejected=10%,redundancy=3`,
    `gpu_hour=2.00`, or the name of a preset, which a kind may then change. StudyError.
    """
    names = [text.strip() for text in texts if "=" not in text]
    if len(names) > 1 or any(name not in PRICES for name in names):
        twice = f"{show(names[0])} and {show(names[1])} are both given" if names[1:] else None
        raise StudyError(
            f"{twice or f'{show(names[0])} is not understood'}.",
            field="--price",
            mend=f"write sft=2.50 (once for sft, once for preference), or one of "
            f"{', '.join(PRICES)}.",
        )
    base = over or Prices()
    if names:  # a preset says what data costs, and nothing of compute
        preset = Prices.model_validate(names[0])
        base = preset.model_copy(update={"gpu_hour": base.gpu_hour})
    texts = [text for text in texts if "=" in text]
    given = _assignments(texts, "--price", "sft=2.50", (*_KINDS, "gpu_hour"))
    read = {"gpu_hour": _parse_gpu_hour}
    made = base.model_copy(
        update={kind: read.get(kind, _parse_terms)(kind, text) for kind, text in given.items()}
    )
    for mistake in free_data(made):
        field = f"--price {mistake.loc[0]}"
        raise StudyError(mistake.problem, field=field, mend=mistake.mend)
    return made


_KINDS = ("sft", "preference")
_SETTINGS = tuple(name for name in Terms.model_fields if name != "price")
_MEND = "write sft=2.50,fixed=200,rejected=0.1,redundancy=3 (each as far as it is wanted)."
_HOUR_SETTINGS = ("seconds_sft", "seconds_preference")
_HOUR_MEND = "write gpu_hour=2.00, or gpu_hour=2.00,seconds_sft=0.8,seconds_preference=1.9."


def _parse_terms(kind: str, text: str) -> float | PriceRange | Terms:
    """`2.50` or `2.50,fixed=200,rejected=10%`; a bare price may be 0."""
    first, *rest = text.split(",")
    price = parse_price(first, field=f"--price {kind}", free=not rest)
    values = _parse_settings(kind, rest, _SETTINGS, _MEND)
    if price == 0:
        return price
    try:
        terms = Terms(price=price, **values)
    except ValidationError as error:
        raise _refused(kind, error, Terms) from None
    return terms.price if terms.bare else terms


def _parse_gpu_hour(kind: str, text: str) -> GpuHour:
    """`2.00`, or with the seconds of an example: `2.00,seconds_sft=0.8,seconds_preference=1.9`."""
    first, *rest = text.split(",")
    price = parse_price(first, field=f"--price {kind}", free=True, of="GPU-hour")
    values = _parse_settings(kind, rest, _HOUR_SETTINGS, _HOUR_MEND)
    seconds = {name.removeprefix("seconds_"): value for name, value in values.items()}
    try:
        return GpuHour.model_validate({"price": price, "seconds": seconds or None})
    except ValidationError as error:
        raise _refused(kind, error, GpuHour) from None


def _refused(kind: str, error: ValidationError, model: type[Terms | GpuHour]) -> StudyError:
    entry = error.errors(include_url=False)[0]
    problem, mend = explain(entry, model)
    name = ".".join(str(part) for part in entry["loc"]).replace("seconds.", "seconds_")
    if entry["type"] == "missing":
        mend = _HOUR_MEND if model is GpuHour else _MEND
    return StudyError(problem, field=f"--price {kind}.{name}", mend=mend)


def _parse_settings(
    kind: str, texts: Sequence[str], names: Sequence[str], mend: str
) -> dict[str, Any]:
    """`fixed=200`, `rejected=10%` as numbers by name; each of `names` once at most."""
    values: dict[str, Any] = {}
    for setting in texts:
        name, _, value = (part.strip() for part in setting.partition("="))
        if name not in names or name in values:
            twice = "is given twice" if name in values else "is not understood"
            raise StudyError(f"{show(setting)} {twice}.", field=f"--price {kind}", mend=mend)
        values[name] = _parse_number(value, f"--price {kind}.{name}", mend)
    return values


def _parse_number(text: str, field: str, mend: str) -> float:
    """`0.1`, `10%` or `$200`."""
    found = re.fullmatch(r"\$?((?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[-+]?[0-9]+)?)(%?)", text.lower())
    if found is None:
        raise StudyError(f"{show(text)} is not a number.", field=field, mend=mend)
    return float(found[1]) / (100 if found[2] else 1)


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


def _assignments(
    texts: Sequence[str], field: str, example: str, kinds: Sequence[str] = ("sft", "preference")
) -> dict[str, str]:
    given: dict[str, str] = {}
    for text in texts:
        kind, equals, value = (part.strip() for part in text.partition("="))
        if not equals or kind not in kinds or kind in given:
            twice = "is given twice" if kind in given else "is not understood"
            raise StudyError(
                f"{show(text)} {twice}.",
                field=field,
                mend=f"write {example} (once for each of {', '.join(kinds)}).",
            )
        given[kind] = value
    return given

"""Money and counts as typed on the command line: `sft=2.50`, `preference=0.40..0.90`."""

from __future__ import annotations

from collections.abc import Sequence

from apportion.config.study import PriceRange, Prices
from apportion.errors import StudyError

KINDS = ("sft", "preference")


def _split(text: str, option: str) -> tuple[str, str]:
    kind, found, value = text.partition("=")
    if not found or kind.strip() not in KINDS:
        raise StudyError(
            f"{text!r} is not KIND=VALUE with a kind of {' or '.join(KINDS)}.",
            field=option,
            mend=f"write for example {option} sft=2.50.",
        )
    return kind.strip(), value.strip()


def _by_kind(texts: Sequence[str], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        kind, value = _split(text, option)
        if kind in found:
            raise StudyError(
                f"{kind} is given twice.", field=option, mend="say it once, or as a range."
            )
        found[kind] = value
    return found


def parse_prices(texts: Sequence[str], default: Prices | None = None) -> Prices:
    """`--price` options over `default` (one and one, where there is none)."""
    from apportion.prices import parse_price

    base = default or Prices()
    given: dict[str, float | PriceRange] = {
        kind: parse_price(value, field=f"--price {kind}")
        for kind, value in _by_kind(texts, "--price").items()
    }
    return Prices(
        sft=given.get("sft", base.sft), preference=given.get("preference", base.preference)
    )


def parse_have(texts: Sequence[str]) -> dict[str, int]:
    """`--have` options as counts of examples already owned; kinds not named are 0."""
    have = dict.fromkeys(KINDS, 0)
    for kind, value in _by_kind(texts, "--have").items():
        try:
            have[kind] = int(value)
        except ValueError:
            have[kind] = -1
        if have[kind] < 0:
            raise StudyError(
                f"{value!r} is not a count.",
                field=f"--have {kind}",
                mend="give a whole number, 0 or more.",
            )
    return have

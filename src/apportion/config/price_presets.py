"""Shipped prices by name, each figure with its source. They are starting points: write your own.

`apportion prices` prints them as a study file has them; docs/prices.md says what they rest on.
Money is in US dollars; a range says that the source gives one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_SEPTEMBER = "arXiv 2609.01573"
_ALPACA = "Stanford Alpaca (2023): less than $500 of API calls for 52,000 demonstrations"


@dataclass(frozen=True)
class PricePreset:
    """Prices of a demonstration and a preference unit as a study file has them, and their source.

    `sft_source` and `preference_source` say where the figure is from; "derived" where no source
    gives it as such.
    """

    about: str
    sft: float | str
    preference: float | str
    sft_source: str
    preference_source: str


PRICES: Mapping[str, PricePreset] = {
    "human": PricePreset(
        about="people annotate; quality control and set-up are not in the figure",
        sft="0.5..1",
        preference="0.5..1",
        sft_source=f"$0.5 to 1.0 per human-annotated example: {_SEPTEMBER}",
        preference_source=f"$0.5 to 1.0 per human-annotated example: {_SEPTEMBER}",
    ),
    "synthetic": PricePreset(
        about="a model writes and judges",
        sft=0.001,
        preference=0.001,
        sft_source=f"about $0.001 per synthetic example: {_SEPTEMBER}",
        preference_source=f"about $0.001 per synthetic example: {_SEPTEMBER}",
    ),
    "frontier": PricePreset(
        about="a frontier model writes the demonstrations, which cost 1 to 2 times a preference",
        sft=0.0096,  # 500 / 52,000 = 0.009615
        preference="0.0048..0.0096",
        sft_source=f"{_ALPACA}; $0.0096 each at most",
        preference_source=f"derived: the demonstration's price over 2 to 1 ({_SEPTEMBER})",
    ),
}

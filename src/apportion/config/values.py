"""The kinds of value that a study is written in, strict where a silent conversion would mislead.

`true` is not 1, the text "2" is not 2, NaN is nothing; 1000.0 may stand for a whole number. Every
refusal carries its mend, so that it reads the same from a file, the command line and Python.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

T = TypeVar("T")

#: More than this of anything is a slip of the finger, and would fill the memory.
MAX_EXAMPLES = 10_000_000

_NUMBER = re.compile(r"[-+]?([0-9][0-9_,]*\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def show(value: object) -> str:
    """A value as a message shows it: short, on one line, without control characters."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True)
class Mistake:
    """What is wrong at `loc` (keys and 0-based places), in plain words, and the mend."""

    loc: tuple[str | int, ...]
    problem: str
    mend: str
    value: object = None

    @property
    def error(self) -> PydanticCustomError:
        """The same as an error that a pydantic validator may raise."""
        context = {"problem": self.problem, "mend": self.mend}
        return PydanticCustomError("mistake", "{problem}", context)


def refuse(mistakes: Iterable[Mistake]) -> None:
    """Raise all mistakes as one ValidationError (their places relative to the validator's)."""
    details = [InitErrorDetails(type=m.error, loc=m.loc, input=m.value) for m in mistakes]
    if details:
        raise ValidationError.from_exception_data("study", details)


def wrong(problem: str, mend: str) -> PydanticCustomError:
    """One mistake at the place of the validator that raises it."""
    return Mistake((), problem, mend).error


def as_number(value: Any) -> float:
    """A finite number; text, true/false, NaN and infinity are refused."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise wrong(f"a number is wanted, not {show(value)}.", _number_mend(value))
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise wrong(f"a finite number is wanted, not {show(value)}.", "write a plain number.")
    return number


def as_whole(value: Any) -> int:
    """A whole number; 1000.0 is one, 2.5 is not."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise wrong(f"a whole number is wanted, not {show(value)}.", _number_mend(value))
    if isinstance(value, Integral):
        return int(value)
    number = float(value)
    if not number.is_integer():
        mend = f"write, say, {round(number)}." if math.isfinite(number) else "write a plain number."
        raise wrong(f"a whole number is wanted, not {show(value)}.", mend)
    return int(number)


def _number_mend(value: object) -> str:
    if isinstance(value, str):
        text = value.strip()
        if text.endswith("%") and _NUMBER.fullmatch(text[:-1].strip()):
            return f"write {float(text[:-1].replace(',', '').replace('_', '')) / 100:g}."
        if _NUMBER.fullmatch(text.lstrip("$ ")):
            plain = text.lstrip("$ ").replace(",", "").replace("_", "")
            return f"write {plain}, without quotes, currency or commas."
    if isinstance(value, list | tuple) and len(value) == 1:
        return "write the number without brackets."
    return "write a plain number such as 2."


def as_list(value: Any) -> Any:
    """A single text stands for a list of one."""
    return (value,) if isinstance(value, str) else value


def unique(values: tuple[T, ...]) -> tuple[T, ...]:
    """Refuse what is listed twice, at its second place."""
    refuse(
        Mistake((place,), f"{show(value)} is listed twice.", "remove one of them.", value)
        for place, value in enumerate(values)
        if value in values[:place]
    )
    return values


def parse_price_range(text: str) -> float | tuple[float, float]:
    """`2.50` → 2.5; `0.40..0.90` → (0.4, 0.9). Raises PydanticCustomError (a ValueError)."""
    parts = [part.strip().removeprefix("$") for part in text.split("..")]
    if not 1 <= len(parts) <= 2 or not all(_PRICE.fullmatch(part) for part in parts):
        raise wrong(
            f"{show(text)} is not a price.",
            "write a number such as 2.50, or a range such as 0.40..0.90.",
        )
    numbers = [float(part) for part in parts]
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


_PRICE = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")

_MODEL = re.compile(
    r"sandbox:[A-Za-z0-9][\w.-]*"  # embedded
    r"|(?:~|\.{1,2})?/.*|\.{1,2}"  # local path
    r"|[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9_][\w.-]*)*(?:@[\w./-]+)?"  # hub id@revision, or a path
)


def model_name(name: str) -> str:
    """What could be an embedded model, a local path or a hub id; it need not exist."""
    if not name.isprintable() or name != name.strip() or not _MODEL.fullmatch(name):
        raise wrong(
            f"{show(name)} is not the name of a model.",
            "write sandbox:small, a hub id such as HuggingFaceTB/SmolLM2-135M, "
            "or a path that starts with ./ or /.",
        )
    return name


def plain_name(name: str) -> str:
    """A name of something, on one line."""
    if not name or not name.isprintable() or name != name.strip() or len(name) > 400:
        raise wrong(f"{show(name)} is not a name.", "write a name such as math.")
    return name


def _seed(value: Any) -> Any:
    if isinstance(value, str):
        if value == "vary":
            return value
        raise wrong(f"{show(value)} is not a seed.", "write vary, or a whole number such as 0.")
    seed = as_whole(value)
    if not 0 <= seed < 2**32:
        raise wrong(f"the seed {show(seed)} is out of range.", "write one from 0 to 4294967295.")
    return seed


Number = Annotated[float, BeforeValidator(as_number)]
Whole = Annotated[int, BeforeValidator(as_whole)]
Positive = Annotated[Whole, Field(ge=1, le=MAX_EXAMPLES)]
Count = Annotated[Whole, Field(ge=0, le=MAX_EXAMPLES)]
Text = Annotated[str, Field(strict=True)]

_NAMES_SCHEMA = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"type": "string"}, "minItems": 1, "uniqueItems": True},
    ]
}
_Names = tuple[Annotated[Text, AfterValidator(plain_name)], ...]
_Models = tuple[Annotated[Text, AfterValidator(model_name)], ...]

Names = Annotated[
    _Names,
    Field(min_length=1),
    AfterValidator(unique),
    BeforeValidator(as_list),
    WithJsonSchema(_NAMES_SCHEMA),
]
ModelNames = Annotated[
    _Models,
    Field(min_length=1),
    AfterValidator(unique),
    BeforeValidator(as_list),
    WithJsonSchema(_NAMES_SCHEMA),
]
Seed = Annotated[
    int | str,
    BeforeValidator(_seed),
    WithJsonSchema(
        {"anyOf": [{"const": "vary"}, {"type": "integer", "minimum": 0, "maximum": 2**32 - 1}]}
    ),
]

"""Where rows come from: a local file or a data set of the hub, and what its columns are called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from apportion.config.base import Frozen
from apportion.config.values import Text, as_list, show, wrong

_ROWS = re.compile(r"([0-9]+)\s*\.\.\s*([0-9]*)")


def _rows(value: Any) -> Any:
    """`900..1318` → (900, 1318); `900..` → (900, None): counted from 0, both ends included."""
    if isinstance(value, list | tuple) and len(value) == 2:
        return value
    found = _ROWS.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise wrong(f"{show(value)} is not a range of rows.", "write, say, 0..999 or 900.. .")
    first, last = int(found[1]), int(found[2]) if found[2] else None
    if last is not None and last < first:
        raise wrong(f"the range of rows {show(value)} is empty.", f"write {last}..{first}.")
    return first, last


def pattern(value: str) -> str:
    """A regular expression that compiles; raises pydantic's error with what is wrong in it."""
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError) as error:
        at = getattr(error, "pos", None)
        where = "" if at is None else f" at character {at + 1}"
        raise wrong(
            f"{show(value)} is not a regular expression: {getattr(error, 'msg', error)}{where}.",
            "mend it; single quotes in YAML keep backslashes as they are.",
        ) from None
    return value


def _hub_id(value: str) -> str:
    if not re.fullmatch(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z0-9][\w.-]*", value):
        raise wrong(f"{show(value)} is not the id of a data set.", "write, say, openai/gsm8k.")
    return value


RowRange = Annotated[
    tuple[int, int | None], BeforeValidator(_rows), WithJsonSchema({"type": "string"})
]
Regex = Annotated[Text, AfterValidator(pattern)]


class Source(Frozen):
    """Rows of a file (`path`) or of a data set of the hub (`hub`); a text alone is a path.

    `columns` says which column a name is read from: `{prompt: question, response: answer}`.
    """

    path: Text | None = None
    hub: Annotated[Text, AfterValidator(_hub_id)] | None = None
    config: Annotated[Text | None, Field(description="Of a hub data set: its configuration.")] = (
        None
    )
    split: Annotated[Text, Field(description="Of a hub data set.")] = "train"
    revision: Annotated[Text | None, Field(description="Of a hub data set.")] = None
    columns: Mapping[Text, Text] = {}
    each: Annotated[
        tuple[Text, ...],
        BeforeValidator(as_list),
        Field(description="Columns of lists: every combination of their elements is a row."),
    ] = ()
    rows: Annotated[
        RowRange | None, Field(description="first..last, counted from 0, both included.")
    ] = None
    remove: Annotated[
        Regex | None, Field(description="What is cut out of every response, such as '<<[^>]*>>'.")
    ] = None

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if (self.path is None) == (self.hub is None):
            both = self.path is not None
            raise wrong(
                "a source is either a file or a data set of the hub, not both."
                if both
                else "the source says neither path nor hub.",
                "remove path or hub." if both else "add path: file.jsonl, or hub: org/name.",
            )
        if self.path is not None:
            extra = {"config", "split", "revision"} & self.model_fields_set
            if extra:
                names = ", ".join(sorted(extra))
                raise wrong(f"a file has no {names}.", f"remove {names}.")
        return self

    @property
    def name(self) -> str:
        """What messages call it."""
        if self.path is not None:
            return self.path
        at = "" if self.revision is None else f"@{self.revision}"
        part = self.split if self.config is None else f"{self.config}/{self.split}"
        return f"hub:{self.hub}{at}[{part}]"

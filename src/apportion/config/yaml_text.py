"""YAML as values and rows: a small, safe part of YAML 1.2, and every refusal with its row.

Plain mappings, lists, texts, numbers, true/false and null are read. Tags, objects and bombs of
aliases are refused. `yes` and `no` are texts, `1e-5` is a number, `010` is ten.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import yaml

from apportion.config.values import show
from apportion.errors import StudyError

MAX_ALIASES = 20
MAX_NODES = 10_000
MAX_DEPTH = 30
MAX_DIGITS = 400

Loc = tuple[str | int, ...]


@dataclass
class Document:
    """A file's value (None where it has none), the 1-based row of each place, and its mistakes."""

    value: Any = None
    rows: dict[Loc, int] = field(default_factory=dict)
    errors: list[StudyError] = field(default_factory=list)
    unread: list[Loc] = field(default_factory=list)  # places whose value could not be read

    def row(self, loc: Loc) -> int | None:
        """The row of `loc`, or of what encloses it."""
        while loc and loc not in self.rows:
            loc = loc[:-1]
        return self.rows.get(loc)


def field_name(loc: Loc) -> str | None:
    """`("budget", "levels", 1)` → `budget.levels[1]`; the whole file is None."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if part.isprintable() and len(part) <= 60 else show(part)
            text += f".{name}" if text else name
    return text or None


class _Refused(Exception):
    """Stops the reading of a document at a row."""

    def __init__(self, problem: str, mend: str, row: int) -> None:
        super().__init__(problem)
        self.problem, self.mend, self.row = problem, mend, row


class _Loader(yaml.SafeLoader):
    """Composes nodes only, and stops early at a file that is made to exhaust its reader."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as the base class has it

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._aliases = self._nodes = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        row = 1 if mark is None else mark.line + 1
        self._nodes += 1
        self._aliases += isinstance(event, yaml.AliasEvent)
        if self._aliases > MAX_ALIASES:
            raise _Refused("there are too many aliases (*name).", "write the values out.", row)
        if self._nodes > MAX_NODES:
            raise _Refused(
                f"there are more than {MAX_NODES} values.", "write a smaller study.", row
            )
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _Refused("the values are nested too deeply.", "check the brackets.", row)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_CORE = (
    ("null", re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")),
    ("int", re.compile(r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+"), list("-+0123456789")),
    (
        "float",
        re.compile(
            r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
            r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
        ),
        list("-+.0123456789"),
    ),
)
_TAG = "tag:yaml.org,2002:"
for _name, _pattern, _first in _CORE:
    # A resolver must match the whole text.
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"(?:{_pattern.pattern})$"), _first)


def read_yaml(text: str) -> Document:
    """The one document in `text`. Raises nothing: mistakes are in `errors`."""
    document = Document()
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is not None:
            document.value = _Builder(document).value(node, (), ())
    except _Refused as refused:
        document.errors.append(StudyError(refused.problem, row=refused.row, mend=refused.mend))
    except yaml.reader.ReaderError as error:
        row = text.count("\n", 0, int(error.position)) + 1
        document.errors.append(
            StudyError("there is a character that no text file holds.", row=row, mend="remove it.")
        )
    except yaml.MarkedYAMLError as error:
        document.errors.append(_syntax(error))
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, AttributeError) as error:
        # PyYAML lets a few of Python's own errors through, for instance at "\UFFFFFFFF".
        problem = f"this is not YAML ({show(str(error))})."
        document.errors.append(StudyError(problem, row=1, mend="check the quotes and escapes."))
    return document


def _syntax(error: yaml.MarkedYAMLError) -> StudyError:
    mark = error.problem_mark or error.context_mark
    said = " ".join(str(part) for part in (error.context, error.problem) if part)
    mend = "check the indentation, colons, quotes and brackets at this row and the one before."
    if "another document" in said:
        said, mend = "there are several documents", "keep one; remove the rows of three dashes."
    elif "\\t" in said:
        mend = "use spaces, not tabs."
    row = None if mark is None else mark.line + 1
    return StudyError(f"this is not one YAML document: {said}.", row=row, mend=mend)


class _Builder:
    """Turns nodes into plain values; collects what is wrong and goes on."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.nodes = 0

    def value(self, node: yaml.Node, loc: Loc, above: tuple[int, ...]) -> Any:
        """The value of `node` at `loc`; `above` are the nodes it lies in (to find circles)."""
        row = node.start_mark.line + 1
        self.document.rows.setdefault(loc, row)
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _Refused("the aliases expand to too many values.", "write them out.", row)
        if id(node) in above:
            raise _Refused("an alias contains itself.", "write the values out.", row)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, loc, (*above, id(node)))
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            inside = (*above, id(node))
            return [self.value(n, (*loc, place), inside) for place, n in enumerate(node.value)]
        return self._scalar(node, loc)

    def _wrong(self, problem: str, mend: str, loc: Loc, row: int) -> None:
        self.document.errors.append(StudyError(problem, field=field_name(loc), row=row, mend=mend))

    def _mapping(self, node: yaml.MappingNode, loc: Loc, above: tuple[int, ...]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            row = key_node.start_mark.line + 1
            plain = isinstance(key_node, yaml.ScalarNode)
            if not plain or key_node.tag != _TAG + "str" or not _encodes(key_node.value):
                self._wrong("a key must be a plain name.", "write `name: value` rows.", loc, row)
                continue
            key = key_node.value
            place = (*loc, key)
            if key in mapping:
                first = self.document.rows[place]
                self._wrong(
                    f"{show(key)} is given twice (first at row {first}).",
                    "keep one of them.",
                    place,
                    row,
                )
                continue
            self.document.rows[place] = row
            mapping[key] = self.value(value_node, place, above)
        return mapping

    def _scalar(self, node: yaml.Node, loc: Loc) -> Hashable:
        row = node.start_mark.line + 1
        kind = node.tag.removeprefix(_TAG)
        self.document.unread.append(loc)
        if not isinstance(node, yaml.ScalarNode) or kind not in _SCALARS:
            tag = node.tag.replace(_TAG, "!!")
            self._wrong(
                f"the tag {show(tag)} is refused: a study holds plain values only.",
                "remove the tag.",
                loc,
                row,
            )
            return None
        try:
            value: Hashable = _SCALARS[kind](node.value)
            self.document.unread.pop()
            return value
        except (ValueError, OverflowError):
            self._wrong(
                f"{show(node.value)} cannot be read as {_KINDS[kind]}.", "correct it.", loc, row
            )
            return None


def _encodes(text: str) -> bool:
    """False for half characters (lone surrogates), which can be neither shown nor saved."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _text(text: str) -> str:
    if not _encodes(text):
        raise ValueError
    return text


def _int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError
    plain = text.replace("_", "")
    return int(plain, 16 if "x" in plain else 8 if "o" in plain else 10)


def _float(text: str) -> float:
    plain = text.replace("_", "").lower()
    return float(plain.replace(".inf", "inf").replace(".nan", "nan"))


def _bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError
    return text.lower() == "true"


def _null(text: str) -> None:
    if text.lower() not in ("", "~", "null"):
        raise ValueError


_SCALARS: dict[str, Any] = {
    "str": _text,
    "int": _int,
    "float": _float,
    "bool": _bool,
    "null": _null,
}
_KINDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
}

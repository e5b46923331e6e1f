"""Rows to examples: the formats that TRL documents, read by column names.

| example | columns |
|---|---|
| demonstration | `messages` (the last turn is the response), or `prompt` and `response` |
| pair | `chosen` and `rejected`, with `prompt` or with the prompt as their common beginning |
| label | `prompt`, `response`/`completion` and `label` |
| item | `prompt` or `messages`, and a reference |

`completion` is another name of `response`. Texts may be lists of `{role, content}` turns. `system`
may be a column; a system turn wins over it, and it over the task's own. What stands before the
prompt's turn becomes the example's context.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from apportion.data.files import Row
from apportion.data.records import Context, Demonstration, Item, Label, Pair

ALIASES: Mapping[str, tuple[str, ...]] = {
    "response": ("completion",),
    "reference": ("answer",),
}
_ROLES = ("system", "user", "assistant")


class RowProblem(Exception):
    """What is wrong with a row, in which column, and the mend."""

    def __init__(self, problem: str, field: str | None, mend: str) -> None:
        super().__init__(problem)
        self.problem, self.field, self.mend = problem, field, mend


@dataclass(frozen=True)
class Shape:
    """How rows of a source become examples. `prompt`: a format string over names and columns."""

    columns: Mapping[str, str] = field(default_factory=dict)
    prompt: str = "{prompt}"
    system: str | None = None
    remove: str | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """The names that the prompt is made of."""
        found = (name for _, name, _, _ in string.Formatter().parse(self.prompt) if name)
        return tuple(dict.fromkeys(found))


def get(row: Row, shape: Shape, name: str) -> Any:
    """The value of a name: of its mapped column, its own, or an alias's; RowProblem where none."""
    if name in shape.columns:
        column = shape.columns[name]
        if column not in row.values:
            raise RowProblem(
                f"there is no column {column!r} (mapped to {name}).", column, _there(row)
            )
        return row.values[column]
    for column in (name, *ALIASES.get(name, ())):
        if column in row.values:
            return row.values[column]
    raise RowProblem(f"there is no column {name!r}.", name, _there(row))


def _there(row: Row) -> str:
    names = ", ".join(list(row.values)[:8])
    return f"the columns are {names or 'none'}; say which is meant: columns: {{name: column}}."


def has(row: Row, shape: Shape, name: str) -> bool:
    """Whether the row has a value for a name."""
    columns = (shape.columns[name],) if name in shape.columns else (name, *ALIASES.get(name, ()))
    return any(row.values.get(column) is not None for column in columns)


def text(value: Any, name: str, *, empty: bool = False) -> str:
    """A text that can be saved. RowProblem for another type, an empty one or half a character."""
    if isinstance(value, dict | list):
        raise RowProblem(
            f"{name} is nested where a text is expected.", name, "write a text, or list of turns."
        )
    if not isinstance(value, str):
        shown = "nothing" if value is None else repr(value)[:40]
        raise RowProblem(f"{name} is {shown}, not a text.", name, "write a text in quotes.")
    if not empty and not value.strip():
        raise RowProblem(f"{name} is empty.", name, "fill it in, or remove the row.")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise RowProblem(f"{name} holds half a character.", name, "correct its \\u escapes.")
    return value


def turns(value: Any, name: str) -> list[tuple[str, str]]:
    """(role, text) of a list of `{role, content}` turns."""
    if not isinstance(value, list) or not value:
        raise RowProblem(f"{name} is not a list of turns.", name, 'write [{"role": ...}, ...].')
    found = []
    for place, turn in enumerate(value):
        where = f"{name}[{place}]"
        if not isinstance(turn, dict) or "role" not in turn or "content" not in turn:
            raise RowProblem(
                f"{where} is not a turn with role and content.",
                name,
                'write {"role": "user", "content": "..."}.',
            )
        if turn["role"] not in _ROLES:
            raise RowProblem(
                f"the role {turn['role']!r} of {where} is not one of {', '.join(_ROLES)}.",
                name,
                "conversations with tools are not supported.",
            )
        found.append((turn["role"], text(turn["content"], f"{where}.content")))
    return found


@dataclass(frozen=True)
class _Asked:
    prompt: str
    context: Context


def _asked(row: Row, shape: Shape, said: Sequence[tuple[str, str]] | None, name: str) -> _Asked:
    """The prompt and what stands before it; `said`: the turns up to the prompt, None for a text."""
    before: list[tuple[str, str]] = []
    if said is None:
        asked = None
    else:
        if not said or said[-1][0] != "user":
            raise RowProblem(
                f"the turn before the response of {name} is not the user's.",
                name,
                "end the prompt with a turn of the role user.",
            )
        before, asked = list(said[:-1]), said[-1][1]
    system = get(row, shape, "system") if has(row, shape, "system") else shape.system
    if system and not any(role == "system" for role, _ in before):
        before.insert(0, ("system", text(system, "system")))
    if any(role == "system" for role, _ in before[1:]):
        raise RowProblem(f"a system turn of {name} is not the first.", name, "move it to the top.")
    return _Asked(_prompt(row, shape, asked), tuple(before))


def _prompt(row: Row, shape: Shape, asked: str | None) -> str:
    values: dict[str, str] = {}
    for name in shape.fields:
        if name == "prompt" and asked is not None:
            values[name] = asked
            continue
        value = get(row, shape, name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        values[name] = str(value) if number and name != "prompt" else text(value, name)
    if shape.prompt == "{prompt}":
        return values["prompt"]
    return shape.prompt.format(**values)


def _said(row: Row, shape: Shape) -> list[tuple[str, str]] | None:
    """The turns of a conversational prompt; None where the prompt is a text or made of columns."""
    if "prompt" not in shape.fields:
        return None
    value = get(row, shape, "prompt")
    return turns(value, "prompt") if isinstance(value, list) else None


def _answer(value: Any, name: str, shape: Shape) -> str:
    """A response: a text, or one turn of the assistant."""
    if isinstance(value, list):
        said = turns(value, name)
        if len(said) != 1 or said[0][0] != "assistant":
            raise RowProblem(
                f"{name} is not one turn of the assistant.",
                name,
                "put earlier turns into the prompt.",
            )
        value = said[0][1]
    answer = text(value, name)
    if shape.remove is not None:
        answer = text(re.sub(shape.remove, "", answer), f"{name} (after `remove`)")
    return answer


def demonstration(row: Row, shape: Shape) -> Demonstration:
    """The row as a demonstration; RowProblem where it is none."""
    if has(row, shape, "messages"):
        said = turns(get(row, shape, "messages"), "messages")
        if said[-1][0] != "assistant":
            raise RowProblem(
                "the last turn of messages is not the assistant's.",
                "messages",
                "end the conversation with the response to learn.",
            )
        asked = _asked(row, shape, said[:-1], "messages")
        return Demonstration(asked.prompt, _answer(said[-1][1], "messages", shape), asked.context)
    if has(row, shape, "text") and not has(row, shape, "response"):
        raise RowProblem(
            "the row is a text without a prompt.", "text", "give prompt and response columns."
        )
    asked = _asked(row, shape, _said(row, shape), "prompt")
    response = _answer(get(row, shape, "response"), "response", shape)
    return Demonstration(asked.prompt, response, asked.context)


def pair(row: Row, shape: Shape) -> Pair:
    """The row as a pair; the prompt is a column, or the common beginning of both responses."""
    chosen, rejected = get(row, shape, "chosen"), get(row, shape, "rejected")
    if isinstance(chosen, list) != isinstance(rejected, list):
        raise RowProblem(
            "chosen and rejected are of different kinds.", "rejected", "write both as texts."
        )
    said: list[tuple[str, str]] | None
    if isinstance(chosen, list) and len(chosen) > 1:  # whole conversations
        one, other = turns(chosen, "chosen"), turns(rejected, "rejected")
        if one[:-1] != other[:-1] or one[-1][0] != "assistant" or other[-1][0] != "assistant":
            raise RowProblem(
                "chosen and rejected differ before their last turn, or do not end with the "
                "assistant's.",
                "rejected",
                "give the common turns as prompt, and one response each.",
            )
        said, chosen, rejected = one[:-1], one[-1][1], other[-1][1]
    elif has(row, shape, "prompt") or "prompt" not in shape.fields:
        said = _said(row, shape)
    else:
        common, chosen, rejected = _common(text(chosen, "chosen"), text(rejected, "rejected"))
        said = [("user", common)]
    asked = _asked(row, shape, said, "prompt")
    found = Pair(
        asked.prompt,
        _answer(chosen, "chosen", shape),
        _answer(rejected, "rejected", shape),
        asked.context,
    )
    if found.chosen == found.rejected:
        raise RowProblem(
            "chosen equals rejected.", "rejected", "a preference needs two different responses."
        )
    return found


def _common(chosen: str, rejected: str) -> tuple[str, str, str]:
    """The prompt that two texts begin with, as TRL cuts it; a space after it is dropped."""
    if chosen == rejected:
        raise RowProblem(
            "chosen equals rejected.", "rejected", "a preference needs two different responses."
        )
    shorter = min(len(chosen), len(rejected))
    cut = next((i for i in range(shorter) if chosen[i] != rejected[i]), shorter)
    if cut and cut < shorter and chosen[cut - 1] == " ":
        cut -= 1
    if not chosen[:cut].strip():
        raise RowProblem(
            "there is no prompt, and chosen and rejected begin differently.",
            "prompt",
            "add the column prompt, or map it.",
        )
    return chosen[:cut], chosen[cut:].removeprefix(" "), rejected[cut:].removeprefix(" ")


_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


def label(row: Row, shape: Shape) -> Label:
    """The row as a label of KTO; `label` is true or false (also 1 or 0, as tables write it)."""
    asked = _asked(row, shape, _said(row, shape), "prompt")
    response = _answer(get(row, shape, "response"), "response", shape)
    value = get(row, shape, "label")
    if not isinstance(value, bool):
        truth = _TRUTHS.get(str(value).strip().lower()) if isinstance(value, str | int) else None
        if truth is None:
            raise RowProblem(
                f"label is {str(value)[:40]!r}, not true or false.", "label", "write true or false."
            )
        value = truth
    return Label(asked.prompt, response, value, asked.context)


def item(row: Row, shape: Shape, item_id: str | None, reference: Callable[[Row], str]) -> Item:
    """The row as a test item; `reference` reads what its metric compares with."""
    from hashlib import sha256

    if has(row, shape, "messages"):
        said: list[tuple[str, str]] | None = turns(get(row, shape, "messages"), "messages")
        if said and said[-1][0] == "assistant":
            said = said[:-1]
        asked = _asked(row, shape, said, "messages")
    else:
        asked = _asked(row, shape, _said(row, shape), "prompt")
    expected = reference(row)
    if item_id is None:
        content = "\xff".join([asked.prompt, expected, *(text for _, text in asked.context)])
        item_id = sha256(content.encode()).hexdigest()[:16]
    return Item(item_id, asked.prompt, expected, asked.context)


def plain_reference(row: Row, shape: Shape) -> str:
    """The reference as a text; a number is one too."""
    value = get(row, shape, "reference")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return text(value, "reference")

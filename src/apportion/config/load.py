"""A study file to a Study, or to every mistake in it at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from apportion.config.agreement import disagreements, parts_of
from apportion.config.mistakes import explain
from apportion.config.study import Study
from apportion.config.values import show
from apportion.config.yaml_text import Document, Loc, field_name, read_yaml
from apportion.errors import ManyErrors, StudyError

MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class StudyFile:
    """A study file as read: the study, or why there is none; and where everything stands in it."""

    path: str
    study: Study | None
    errors: tuple[StudyError, ...]
    document: Document

    def names(self, key: str) -> list[tuple[str, str]]:
        """(name, field) of each text under `models` or `tasks`, even of a faulty file."""
        value = self.document.value
        value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, str):
            return [(value, key)]
        listed = value if isinstance(value, list) else []
        return [(name, f"{key}[{i}]") for i, name in enumerate(listed) if isinstance(name, str)]

    def row_of(self, field: str | None) -> int | None:
        """The row of a dotted field, or of what encloses it."""
        rows = {field_name(loc): row for loc, row in self.document.rows.items()}
        while field and field not in rows:
            field = re.sub(r"(\.[^.\[\]]*|\[\d+\]|^[^.\[\]]+)$", "", field)
        return rows.get(field or None)


def load_study(path: str | Path) -> Study:
    """The study in the YAML file at `path`.

    Raises ManyErrors that holds every mistake in the file, in the order of its rows (also where
    there is only one), each with file, row, field, problem and mend.
    """
    read = read_study(path)
    if read.study is None:
        raise ManyErrors(read.errors)
    return read.study


def read_study(path: str | Path) -> StudyFile:
    """As `load_study`, but the mistakes are returned."""
    document = read_document(path, "study", "start with `apportion init`.")
    _find_cards(document.value, Path(path).parent)
    study = None
    if isinstance(document.value, dict):
        study, errors = study_of(document.value)
        document.errors += [
            StudyError(error.problem, field=error.field, row=document.row(loc), mend=error.mend)
            for loc, error in errors
            if not any(loc[: len(unread)] == unread for unread in document.unread)
        ]
    for error in document.errors:
        error.file = str(path)
    errors_in_order = tuple(sorted(document.errors, key=lambda e: e.row or 0))
    return StudyFile(str(path), None if errors_in_order else study, errors_in_order, document)


def read_document(path: str | Path, what: str, start: str) -> Document:
    """The mapping in a YAML file, or every mistake that keeps it from being one, in `errors`.

    `what` the file should be (study, task card), and how to `start` one: for the messages.
    """
    document = Document()
    text = _read_text(Path(path), document, what)
    if text is None:
        return document
    document = read_yaml(text)
    if document.value is None:
        if not document.errors:
            _fault(document, "the file is empty.", start)
    elif not isinstance(document.value, dict):
        said = f"a {what} is a mapping (rows of `key: value`), not {show(document.value)}."
        _fault(document, said, start)
    return document


def is_card(name: object) -> bool:
    """Whether the name of a task is the path of a task card."""
    return isinstance(name, str) and name.lower().endswith((".yaml", ".yml"))


def _find_cards(values: Any, folder: Path) -> None:
    """Makes the paths of task cards, which are relative to the study's folder, absolute."""
    tasks = values.get("tasks") if isinstance(values, dict) else None
    if isinstance(tasks, list):
        values["tasks"] = [_card_in(folder, name) for name in tasks]
    elif is_card(tasks):
        values["tasks"] = _card_in(folder, tasks)


def _card_in(folder: Path, name: Any) -> Any:
    if not is_card(name):
        return name
    try:
        return str((folder / Path(name).expanduser()).resolve())
    except (ValueError, OSError, RuntimeError):  # no path at all: reading it will say so
        return name


def study_of(values: Mapping[str, Any]) -> tuple[Study | None, list[tuple[Loc, StudyError]]]:
    """The study that plain values stand for, or every mistake in them with its place."""
    mistakes: dict[tuple[Loc, str], str] = {}
    try:
        return Study.model_validate(dict(values)), []
    except ValidationError as error:
        for entry in error.errors(include_url=False):
            if entry["type"] == "too_short" and entry["input"]:
                continue  # pydantic counts the right entries of a list only
            loc = _place(tuple(entry["loc"]), values)
            problem, mend = explain({**entry, "loc": loc})
            mistakes.setdefault((loc, problem), mend)
    for mistake in disagreements(parts_of(values)):
        mistakes.setdefault((mistake.loc, mistake.problem), mistake.mend)
    return None, [
        (loc, StudyError(problem, field=field_name(loc), mend=mend))
        for (loc, problem), mend in mistakes.items()
    ]


def _place(loc: Loc, values: Any) -> Loc:
    """`loc` without what pydantic adds to it: places in a list that is one text."""
    kept: list[str | int] = []
    inside: Any = values
    for part in loc:
        if isinstance(part, int) and not isinstance(inside, list | tuple):
            continue
        kept.append(part)
        try:
            inside = inside[part]
        except (KeyError, IndexError, TypeError):
            inside = None
    return tuple(kept)


def _fault(document: Document, problem: str, mend: str, row: int | None = None) -> str | None:
    """Notes a mistake of the file as a whole; returns None, since there is then no text."""
    document.errors.append(StudyError(problem, row=row, mend=mend))
    return None


def _read_text(path: Path, document: Document, what: str) -> str | None:
    """The file's text, or None after the reason is noted."""
    try:
        if path.is_dir():
            return _fault(document, "this is a directory.", f"name the {what} file in it.")
        if path.exists() and not path.is_file():
            return _fault(document, "this is not a regular file.", f"name a {what} file.")
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        make = f", or make one: apportion init {path.name}" if what == "study" else ""
        mend = f"check the path{make}."
        return _fault(document, "there is no such file.", mend)
    except PermissionError:
        return _fault(document, "the file may not be read.", "check its permissions.")
    except (OSError, ValueError) as error:
        return _fault(document, f"the file cannot be read ({error}).", "check the path.")
    return _decode(raw, document, what)


def _decode(raw: bytes, document: Document, what: str) -> str | None:
    if len(raw) > MAX_BYTES:
        return _fault(
            document, f"the file is larger than {MAX_BYTES} bytes.", f"is it a {what} file?"
        )
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _fault(document, "the file is in UTF-16.", "save it as UTF-8.", 1)
    if b"\0" in raw:
        row = raw.count(b"\n", 0, raw.index(b"\0")) + 1
        return _fault(document, "the file is binary, not text.", f"name a {what} file.", row)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = raw.count(b"\n", 0, error.start) + 1
        return _fault(document, "the file is not UTF-8 text.", "save it as UTF-8.", row)

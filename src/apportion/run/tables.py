"""Results as CSV and JSON: no times, no paths, so that equal measurements give equal bytes.

Written from a store, or by hand, and read again. JSON lines hold all that CSV does, and the scores
per item, which make comparisons between cells sharper.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apportion.errors import ResultsError
from apportion.run.table_rows import CARRIED, KNOWN, Fields, checked_table, header_problem

if TYPE_CHECKING:
    from apportion.run.results import CellResult

COLUMNS = (
    "model",
    "task",
    "method",
    "n_sft",
    "n_pref",
    "replicate",
    "status",
    "score",
    "stderr",
    "n_items",
    "strict",
    "lenient",
    "format_failure_rate",
    "truncation_rate",
    "response_tokens",
    "reason",
)
#: A column that stands only where there is something to tell apart: transformers is not named.
ENGINE = "engine"

_OF_ITEMS = frozenset({"item_scores", "item_weights", "items_digest"})
# Not written: what a store knows of its own runs, which differs between equal measurements.
_OF_RUNS = ("train_tokens", "sft_seconds", "pref_seconds")


def to_csv(results: Iterable[CellResult]) -> str:
    """One row per cell, sorted by its place; an empty field is a value that is missing."""
    rows = list(_in_order(results))
    told = any(row.engine not in (None, "transformers") for row in rows)
    columns = (*COLUMNS, ENGINE) if told else COLUMNS
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    for result in rows:
        table.writerow([_field(getattr(result, name)) for name in columns])
    return text.getvalue()


def to_json(results: Iterable[CellResult]) -> list[dict[str, Any]]:
    """JSON-able rows with every field but the scores per item; missing values are null."""
    rows = []
    for result in _in_order(results):
        row = asdict(result)
        for name in (*_OF_ITEMS, *_OF_RUNS, "seconds"):
            del row[name]
        rows.append(row)
    return rows


def to_jsonl(results: Iterable[CellResult]) -> str:
    """One JSON object per cell and line, with the scores per item; missing values are left out.

    The `seconds` that a table gave are kept; the times of one's own runs are not written.
    """
    lines = []
    for result in _in_order(results):
        row = {name: value for name, value in asdict(result).items() if value is not None}
        for name in (*_OF_RUNS, "accuracies"):
            row.pop(name, None)
        if row.get(ENGINE) == "transformers":
            del row[ENGINE]
        lines.append(json.dumps(row, allow_nan=False, ensure_ascii=False) + "\n")
    return "".join(lines)


def read_csv(path: str | Path, *, lines: bool = True) -> list[CellResult]:
    """The results in a CSV file, in its order.

    Columns: model, task, method, score; n_sft and n_pref, or sft_share and budget_examples; stderr
    or n_items; and, where there are any, replicate, status, reason, strict, lenient,
    format_failure_rate, truncation_rate, response_tokens, engine, train_tokens, seconds (of one
    GPU, for all stages of the cell). The columns study, split and key may be there, and are not
    read. Scores are in [0, 1]. With `lines`, cells get the budget lines that the table implies (see
    `with_lines`).
    Raises ResultsError, with the row's line number, for the first thing that cannot be used.
    """
    path = Path(path)
    table = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(table, [])]
        problem = header_problem(header)
        if problem is not None:
            raise ResultsError(problem.problem, file=path, row=1, mend=problem.mend)
        rows: list[tuple[int, Fields]] = []
        for values in table:
            if any(value.strip() for value in values):
                rows.append((table.line_num, _named(header, values, path, table.line_num)))
    except csv.Error as error:
        raise ResultsError(
            f"it is not CSV: {error}.", file=path, row=table.line_num, mend="save it as CSV again."
        ) from error
    return checked_table(rows, path, lines=lines)


def read_jsonl(path: str | Path, *, lines: bool = True) -> list[CellResult]:
    """The results in a JSON-lines file: the same columns as `read_csv`, and `item_scores`.

    `item_weights` beside them say what each item counts in the score, where not all count alike.

    Raises ResultsError, with the row's line number, for the first thing that cannot be used.
    """
    path = Path(path)
    rows: list[tuple[int, Fields]] = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ResultsError(f"it is not JSON: {error}.", file=path, row=number) from error
        if not isinstance(row, dict):
            raise ResultsError("a row must be a JSON object.", file=path, row=number)
        unknown = sorted(set(row) - KNOWN - CARRIED - _OF_ITEMS - {"lines"})
        if unknown:
            raise ResultsError(
                f"there is no column {unknown[0]!r}.",
                file=path,
                row=number,
                mend=f"use: {', '.join(sorted(KNOWN))}, item_scores, item_weights.",
            )
        rows.append((number, row))
    return checked_table(rows, path, lines=lines)


def read_table(path: str | Path, *, lines: bool = True) -> list[CellResult]:
    """`read_jsonl` for files named .jsonl, else `read_csv`."""
    read = read_jsonl if Path(path).suffix.lower() == ".jsonl" else read_csv
    return read(path, lines=lines)


def _text(path: Path) -> str:
    """The file's text; ResultsError where it cannot be read, is not UTF-8, or is empty."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ResultsError(
            f"it cannot be read: {error.strerror or error}.", file=path, mend="check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise ResultsError(
            "it is not text in UTF-8.", file=path, mend="save it as CSV in UTF-8."
        ) from error
    if not text.strip():
        raise ResultsError("the file is empty.", file=path, mend="write a header and rows.")
    if "\0" in text:
        raise ResultsError("it is not text.", file=path, mend="save it as CSV in UTF-8.")
    return text


def _named(header: Sequence[str], values: Sequence[str], path: Path, row: int) -> Fields:
    if len(values) != len(header):
        raise ResultsError(
            f"there are {len(values)} fields under {len(header)} columns.",
            file=path,
            row=row,
            mend="give every column a field, and quote texts that hold commas.",
        )
    pairs = zip(header, values, strict=True)
    return {name: value.strip() for name, value in pairs if value.strip()}


def _in_order(results: Iterable[CellResult]) -> Sequence[CellResult]:
    names = ("model", "task", "method", "n_sft", "n_pref", "replicate")
    return sorted(results, key=lambda result: tuple(getattr(result, name) for name in names))


def _field(value: Any) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)

"""Results as CSV and JSON: no times, no paths, so that equal measurements give equal bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

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


def to_csv(results: Iterable[CellResult]) -> str:
    """One row per cell, sorted by its place; an empty field is a value that is missing."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for result in _in_order(results):
        table.writerow([_field(getattr(result, name)) for name in COLUMNS])
    return text.getvalue()


def to_json(results: Iterable[CellResult]) -> list[dict[str, Any]]:
    """JSON-able rows with every field but the scores per item; missing values are null."""
    rows = []
    for result in _in_order(results):
        row = asdict(result)
        del row["item_scores"], row["train_tokens"]
        rows.append(row)
    return rows


def _in_order(results: Iterable[CellResult]) -> Sequence[CellResult]:
    names = ("model", "task", "method", "n_sft", "n_pref", "replicate")
    return sorted(results, key=lambda result: tuple(getattr(result, name) for name in names))


def _field(value: Any) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)

"""Tokenised rows as the columns that TRL's collators read: they are made by our templates, so that
a response's tokens are the same as in the native loop, in generation and in every trainer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apportion.training.batches import Row
from apportion.training.dpo import PairRows
from apportion.training.kto import KtoRows

Columns = dict[str, list[Any]]
_IGNORED = -100  # the label that a loss leaves out


def sft_columns(rows: Sequence[Row]) -> Columns:
    """`input_ids`, and `labels` on the response alone."""
    return {
        "input_ids": [list(row.ids) for row in rows],
        "labels": [[_IGNORED] * row.start + list(row.ids[row.start :]) for row in rows],
    }


def dpo_columns(rows: Sequence[PairRows]) -> Columns:
    """`prompt_ids`, `chosen_ids`, `rejected_ids`."""
    return {
        "prompt_ids": [_prompt(chosen) for chosen, _ in rows],
        "chosen_ids": [_response(chosen) for chosen, _ in rows],
        "rejected_ids": [_response(rejected) for _, rejected in rows],
    }


def kto_columns(rows: KtoRows) -> Columns:
    """`prompt_ids`, `completion_ids`, `KL_completion_ids` (mismatched, see `KtoRows`), `label`."""
    return {
        "prompt_ids": [_prompt(row) for row in rows.matched],
        "completion_ids": [_response(row) for row in rows.matched],
        "KL_completion_ids": [_response(row) for row in rows.mismatched],
        "label": list(rows.desirable),
    }


def lengths_of(columns: Columns) -> list[int]:
    """Tokens per example as the native loop counts them: of both responses of a pair, and of a
    label without the mismatched response."""
    if "input_ids" in columns:
        return [len(ids) for ids in columns["input_ids"]]
    if "label" in columns:
        both = zip(columns["prompt_ids"], columns["completion_ids"], strict=True)
        return [len(prompt) + len(response) for prompt, response in both]
    three = zip(*(columns[f"{name}_ids"] for name in ("prompt", "chosen", "rejected")), strict=True)
    return [2 * len(prompt) + len(chosen) + len(rejected) for prompt, chosen, rejected in three]


def _prompt(row: Row) -> list[int]:
    return list(row.ids[: row.start])


def _response(row: Row) -> list[int]:
    return list(row.ids[row.start :])

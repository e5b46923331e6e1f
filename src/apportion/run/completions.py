"""What every engine's generate stage has in common: the test items, and the file of answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apportion.data.records import Item
from apportion.run.common import same_data, task_of, write_lines

if TYPE_CHECKING:
    from apportion.generation.ending import Completion

COMPLETIONS = "completions.jsonl"


def items_of(spec: Mapping[str, Any]) -> list[Item]:
    """The test items of a spec; DataError where they are not what they were."""
    wanted = spec["items"]
    begin = wanted.get("begin", 0)  # validation items stand far behind the test items
    items = task_of(spec).pool.items(begin + wanted["n"])[begin:]
    same_data(items, wanted, spec)
    return items


def keep_completions(
    out: Path, items: Sequence[Item], completions: Sequence[Completion]
) -> dict[str, Any]:
    """Write one line per item into `out`; the stage's summary."""
    rows = (
        {"item_id": item.item_id, **asdict(answer)}
        for item, answer in zip(items, completions, strict=True)
    )
    write_lines(out / COMPLETIONS, rows)
    return {
        "n_items": len(items),
        "tokens": sum(answer.n_tokens for answer in completions),
        "truncated": sum(answer.truncated for answer in completions),
    }

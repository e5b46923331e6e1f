"""What the bodies of stages share: examples that are the same, threads, files of lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apportion.data.records import Example, ordered_digest
from apportion.errors import DataError, StageError
from apportion.store.files import to_json
from apportion.tasks.base import Task
from apportion.tasks.registry import get_task


def same_data(examples: Sequence[Example], wanted: Mapping[str, Any], spec: Any) -> None:
    """DataError where the examples are not those of the spec."""
    if len(examples) != wanted["n"] or ordered_digest(examples) != wanted["digest"]:
        raise DataError(
            f"the data of task {spec['task']!r} is not what it was when the study was read.",
            mend="run the study again: changed data make new stages.",
        )


def task_of(spec: Mapping[str, Any]) -> Task:
    """The task of a spec. DataError where its card is not what it was when the study was read."""
    task = get_task(spec.get("task_card", spec["task"]))
    wanted = spec.get("metric_version", task.metric_version)
    if task.name != spec["task"] or task.metric_version != wanted:
        raise DataError(
            f"the task {spec['task']!r} is not what it was when the study was read.",
            file=task.card,
            mend="run the study again: a changed task makes new stages.",
        )
    return task


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """Within: torch uses `threads` threads (the last bits of sums depend on it), and transformers
    draws no bars of its own. StageError where a GPU's memory is not enough."""
    import torch
    from transformers.utils import logging

    before, bars = torch.get_num_threads(), logging.is_progress_bar_enabled()
    torch.set_num_threads(threads)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise StageError(
            f"the GPU's memory is not enough: {str(error).split('. ')[0]}.",
            mend="where it trains, write a smaller micro_batch_size (examples of one forward pass) "
            "in recipe.sft or recipe.preference, or trainer: trl, which needs less; where it "
            "generates, a smaller evaluation.batch_size.",
        ) from error
    finally:
        torch.set_num_threads(before)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """The rows as JSON lines."""
    path.write_bytes(b"".join(to_json(row) + b"\n" for row in rows))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file of an artifact."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]

"""What a person should know of the data before they are paid for: one line each.

Rows left out and why, and examples that are longer than the study's `max_length` allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from apportion.config.study import Study
from apportion.data.records import Demonstration, Item, Label, Pair
from apportion.errors import UserError
from apportion.models.resolve import resolve_model, tokenizer_folder
from apportion.tasks import registry
from apportion.tasks.base import Task
from apportion.tasks.sources import SourcePool

MOST = 5_000  # examples of a side that are tokenised


def data_report(study: Study) -> list[str]:
    """The lines, for all tasks and models. Raises what reading the pools raises (DataError)."""
    lines: list[str] = []
    for name in study.tasks:
        task = registry.get_task(name)
        if isinstance(task.pool, SourcePool):
            lines += [f"task {task.name}: {line}" for line in task.pool.findings()]
            lines += _over_long(task, task.pool, study)
    return list(dict.fromkeys(lines))


def _over_long(task: Task, pool: SourcePool, study: Study) -> Iterator[str]:
    contents = pool.contents()
    sides: dict[str, Sequence[Demonstration | Pair | Label]] = {
        "demonstrations": contents.demonstrations,
        "preference units": [*contents.pairs, *contents.labels],
    }
    limit = study.recipe.max_length
    for model in study.models:
        tokenizer = _tokenizer(model)
        for what, examples in sides.items() if tokenizer is not None else ():
            looked = examples[:MOST]
            # A token is at least one byte, so most short examples need no tokenizer.
            texts = [_texts(e) for e in looked]
            long = [t for t in texts if max(len(x.encode()) for x in t) > limit]
            count = sum(_longest(tokenizer, t) > limit for t in long)
            if count:
                of = f"{len(looked):,}" if len(looked) == len(examples) else f"the first {MOST:,}"
                yield (
                    f"task {task.name}: {count:,} of {of} {what} are longer than max_length = "
                    f"{limit} tokens of {model}, and are cut off at their end"
                )


def _texts(example: Demonstration | Pair | Label | Item) -> list[str]:
    """What is tokenised of an example, without its template."""
    asked = " ".join([*(text for _, text in example.context), example.prompt])
    if isinstance(example, Pair):
        return [f"{asked} {example.chosen}", f"{asked} {example.rejected}"]
    return [asked if isinstance(example, Item) else f"{asked} {example.response}"]


def _longest(tokenizer: Any, texts: Iterable[str]) -> int:
    return max(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)


def _tokenizer(model: str) -> Any:
    """The fast tokenizer of a model that is here; None where there is none to be had."""
    try:
        file = tokenizer_folder(resolve_model(model)) / "tokenizer.json"
        return _read(file) if file.is_file() else None
    except UserError:
        return None


def _read(file: Path) -> Any:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception:  # the library raises bare Exceptions; loading the model says what is wrong
        return None

"""What each kind of stage does. Everything it needs is in the stage's spec and its ancestors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from apportion.config.evaluation import Decoding
from apportion.data.records import Item
from apportion.errors import DataError
from apportion.run.common import computing, read_lines, same_data, write_lines
from apportion.run.context import Body, Context
from apportion.run.policies import load
from apportion.run.train import preference, sft
from apportion.tasks.registry import get_task

COMPLETIONS = "completions.jsonl"
ITEMS = "items.jsonl"


def generate(context: Context) -> Mapping[str, Any]:
    """Answer the test items."""
    from apportion.generation.decode import generate as decode

    spec = context.stage.spec
    items = _items(spec)
    with computing(context.threads):
        policy = load(context)
        completions = decode(
            policy.model,
            policy.tokenizer,
            policy.template,
            [item.prompt for item in items],
            decoding=Decoding.model_validate(spec["decoding"]),
            stop=tuple(spec["stop"]),
            batch_size=spec["batch_size"],
            seed=spec["sample_seed"],
            on_progress=lambda done, total: context.progress(done / total),
            contexts=[item.context for item in items],
        )
    rows = (
        {"item_id": item.item_id, **asdict(answer)}
        for item, answer in zip(items, completions, strict=True)
    )
    write_lines(context.out / COMPLETIONS, rows)
    return {
        "n_items": len(items),
        "tokens": sum(answer.n_tokens for answer in completions),
        "truncated": sum(answer.truncated for answer in completions),
    }


def score(context: Context) -> Mapping[str, Any]:
    """Judge the parent's answers, item by item; no model is needed."""
    spec = context.stage.spec
    task = get_task(spec["task"])
    answers = read_lines(context.ancestors[-1].folder / COMPLETIONS)
    rows = []
    for item, answer in zip(_items(spec), answers, strict=True):
        if answer["item_id"] != item.item_id:
            raise DataError(f"the answers are not of the test items (at {item.item_id!r}).")
        judged = task.score(item, answer["text"])
        facts = {"truncated": answer["truncated"], "n_tokens": answer["n_tokens"]}
        rows.append({"item_id": item.item_id, **asdict(judged), **facts})
    write_lines(context.out / ITEMS, rows)
    return summarise(rows, spec["primary"])


def summarise(rows: Sequence[Mapping[str, Any]], primary: str) -> dict[str, Any]:
    """Means over items. `stderr`: sample standard deviation / sqrt(n); None for fewer than two."""
    n = len(rows)

    def mean(name: str) -> float:
        return math.fsum(float(row[name]) for row in rows) / n

    values = [float(row[primary]) for row in rows]
    return {
        "score": mean(primary),
        "stderr": statistics.stdev(values) / math.sqrt(n) if n > 1 else None,
        "n_items": n,
        "strict": mean("strict"),
        "lenient": mean("lenient"),
        "format_failure_rate": sum(not row["format_ok"] for row in rows) / n,
        "truncation_rate": mean("truncated"),
        "mean_response_tokens": mean("n_tokens"),
        "primary": primary,
    }


BODIES: Mapping[str, Body] = {
    "sft": sft,
    "preference": preference,
    "generate": generate,
    "score": score,
}


def _items(spec: Mapping[str, Any]) -> list[Item]:
    wanted = spec["items"]
    items = get_task(spec["task"]).pool.items(wanted["n"])
    same_data(items, wanted, spec)
    return items

"""What each kind of stage does. Everything it needs is in the stage's spec and its ancestors."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apportion.config.evaluation import Decoding
from apportion.config.recipe import PreferenceRecipe, SftRecipe
from apportion.data.records import Example, Item, ordered_digest
from apportion.errors import DataError
from apportion.run.context import Body, Context
from apportion.run.policies import load, trainable
from apportion.run.reference import cached_reference
from apportion.store.files import to_json
from apportion.store.record import plain
from apportion.tasks.registry import get_task

if TYPE_CHECKING:
    from torch import nn

    from apportion.training.loop import StepLog

COMPLETIONS = "completions.jsonl"
ITEMS = "items.jsonl"
STEPS = "steps.jsonl"
REFERENCE = "reference.jsonl"


def sft(context: Context) -> Mapping[str, Any]:
    """Fine-tune the base on demonstrations."""
    from apportion.training.sft import train_sft

    spec = context.stage.spec
    data = spec["data"]
    examples = get_task(spec["task"]).pool.demonstrations(data["n"], seed=data["seed"])
    _same_data(examples, data, spec)
    with _computing(context.threads):
        policy = load(context)
        model = trainable(policy.model, spec)
        logs = train_sft(
            model,
            policy.tokenizer,
            policy.template,
            examples,
            SftRecipe.model_validate(spec["recipe"]),
            max_length=spec["max_length"],
            seed=spec["train_seed"],
            on_step=_on_step(context),
        )
        return _keep(context, model, logs)


def preference(context: Context) -> Mapping[str, Any]:
    """Preference-tune the parent (or the base), with that same model as the reference."""
    from apportion.training.dpo import reference_logps, train_dpo

    spec = context.stage.spec
    data = spec["data"]
    pairs = get_task(spec["task"]).pool.pairs(data["n"], seed=data["seed"])
    _same_data(pairs, data, spec)
    recipe = PreferenceRecipe.model_validate(spec["recipe"])
    with _computing(context.threads):
        policy = load(context)
        batch = recipe.micro_batch_size or recipe.batch_size

        def compute(chunk: Sequence[Any]) -> Any:
            return reference_logps(
                policy.model,
                policy.tokenizer,
                policy.template,
                chunk,
                max_length=spec["max_length"],
                batch_size=batch,
            )

        names = ("parent", "model", "template", "dtype", "max_length", "stage_two")
        identity = {name: plain(spec.get(name)) for name in names}
        identity |= {"batch": batch, "threads": context.threads, "device": str(policy.device)}
        reference = cached_reference(context.cache, identity, pairs, compute)
        rows = zip(*reference, strict=True)
        _write_lines(context.out / REFERENCE, ({"chosen": c, "rejected": r} for c, r in rows))
        model = trainable(policy.model, spec)
        logs = train_dpo(
            model,
            policy.tokenizer,
            policy.template,
            pairs,
            recipe,
            reference=reference,
            max_length=spec["max_length"],
            seed=spec["train_seed"],
            on_step=_on_step(context),
        )
        return _keep(context, model, logs)


def generate(context: Context) -> Mapping[str, Any]:
    """Answer the test items."""
    from apportion.generation.decode import generate as decode

    spec = context.stage.spec
    items = _items(spec)
    with _computing(context.threads):
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
        )
    rows = (
        {"item_id": item.item_id, **asdict(answer)}
        for item, answer in zip(items, completions, strict=True)
    )
    _write_lines(context.out / COMPLETIONS, rows)
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
    _write_lines(context.out / ITEMS, rows)
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


# -- what they share ----------------------------------------------------------------------------


def _keep(context: Context, model: nn.Module, logs: Sequence[StepLog]) -> dict[str, Any]:
    from apportion.models.policy import save_trained

    _write_lines(context.out / STEPS, (asdict(log) for log in logs))
    save_trained(model, context.out)
    return {
        "n": context.stage.spec["data"]["n"],
        "steps": len(logs),
        "tokens": sum(log.tokens for log in logs),
        "first_loss": logs[0].loss,
        "last_loss": logs[-1].loss,
        "dropped": int(logs[-1].extra.get("dropped", 0)),
    }


def _items(spec: Mapping[str, Any]) -> list[Item]:
    wanted = spec["items"]
    items = get_task(spec["task"]).pool.items(wanted["n"])
    _same_data(items, wanted, spec)
    return items


def _same_data(examples: Sequence[Example], wanted: Mapping[str, Any], spec: Any) -> None:
    if len(examples) != wanted["n"] or ordered_digest(examples) != wanted["digest"]:
        raise DataError(
            f"the data of task {spec['task']!r} is not what it was when the study was read.",
            mend="run the study again: changed data make new stages.",
        )


def _on_step(context: Context) -> Callable[[StepLog, int], None]:
    return lambda log, steps: context.progress(log.step / steps)


@contextmanager
def _computing(threads: int) -> Iterator[None]:
    """Within: torch uses `threads` threads (the last bits of sums depend on it), and transformers
    draws no bars of its own."""
    import torch
    from transformers.utils import logging

    before, bars = torch.get_num_threads(), logging.is_progress_bar_enabled()
    torch.set_num_threads(threads)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_bytes(b"".join(to_json(row) + b"\n" for row in rows))


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file of an artifact."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]

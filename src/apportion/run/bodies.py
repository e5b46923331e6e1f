"""What each kind of stage does. Everything it needs is in the stage's spec and its ancestors."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from apportion.config.evaluation import Decoding
from apportion.errors import DataError
from apportion.metrics.ifeval import Verdict, four_accuracies
from apportion.run.common import computing, read_lines, task_of, write_lines
from apportion.run.completions import COMPLETIONS, items_of, keep_completions
from apportion.run.context import Body, Context, GroupBody, Keeper
from apportion.run.policies import load
from apportion.run.stack import stacked
from apportion.run.train import preference, sft
from apportion.run.vllm import answered, answered_together

ITEMS = "items.jsonl"


def generate(context: Context) -> Mapping[str, Any]:
    """Answer the test items."""
    from apportion.generation.decode import generate as decode

    spec = context.stage.spec
    if spec.get("engine") == "vllm":
        return answered(context)
    items = items_of(spec)
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
    return keep_completions(context.out, items, completions)


def score(context: Context) -> Mapping[str, Any]:
    """Judge the parent's answers, item by item; no model is needed."""
    spec = context.stage.spec
    task = task_of(spec)
    answers = read_lines(context.ancestors[-1].folder / COMPLETIONS)
    rows = []
    for item, answer in zip(items_of(spec), answers, strict=True):
        if answer["item_id"] != item.item_id:
            raise DataError(f"the answers are not of the test items (at {item.item_id!r}).")
        judged = task.score(item, answer["text"])
        facts = {"truncated": answer["truncated"], "n_tokens": answer["n_tokens"]}
        scores = {name: getattr(judged, name) for name in ("strict", "lenient", "format_ok")}
        if judged.verdict is not None:
            scores |= {"weight": judged.weight, "verdict": asdict(judged.verdict)}
        rows.append({"item_id": item.item_id, **scores, **facts})
    write_lines(context.out / ITEMS, rows)
    return summarise(rows, spec["primary"])


def summarise(rows: Sequence[Mapping[str, Any]], primary: str) -> dict[str, Any]:
    """Means over items; strict and lenient weighted where items have weights.

    `stderr`: sample standard deviation / sqrt(n) (of weighted items that of their ratio); None for
    fewer than two. `accuracies`: IFEval's four, where items have verdicts.
    """
    n = len(rows)
    weights = [float(row.get("weight", 1.0)) for row in rows]

    def mean(name: str) -> float:
        return math.fsum(float(row[name]) for row in rows) / n

    def weighted(name: str) -> float:
        total = math.fsum(w * float(row[name]) for w, row in zip(weights, rows, strict=True))
        return total / math.fsum(weights)

    score = weighted(primary)
    values = [w * (float(r[primary]) - score) for w, r in zip(weights, rows, strict=True)]
    per_item = math.fsum(weights) / n
    found = {
        "score": score,
        "stderr": statistics.stdev(values) / per_item / math.sqrt(n) if n > 1 else None,
        "n_items": n,
        "strict": weighted("strict"),
        "lenient": weighted("lenient"),
        "format_failure_rate": sum(not row["format_ok"] for row in rows) / n,
        "truncation_rate": mean("truncated"),
        "mean_response_tokens": mean("n_tokens"),
        "primary": primary,
    }
    verdicts = [Verdict(**row["verdict"]) for row in rows if "verdict" in row]
    return {**found, "accuracies": four_accuracies(verdicts)} if verdicts else found


BODIES: Mapping[str, Body] = {
    "sft": sft,
    "preference": preference,
    "generate": generate,
    "score": score,
}


def together(contexts: Sequence[Context], keeper: Keeper) -> None:
    """Run the stages of a group: train them at once, or answer them with one engine."""
    generated = contexts[0].stage.kind == "generate"
    (answered_together if generated else stacked)(contexts, keeper)


GROUP_BODY: GroupBody = together  # see `find_bodies`

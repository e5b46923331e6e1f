"""The training stages: by the native loop, or by TRL where the spec says so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apportion.config.recipe import KtoRecipe, LoraRecipe, PreferenceRecipe, SftRecipe
from apportion.data.records import Pair
from apportion.run.common import computing, read_lines, same_data, task_of, write_lines
from apportion.run.context import Context
from apportion.run.legs import at_start, begin_of, is_trunk, leg_of, own, seed_of
from apportion.run.policies import Policy, load, merged_adapters, same_model, trainable
from apportion.run.reference import cached_reference
from apportion.store.record import plain

if TYPE_CHECKING:
    from torch import nn

    from apportion.models.template import Template
    from apportion.training.kto import KtoRows
    from apportion.training.steps import StepLog
    from apportion.training.trl.columns import Columns

STEPS = "steps.jsonl"
REFERENCE = "reference.jsonl"


def sft(context: Context) -> Mapping[str, Any]:
    """Fine-tune the base on demonstrations."""
    spec = context.stage.spec
    examples = examples_of(spec)
    with computing(context.threads):
        if "trainer" in spec:
            return _by_trl(context, "sft", examples)
        from apportion.training.sft import train_sft

        policy = load(at_start(context))
        model = trainable(policy.model, spec)
        logs = train_sft(
            model,
            policy.tokenizer,
            policy.template,
            own(spec, examples),
            SftRecipe.model_validate(spec["recipe"]),
            max_length=spec["max_length"],
            seed=seed_of(spec),
            on_step=on_step(context),
            leg=leg_of(context),
        )
        return _keep(context, model, logs)


def preference(context: Context) -> Mapping[str, Any]:
    """Preference-tune the parent (or the base), with that same model as the reference."""
    spec = context.stage.spec
    examples, method = examples_of(spec), spec["method"]
    with computing(context.threads):
        if "trainer" in spec:
            return _by_trl(context, method, examples)
        policy = load(at_start(context))
        return (_kto if method == "kto" else _dpo)(context, policy, examples)


def examples_of(spec: Mapping[str, Any]) -> Sequence[Any]:
    """The examples of a training stage; DataError where they are not those of its spec."""
    data, pool = spec["data"], task_of(spec).pool
    method = spec.get("method", "sft")
    takes: dict[str, Callable[..., Sequence[Any]]] = {
        "sft": pool.demonstrations,
        "dpo": pool.pairs,
        "kto": pool.labels,
    }
    examples = takes[method](data["n"], seed=data["seed"])
    same_data(examples, data, spec)
    return examples


def _dpo(context: Context, policy: Policy, pairs: Sequence[Pair]) -> Mapping[str, Any]:
    from apportion.training.dpo import train_dpo

    spec = context.stage.spec
    recipe = PreferenceRecipe.model_validate(spec["recipe"])
    words, length = (policy.tokenizer, policy.template), spec["max_length"]
    pairs = own(spec, pairs)
    reference = pair_reference(context, policy, pairs)
    write_pair_reference(context.out, reference)
    model = trainable(policy.model, spec)
    logs = train_dpo(
        model,
        *words,
        pairs,
        recipe,
        reference=reference,
        max_length=length,
        seed=seed_of(spec),
        on_step=on_step(context),
        leg=leg_of(context),
    )
    return _keep(context, model, logs)


def pair_reference(context: Context, policy: Policy, pairs: Sequence[Pair]) -> Any:
    """log p of chosen and rejected under `policy`, which the stage starts from; cached."""
    from apportion.training.dpo import reference_logps

    spec = context.stage.spec
    recipe = PreferenceRecipe.model_validate(spec["recipe"])
    batch = recipe.micro_batch_size or recipe.batch_size
    words, length = (policy.tokenizer, policy.template), spec["max_length"]

    def compute(chunk: Sequence[Any]) -> Any:
        return reference_logps(policy.model, *words, chunk, max_length=length, batch_size=batch)

    names = ("parent", "model", "template", "dtype", "max_length", "stage_two", "semantics_version")
    identity = {name: plain(spec.get(name)) for name in names}
    if "quantization" in spec:
        identity["quantization"] = spec["quantization"]
    identity |= {"batch": batch, "threads": context.threads, "device": str(policy.device)}
    return cached_reference(context.cache, identity, pairs, compute)


def write_pair_reference(out: Path, reference: Any) -> None:
    """Reference log-probabilities, a line per pair."""
    rows = zip(*reference, strict=True)
    write_lines(out / REFERENCE, ({"chosen": c, "rejected": r} for c, r in rows))


def write_label_reference(out: Path, reference: Any) -> None:
    """Reference log-probabilities, a line per label."""
    rows = zip(*reference, strict=True)
    write_lines(out / REFERENCE, ({"matched": m, "mismatched": k} for m, k in rows))


def _kto(context: Context, policy: Policy, labels: Sequence[Any]) -> Mapping[str, Any]:
    from apportion.training.kto import kto_reference, train_kto

    spec = context.stage.spec
    recipe, kto = PreferenceRecipe.model_validate(spec["recipe"]), kto_recipe(spec)
    rows = kto_rows(spec, policy.template, own(spec, labels))
    batch = recipe.micro_batch_size or recipe.batch_size
    reference = kto_reference(policy.model, policy.tokenizer, rows, batch_size=batch)
    write_label_reference(context.out, reference)
    model = trainable(policy.model, spec)
    logs = train_kto(
        model,
        policy.tokenizer,
        rows,
        recipe,
        kto,
        reference=reference,
        seed=seed_of(spec),
        on_step=on_step(context),
        leg=leg_of(context),
    )
    return _keep(context, model, logs)


def kto_recipe(spec: Mapping[str, Any]) -> KtoRecipe:
    """What KTO has of its own, as the spec says."""
    return KtoRecipe.model_validate(spec["kto"])


def kto_rows(spec: Mapping[str, Any], template: Template, labels: Sequence[Any]) -> KtoRows:
    """The labels in the groups that the spec asks for."""
    from apportion.training.kto import encode_labels

    return encode_labels(
        template,
        labels,
        max_length=spec["max_length"],
        group_size=spec["kto"]["group_size"],
        seed=seed_of(spec),
    )


def _by_trl(context: Context, method: Any, examples: Sequence[Any]) -> Mapping[str, Any]:
    """Train with TRL, in this process or through `accelerate launch`, going on after a crash."""
    from apportion.models.resolve import resolve_model
    from apportion.models.template import load_tokenizer, make_template
    from apportion.training.steps import StepLog
    from apportion.training.trl.installed import require_trl
    from apportion.training.trl.job import Job, run_job
    from apportion.training.trl.launch import ACCELERATE, launched
    from apportion.training.trl.settings import Settings

    require_trl()
    spec = context.stage.spec
    ref = resolve_model(spec["model"]["name"])
    same_model(ref, spec)
    template = make_template(ref, load_tokenizer(ref))
    columns, dropped = _columns(spec, method, template, examples)
    recipe = SftRecipe if method == "sft" else PreferenceRecipe
    settings = Settings(
        method=method,
        recipe=recipe.model_validate(spec["recipe"]),
        max_length=spec["max_length"],
        seed=spec["train_seed"],
        dtype=spec["dtype"],
        kto=kto_recipe(spec) if method == "kto" else None,
        trackers=tuple(spec.get("trackers", ())),
        run_name=context.stage.label,
    )
    job = Job(
        settings=settings,
        model=spec["model"]["name"],
        chain=tuple(str(ancestor.folder) for ancestor in context.ancestors),
        lora=None if spec["lora"] is None else LoraRecipe.model_validate(spec["lora"]),
        merge_16bit=merged_adapters(context),
        quantization=spec.get("quantization", "none"),
        dropped=dropped,
    )
    folder = context.cache / "trl" / context.stage.key
    job.write(folder, columns)
    if os.environ.get(ACCELERATE):
        out = launched(folder, context.progress)
    else:
        out = run_job(folder, on_step(context))
    logs = [StepLog(**row) for row in read_lines(out / STEPS)]
    for file in sorted(out.iterdir()):
        shutil.move(file, context.out / file.name)
    shutil.rmtree(folder)
    return summary(context, logs)


def _columns(
    spec: Mapping[str, Any], method: str, template: Template, examples: Sequence[Any]
) -> tuple[Columns, int]:
    """The tokenised examples that fit, and how many do not."""
    from apportion.training.batches import encode
    from apportion.training.dpo import encode_pairs
    from apportion.training.trl.columns import dpo_columns, kto_columns, sft_columns

    length = spec["max_length"]
    if method == "kto":
        labels = kto_rows(spec, template, examples)
        return kto_columns(labels), labels.dropped
    if method == "dpo":
        pairs = [row for row in encode_pairs(template, examples, max_length=length) if row]
        return dpo_columns(pairs), len(examples) - len(pairs)
    found = [
        encode(template, d.prompt, d.response, max_length=length, context=d.context)
        for d in examples
    ]
    rows = [row for row in found if row is not None]
    return sft_columns(rows), len(examples) - len(rows)


def _keep(context: Context, model: nn.Module, logs: Sequence[StepLog]) -> dict[str, Any]:
    from apportion.models.policy import save_trained

    write_lines(context.out / STEPS, (asdict(log) for log in logs))
    if not is_trunk(context.stage.spec):  # the state of a trunk was kept by the loop
        save_trained(model, context.out)
    return summary(context, logs)


def summary(context: Context, logs: Sequence[StepLog]) -> dict[str, Any]:
    """What a training stage's record says of it."""
    return {
        "n": context.stage.spec["data"]["n"] - begin_of(context.stage.spec),
        "steps": len(logs),
        "tokens": sum(log.tokens for log in logs),
        "first_loss": logs[0].loss,
        "last_loss": logs[-1].loss,
        "dropped": int(logs[-1].extra.get("dropped", 0)),
    }


def on_step(context: Context) -> Callable[[StepLog, int], None]:
    """Tells the run how far the stage is."""
    return lambda log, steps: context.progress(log.step / steps)

"""Generate stages by vLLM: one, or several that share a loaded base model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apportion.config.evaluation import Decoding
from apportion.data.records import Item
from apportion.run.common import computing
from apportion.run.completions import items_of, keep_completions
from apportion.run.context import Context, Keeper
from apportion.run.policies import same_model
from apportion.run.served import Served, base_of, served

if TYPE_CHECKING:
    from apportion.generation.ending import Completion
    from apportion.generation.vllm.ask import Question
    from apportion.generation.vllm.engine import Engine
    from apportion.generation.vllm.protocol import Settings


def answered(context: Context) -> Mapping[str, Any]:
    """Answer the test items of one stage, with an engine of its own."""
    from apportion.generation.vllm.ask import completions
    from apportion.generation.vllm.engine import running

    with ExitStack() as folders:
        job = _job(context, 1, folders)
        with running(_settings([job])) as engine:
            found = completions(engine, job.question)
            return _keep(job, context.out, found, engine)


def answered_together(contexts: Sequence[Context], keeper: Keeper) -> None:
    """Answer the stages of a group (see `engine_groups`) one after the other with one engine.

    A stage that cannot be asked, or is refused, fails alone. Raises EngineDied, after which those
    that are left are tried apart.
    """
    from apportion.generation.vllm.engine import running

    with ExitStack() as folders:
        jobs: list[_Job] = []
        for number, context in enumerate(contexts, start=1):
            try:
                jobs.append(_job(context, number, folders))
            except Exception as error:
                keeper.failed(context, error)
        if not jobs:
            return
        clock = time.monotonic()
        with running(_settings(jobs)) as engine:
            loading = (time.monotonic() - clock) / len(jobs)
            for job in jobs:
                _answer_one(engine, job, keeper, loading)


@dataclass(frozen=True)
class _Job:
    """A stage's question, what its model is for vLLM, and where the base model is."""

    context: Context
    items: Sequence[Item]
    question: Question
    served: Served
    base: Served
    begun: float  # seconds that went into it


def _job(context: Context, number: int, folders: ExitStack) -> _Job:
    """Everything of a stage that comes before the engine; `number`: of its adapter, if it has one.

    What is written for vLLM is removed with `folders`.
    """
    from apportion.generation.vllm.ask import question
    from apportion.generation.vllm.protocol import Adapter
    from apportion.models.resolve import resolve_model
    from apportion.models.template import load_tokenizer, make_template

    clock, spec = time.monotonic(), context.stage.spec
    items = items_of(spec)
    ref = resolve_model(spec["model"]["name"])
    same_model(ref, spec)
    tokenizer = load_tokenizer(ref)
    with computing(context.threads):
        found = folders.enter_context(served(context, ref))
    asked = question(
        ref,
        tokenizer,
        make_template(ref, tokenizer),
        [item.prompt for item in items],
        decoding=Decoding.model_validate(spec["decoding"]),
        stop=tuple(spec["stop"]),
        seed=spec["sample_seed"],
        adapter=None if found.adapter is None else Adapter(number, str(found.adapter)),
        contexts=[item.context for item in items],
    )
    return _Job(context, items, asked, found, base_of(ref), time.monotonic() - clock)


def _settings(jobs: Sequence[_Job]) -> Settings:
    """How the engine is loaded that answers all of `jobs`, whose model is one."""
    from apportion.generation.vllm.protocol import Settings

    first, spec = jobs[0], jobs[0].context.stage.spec
    return Settings(
        model=first.served.model,
        revision=first.served.revision,
        tokenizer=first.base.model,
        tokenizer_revision=first.base.revision,
        dtype=spec["dtype"],
        max_model_len=max(job.question.longest for job in jobs),
        max_num_seqs=spec["batch_size"],
        max_lora_rank=spec["vllm"]["max_lora_rank"],
    )


def _answer_one(engine: Engine, job: _Job, keeper: Keeper, loading: float) -> None:
    """Answer `job` and keep it; `loading`: its part of what loading the engine took, in seconds."""
    from apportion.generation.vllm.ask import completions
    from apportion.generation.vllm.engine import EngineDied

    clock = time.monotonic()
    try:
        found = completions(engine, job.question)
    except EngineDied:
        raise
    except Exception as error:
        keeper.failed(job.context, error)
        return
    spent = job.begun + loading + time.monotonic() - clock
    keeper.done(job.context, lambda out: _keep(job, out, found, engine), spent)


def _keep(job: _Job, out: Path, found: Sequence[Completion], engine: Engine) -> dict[str, Any]:
    job.context.progress(1.0)
    return {**keep_completions(out, job.items, found), "engine_version": engine.version}

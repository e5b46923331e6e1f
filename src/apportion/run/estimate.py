"""How long and how large a plan's run will be, from rates measured here.

| symbol | meaning | unit |
|---|---|---|
| t_s | estimated tokens of stage s | tokens |
| r_k | tokens of kind k per second of one worker | tokens/s |
| w | workers | |

Time: max(sum_s t_s / r_k(s) / w, the longest path of t_s / r_k(s)), plus a start-up per worker.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apportion.data.records import Pair
from apportion.run.legs import is_trunk

if TYPE_CHECKING:
    from apportion.compile import Plan
    from apportion.config.recipe import Recipe
    from apportion.models.resolve import ModelRef

START_SECONDS = 6.0  # a worker's imports and first model
SCORE_SECONDS = 0.2  # per score stage: no model, mostly writing
_MEASURE_STEPS = 2
_MEASURE_PROMPTS = 16
_STATE_COPIES = 3  # a trunk's state: weights, and the optimiser's two means of gradients
_SMALL_ARTIFACT = 200_000  # bytes of a generate or score artifact, generously


@dataclass(frozen=True)
class Rates:
    """Tokens per second of one worker by kind, and bytes of one trained artifact."""

    tokens_per_second: Mapping[str, float]
    artifact_bytes: int


@dataclass(frozen=True)
class Estimate:
    """What a run will take."""

    seconds: float
    disk_bytes: int


def measure_rate(ref: ModelRef, recipe: Recipe, *, task: str = "math", threads: int = 1) -> Rates:
    """Measure a few real steps of each kind with `ref` and `recipe` (some seconds).

    Only rates and sizes come of it; nothing is kept. Errors of loading pass through (ModelError).
    """
    import torch

    from apportion.models.policy import load_policy, prepare_for_training, save_trained
    from apportion.models.template import load_tokenizer, make_template
    from apportion.tasks.registry import get_task

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        tokenizer = load_tokenizer(ref)
        kit = _Kit(ref, recipe, get_task(task), tokenizer, make_template(ref, tokenizer))
        model = load_policy(ref, [], dtype=recipe.dtype)
        model = model.to("cuda" if torch.cuda.is_available() else "cpu")
        rates = {"generate": kit.generating(model)}
        model = prepare_for_training(model, recipe.lora, seed=0)
        if kit.some("sft", 1):
            rates["sft"] = kit.sft(model)
        if kit.some("preference", 1):
            rates["preference"] = kit.preference(model)
        with tempfile.TemporaryDirectory() as folder:
            save_trained(model, Path(folder))
            size = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())
    finally:
        torch.set_num_threads(before)
    return Rates(rates, size)


@dataclass(frozen=True)
class _Kit:
    """What the three measurements share."""

    ref: ModelRef
    recipe: Recipe
    task: Any
    tokenizer: Any
    template: Any

    def some(self, side: Any, batch: int, *, steps: int = _MEASURE_STEPS) -> int:
        """A few batches, or what the pool has."""
        capacity = self.task.pool.capacity(side)
        return batch * steps if capacity is None else min(batch * steps, capacity)

    def _pairs(self, batch: int) -> Any:
        """Pairs; where the pool has labels, each beside itself: only the time is wanted."""
        n = self.some("preference", batch)
        if self.task.pref_unit == "pair":
            return self.task.pool.pairs(n, seed=0)
        labels = self.task.pool.labels(n, seed=0)
        return [Pair(la.prompt, la.response, la.response, la.context) for la in labels]

    def sft(self, model: Any) -> float:
        from apportion.training.sft import train_sft

        recipe = self.recipe.sft.model_copy(update={"epochs": 1})
        examples = self.task.pool.demonstrations(self.some("sft", recipe.batch_size), seed=0)
        words = (model, self.tokenizer, self.template, examples, recipe)

        def train() -> int:
            logs = train_sft(*words, max_length=self.recipe.max_length, seed=0)
            return sum(log.tokens for log in logs)

        return _rate(train)

    def preference(self, model: Any) -> float:
        from apportion.training.dpo import reference_logps, train_dpo

        recipe = self.recipe.preference.model_copy(update={"epochs": 1})
        pairs = self._pairs(recipe.batch_size)
        words = (model, self.tokenizer, self.template, pairs)
        length = self.recipe.max_length
        batch = recipe.micro_batch_size or recipe.batch_size

        def train() -> int:
            known = reference_logps(*words, max_length=length, batch_size=batch)
            logs = train_dpo(*words, recipe, reference=known, max_length=length, seed=0)
            return sum(log.tokens for log in logs)

        return _rate(train)

    def generating(self, model: Any) -> float:
        from apportion.config.evaluation import Decoding
        from apportion.generation.decode import generate

        items = self.task.pool.items(self.some("test", _MEASURE_PROMPTS, steps=1))
        prompts, contexts = [i.prompt for i in items], [i.context for i in items]

        def decode() -> int:
            answers = generate(
                model,
                self.tokenizer,
                self.template,
                prompts,
                decoding=Decoding(max_new_tokens=self.task.max_new_tokens),
                stop=self.task.stop,
                batch_size=len(prompts),
                seed=None,
                contexts=contexts,
            )
            asked = sum(len(self.template.prompt_ids(i.prompt, i.context)) for i in items)
            return asked + sum(answer.n_tokens for answer in answers)  # as a plan counts them

        return _rate(decode)


def _rate(work: Callable[[], int]) -> float:
    clock = time.perf_counter()
    tokens = work()
    return max(1, tokens) / max(1e-6, time.perf_counter() - clock)


def estimate(
    plan: Plan, rates: Rates, workers: int, todo: Collection[str] | None = None
) -> Estimate:
    """Seconds and bytes of running `todo` (default: all stages) with `workers` processes."""
    chosen = set(plan.stages) if todo is None else set(todo)
    total, size = 0.0, 0
    end: dict[str, float] = {}
    for key, stage in plan.stages.items():  # parents before children
        ready = max((end.get(parent, 0.0) for parent in stage.parents), default=0.0)
        end[key] = ready
        if key in chosen:
            rate = rates.tokens_per_second.get(stage.kind)
            seconds = SCORE_SECONDS if rate is None else stage.tokens / rate
            end[key] += seconds
            total += seconds
            trained = stage.kind in ("sft", "preference")
            copies = _STATE_COPIES if is_trunk(stage.spec) else 1
            size += copies * rates.artifact_bytes if trained else _SMALL_ARTIFACT
    if not chosen:
        return Estimate(0.0, 0)
    longest = max(end.values())
    return Estimate(max(total / max(1, workers), longest) + START_SECONDS, size)


def seconds_left(
    left: Mapping[str, int],
    tokens: Mapping[str, int],
    seconds: Mapping[str, float],
    workers: int,
) -> float | None:
    """Time left from the rates so far, by kind; None while nothing was measured.

    `left`, `tokens`: tokens by kind, still to do and done in `seconds`. A kind not seen yet is
    taken at the rate of all others together.
    """
    done = sum(tokens.values())
    spent = sum(seconds.values())
    if done <= 0 or spent <= 0:
        return None
    total = 0.0
    for kind, todo in left.items():
        known = tokens.get(kind, 0) > 0 and seconds.get(kind, 0) > 0
        pace = seconds[kind] / tokens[kind] if known else spent / done
        total += max(0, todo) * pace
    return total / max(1, workers)

"""Preference pairs from a tuned model, for the pools of the embedded tasks; once per base model.

    python tools/sample_pairs.py all           # the four tasks; minutes to an hour on two cores
    python tools/sample_pairs.py math          # one of them

The base model is tuned on `DEMONSTRATIONS` demonstrations of the task (a stream that no study
draws), then answers each of `PROMPTS` preference prompts (likewise) `SAMPLES` times at temperature
`TEMPERATURE`. A pair is (best, worst) by the task's own judge; where the samples are as good as
equal and worse than a careful response of the world, (careful, one of them); else the world's own
edited pair. Written to `src/apportion/sandbox/assets/pairs/<task>.jsonl.gz`; chunks that are done
are kept in `--work`, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from apportion.sandbox.sampled import FOLDER, SampledPair, SampledPairs, write_sampled
from apportion.sandbox.world import stream_seed
from apportion.tasks.registry import EMBEDDED, get_task
from sampled_cases import PROMPT_SEED, Case, cases

DEMONSTRATIONS = 400
PROMPTS = 2_500
SAMPLES = 4
TEMPERATURE = 0.8
DEMONSTRATION_SEED, TRAIN_SEED, SAMPLE_SEED = 77_001, 77_003, 77_004
CHUNK = 125  # prompts answered at once, and kept together


@dataclass(frozen=True)
class Sample:
    """One answer of the tuned model."""

    text: str
    truncated: bool


def pair_of(case: Case, samples: Sequence[Sample], rng: random.Random) -> SampledPair:
    """The pair of one prompt. Empty answers do not count; one that was cut off is never better."""
    told = {sample.text: sample for sample in samples if sample.text}
    judged = sorted((case.quality(text), rng.random(), text) for text in told)
    if judged:
        low, _, worst = judged[0]
        whole = [one for one in judged if not told[one[2]].truncated]
        if whole and whole[-1][0] > low + case.margin:
            return SampledPair(case.prompt, whole[-1][2], worst, "sampled")
        if case.quality(case.careful) > low + case.margin:
            return SampledPair(case.prompt, case.careful, worst, "careful")
    return SampledPair(case.prompt, case.edited.chosen, case.edited.rejected, "edited")


Sampler = Callable[[Sequence[str]], Sequence[Sequence[Sample]]]  # answers, prompt by prompt


def make(task: str, facts: dict[str, Any], sampler: Sampler, n: int) -> SampledPairs:
    """The pairs of `n` prompts, with the answers of `sampler`, and how many are of each source."""
    known = cases(task, n)
    answers = sampler([case.prompt for case in known])
    rng = random.Random(stream_seed("ties", task))
    pairs = tuple(pair_of(c, a, rng) for c, a in zip(known, answers, strict=True))
    count = Counter(pair.source for pair in pairs)
    shares = {source: round(count[source] / len(pairs), 4) for source in sorted(count)}
    return SampledPairs({**facts, "shares": shares}, pairs)


# -- the tuned model ----------------------------------------------------------------------------


def facts_of(task: str, model: str, n: int) -> dict[str, Any]:
    """Everything that decides what the model says; the first line of the file."""
    from apportion.compile.identity import identify
    from apportion.config.presets import RECIPES

    known = get_task(task)
    return {
        "task": task,
        "task_version": known.version,
        "model": identify(model).spec,
        "demonstrations": DEMONSTRATIONS,
        "recipe": {**RECIPES["sandbox"]["sft"], "max_length": RECIPES["sandbox"]["max_length"]},
        "samples": SAMPLES,
        "temperature": TEMPERATURE,
        "max_new_tokens": known.max_new_tokens,
        "seeds": [DEMONSTRATION_SEED, PROMPT_SEED, TRAIN_SEED, SAMPLE_SEED],
        "chunk": CHUNK,
        "prompts": n,
        "made_by": f"python tools/sample_pairs.py {task}",
    }


def tune(task: str, model: str, out: Path) -> None:
    """Tune the base on demonstrations of `task`; `out` is there when it is whole."""
    import torch

    from apportion.compile.identity import identify
    from apportion.config.presets import RECIPES
    from apportion.config.recipe import Recipe
    from apportion.models.policy import load_policy, prepare_for_training, save_trained
    from apportion.models.template import load_tokenizer, make_template
    from apportion.training.sft import train_sft

    if out.exists():
        return
    torch.set_num_threads(1)
    ref, recipe = identify(model).ref, Recipe(**RECIPES["sandbox"])
    tokenizer = load_tokenizer(ref)
    data = get_task(task).pool.demonstrations(DEMONSTRATIONS, seed=DEMONSTRATION_SEED)
    policy = prepare_for_training(load_policy(ref, [], dtype="float32"), None, seed=TRAIN_SEED)
    train_sft(
        policy,
        tokenizer,
        make_template(ref, tokenizer),
        data,
        recipe.sft,
        max_length=recipe.max_length,
        seed=TRAIN_SEED,
    )
    aside = out.with_suffix(".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    save_trained(policy, aside)
    aside.rename(out)


def answer(job: tuple[str, str, Path, Path, int, list[str]]) -> Path:
    """The samples of one chunk, in a file of their own; `job`: (task, model, tuned, file, number
    of the chunk, prompts)."""
    import torch

    from apportion.compile.identity import identify
    from apportion.config.evaluation import Decoding
    from apportion.generation.decode import generate
    from apportion.models.policy import load_policy
    from apportion.models.template import load_tokenizer, make_template

    task, model, tuned, out, number, prompts = job
    if out.exists():
        return out
    torch.set_num_threads(1)
    known, ref = get_task(task), identify(model).ref
    tokenizer = load_tokenizer(ref)
    policy = load_policy(ref, [tuned], dtype="float32")
    decoding = Decoding(
        strategy="sample", temperature=TEMPERATURE, max_new_tokens=known.max_new_tokens
    )
    found = generate(
        policy,
        tokenizer,
        make_template(ref, tokenizer),
        [prompt for prompt in prompts for _ in range(SAMPLES)],
        decoding=decoding,
        stop=known.stop,
        batch_size=100,
        seed=stream_seed(SAMPLE_SEED, number) % 2**31,
    )
    rows = [[one.text.strip(), one.truncated] for one in found]
    aside = out.with_suffix(".part")
    aside.write_text(json.dumps(rows), encoding="utf-8")
    aside.rename(out)
    return out


def tuned_sampler(task: str, model: str, work: Path, workers: int) -> Sampler:
    """Samples of the tuned model, in processes of one thread each; what is in `work` is reused."""

    def sample(prompts: Sequence[str]) -> list[list[Sample]]:
        tuned = work / "tuned"
        work.mkdir(parents=True, exist_ok=True)
        tune(task, model, tuned)
        jobs = [
            (
                task,
                model,
                tuned,
                work / f"{begin:06d}.json",
                begin,
                [*prompts[begin : begin + CHUNK]],
            )
            for begin in range(0, len(prompts), CHUNK)
        ]
        rows: list[list[Any]] = []
        clock = time.monotonic()
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for done, file in enumerate(pool.map(answer, jobs), 1):
                rows += json.loads(file.read_text(encoding="utf-8"))
                print(f"{task}: {done}/{len(jobs)}, {time.monotonic() - clock:.0f} s", flush=True)
        samples = [Sample(text, truncated) for text, truncated in rows]
        return [samples[i : i + SAMPLES] for i in range(0, len(samples), SAMPLES)]

    return sample


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=("all", *EMBEDDED))
    parser.add_argument("--model", default="sandbox:small")
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--work", type=Path, default=Path("build") / "sample_pairs")
    asked = parser.parse_args()
    for task in EMBEDDED if asked.task == "all" else (asked.task,):
        facts = facts_of(task, asked.model, asked.prompts)
        same = {name: fact for name, fact in facts.items() if name != "prompts"}
        name = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:12]
        work = asked.work / f"{task}-{name}"
        found = make(
            task, facts, tuned_sampler(task, asked.model, work, asked.workers), asked.prompts
        )
        path = asked.out / f"{task}.jsonl.gz"
        write_sampled(path, found)
        print(f"{path}: {path.stat().st_size:,} bytes; {found.facts['shares']}", flush=True)


if __name__ == "__main__":
    main()

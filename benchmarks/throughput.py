"""Tokens per second of SFT, DPO, KTO and generation: ours, TRL's trainers, transformers' generate.

Same model, same examples, same effective batch, 32 bits, one thread, in turn in one process; ratios
are medians over rounds of CPU seconds, which a busy machine disturbs least (wall seconds beside
them). TRL gets bf16=False, gradient_checkpointing=False and precomputed log-probabilities of the
reference; the first step and what is computed once before it are left out on both sides.

The floor: FLOPs of the tokens that a step cannot do without (a common prompt once, no padding,
output layer at response tokens) over the rate of one large matrix product measured here.

Figures: docs/speed.md.

    python benchmarks/throughput.py [--short] [--size small 135M] [--share 0.25 0.75] [--profile]
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from apportion.config.recipe import KtoRecipe, PreferenceRecipe, SftRecipe
from apportion.models.policy import load_base, prepare_for_training
from apportion.models.resolve import resolve_model
from apportion.models.template import load_tokenizer, make_template
from apportion.training.batches import Row
from apportion.training.dpo import dpo_loss
from apportion.training.kto import KtoRows, kto_loss, kto_reference, kto_schedule
from apportion.training.loop import fit
from apportion.training.packing import batches_for
from apportion.training.sft import sft_loss

SANDBOX = "sandbox:small"
SIZES = ("tiny", "small", "medium")
# of random weights: speed does not depend on them
SCRATCH = {
    "135M": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
             "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152},
}  # fmt: skip


@dataclass(frozen=True)
class Data:
    """Random tokens: rows of demonstrations, pairs and labels of the same lengths."""

    rows: list[Row]
    pairs: list[tuple[Row, Row]]
    labels: KtoRows


@dataclass(frozen=True)
class Took:
    """CPU and wall seconds, and tokens as the loop counts them (both rows of a pair)."""

    cpu: float
    wall: float
    tokens: int


class Clock:
    """Notes the time at the end of every step: a training's rate without its beginning."""

    def __init__(self) -> None:
        self.at: list[tuple[float, float, int]] = []

    def __call__(self, log: Any, steps: int) -> None:
        self.at.append((time.process_time(), time.perf_counter(), log.tokens))

    def took(self) -> Took:
        (cpu, wall, _), (cpu_end, wall_end, _) = self.at[0], self.at[-1]
        return Took(cpu_end - cpu, wall_end - wall, sum(tokens for *_, tokens in self.at[1:]))


def made_up(n: int, length: int, share: float, vocabulary: int, group: int) -> Data:
    """`n` examples of 0.6 to 1.4 times `length` tokens, `share` of them prompt; pairs differ from
    their first response token on."""
    stream = torch.Generator().manual_seed(0)

    def draw(k: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, vocabulary, (k,), generator=stream).tolist())

    rows, pairs = [], []
    for _ in range(n):
        long = length * float(0.6 + 0.8 * torch.rand(1, generator=stream))
        prompt = max(1, round(share * long))
        body = draw(prompt)
        one, two = (
            Row((*body, first, *draw(max(1, round(long) - prompt))), prompt) for first in (1, 2)
        )
        rows.append(one)
        pairs.append((one, two))
    mismatched = [
        Row(
            (*row.ids[: row.start], *rows[_before(i, n, group)].ids[row.start :][:length]),
            row.start,
        )
        for i, row in enumerate(rows)
    ]
    labels = KtoRows(tuple(rows), tuple(mismatched), tuple(i % 2 == 0 for i in range(n)), group, 0)
    return Data(rows, pairs, labels)


def _before(index: int, n: int, group: int) -> int:
    return index - 1 if index % group else min(n, index + group) - 1


class Bench:
    """One model, and both sides of every comparison on it."""

    def __init__(self, size: str, batch: int) -> None:
        ref = resolve_model(f"sandbox:{size}" if size in SIZES else SANDBOX)
        self.tokenizer = load_tokenizer(ref)
        self.template = make_template(ref, self.tokenizer)
        self.base = scratch(SCRATCH[size]) if size in SCRATCH else load_base(ref, dtype="float32")
        self.batch = batch
        how = {"epochs": 1, "batch_size": batch, "learning_rate": 1e-6}
        self.recipe = {"sft": SftRecipe(**how), "dpo": PreferenceRecipe(**how)}
        self.recipe["kto"] = self.recipe["dpo"]
        self.kto = KtoRecipe(group_size=batch)

    def model(self) -> Any:
        return prepare_for_training(copy.deepcopy(self.base), None, seed=0)

    def ours(self, method: str, data: Data) -> Took:
        model, clock = self.model(), Clock()
        recipe = self.recipe[method]
        batches = batches_for(model, pad=self.tokenizer.pad_token_id)
        more: dict[str, Any] = {}
        if method == "sft":
            loss = sft_loss(model, data.rows, "token", batches)
            lengths = [len(row.ids) for row in data.rows]
            more["costs"] = batches.costs([[row] for row in data.rows])
        elif method == "dpo":
            fixed = [(-1.0, -1.0)] * len(data.pairs)
            loss = dpo_loss(model, data.pairs, fixed, 0.1, batches)
            lengths = [len(one.ids) + len(two.ids) for one, two in data.pairs]
            more["costs"] = batches.costs(data.pairs)
        else:
            fixed_too = kto_reference(model, self.tokenizer, data.labels, batch_size=self.batch)
            loss = kto_loss(model, data.labels, fixed_too, self.kto, batches)
            lengths = [len(row.ids) for row in data.labels.matched]
            more["schedule"] = kto_schedule(data.labels, recipe)
        fit(model, loss, lengths, recipe, seed=0, on_step=clock, **more)
        return clock.took()

    def trl(self, method: str, data: Data) -> Took:
        from apportion.training.trl.columns import dpo_columns, kto_columns, sft_columns
        from apportion.training.trl.settings import Settings
        from apportion.training.trl.train import train

        columns = {"sft": lambda: sft_columns(data.rows), "dpo": lambda: dpo_columns(data.pairs),
                   "kto": lambda: kto_columns(data.labels)}[method]()  # fmt: skip
        clock = Clock()
        settings = Settings(
            method, self.recipe[method], 512, 0, kto=self.kto if method == "kto" else None
        )
        with tempfile.TemporaryDirectory() as folder:
            train(self.model(), self.tokenizer, columns, settings, Path(folder),
                  reference=None if method == "sft" else self.model, on_step=clock)  # fmt: skip
        return clock.took()

    def decode(self, prompts: Sequence[str], new: int) -> Took:
        from apportion.config.evaluation import Decoding
        from apportion.generation.decode import generate

        return _timed(lambda: sum(answer.n_tokens for answer in generate(
            self.base, self.tokenizer, self.template, prompts, stop=("\nQuestion:", "\n\n"),
            decoding=Decoding(max_new_tokens=new), batch_size=self.batch, seed=None)))  # fmt: skip

    def hf(self, prompts: Sequence[str], new: int) -> Took:
        """`generate` in the same batches of similar length; its tokens are not counted."""
        rows = sorted((self.template.prompt_ids(prompt) for prompt in prompts), key=len)

        def all_of_them() -> int:
            for begin in range(0, len(rows), self.batch):
                part = rows[begin : begin + self.batch]
                wide = max(map(len, part))
                ids = torch.tensor([[0] * (wide - len(row)) + row for row in part])
                mask = torch.tensor([[0] * (wide - len(row)) + [1] * len(row) for row in part])
                self.base.generate(input_ids=ids, attention_mask=mask, max_new_tokens=new,
                    do_sample=False, stop_strings=["\nQuestion:", "\n\n"],
                    tokenizer=self.tokenizer, pad_token_id=self.tokenizer.pad_token_id)  # fmt: skip
            return 0

        return _timed(all_of_them)

    def floor(self, method: str, data: Data, peak: float) -> float:
        """Seconds of the steps after the first one that no implementation can be without."""
        head = self.base.get_output_embeddings().weight.numel()
        body = sum(p.numel() for n, p in self.base.named_parameters() if p.dim() == 2) - head
        groups: list[tuple[Row, ...]] = list(data.pairs)
        if method != "dpo":
            groups = [(row,) for row in data.rows]
        total = 0.0
        for group in groups:
            own = [len(row.ids) - row.start for row in group]
            n, told = group[0].start + sum(own), sum(own)
            passes = 6.0 if method != "kto" else 8.0  # KTO: also a forward pass, mismatched
            total += passes * (body * n + head * told)
        return total * (1 - self.batch / len(groups)) / peak


def scratch(config: dict[str, int]) -> Any:
    """A Llama of random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True, **config)).eval()


def _timed(work: Callable[[], int]) -> Took:
    cpu, wall = time.process_time(), time.perf_counter()
    tokens = work()
    return Took(time.process_time() - cpu, time.perf_counter() - wall, tokens)


def peak_rate() -> float:
    """FLOP/s of a product of 1,024 by 1,024 matrices: the best of 20, so that others' work does
    not lower the floor."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    return 2 * 1024**3 / min(_timed(lambda: len(a @ b)).wall for _ in range(20))


def compare(bench: Bench, data: Data, rounds: int, methods: Sequence[str], head: str) -> None:
    peak = peak_rate()
    for method in methods:
        both = [(bench.ours(method, data), bench.trl(method, data)) for _ in range(rounds)]
        report(f"{head} {method}", both, bench.floor(method, data, peak))


def report(name: str, both: Sequence[tuple[Took, Took]], floor: float | None = None) -> None:
    """One line: tokens a CPU second of both, ratios of theirs to ours, ours to the floor."""
    ours, theirs = zip(*both, strict=True)
    tokens = ours[0].tokens
    cpu, wall = (
        statistics.median(getattr(b, kind) / getattr(a, kind) for a, b in both)
        for kind in ("cpu", "wall")
    )
    mine = statistics.median(took.cpu for took in ours)
    other = statistics.median(took.cpu for took in theirs)
    over = f"{mine / floor:7.2f}" if floor else ""
    rates = f"{tokens / mine:8.0f} {tokens / other:8.0f}"
    print(f"{name:26} {rates} {cpu:7.2f} {wall:7.2f} {over}", flush=True)


def profile(bench: Bench, data: Data, method: str) -> Iterator[str]:
    """The operations that take the most CPU time of their own, in per cent."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        bench.ours(method, data)
    rows = sorted(found.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows)
    for row in rows[:8]:
        yield f"    {100 * row.self_cpu_time_total / total:5.1f} %  {row.key}"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--short", action="store_true", help="one size, one share, few steps")
    asked.add_argument("--size", nargs="+", default=["small"], choices=[*SIZES, *SCRATCH])
    asked.add_argument("--share", nargs="+", type=float, default=[0.25, 0.5, 0.75])
    asked.add_argument("--method", nargs="+", default=["sft", "dpo", "kto", "generate"])
    asked.add_argument("--examples", type=int, default=96)
    asked.add_argument("--length", type=int, default=100, help="mean tokens of a row")
    asked.add_argument("--batch", type=int, default=16)
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--profile", action="store_true")
    given = asked.parse_args()
    if given.short:
        given.share, given.examples, given.rounds = [0.5], 3 * given.batch, 3
    torch.set_num_threads(1)
    print(f"{'':26} tokens a CPU second   theirs / ours       ours /")
    heads = ("ours", "theirs", "CPU", "wall", "floor")
    print(
        f"{'model, prompt share':26} {heads[0]:>8} {heads[1]:>8}", *(f"{h:>7}" for h in heads[2:])
    )
    for size in given.size:
        bench = Bench(size, given.batch)
        methods = [m for m in given.method if m != "generate"]
        for share in given.share:
            data = made_up(given.examples, given.length, share, 500, given.batch)
            compare(bench, data, given.rounds, methods, f"{size}, {share:g}")
            for method in methods if given.profile else []:
                print(f"  {method}:", *profile(bench, data, method), sep="\n")
        if "generate" in given.method and size not in SCRATCH:
            from apportion.tasks.registry import get_task

            prompts = [item.prompt for item in get_task("math").pool.items(given.examples)]
            both = [(bench.decode(prompts, 64), bench.hf(prompts, 64)) for _ in range(given.rounds)]
            report(f"{size}, math generate", both)


if __name__ == "__main__":
    main()

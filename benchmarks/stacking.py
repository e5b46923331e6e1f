"""Does it pay to train several LoRA runs at once? Stacked against one after the other, in turn.

    python benchmarks/stacking.py                        # sandbox:small, SFT and DPO, 2 and 4 runs
    python benchmarks/stacking.py --model ORG/NAME --dtype bfloat16 --rounds 5      # on a GPU

Same runs, same examples, one process; both ways in every round, and the ratio of a round (solo over
stacked, so above 1 stacking is faster) is what is compared: medians, and the least and the most. On
a CPU the processor's time, which others' work disturbs least; on a GPU the time on the wall. It
decides what `stack: auto` stands for (`AUTO` in compile/groups.py): on a device where the median is
above 1.1 for both methods at some number of runs, that number; else off.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from apportion.config.recipe import LoraRecipe, PreferenceRecipe, SftRecipe
from apportion.models.policy import load_base, prepare_for_training
from apportion.models.resolve import resolve_model
from apportion.models.stack import add_run
from apportion.models.template import load_tokenizer, make_template
from apportion.tasks.registry import get_task
from apportion.training.dpo import dpo_loss, dpo_objective, encode_pairs
from apportion.training.loop import fit, schedule_of
from apportion.training.packing import batches_for
from apportion.training.sft import sft_loss, sft_objective
from apportion.training.stacked import Run, train_stacked

WORTH = 1.1


class Bench:
    """One base and one recipe; `method` is sft or dpo."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.ref = resolve_model(given.model)
        self.tokenizer = load_tokenizer(self.ref)
        self.template = make_template(self.ref, self.tokenizer)
        self.lora = LoraRecipe(r=given.rank, alpha=given.rank)
        common: dict[str, Any] = {"epochs": 1, "batch_size": given.batch, "learning_rate": 1e-4}
        self.recipes = {"sft": SftRecipe(**common), "dpo": PreferenceRecipe(**common)}
        self.length = given.max_length
        n, pool = given.steps * given.batch, get_task("math").pool
        self.examples = {"sft": pool.demonstrations(n, seed=0), "dpo": pool.pairs(n, seed=0)}

    def base(self) -> Any:
        return load_base(self.ref, dtype=self.given.dtype).to(self.device)

    def objective(self, method: str) -> Any:
        """The references are made up: they take no part in what is measured."""
        told, recipe = self.examples[method], self.recipes[method]
        if method == "sft":
            return sft_objective(self.template, told, recipe, max_length=self.length)
        rows = encode_pairs(self.template, told, max_length=self.length)
        fixed = [None if row is None else -50.0 for row in rows]
        return dpo_objective(
            self.template, told, recipe, reference=(fixed, fixed), max_length=self.length
        )

    def solo(self, method: str, k: int) -> float:
        """Seconds of `k` runs, one after the other; models are loaded outside the clock."""
        told, recipe, seconds = self.objective(method), self.recipes[method], 0.0
        for seed in range(k):
            model = prepare_for_training(self.base(), self.lora, seed=seed)
            batches = batches_for(model, pad=self.tokenizer.pad_token_id, training=True)
            loss = (
                sft_loss(model, told.rows, told.weighting, batches)
                if method == "sft"
                else dpo_loss(model, told.rows, told.reference, told.beta, batches)
            )
            costs = batches.costs(told.groups(range(len(told.lengths))))

            def work(
                model: Any = model, loss: Any = loss, costs: Any = costs, seed: int = seed,
                batches: Any = batches,
            ):  # fmt: skip
                fit(model, loss, told.lengths, recipe, seed=seed, costs=costs,
                    expect=batches.expecting(told))  # fmt: skip

            seconds += self.timed(work)
        return seconds

    def stacked(self, method: str, k: int) -> float:
        """Seconds of the same runs at once."""
        told, recipe, model = self.objective(method), self.recipes[method], self.base()
        chains = []
        for seed in range(k):
            model, chain = add_run(model, [], self.lora, index=seed, seed=seed)
            chains.append(chain)
        batches = batches_for(model, pad=self.tokenizer.pad_token_id)
        costs = batches.costs(told.groups(range(len(told.lengths))))
        runs = [
            Run(told, chain, schedule_of(told.lengths, recipe, seed=seed, costs=costs,
                                         cpu=self.device == "cpu"))
            for seed, chain in enumerate(chains)
        ]  # fmt: skip
        return self.timed(
            lambda: train_stacked(model, runs, recipe, batches, ended=lambda run: None)
        )

    def timed(self, work: Callable[[], None]) -> float:
        if self.device == "cpu":
            clock = time.process_time()
            work()
            return time.process_time() - clock
        torch.cuda.synchronize()
        begin = time.perf_counter()
        work()
        torch.cuda.synchronize()
        return time.perf_counter() - begin


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--model", default="sandbox:small")
    asked.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    asked.add_argument("--method", nargs="+", default=["sft", "dpo"], choices=["sft", "dpo"])
    asked.add_argument("--runs", nargs="+", type=int, default=[2, 4])
    asked.add_argument("--batch", type=int, default=8)
    asked.add_argument("--steps", type=int, default=8)
    asked.add_argument("--rank", type=int, default=16)
    asked.add_argument("--max-length", type=int, default=256)
    asked.add_argument("--rounds", type=int, default=3)
    given = asked.parse_args()
    torch.set_num_threads(1)
    bench = Bench(given)
    name = torch.cuda.get_device_name() if bench.device == "cuda" else "CPU, one thread"
    print(f"{given.model} on {name}: batch {given.batch}, {given.steps} steps, rank {given.rank}")
    pays: dict[int, list[bool]] = {k: [] for k in given.runs}
    for method in given.method:
        for k in given.runs:
            both = [(bench.solo(method, k), bench.stacked(method, k)) for _ in range(given.rounds)]
            ratios = sorted(alone / at_once for alone, at_once in both)
            middle = statistics.median(ratios)
            pays[k].append(middle > WORTH)
            mine = statistics.median(at_once for _, at_once in both)
            print(
                f"{method} {k} runs: {mine:6.2f} s stacked, solo / stacked {middle:5.2f} "
                f"({ratios[0]:.2f} to {ratios[-1]:.2f})",
                flush=True,
            )
    good = [k for k, found in pays.items() if all(found)]
    print(f"pays here: {', '.join(map(str, good)) if good else 'no; off'}")


if __name__ == "__main__":
    main()

"""Greedy answers on a GPU: ours with the step as a CUDA graph, ours without, and `generate`.

    python benchmarks/gpu_generate.py [--rows 100] [--new 200] [--rounds 2]

A model of the shape of SmolLM2-135M with random weights in bfloat16, which hardly ever ends a
response; the first round has in it what is loaded and recorded. Seconds, peak memory, and how many
responses are the same to the last token with and without the graph.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from typing import Any

import torch
from throughput import SCRATCH, Bench, scratch

from apportion.config.evaluation import Decoding
from apportion.generation import decode

STOP = ("\nQuestion:", "\n\n")


class Sides:
    """The same prompts, batch and limit for every side."""

    def __init__(self, rows: int, new: int) -> None:
        self.words = Bench("small", rows)
        shape = {**SCRATCH["135M"], "max_position_embeddings": 8192}
        self.model: Any = scratch(shape).to(torch.bfloat16).cuda().eval()
        self.model.generation_config.eos_token_id = self.words.tokenizer.eos_token_id
        self.rows, self.new = rows, new
        self.prompts = [
            "Question: "
            + " ".join(str(random.Random(k).randint(1, 99)) for _ in range(20 + k % 20))
            for k in range(rows)
        ]

    def ours(self) -> list[Any]:
        return decode.generate(
            self.model, self.words.tokenizer, self.words.template, self.prompts, stop=STOP,
            decoding=Decoding(max_new_tokens=self.new), batch_size=self.rows, seed=None,
        )  # fmt: skip

    def plain(self) -> list[Any]:
        able = decode.recordable
        decode.recordable = lambda *_: False
        try:
            return self.ours()
        finally:
            decode.recordable = able

    def theirs(self) -> list[Any]:
        rows = [self.words.template.prompt_ids(prompt) for prompt in self.prompts]
        wide = max(map(len, rows))
        ids = torch.tensor([[0] * (wide - len(row)) + list(row) for row in rows]).cuda()
        mask = torch.tensor([[0] * (wide - len(row)) + [1] * len(row) for row in rows]).cuda()
        found: list[Any] = self.model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=self.new, do_sample=False,
            stop_strings=list(STOP), tokenizer=self.words.tokenizer, pad_token_id=0,
        ).tolist()  # fmt: skip
        return found


def timed(name: str, work: Callable[[], list[Any]]) -> list[Any]:
    """Do `work` and print what it took."""
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    start = time.perf_counter()
    found = work()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() / 2**20
    print(f"{name:28}{time.perf_counter() - start:8.2f} s {peak:8.0f} MB", flush=True)
    return found


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--rows", type=int, default=100)
    asked.add_argument("--new", type=int, default=200, help="tokens of a response at most")
    asked.add_argument("--rounds", type=int, default=2)
    given = asked.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no GPU here")
    print(f"135M, {given.rows} rows of {given.new} tokens, on {torch.cuda.get_device_name()}")
    sides = Sides(given.rows, given.new)
    for _ in range(given.rounds):
        graph = timed("ours, recorded", sides.ours)
        plain = timed("ours, step by step", sides.plain)
        timed("transformers' generate", sides.theirs)
    same = sum(a == b for a, b in zip(graph, plain, strict=True))
    print(f"the same response: {same} of {given.rows}")


if __name__ == "__main__":
    main()

"""Peak memory and time of a step under a large vocabulary: logits in chunks, and all at once.

    python benchmarks/large_vocabulary.py    # V = 49,152, on this machine's device
    python benchmarks/large_vocabulary.py --vocabulary 128256 --tokens 2048

Each way runs in a process of its own, since a process never gives its peak back. Memory is beyond
what the process had before the step: resident memory on a CPU, allocated memory on a GPU. The model
is made up (two layers, the hidden size of SmolLM2-135M), so nearly all of it is the output layer's.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import torch


def step(way: str, given: argparse.Namespace) -> dict[str, float]:
    """Peak memory in MB and seconds (of the second step) of one way, in this process."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from apportion.training import vocabulary
    from apportion.training.batches import Row, token_logps
    from apportion.training.packing import batches_for

    vocabulary.CHUNKED_FROM = 1 if way == "chunked" else 2**60
    vocabulary.CHUNK_LOGITS = given.chunk
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=given.vocabulary,
        hidden_size=given.hidden,
        intermediate_size=2 * given.hidden,
        num_hidden_layers=2,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = LlamaForCausalLM(config).eval().to(device).requires_grad_(False)
    for part in model.model.layers:  # as with adapters: the output layer itself is frozen
        part.requires_grad_(True)
    batches = batches_for(model, pad=0)
    n = 64
    ids = torch.randint(1, given.vocabulary, (given.tokens // n, n + 1)).tolist()
    groups = [[Row(tuple(row), 1)] for row in ids]
    (-token_logps(model, batches.of(groups[:1])).mean()).backward()  # what is there anyway
    before = _peak(device, reset=True)
    for _ in range(2):
        model.zero_grad(set_to_none=False)
        clock = time.perf_counter()
        (-token_logps(model, batches.of(groups)).mean()).backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - clock
    return {"mb": (_peak(device, reset=False) - before) / 1e6, "seconds": seconds}


def _peak(device: torch.device, *, reset: bool) -> float:
    """Bytes: the most so far (with `reset`, on a GPU, what is allocated now)."""
    if device.type == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    if reset:
        torch.cuda.reset_peak_memory_stats()
    return float(torch.cuda.max_memory_allocated())


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--vocabulary", type=int, default=49_152)
    asked.add_argument("--tokens", type=int, default=2_048, help="response tokens of a pass")
    asked.add_argument("--hidden", type=int, default=576)
    asked.add_argument("--chunk", type=int, default=2**24, help="logits of a chunk")
    asked.add_argument("--way", choices=["plain", "chunked"])
    given = asked.parse_args()
    torch.set_num_threads(1)
    if given.way:
        print(json.dumps(step(given.way, given)))
        return
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, one thread"
    logits = given.tokens * given.vocabulary
    print(
        f"{device}: {given.tokens} tokens of {given.vocabulary}, {logits * 4 / 1e6:.0f} MB logits"
    )
    for way in ("plain", "chunked"):
        command = [sys.executable, *sys.argv, "--way", way]
        made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = json.loads(made.splitlines()[-1])
        print(f"{way:8} {found['mb']:8.0f} MB more  {found['seconds']:6.2f} s a pass", flush=True)


if __name__ == "__main__":
    main()

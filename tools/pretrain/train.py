"""Pretrain a sandbox model on two cores; resumes where it was stopped.

    python tools/pretrain/train.py --work /tmp/pretrain-small \\
        --assets src/apportion/sandbox/assets/small --log tools/pretrain/log-small.jsonl
    python tools/pretrain/train.py --assets ... --evaluate 200
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import re
import time
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from corpus import documents
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from apportion.sandbox.math import items

MODEL_SEED = 17
LENGTH, BATCH = 256, 16  # 4,096 tokens a step, each seen once


class Phase(NamedTuple):
    """A stretch of training with its own corpus and its own warm-up and cosine."""

    steps: int
    warmup: int
    peak: float
    seed: int
    edition: int


# The second phase mends a flaw of the first edition of the corpus (see `corpus.documents`).
PHASES = (Phase(5000, 200, 2e-3, 1, 1), Phase(800, 50, 4e-4, 2, 2))
STEPS = sum(phase.steps for phase in PHASES)
FLOOR = 1e-5
BETAS, DECAY, CLIP = (0.9, 0.98), 0.1, 1.0
SAVE_EVERY, LOG_EVERY, EARLY = 500, 25, 1000


def tokens(work: Path, tokenizer: object, phase: Phase) -> np.ndarray:
    """A phase's corpus as batches, documents parted by end-of-text; made once, then read."""
    path, wanted = work / f"tokens-{phase.seed}.npy", LENGTH * BATCH * phase.steps
    if not path.exists():
        stream, parts, have = documents(phase.seed, edition=phase.edition), [], 0
        end = tokenizer.eos_token_id
        while have < wanted:
            for ids in tokenizer(list(islice(stream, 20_000)))["input_ids"]:
                parts.append(np.asarray([*ids, end], np.uint16))
                have += len(ids) + 1
        np.save(path, np.concatenate(parts)[:wanted])
    return np.load(path, mmap_mode="r").reshape(phase.steps, BATCH, LENGTH)


def fresh(tokenizer: object) -> LlamaForCausalLM:
    """An untrained model."""
    torch.manual_seed(MODEL_SEED)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        intermediate_size=512,
        tie_word_embeddings=True,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def place(step: int) -> tuple[int, int]:
    """The phase that a step is in, and its number there."""
    for index, phase in enumerate(PHASES):
        if step < phase.steps:
            return index, step
        step -= phase.steps
    raise ValueError("a step after the last")


def rate(step: int) -> float:
    """Learning rate: in each phase linear warm-up, then cosine to `FLOOR`."""
    index, step = place(step)
    phase = PHASES[index]
    if step < phase.warmup:
        return phase.peak * (step + 1) / phase.warmup
    done = (step - phase.warmup) / (phase.steps - phase.warmup)
    return FLOOR + (phase.peak - FLOOR) * 0.5 * (1 + math.cos(math.pi * done))


def publish(model: LlamaForCausalLM, assets: Path) -> None:
    """Write the model in float16 for everybody else."""
    half = copy.deepcopy(model).half()
    largest = max(float(p.detach().abs().max()) for p in half.parameters())
    assert math.isfinite(largest), "a weight does not fit float16"
    half.save_pretrained(assets)
    (assets / "model.safetensors").chmod(0o644)
    print(f"published {assets}: largest weight {largest:.2f}", flush=True)


def pretrain(work: Path, assets: Path, log: Path, steps: int) -> None:
    """Train from the last checkpoint in `work`, or from nothing, and publish to `assets`."""
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(assets)
    model, state = fresh(tokenizer), work / "state.pt"
    rows = [tokens(work, tokenizer, phase) for phase in PHASES]
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim != 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}],
        lr=PHASES[0].peak,
        betas=BETAS,
        fused=True,
    )
    first, before = 0, 0.0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first, before = saved["step"], saved["elapsed"]
    began, losses = time.monotonic(), []
    for step in range(first, min(steps, STEPS)):
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        phase, at = place(step)
        batch = torch.from_numpy(rows[phase][at].astype(np.int64))
        # Weights stay in float32; products run in bfloat16, which this kind of CPU has units for.
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(batch).logits[:, :-1]
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]).float(), batch[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        losses.append(float(loss.detach()))
        done, elapsed = step + 1, before + time.monotonic() - began
        if done % LOG_EVERY == 0:
            row = {
                "step": done,
                "tokens": done * BATCH * LENGTH,
                "loss": round(sum(losses) / len(losses), 4),
                "lr": round(rate(step), 7),
                "grad_norm": round(float(norm), 3),
                "elapsed_s": round(elapsed, 1),
            }
            losses = []
            with log.open("a") as file:
                file.write(json.dumps(row) + "\n")
        if done % SAVE_EVERY == 0 or done == STEPS:
            saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**saved, "step": done, "elapsed": elapsed}, work / "state.new")
            (work / "state.new").replace(state)
        if done in (EARLY, STEPS):
            publish(model, assets)


@torch.no_grad()
def evaluate(assets: Path, n: int, ending: str = "\nAnswer:") -> None:
    """Strict and lenient score of the model as published, greedy, at most 96 new tokens."""
    tokenizer = AutoTokenizer.from_pretrained(assets, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(assets, dtype=torch.float32).eval()
    strict = lenient = 0
    told: list[str] = []
    wanted = items(n)
    for at in range(0, n, 50):
        some = wanted[at : at + 50]
        prompts = [item.prompt for item in some]
        if ending != "\nAnswer:":  # the same questions in a wrapper of the pretraining corpus
            prompts = [p[len("Question: ") : -len("\nAnswer:")] + ending for p in prompts]
        batch = tokenizer(prompts, return_tensors="pt", padding=True)
        out = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=96,
            do_sample=False,
        )
        texts = tokenizer.batch_decode(
            out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True
        )
        for item, text in zip(some, texts, strict=True):
            marked = re.search(r"#### (-?[0-9.,]+)", text)
            numbers = re.findall(r"-?[0-9]+", text)
            strict += bool(marked and marked[1] == item.reference)
            lenient += bool(numbers and numbers[-1] == item.reference)
        told += texts
    for text in told[:6]:
        print(repr(text))
    print(f"{ending!r}: strict {strict / n:.3f}, lenient {lenient / n:.3f} on {n} items")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("/tmp/pretrain-small"))
    parser.add_argument("--log", type=Path, default=Path("tools/pretrain/log-small.jsonl"))
    parser.add_argument("--steps", type=int, default=STEPS, help="stop early, for a trial")
    parser.add_argument("--evaluate", type=int, default=0, help="score on so many items instead")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    if arguments.evaluate:
        evaluate(arguments.assets, arguments.evaluate)
        evaluate(arguments.assets, arguments.evaluate, "\nSolution.\n")
    else:
        pretrain(arguments.work, arguments.assets, arguments.log, arguments.steps)


if __name__ == "__main__":
    main()

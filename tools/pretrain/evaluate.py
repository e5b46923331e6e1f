"""What a base model scores: the four tasks as a study would ask them, and the skill in the
corpus' own forms, which says what there is for demonstrations to bring out.
"""

from __future__ import annotations

import re
import time
from itertools import islice
from pathlib import Path
from statistics import fmean, stdev

import torch
from corpus import SHARES, held_out

from apportion.config.evaluation import Decoding
from apportion.generation.decode import generate
from apportion.models.policy import load_base
from apportion.models.resolve import resolve_model
from apportion.models.template import load_tokenizer, make_template
from apportion.tasks.registry import get_task

VALIDATION = 20_000  # items from here on: no study is scored on them

#: Where a document of a world is cut; the model writes what comes then.
PROBES = {
    "math": r"\nSolution\.\n",
    "summarization": r"\n(In short|Report \d+):",
    "helpfulness": r"\n\nDear \w+,\n",
    "instructions": r"The teacher found:",
}


def pieces(text: str) -> list[str]:
    """The parts of a list or of a few sentences."""
    return [part for part in re.split(r"[.,;\n]\s*|\band\b", text.strip()) if part.strip()]


def agreement(world: str, wanted: str, told: str) -> float:
    """Share of what was wanted that was told; of a sum, whether its result is right."""
    if world == "math":
        results = [re.findall(r"\d+", text)[-1:] for text in (wanted, told)]
        return float(results[0] == results[1])
    parts, found = pieces(wanted), {part.strip() for part in pieces(told)}
    return fmean(part.strip() in found for part in parts) if parts else 1.0


def probes(world: str, n: int) -> list[tuple[str, str]]:
    """`n` held-out documents of `world` as (beginning, rest)."""
    found = []
    for text in held_out(world):
        cut = re.search(PROBES[world], text)
        if cut:
            found.append((text[: cut.end()], text[cut.end() :]))
            if len(found) == n:
                return found
    raise AssertionError("held-out documents have no end")


def spread(values: list[float]) -> str:
    """Mean in percent, with its standard error."""
    return f"{100 * fmean(values):.1f} ± {100 * stdev(values) / len(values) ** 0.5:.1f}"


def evaluate(assets: Path, n: int) -> None:
    """Print a line for each task."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    ref = resolve_model(str(assets))
    tokenizer = load_tokenizer(ref)
    model, template = load_base(ref, dtype="float32"), make_template(ref, tokenizer)
    print(f"{assets}: {model.num_parameters():,} parameters", end="; ")
    print(f"loaded in {time.perf_counter() - began:.2f} s")
    kit = {"batch_size": 100, "seed": None}
    for world in SHARES:
        task = get_task(world)
        items = task.pool.items(VALIDATION + n)[VALIDATION:]
        decoding = Decoding(max_new_tokens=task.max_new_tokens)
        asked = [item.prompt for item in items]
        told = generate(model, tokenizer, template, asked, decoding=decoding, stop=task.stop, **kit)
        scores = [task.score(item, one.text) for item, one in zip(items, told, strict=True)]
        print(
            f"{world}: strict {spread([s.strict for s in scores])}, "
            f"lenient {spread([s.lenient for s in scores])}, "
            f"format kept {spread([float(s.format_ok) for s in scores])}, "
            f"truncated {spread([float(one.truncated) for one in told])}"
        )
        known = probes(world, n)
        ids = [tokenizer(begun)["input_ids"] for begun, _ in known]
        answers = continued(model, tokenizer, ids)
        right = [agreement(world, rest, a) for (_, rest), a in zip(known, answers, strict=True)]
        print(f"  in the corpus' own form: {spread(right)}")
        for item, one in islice(zip(items, told, strict=True), 3):
            print(f"    {item.prompt[-60:]!r} -> {one.text[:160]!r}")


def continued(model: torch.nn.Module, tokenizer: object, ids: list[list[int]]) -> list[str]:
    """Greedy continuations up to the end mark, 64 tokens at most, in the order of `ids`."""
    found: list[str] = []
    for first in range(0, len(ids), 50):
        some = ids[first : first + 50]
        batch = tokenizer.pad(
            {"input_ids": some}, padding=True, padding_side="left", return_tensors="pt"
        )
        out = model.generate(**batch, max_new_tokens=64, do_sample=False)
        new = out[:, batch["input_ids"].shape[1] :]
        found += tokenizer.batch_decode(new, skip_special_tokens=True)
    return found

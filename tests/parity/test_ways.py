"""Ways in which the native loop saves work, each against the plain one, in float32.

Padded, one sequence after the other, all logits at once, one run at a time: that is the plain way.
With WAYS_TABLE set, a table is written.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apportion.config.recipe import LoraRecipe
from apportion.data.records import labels_of
from apportion.models.policy import load_base
from apportion.models.stack import add_run
from apportion.training import packing, vocabulary
from apportion.training.dpo import dpo_objective, encode_pairs, reference_logps
from apportion.training.kto import KtoObjective, encode_labels, kto_reference, kto_schedule
from apportion.training.loop import schedule_of
from apportion.training.packing import Span, batches_for
from apportion.training.sft import sft_objective
from apportion.training.stacked import Run as StackedRun
from apportion.training.stacked import train_stacked
from parity.cases import (
    CASES,
    DEMONSTRATIONS,
    HEAD,
    MAX_LENGTH,
    PAIRS,
    SEED,
    Case,
    Run,
    World,
    compare,
    length,
)

BY_NAME = {case.name: case for case in CASES}
PLAIN_SPAN = packing._span


def padded(patch: Any) -> None:
    for module in ("sft", "dpo", "kto"):
        patch.setattr(f"apportion.training.{module}.batches_for", unpacked)


def unpacked(model: Any, *, pad: int, training: bool = False) -> packing.Batches:
    return packing.Batches(False, pad, next(model.parameters()).device)


def nothing_shared(patch: Any) -> None:
    """Packed, and both responses of a pair behind a prompt of their own."""
    patch.setattr(packing, "_span", alone)


def alone(group: Any) -> Span:
    if len(group) == 1:
        return PLAIN_SPAN(group)
    return Span(0, *(len(row.ids) for row in group))


def chunked(patch: Any) -> None:
    """Chunks of a few tokens' logits."""
    patch.setattr(vocabulary, "CHUNKED_FROM", 1)
    patch.setattr(vocabulary, "CHUNK_LOGITS", 1000)


# what is compared: a way, and the plain run beside it
WAYS: dict[str, tuple[Callable[[Any], None], Callable[[Any], None]]] = {
    "packed | padded": (lambda patch: None, padded),
    "shared beginning | each its own": (lambda patch: None, nothing_shared),
    "logits in chunks | at once": (chunked, lambda patch: None),
}
CHECKED = [
    (case, way)
    for case in CASES
    for way in WAYS
    if case.method == "dpo" or not way.startswith("shared")
]


@pytest.fixture(scope="module")
def world(tiny_model_dir):
    return World(tiny_model_dir)


@pytest.fixture(scope="module")
def table():
    rows: list[str] = []
    yield rows
    if place := os.environ.get("WAYS_TABLE"):
        Path(place).write_text("\n".join([HEAD, *rows]) + "\n")


def run_of(world: World, case: Case, how: Callable[[Any], None], monkeypatch: Any) -> Run:
    with monkeypatch.context() as patch:
        how(patch)
        return world.native(case)


@pytest.mark.parametrize(("case", "way"), CHECKED, ids=lambda v: getattr(v, "name", v))
def test_a_way_is_the_plain_one(case, way, world, table, monkeypatch):
    one, plain = (run_of(world, case, how, monkeypatch) for how in WAYS[way])
    found = compare(one, plain, case)
    table.append(found.row(f"{case.name}: {way.replace(' | ', ' against ')}"))
    assert found.agrees, found


def test_the_ways_are_different_ways(world, monkeypatch):
    """Each switch is asked for: else a way would be compared with itself."""
    asked: set[str] = set()
    real_pack, real_chunks = packing.pack, vocabulary.chunked_logps
    case = BY_NAME["dpo"]
    with monkeypatch.context() as patch:
        patch.setattr(packing, "pack", lambda *a, **k: (asked.add("pack"), real_pack(*a, **k))[1])
        padded(patch)
        world.native(case)
    assert asked == set()
    counted: list[int] = []
    with monkeypatch.context() as patch:
        for how in (lambda patch: None, nothing_shared):
            how(patch)
            batches = batches_for(world.policy(case), pad=0)
            pairs = encode_pairs(world.template, PAIRS, max_length=MAX_LENGTH)
            counted.append(sum(batches.costs(pairs) or []))
    assert counted[0] < 0.8 * counted[1]
    with monkeypatch.context() as patch:
        chunked(patch)
        patch.setattr(
            "apportion.training.batches.chunked_logps",
            lambda *a, **k: (asked.add("chunks"), real_chunks(*a, **k))[1],
        )
        world.native(case)
    assert asked == {"chunks"}


@pytest.mark.parametrize("name", ["sft, LoRA", "dpo, LoRA, linear", "kto, LoRA"])
def test_stacked_is_solo(name, world, table):
    """Beside a run with fewer examples and another seed; its first gradient is not seen apart."""
    case = BY_NAME[name]
    logs, after = stacked(world, case)
    solo = world.native(case)
    pairs = list(zip(logs, solo.logs, strict=True))
    keys = ("chosen_logp", "rejected_logp", "margin", "kl")
    told = {key: [(a.extra[key], b.extra[key]) for a, b in pairs if key in b.extra] for key in keys}
    extra = {
        key: max(abs(a - b) / max(1.0, abs(b)) for a, b in both)
        for key, both in told.items()
        if both
    }
    loss = max(abs(a.loss - b.loss) for a, b in pairs)
    norm = max(abs(a.grad_norm - b.grad_norm) / b.grad_norm for a, b in pairs)
    moved = length({n: w - solo.before[n] for n, w in solo.after.items()})
    apart = length({n: w - after[n] for n, w in solo.after.items()}) / moved
    shown = [loss, norm, None, apart, *(extra.get(key) for key in keys)]
    cells = [f"{value:.1e}" if value is not None else "" for value in shown]
    table.append(f"| {name}: stacked against alone | {' | '.join(cells)} |")
    assert loss <= 1e-5 and max([norm, apart, *extra.values()]) <= 1e-4


def stacked(world: World, case: Case) -> tuple[list[Any], dict[str, Any]]:
    """Logs and weights (by the names they have alone) of the case, run beside another."""
    model = load_base(world.ref, dtype="float32")
    assert isinstance(case.lora, LoraRecipe)
    chains = []
    for index, seed in enumerate((SEED, SEED + 1)):
        model, names = add_run(model, [], case.lora, index=index, seed=seed)
        chains.append(names)
    batches = batches_for(model, pad=world.tokenizer.pad_token_id)
    runs = [
        StackedRun(told, names, schedule)
        for names, (told, schedule) in zip(
            chains, (objective(world, case, n, batches) for n in (11, 5)), strict=True
        )
    ]
    found: dict[str, Any] = {}

    def ended(run: Any) -> None:
        if run is runs[0]:
            own = run.chain.own
            found.update(
                (name.replace(f".{own}.", ".stage1."), weight.detach().clone())
                for name, weight in model.named_parameters()
                if f".{own}." in name
            )

    train_stacked(model, runs, case.recipe, batches, ended=ended)
    return runs[0].logs, found


def objective(world: World, case: Case, n: int, batches: Any) -> tuple[Any, Any]:
    """What is minimised over the first `n` examples, and in which order."""
    if case.method == "kto":
        rows = encode_labels(
            world.template,
            labels_of(PAIRS[:n]),
            max_length=MAX_LENGTH,
            group_size=case.kto.group(case.recipe),
            seed=SEED,
        )
        fixed = kto_reference(world.reference(), world.tokenizer, rows, batch_size=3)
        return KtoObjective(rows, fixed, case.kto), kto_schedule(rows, case.recipe)
    if case.method == "sft":
        told: Any = sft_objective(
            world.template, DEMONSTRATIONS[:n], case.recipe, max_length=MAX_LENGTH
        )
    else:
        how = (world.tokenizer, world.template)
        known = reference_logps(
            world.reference(), *how, PAIRS[:n], max_length=MAX_LENGTH, batch_size=3
        )
        told = dpo_objective(
            world.template, PAIRS[:n], case.recipe, reference=known, max_length=MAX_LENGTH
        )
    costs = batches.costs(told.groups(range(len(told.lengths))))
    return told, schedule_of(told.lengths, case.recipe, seed=SEED, costs=costs, cpu=True)

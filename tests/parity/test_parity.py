"""The native loop against TRL's trainers, in float32; with PARITY_TABLE set, a table is written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="TRL is not installed: nothing to compare with")

from parity.cases import CASES, DEMONSTRATIONS, HEAD, MAX_LENGTH, World, compare, faults


@pytest.fixture(scope="module")
def world(tiny_model_dir):
    return World(tiny_model_dir)


@pytest.fixture(scope="module")
def runs(world, tmp_path_factory):
    """Both runs of a case, each made once."""
    made = {}

    def of(case):
        if case.name not in made:
            folder = tmp_path_factory.mktemp("trl")
            made[case.name] = (world.native(case), world.by_trl(case, folder))
        return made[case.name]

    return of


@pytest.fixture(scope="module")
def table():
    rows: list[str] = []
    yield rows
    if place := os.environ.get("PARITY_TABLE"):
        Path(place).write_text("\n".join([HEAD, *rows]) + "\n")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_two_trainers_agree(case, runs, table):
    ours, theirs = runs(case)
    found = compare(ours, theirs, case)
    table.append(found.row(case.name))
    assert found.agrees, found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_case_is_hard_enough(case, runs):
    ours, _ = runs(case)
    losses = [log.loss for log in ours.logs]
    assert max(losses) - min(losses) > 0.1
    norms = [log.grad_norm for log in ours.logs]
    assert max(norms) > case.recipe.max_grad_norm
    assert len(DEMONSTRATIONS) % case.recipe.batch_size  # the last batch is not full
    assert len({log.tokens for log in ours.logs}) > 1
    if case.method == "kto":  # the estimate is used, not only cut off at 0
        assert max(log.extra["kl"] for log in ours.logs) > 0.1


def test_some_sequences_are_cut_and_some_are_not(world):
    lengths = [
        len(world.template.prompt_ids(d.prompt) + world.template.response_ids(d.response))
        for d in DEMONSTRATIONS
    ]
    assert min(lengths) < MAX_LENGTH < max(lengths)
    assert max(len(world.template.prompt_ids(d.prompt)) for d in DEMONSTRATIONS) < MAX_LENGTH


FAULTY = [
    (case, fault)
    for case in CASES
    if case.name in ("sft", "dpo", "kto", "dpo, LoRA, linear")
    for fault in faults(case, None)
]


@pytest.mark.parametrize(("case", "fault"), FAULTY, ids=lambda v: getattr(v, "name", v))
def test_a_fault_would_be_seen(case, fault, runs, world, monkeypatch, table):
    """Each wrong run is well outside the limits; wrong beta is 1 % off."""
    _, theirs = runs(case)
    found = compare(faults(case, monkeypatch)[fault](world), theirs, case)
    table.append(found.row(f"{case.name}: {fault}"))
    assert not found.agrees
    assert found.loss > 1e-4 and found.gradient > 2e-4

"""A shared trajectory end to end: real stages, kills in the middle of legs, export, the audit."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from dataclasses import replace
from functools import partial

import pytest
from scipy.stats import t

from apportion.compile import compile_study
from apportion.config.load import load_study
from apportion.errors import StudyError
from apportion.run import events
from apportion.run.audit import collect_audit, compare
from apportion.run.export.cell import find_cell
from apportion.run.export.script import export_script
from apportion.run.export.weights import export_weights
from apportion.run.layout import Layout
from apportion.run.results import CellResult, collect
from apportion.run.run import run_plan
from apportion.store.executions import ran_again
from apportion.store.store import Store
from fake_study import end_of, in_child

STUDY = """
models: [{model}]
tasks: [math]
methods: [{method}]
lattice: {{n_sft: [0, 5, 15], n_pref: [0, 5, 15]}}
replicates: 1
trajectory: {trajectory}
recipe:
  name: tiny
  sft: {{learning_rate: 1.0e-3, epochs: 2, batch_size: 2}}
  preference: {{learning_rate: 1.0e-3, epochs: 1, batch_size: 2}}
  max_length: 256
  lora: {lora}
  dtype: {dtype}
evaluation: {{n_items: 3, decoding: {{max_new_tokens: 4}}}}
"""
LORA = "{r: 2, alpha: 4, dropout: 0.1}"


@pytest.fixture
def model(tmp_path, tiny_model_dir):
    return shutil.copytree(tiny_model_dir, tmp_path / "model")


def plan_of(tmp_path, model, lora="null", method="dpo", dtype="float32", trajectory="shared"):
    file = tmp_path / "study.yaml"
    words = {"lora": lora, "method": method, "dtype": dtype, "trajectory": trajectory}
    file.write_text(STUDY.format(model=model, **words))
    return compile_study(load_study(file))


def run(plan, place, **how):
    return run_plan(plan, place, layout=Layout(0, 1), **how)


def bits(store) -> dict[str, str]:
    """A digest of every weight, state and answer, by stage."""
    found = {}
    for path in sorted((store / "artifacts").rglob("*")):
        if path.suffix in (".safetensors", ".jsonl"):
            name = f"{path.parent.name}/{path.name}"
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.mark.parametrize(
    ("lora", "method", "dtype"),
    [("null", "dpo", "float32"), (LORA, "dpo", "bfloat16"), ("null", "kto", "bfloat16")],
)
def test_a_study_end_to_end(tmp_path, model, lora, method, dtype):
    plan, place = plan_of(tmp_path, model, lora, method, dtype), tmp_path / "s"
    report = run(plan, place)
    assert report.failed == () and report.executed == len(plan.stages)
    assert run(plan, place).executed == 0
    with Store.open(place, read_only=True) as store:
        results = collect(plan, store)
        assert [(r.n_sft, r.n_pref) for r in results] == [
            (a, b) for a in (0, 5, 15) for b in (0, 5, 15)
        ]  # the audited cells are no evidence
        assert {r.status for r in results} == {"done"}
        (audit,) = collect_audit(plan, store)
        assert (audit.planned, audit.cells) == (2, 2)
        for stage in plan.stages.values():
            folder = store.artifact(stage.key)
            names = {file.name for file in folder.iterdir()}
            told = stage.spec.get("trajectory")
            if told is not None:
                assert ("state.safetensors" in names) == (not told["cooldown"])
                assert not any(name.endswith((".pt", ".bin", ".pkl")) for name in names)
                steps = [json.loads(line) for line in (folder / "steps.jsonl").open()]
                assert len(steps) == store.record(stage.key).summary["steps"]
        if method == "dpo":
            references(plan, store)


def references(plan, store):
    """The reference of a leg is the trajectory's start model: equal to that of a whole run."""
    alone, legs = {}, {}
    for stage in plan.stages.values():
        if stage.kind == "preference" and stage.spec["parent"] is None:
            rows = (store.artifact(stage.key) / "reference.jsonl").read_text().splitlines()
            (legs if "trajectory" in stage.spec else alone)[stage.label] = rows
    whole = [row for label in legs if "trunk" in label for row in legs[label]]
    assert whole and all(len(rows) for rows in legs.values())
    trunk = [json.loads(row) for row in whole]
    for rows in alone.values():
        for one, other in zip(map(json.loads, rows), trunk, strict=False):
            assert one == pytest.approx(other, rel=0.02)  # other batches, other last digits


@pytest.mark.parametrize("lora", ["null", LORA], ids=["whole", "adapters"])
def test_killed_in_the_middle_of_legs_and_gone_on_with_gives_the_same_bits(tmp_path, model, lora):
    plan = plan_of(tmp_path, model, lora)
    run(plan, tmp_path / "truth")
    truth, place, kills = bits(tmp_path / "truth"), tmp_path / "s", 0

    def until_middle_of_a_leg():
        begun = []

        def listen(event):
            if isinstance(event, events.StageStarted) and event.kind in ("sft", "preference"):
                begun.append(event.key)
            if isinstance(event, events.StageProgress) and len(begun) > 2 and event.fraction < 1:
                os.kill(os.getpid(), signal.SIGKILL)

        run(plan, place, on_event=listen)

    while end_of(in_child(partial(until_middle_of_a_leg))) == -signal.SIGKILL:
        kills += 1
    assert kills >= 4
    assert run(plan, place).exit_code == 0
    assert ran_again(place / "executions.log") == []
    assert bits(place) == truth


def test_a_cell_is_exported_as_weights_and_not_as_a_script(tmp_path, model):
    plan, place = plan_of(tmp_path, model, LORA), tmp_path / "s"
    run(plan, place)
    parts = find_cell(plan, (15, 15, 0))
    assert all(stage.spec["trajectory"]["cooldown"] for stage in parts.training)
    with Store.open(place, read_only=True) as store:
        export_weights(parts, store, tmp_path / "chain", "peft-chain")
    assert (tmp_path / "chain" / "preference" / "adapter_model.safetensors").is_file()
    with pytest.raises(StudyError, match="shared trajectory cannot be written as a script"):
        export_script(parts, tmp_path / "script")


def result(score, items=None, **place):
    where = {"model": "m", "task": "t", "method": "dpo", "n_sft": 1, "n_pref": 0, "replicate": 0}
    found = CellResult(**{**where, **place}, status="done", score=score, stderr=0.02)
    return found if items is None else replace(found, item_scores=items)


def test_the_audit_by_hand():
    pairs = [(result(0.50), result(0.60)), (result(0.40), result(0.52)),
             (result(0.7), replace(result(0), status="missing", score=None))]  # fmt: skip
    found = compare("m", "t", "dpo", pairs)
    assert (found.planned, found.cells) == (3, 2)
    assert found.difference == pytest.approx(-0.11)
    prior = 2 * 0.03**2 + 2 * 0.02**2
    variance = (4 * prior + 2 * 0.01**2) / 5
    half = t.ppf(0.95, 5) * (variance / 2 + 0.03**2 / 2) ** 0.5  # of one replicate
    assert found.interval == pytest.approx((-0.11 - half, -0.11 + half))
    assert found.verdict == "lower"
    assert found.words() == (
        f"m · t · dpo: the shared trajectory's scores are 11.0 ± {100 * half:.1f} points below "
        "independent runs (90 % interval, 2 of 3 audited cells): do not use it."
    )
    near = compare("m", "t", "dpo", [(result(0.51), result(0.5))] * 2)
    apart = compare("m", "t", "dpo", [pairs[0], (replace(pairs[1][0], replicate=1), pairs[1][1])])
    own = t.ppf(0.95, 5) * (variance / 2) ** 0.5
    assert apart.interval == pytest.approx((-0.11 - own, -0.11 + own))
    above = compare("m", "t", "dpo", [(b, a) for a, b in pairs])
    assert above.verdict == "higher" and "do not stand for the recipe" in above.words()
    assert near.verdict == "cannot be told apart" and "would not show" in near.words()
    none = compare("m", "t", "dpo", [pairs[2]])
    assert none.verdict == "not measured" and none.to_json()["interval"] is None
    assert "0 of 1 cells" in none.words()


def test_what_gains_at_one_end_and_loses_at_the_other_is_told():
    moves = [(50, 0.08), (100, 0.06), (200, -0.06), (400, -0.08)]
    pairs = [(result(0.5 + d, n_sft=n, replicate=n), result(0.5)) for n, d in moves]
    found = compare("m", "t", "dpo", pairs[::-1])
    assert found.difference == pytest.approx(0) and found.halves == pytest.approx((0.07, -0.07))
    one = (4 * (2 * 0.03**2 + 2 * 0.02**2) + 4 * 0.01**2) / 6
    half = t.ppf(0.95, 6) * one**0.5
    assert found.trend_interval == pytest.approx((-0.14 - half, -0.14 + half))
    assert found.verdict == "differs by size"
    assert "7.0 points above independent runs at the smaller sizes and 7.0 points below" in (
        found.words()
    )


def test_the_audit_compares_item_by_item():
    items = (1.0, 0.0, 1.0, 1.0)
    same = compare("m", "t", "dpo", [(result(0.75, items), result(0.75, items))] * 2)
    half = t.ppf(0.95, 5) * (4 * 2 * 0.03**2 / 5 / 2 + 0.03**2 / 2) ** 0.5
    assert same.interval == pytest.approx((-half, half))  # no noise of the items is left

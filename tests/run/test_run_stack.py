"""A study whose training stages run in groups, against the same study stage by stage."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.torch import load_file

import fake_study
from apportion.compile import compile_study, stack_groups
from apportion.config.load import load_study
from apportion.errors import DataError
from apportion.run import stack
from apportion.run.layout import Layout
from apportion.run.results import collect
from apportion.run.run import run_plan
from apportion.run.schedule import Agenda
from apportion.store.executions import ran_again, read_executions
from apportion.store.store import Store

STUDY = """
models: [{model}]
tasks: [math]
methods: [dpo, kto]
lattice: {{n_sft: [0, 5, 8], n_pref: [0, 4, 6]}}
replicates: 1
stack: {stack}
recipe:
  name: tiny
  sft: {{learning_rate: 1.0e-2, epochs: 2, batch_size: 2, warmup_ratio: 0}}
  preference: {{learning_rate: 1.0e-2, epochs: 1, batch_size: 2, warmup_ratio: 0}}
  max_length: 200
  lora: {{r: 2, alpha: 4}}
evaluation: {{n_items: 4, decoding: {{max_new_tokens: 6}}}}
"""


@pytest.fixture
def model(tmp_path, tiny_model_dir):
    return shutil.copytree(tiny_model_dir, tmp_path / "model")


def plan_of(tmp_path, model, size):
    file = tmp_path / "study.yaml"
    file.write_text(STUDY.format(model=model, stack=size))
    return compile_study(load_study(file))


def records(plan, place):
    with Store.open(place, read_only=True) as store:
        return {key: store.record(key) for key in plan.stages}


def test_the_same_table_in_groups(tmp_path, model):
    alone, grouped = plan_of(tmp_path, model, "off"), plan_of(tmp_path, model, 4)
    assert alone.stages.keys() == grouped.stages.keys()
    for name, plan in (("alone", alone), ("grouped", grouped)):
        report = run_plan(plan, tmp_path / name, layout=Layout(0, 1))
        assert (report.failed, report.warnings) == ((), ())
        assert report.executed == len(plan.stages)
    with (
        Store.open(tmp_path / "alone", read_only=True) as one,
        Store.open(tmp_path / "grouped", read_only=True) as other,
    ):
        table = [(r.n_sft, r.n_pref, r.method, r.score, r.item_scores) for r in collect(alone, one)]
        assert table == [
            (r.n_sft, r.n_pref, r.method, r.score, r.item_scores) for r in collect(grouped, other)
        ]
        trained = [k for k, s in alone.stages.items() if s.kind in ("sft", "preference")]
        for key in trained:
            ours, theirs = other.artifact(key), one.artifact(key)
            assert {f.name for f in ours.iterdir()} == {f.name for f in theirs.iterdir()}
            weights = load_file(theirs / "adapter_model.safetensors")
            for tensor, value in load_file(ours / "adapter_model.safetensors").items():
                assert (value - weights[tensor]).abs().max() < 1e-4, (key, tensor)
            assert other.record(key).summary["steps"] == one.record(key).summary["steps"]
            lines = (ours / "steps.jsonl").read_text().splitlines()
            assert len(lines) == other.record(key).summary["steps"]
            reference, wanted = ours / "reference.jsonl", theirs / "reference.jsonl"
            assert reference.exists() == wanted.exists()
            if reference.exists() and alone.stages[key].parents == ():
                assert reference.read_bytes() == wanted.read_bytes()  # of one and the same base
    groups = {frozenset(group) for group in stack_groups(grouped.stages, 4)}
    assert sum(map(len, groups)) == len(trained) == 2 + 6 + 6
    for key, record in records(grouped, tmp_path / "grouped").items():
        if key in trained:
            assert frozenset(record.worker["stacked"]) in groups and record.seconds > 0
        else:
            assert "stacked" not in record.worker
    assert run_plan(grouped, tmp_path / "grouped", layout=Layout(0, 1)).executed == 0


def test_one_that_cannot_begin_fails_alone(tmp_path, model, monkeypatch):
    plan = plan_of(tmp_path, model, 4)
    real = stack.examples_of

    def lacking(spec):
        if spec["kind"] == "sft" and spec["data"]["n"] == 5:
            raise DataError("the data are gone.")
        return real(spec)

    monkeypatch.setattr(stack, "examples_of", lacking)
    report = run_plan(plan, tmp_path / "s", layout=Layout(0, 1))
    assert [(f.label[:5], f.reason) for f in report.failed] == [("sft 5", "the data are gone.")]
    assert report.executed == len(plan.stages) - 1 - 4 - 4 * 2 - 2  # what hangs on it


def test_a_group_that_cannot_be_stacked_is_trained_one_by_one(tmp_path, model, monkeypatch):
    plan = plan_of(tmp_path, model, 4)

    def too_large(*args, **kwargs):
        raise MemoryError("too much at once")

    monkeypatch.setattr("apportion.training.stacked.train_stacked", too_large)
    report = run_plan(plan, tmp_path / "s", layout=Layout(0, 1))
    assert report.failed == () and report.executed == len(plan.stages)
    assert all("alone, not with its group" in text for text in report.warnings)
    run_plan(plan_of(tmp_path, model, "off"), tmp_path / "alone", layout=Layout(0, 1))
    for key, record in records(plan, tmp_path / "s").items():
        assert "stacked" not in record.worker
        if record.kind == "sft":  # the numbers of a stage alone, to the bit
            files = [tmp_path / p / "artifacts/sft" / key / "adapter_model.safetensors"
                     for p in ("s", "alone")]  # fmt: skip
            assert files[0].read_bytes() == files[1].read_bytes()


# -- the bookkeeping, with stages that train nothing ------------------------------------------


def grouped(plan, kind):
    return tuple(key for key, stage in plan.stages.items() if stage.kind == kind)


def test_a_group_waits_for_all_that_can_still_come():
    plan = fake_study.fake_plan(n_sft=(0, 2, 4), n_pref=(3,))
    sft, preference = grouped(plan, "sft"), grouped(plan, "preference")
    agenda = Agenda(plan.stages, plan.stages, [preference])
    taken = []
    while not set(taken) >= set(sft):
        keys = agenda.next_group()
        assert not set(keys) & set(preference)
        taken += keys
    agenda.fail(sft[0], "no")  # its preference stage will never come
    agenda.done(sft[1])
    found = set()
    while not found & set(preference):
        keys = agenda.next_group()
        found |= set(keys)
    assert len(keys) == 2 and set(keys) < set(preference)
    agenda.apart(keys[0])
    agenda.apart(keys[1])
    assert {len(agenda.next_group()) for _ in range(2)} == {1}


@pytest.fixture
def fake_groups(monkeypatch):
    """All SFT stages of a fake plan in one group, whose body runs one after the other."""
    monkeypatch.setattr("apportion.run.run._groups", lambda plan: (grouped(plan, "sft"),))


@pytest.mark.parametrize("workers", [0, 1])
def test_groups_through_either_executor(tmp_path, fake_groups, workers):
    plan = fake_study.fake_plan()
    report = fake_study.run_fake(plan, tmp_path / "s", workers)
    assert report.failed == () and report.executed == len(plan.stages)
    stacked = [r.worker.get("stacked") for r in records(plan, tmp_path / "s").values()]
    assert sum(one is not None for one in stacked) == 2


def test_a_worker_that_dies_with_a_group_loses_what_is_in_flight(
    tmp_path, fake_groups, monkeypatch
):
    """The first of the group is kept; the second is tried again alone, and is to blame."""
    plan = fake_study.fake_plan()
    monkeypatch.setenv("FAKE_TROUBLE", json.dumps({"sft 4": "killed"}))
    report = fake_study.run_fake(plan, tmp_path / "s", 1)
    assert [f.label for f in report.failed] == ["sft 4 · replicate 0"]
    assert "alone, not with its group" in report.warnings[0]
    log = tmp_path / "s" / "executions.log"
    assert ran_again(log) == []
    sft = [line for line in read_executions(log) if line["kind"] == "sft"]
    assert sum(line["event"] == "finished" for line in sft) == 1
    monkeypatch.delenv("FAKE_TROUBLE")
    assert fake_study.run_fake(plan, tmp_path / "s", 1).exit_code == 0

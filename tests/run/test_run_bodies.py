"""Real training, decoding and scoring with a tiny model, through the same path as any study."""

from __future__ import annotations

import hashlib
import json
import math
import shutil

import pytest

from apportion.compile import compile_study
from apportion.config.load import load_study
from apportion.run import run as run_module
from apportion.run.layout import Layout
from apportion.run.results import collect, to_csv, to_json
from apportion.run.run import run_plan
from apportion.run.tables import read_jsonl, to_jsonl
from apportion.sandbox import instructions as world
from apportion.store.store import Store

STUDY = """
models: [{model}]
tasks: [math]
lattice: {{n_sft: [0, 6], n_pref: [0, 4, 70]}}
replicates: 1
recipe:
  name: tiny
  sft: {{learning_rate: 1.0e-3, epochs: 1, batch_size: 4, warmup_ratio: 0}}
  preference: {{learning_rate: 1.0e-3, epochs: 1, batch_size: 16, warmup_ratio: 0}}
  max_length: 200
  lora: {lora}
evaluation: {{n_items: 5, decoding: {{max_new_tokens: 6}}}}
"""
LORA = "{r: 2, alpha: 4}"


@pytest.fixture
def model(tmp_path, tiny_model_dir):
    return shutil.copytree(tiny_model_dir, tmp_path / "model")


def plan_of(tmp_path, model, lora="null"):
    file = tmp_path / "study.yaml"
    file.write_text(STUDY.format(model=model, lora=lora))
    return compile_study(load_study(file))


def weights(store) -> dict[str, str]:
    found = {}
    for path in sorted((store / "artifacts").rglob("*.safetensors")):
        found[path.parent.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def test_items_of_several_instructions_weigh_more_and_both_accuracies_are_shown(tmp_path, model):
    file = tmp_path / "study.yaml"
    text = STUDY.replace("[math]", "[instructions]").replace("n_items: 5", "n_items: 12")
    text = text.replace("n_sft: [0, 6], n_pref: [0, 4, 70]", "n_sft: [0, 2], n_pref: [0]")
    file.write_text(text.format(model=model, lora="null"))
    plan, place = compile_study(load_study(file)), tmp_path / "s"
    run_plan(plan, place, layout=Layout(0, 1))
    with Store.open(place, read_only=True) as store:
        results = collect(plan, store)
    asked = [len(json.loads(i.reference)["kwargs"]) for i in world.items(12)]
    for r in results:
        assert r.item_weights == tuple(map(float, asked))
        followed = sum(w * s for w, s in zip(asked, r.item_scores, strict=True))
        assert r.score == pytest.approx(followed / sum(asked))
        assert r.accuracies["instruction_strict"] == pytest.approx(r.score)
        assert r.accuracies["prompt_strict"] == sum(s == 1 for s in r.item_scores) / 12
    for shown in to_json(results):
        assert set(shown["accuracies"]) == {
            "prompt_strict", "instruction_strict", "prompt_loose", "instruction_loose",
        }  # fmt: skip
        assert "item_weights" not in shown
    (tmp_path / "t.jsonl").write_text(to_jsonl(results))
    assert [r.item_weights for r in read_jsonl(tmp_path / "t.jsonl")] == [
        r.item_weights for r in results
    ]


@pytest.mark.parametrize("lora", ["null", LORA], ids=["whole", "adapters"])
def test_a_study_end_to_end(tmp_path, model, lora):
    plan, place = plan_of(tmp_path, model, lora), tmp_path / "s"
    report = run_plan(plan, place, layout=Layout(0, 1))
    assert report.failed == () and report.executed == len(plan.stages)
    with Store.open(place, read_only=True) as store:
        results = collect(plan, store)
        assert {r.status for r in results} == {"done"}
        for r in results:
            assert r.n_items == len(r.item_scores) == 5
            assert r.score == r.strict == sum(r.item_scores) / 5
            assert 0 < r.response_tokens <= 6
        both = max(plan.cells, key=lambda c: (c.n_sft, c.n_pref))
        sft, preference, *_ = both.stages
        record = store.record(preference)
        assert record.parents == (sft,) and record.summary["n"] == 70
        assert record.summary["first_loss"] == pytest.approx(math.log(2), abs=1e-3)
        lines = (store.artifact(sft) / "steps.jsonl").read_text().splitlines()
        steps = [json.loads(line) for line in lines]
        used = 6 - store.record(sft).summary["dropped"]
        assert [step["step"] for step in steps] == list(range(1, math.ceil(used / 4) + 1))
        assert sum(step["tokens"] for step in steps) == store.record(sft).tokens
        reference = (store.artifact(preference) / "reference.jsonl").read_text().splitlines()
        chosen = [json.loads(line)["chosen"] for line in reference]
        assert len(chosen) == 70 and chosen.count(None) == record.summary["dropped"] < 70
        assert all(logp < 0 for logp in chosen if logp is not None)
        names = {path.name for path in store.artifact(preference).iterdir()}
        assert ("adapter_model.safetensors" in names) == (lora == LORA)
        assert ("model.safetensors" in names) == (lora != LORA)
    assert len(list((place / "cache" / "reference").glob("*.jsonl"))) == 2  # base, and after SFT


def test_nothing_depends_on_what_was_cached_or_on_the_order(tmp_path, model):
    """A small study first and the large one after it give the large one's numbers to the bit."""
    large = plan_of(tmp_path, model, LORA)
    run_plan(large, tmp_path / "once", layout=Layout(0, 1))
    for key in (large.cells[1].score_key, *[cell.score_key for cell in large.cells]):
        part = [cell for cell in large.cells if cell.score_key == key]
        some = type(large)(large.study, tuple(part), large.stages)
        run_plan(some, tmp_path / "parts", layout=Layout(0, 1))
    assert weights(tmp_path / "once") == weights(tmp_path / "parts")
    tables = []
    for name in ("once", "parts"):
        with Store.open(tmp_path / name, read_only=True) as store:
            tables.append(to_csv(collect(large, store)))
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_workers_give_the_same_weights_as_this_process(tmp_path, model):
    plan = plan_of(tmp_path, model)
    run_plan(plan, tmp_path / "inline", layout=Layout(0, 1))
    report = run_plan(plan, tmp_path / "workers", layout=Layout(2, 1))
    assert report.failed == ()
    assert weights(tmp_path / "inline") == weights(tmp_path / "workers")


def test_a_model_that_changed_since_the_study_was_read_is_not_used(tmp_path, model):
    plan = plan_of(tmp_path, model)
    config = model / "tokenizer_config.json"
    config.write_text(config.read_text() + " ")
    report = run_plan(plan, tmp_path / "s", layout=Layout(0, 1))
    assert report.executed == 0
    assert all("tokenizer_digest" in failure.reason for failure in report.failed)


def test_data_that_changed_since_the_study_was_read_is_not_used(tmp_path, model, monkeypatch):
    plan = plan_of(tmp_path, model)
    from apportion.tasks.math import TASK

    real = TASK.pool.demonstrations
    monkeypatch.setattr(
        type(TASK.pool), "demonstrations", lambda self, n, seed: real(n, seed=seed)[::-1]
    )
    report = run_plan(plan, tmp_path / "s", layout=Layout(0, 1))
    (failed,) = report.failed
    assert failed.label.startswith("sft") and "is not what it was" in failed.reason


def test_the_layout_of_a_small_model_is_one_thread(tmp_path, model):
    assert run_module.plan_layout(plan_of(tmp_path, model), 3) == Layout(3, 1)

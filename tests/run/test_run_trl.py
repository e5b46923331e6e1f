"""Whole studies through TRL and with KTO: the same stages, records and artifacts as any other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from apportion.compile import compile_study
from apportion.config.study import Study
from apportion.run.layout import Layout
from apportion.run.results import collect
from apportion.run.run import run_plan
from apportion.store.store import Store

LORA = {"r": 2, "alpha": 4}


@pytest.fixture
def model(tmp_path, tiny_model_dir):
    return shutil.copytree(tiny_model_dir, tmp_path / "model")


def plan_of(model, *, lora=None, trainer="trl", points=((6,), (8,)), **changes):
    stage = {"learning_rate": 1e-3, "epochs": 1, "batch_size": 4, "warmup_ratio": 0}
    return compile_study(
        Study.of(
            {
                "models": str(model),
                "tasks": "math",
                "methods": ["dpo", "kto"],
                "lattice": {"n_sft": list(points[0]), "n_pref": list(points[1])},
                "replicates": 1,
                "trainer": trainer,
                "recipe": {
                    "name": "tiny",
                    "sft": stage,
                    "preference": {**stage, "batch_size": 8},
                    "kto": {"beta": 0.2, "group_size": 4},
                    "max_length": 200,
                    "lora": lora,
                },
                "evaluation": {"n_items": 3, "decoding": {"max_new_tokens": 4}},
                **changes,
            }
        )
    )


def lines(folder, name):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def steps_of(plan, place):
    """Step records by the stage's own words, with its trainer left out."""
    with Store.open(place, read_only=True) as store:
        return {
            stage.label: lines(store.artifact(key), "steps.jsonl")
            for key, stage in plan.stages.items()
            if stage.kind in ("sft", "preference")
        }


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "adapters"])
def test_both_trainers_give_the_same_study(tmp_path, model, lora):
    pytest.importorskip("trl", reason="TRL is not installed")
    found = {}
    for trainer in ("native", "trl"):
        plan, place = plan_of(model, lora=lora, trainer=trainer), tmp_path / trainer
        report = run_plan(plan, place, layout=Layout(0, 1))
        assert report.failed == () and report.executed == len(plan.stages)
        found[trainer] = steps_of(plan, place)
        with Store.open(place, read_only=True) as store:
            assert {r.status for r in collect(plan, store)} == {"done"}
            for key, stage in plan.stages.items():
                folder = store.artifact(key)
                if stage.kind in ("sft", "preference"):
                    names = {path.name for path in folder.iterdir()}
                    assert ("adapter_model.safetensors" in names) == (lora is not None)
                    assert not any(name.startswith(("checkpoint", "data")) for name in names)
                if stage.kind == "preference":
                    summary = store.record(key).summary
                    kept = 8 - summary["dropped"]
                    assert (summary["n"], summary["steps"]) == (8, 1) and kept > 2
                    kinds = {"dpo": {"chosen", "rejected"}, "kto": {"matched", "mismatched"}}
                    reference = lines(folder, "reference.jsonl")
                    assert len([row for row in reference if None not in row.values()]) == kept
                    assert set(reference[0]) == kinds[stage.spec["method"]]
    assert not any((tmp_path / "trl" / "cache" / "trl").iterdir())  # nothing is left lying about
    ours, theirs = found["native"], found["trl"]
    assert ours.keys() == theirs.keys() and len(ours) == 3
    for label, logs in ours.items():
        for a, b in zip(logs, theirs[label], strict=True):
            assert (a["step"], a["tokens"], a["lr"]) == (b["step"], b["tokens"], b["lr"])
            assert b["loss"] == pytest.approx(a["loss"], abs=1e-5)
            assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-4)


def test_kto_from_the_base_model_with_the_native_loop(tmp_path, model):
    plan = plan_of(model, trainer="native", methods="kto", points=((0,), (0, 5, 8)))
    report = run_plan(plan, tmp_path / "s", layout=Layout(0, 1))
    assert report.failed == ()
    logs = steps_of(plan, tmp_path / "s")
    assert {len(rows) for rows in logs.values()} == {1}
    assert all(rows[0]["extra"]["kl"] == pytest.approx(0, abs=1e-3) for rows in logs.values())


def test_why_a_stage_cannot_be_trained_is_its_record(tmp_path, model, monkeypatch):
    pytest.importorskip("trl", reason="TRL is not installed")
    plan = plan_of(model, points=((6,), (0,)))
    monkeypatch.setattr("apportion.training.trl.installed.trl_is_installed", lambda: False)
    report = run_plan(plan, tmp_path / "s", layout=Layout(0, 1))
    (failed,) = report.failed
    assert "needs TRL 1.8 or newer" in failed.reason and "apportion[trl]" in failed.reason


@pytest.mark.slow
def test_a_launched_stage_gives_the_same_numbers(tmp_path, model, monkeypatch):
    pytest.importorskip("trl", reason="TRL is not installed")
    plan = plan_of(model, lora=LORA, methods="dpo")
    run_plan(plan, tmp_path / "here", layout=Layout(0, 1))
    monkeypatch.setenv("APPORTION_ACCELERATE", "--cpu --num_processes 1 --num_machines 1")
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))
    report = run_plan(plan, tmp_path / "there", layout=Layout(0, 1))
    assert report.failed == ()
    assert steps_of(plan, tmp_path / "here") == steps_of(plan, tmp_path / "there")


@pytest.mark.slow
def test_a_launched_stage_that_fails_says_why(tmp_path, model, monkeypatch):
    pytest.importorskip("trl", reason="TRL is not installed")
    plan = plan_of(model, points=((6,), (0,)))
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))
    monkeypatch.setenv("APPORTION_ACCELERATE", "--no-such-argument")
    (failed,) = run_plan(plan, tmp_path / "s", layout=Layout(0, 1)).failed
    assert "accelerate launch failed" in failed.reason and "no-such-argument" in failed.reason
    monkeypatch.setenv("APPORTION_ACCELERATE", "--cpu --num_processes 1 --num_machines 1")
    job = "apportion.training.trl.job"
    (tmp_path / "sitecustomize.py").write_text(
        f"import {job}, apportion.errors as e\n"
        f"def fail(*_): raise e.StudyError('not today.', field='here', mend='try tomorrow.')\n"
        f"{job}.run_job = fail\n"
    )
    monkeypatch.setenv("PYTHONPATH", ":".join([str(tmp_path), *filter(None, sys.path)]))
    (failed,) = run_plan(plan, tmp_path / "s", layout=Layout(0, 1)).failed
    assert failed.reason == "here: not today. Mend: try tomorrow."


def test_a_launched_process_ends_its_group(tmp_path, monkeypatch):
    """Else the group's threads outlive the interpreter, and may abort a process that is done."""
    import torch.distributed as dist

    from apportion.training.trl import launch

    def job(folder, on_step):
        store = f"file://{folder / 'store'}"
        dist.init_process_group("gloo", init_method=store, rank=0, world_size=1)
        assert dist.is_initialized()

    monkeypatch.setattr(launch, "run_job", job)
    try:
        assert launch.main([str(tmp_path)]) == 0
        assert not dist.is_initialized()
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "adapters"])
def test_two_processes_give_the_numbers_of_one(tmp_path, model, lora):
    """Full batches: the last one of an epoch is filled up where several processes share it."""
    pytest.importorskip("trl", reason="TRL is not installed")
    from apportion.config.recipe import LoraRecipe, PreferenceRecipe
    from apportion.training.trl.job import Job, run_job
    from apportion.training.trl.settings import Settings

    recipe = PreferenceRecipe(learning_rate=1e-3, epochs=2, batch_size=4, warmup_ratio=0)
    adapter = lora and LoraRecipe.model_validate(lora)
    job = Job(Settings("dpo", recipe, 64, 3), str(model), (), adapter)
    columns = {
        "prompt_ids": [[5 + i] * (2 + i % 3) for i in range(8)],
        "chosen_ids": [[9 + i, 11] for i in range(8)],
        "rejected_ids": [[20 + i] * (1 + i % 4) for i in range(8)],
    }
    found = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        job.write(folder, columns)
        if processes == 1:
            run_job(folder)
        else:
            command = [
                sys.executable, "-m", "torch.distributed.run", "--standalone",
                "--nproc-per-node", "2", "-m", "apportion.training.trl.launch", str(folder),
            ]  # fmt: skip
            path = ":".join(filter(None, sys.path))
            subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path})
        found.append(lines(folder / "out", "steps.jsonl"))
    for a, b in zip(*found, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], abs=1e-5)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-4)
        assert b["extra"]["margin"] == pytest.approx(a["extra"]["margin"], abs=1e-4)

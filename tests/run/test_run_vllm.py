"""Responses that vLLM generates: a stand-in for it on the CPU, and the whole path around it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from apportion.compile import compile_study
from apportion.config.study import Study
from apportion.errors import ManyErrors
from apportion.run.common import read_lines
from apportion.run.layout import Layout
from apportion.run.results import collect, to_csv, to_json
from apportion.run.run import run_plan
from apportion.store.record import versions
from apportion.store.store import Store

STAND_IN = Path(__file__).resolve().parents[1] / "vllm_stand_in"
INSTALLED = "apportion.generation.vllm.installed"
LORA = {"r": 2, "alpha": 4}


@pytest.fixture
def vllm(tmp_path, monkeypatch):
    """The stand-in, installed, on a machine that has a GPU; the file it logs to."""
    information = tmp_path / "site" / "vllm-0.19.1.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.19.1\n")
    monkeypatch.syspath_prepend(str(information.parent))
    monkeypatch.syspath_prepend(str(STAND_IN))
    monkeypatch.setattr(f"{INSTALLED}.cuda_is_available", lambda: True)
    monkeypatch.setattr(f"{INSTALLED}.SMALLEST_HEAD", 8)  # the stand-in serves all
    monkeypatch.setenv("STAND_IN_LOG", str(tmp_path / "log"))
    versions.cache_clear()  # of what was installed before
    yield tmp_path / "log"
    versions.cache_clear()


@pytest.fixture
def here(monkeypatch):
    """The engine in this process, which is faster than in one of its own."""
    import vllm as module

    from apportion.generation.vllm.child import Loaded

    class Engine:
        version = module.__version__

        def __init__(self, settings):
            self._loaded = Loaded(asdict(settings))

        def answer(self, request):
            return self._loaded.answer(json.loads(json.dumps(asdict(request))))

    @contextmanager
    def running(settings):
        yield Engine(settings)

    monkeypatch.setattr("apportion.generation.vllm.engine.running", running)


def study(engine="vllm", *, lora=LORA, dtype="bfloat16", stage_two="chain", **evaluation):
    stage = {"learning_rate": 1e-3, "epochs": 1, "batch_size": 4, "warmup_ratio": 0}
    return Study.of(
        {
            "models": "sandbox:tiny",
            "tasks": "math",
            "lattice": {"n_sft": [0, 6], "n_pref": [0, 4]},
            "replicates": 1,
            "recipe": {
                "name": "tiny",
                "sft": stage,
                "preference": stage,
                "max_length": 200,
                "lora": lora,
                "dtype": dtype,
                "stage_two": stage_two,
            },
            # a prompt at a time, as the stand-in has it: then all sums are the same
            "evaluation": {
                "n_items": 4,
                "engine": engine,
                "batch_size": 1,
                "decoding": {"max_new_tokens": 12},
                **evaluation,
            },
        }
    )


def answers(plan, place):
    """What each cell answered, by (n_sft, n_pref)."""
    with Store.open(place, read_only=True) as store:
        return {
            (cell.n_sft, cell.n_pref): read_lines(
                store.artifact(cell.stages[-2]) / "completions.jsonl"
            )
            for cell in plan.cells
        }


def log(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def both(place, **kwargs):
    """The same study with both engines in one store, where what is trained is shared."""
    plans = [compile_study(study(engine, **kwargs)) for engine in ("transformers", "vllm")]
    for plan in plans:
        report = run_plan(plan, place, layout=Layout(0, 1))
        assert report.failed == ()
    return plans


@pytest.mark.parametrize(
    ("settings", "engines"),
    [
        # every cell but the base's is a model of its own
        ({"lora": None, "dtype": "float32"}, 4),
        # vLLM computes adapters in 16 bits alone: all are merged
        ({"dtype": "float32"}, 4),
        # base, SFT and preference from the base share one; the merged chain has a base of its own
        ({"stage_two": "merge_16bit"}, 2),
    ],
    ids=["whole", "float32", "merged"],
)
def test_vllm_answers_what_transformers_answers(tmp_path, vllm, here, settings, engines):
    ours, theirs = both(tmp_path / "s", **settings)
    assert answers(ours, tmp_path / "s") == answers(theirs, tmp_path / "s")
    assert len([line for line in log(vllm) if "engine" in line]) == engines
    assert list((tmp_path / "s" / "cache").glob("vllm/*")) == []  # nothing is left lying about


@pytest.mark.slow
def test_cells_with_adapters_share_one_engine_in_a_process_of_its_own(tmp_path, vllm):
    ours, theirs = both(tmp_path / "s")
    assert answers(ours, tmp_path / "s") == answers(theirs, tmp_path / "s")
    loaded, *asked = log(vllm)
    assert loaded["enable_lora"] and loaded["max_lora_rank"] == 8  # room for a chain of two
    assert [line["adapter"] is None for line in asked].count(True) == 1  # the base
    assert len(asked) == len({line["adapter"] for line in asked}) == 4
    assert list((tmp_path / "s" / "cache").glob("vllm/*")) == []  # nothing is left lying about
    with Store.open(tmp_path / "s", read_only=True) as store:
        records = {cell.stages[-2]: store.record(cell.stages[-2]) for cell in theirs.cells}
        for record in records.values():
            assert record.spec["engine"] == "vllm"
            assert record.summary["engine_version"] == record.versions["vllm"] == "0.19.1"
            assert set(record.worker["one_engine"]) == set(records)
            assert "stacked" not in record.worker and record.seconds > 0
        results = collect(theirs, store)
        assert {row["engine"] for row in to_json(results)} == {"vllm"}
        assert to_csv(results).splitlines()[0].endswith(",engine")
        assert "engine" not in to_csv(collect(ours, store))


def test_no_stage_of_one_engine_is_one_of_the_other(vllm):
    ours, theirs = compile_study(study("transformers")), compile_study(study())
    for kind, shared in (("sft", 1), ("preference", 2), ("generate", 0), ("score", 0)):
        keys = [{k for k, s in plan.stages.items() if s.kind == kind} for plan in (ours, theirs)]
        assert len(keys[0] & keys[1]) == shared


def test_sampling_has_a_seed_for_each_prompt(tmp_path, vllm, here):
    sampled = {"strategy": "sample", "temperature": 0.7, "max_new_tokens": 12}
    plan = compile_study(study(lora=None, dtype="float32", decoding=sampled))
    base = plan.cells[0]
    for name in ("once", "again"):
        part = type(plan)(plan.study, (base,), plan.stages)
        assert run_plan(part, tmp_path / name, layout=Layout(0, 1)).failed == ()
    first, second = (line["seed"] for line in log(vllm) if "seed" in line)
    assert first == second is not None
    assert answers(part, tmp_path / "once") == answers(part, tmp_path / "again")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("load", "vLLM cannot serve this model here: ValueError: Model architectures ['Odd']"),
        ("answer", "vLLM did not answer: ValueError: no such adapter"),
        ("die", "vLLM's process ended (7): … CUDA out of memory"),
    ],
    ids=["load", "answer", "die"],
)
def test_what_goes_wrong_in_the_engine_is_the_stage_s_reason(
    tmp_path, vllm, monkeypatch, trouble, words
):
    monkeypatch.setenv("STAND_IN_TROUBLE", trouble)
    plan = compile_study(study())
    base = type(plan)(plan.study, plan.cells[:1], plan.stages)
    (failed,) = run_plan(base, tmp_path / "s", layout=Layout(0, 1)).failed
    assert all(part in failed.reason for part in words.split(" … "))


def test_a_stage_that_is_refused_leaves_the_others_alone(tmp_path, vllm, here, monkeypatch):
    from apportion.generation.vllm import child

    real = child.Loaded.answer

    def answer(self, request):
        if request["adapter"] is None:
            raise ValueError("not the base")
        return real(self, request)

    monkeypatch.setattr(child.Loaded, "answer", answer)
    report = run_plan(compile_study(study()), tmp_path / "s", layout=Layout(0, 1))
    (failed,) = report.failed
    assert failed.label.startswith("generate after no training")


def test_nothing_runs_where_vllm_or_a_gpu_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{INSTALLED}.SMALLEST_HEAD", 8)
    monkeypatch.setattr(f"{INSTALLED}.vllm_version", lambda: None)
    monkeypatch.setattr(f"{INSTALLED}.cuda_is_available", lambda: False)
    plan = compile_study(study())  # reading results needs neither
    with pytest.raises(ManyErrors) as raised:
        run_plan(plan, tmp_path / "s", layout=Layout(0, 1))
    missing, no_gpu = raised.value.errors
    assert "which is not installed" in missing.problem and "apportion[vllm]" in missing.mend
    assert "needs a CUDA GPU" in no_gpu.problem and "engine: transformers" in no_gpu.mend
    assert missing.field == no_gpu.field == "evaluation.engine"
    assert not any((tmp_path / "s" / "artifacts").iterdir())

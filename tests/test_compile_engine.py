"""What a study may ask of an engine, and what is found before anything runs."""

from __future__ import annotations

import pytest

from apportion.compile import check_file, compile_study, engine_groups, problems
from apportion.config.study import Study

INSTALLED = "apportion.generation.vllm.installed"
LORA = {"r": 32, "alpha": 32}
STUDY = {
    "models": "sandbox:small",
    "tasks": "math",
    "lattice": {"n_sft": [0, 5, 10], "n_pref": [0, 8, 16]},
    "replicates": 2,
    "recipe": {"preset": "sandbox", "lora": LORA, "dtype": "bfloat16"},
}


def study(evaluation=None, recipe=None, **changes):
    return Study.of(
        {
            **STUDY,
            "recipe": {**STUDY["recipe"], **(recipe or {})},
            "evaluation": {"engine": "vllm", **(evaluation or {})},
            **changes,
        }
    )


def room(found):
    (spec,) = {
        s.spec["vllm"]["max_lora_rank"] for s in found.stages.values() if s.kind == "generate"
    }
    return spec


def test_a_study_that_says_transformers_is_one_that_says_nothing():
    said = compile_study(study({"engine": "transformers"}))
    assert said.stages == compile_study(Study.of(STUDY)).stages
    assert not any("vllm" in stage.spec for stage in said.stages.values())


@pytest.mark.parametrize(
    ("recipe", "rank"),
    [
        ({}, 64),  # a chain of two is served as one of twice the rank
        ({"lora": {"r": 2, "alpha": 4}}, 8),
        ({"lora": {"r": 140, "alpha": 4}}, 320),
        ({"stage_two": "merge_16bit"}, 32),
        ({"dtype": "float32"}, None),
        ({"lora": None}, None),
    ],
)
def test_room_for_adapters(recipe, rank):
    assert room(compile_study(study(recipe=recipe))) == rank


@pytest.mark.parametrize(
    ("evaluation", "recipe", "field", "words"),
    [
        ({"batch_size": 1025}, {}, "evaluation.batch_size", "at most 1024"),
        (
            {"decoding": {"strategy": "sample", "temperature": 0.001}},
            {},
            "evaluation.decoding.temperature",
            "below 0.01",
        ),
        ({}, {"lora": {"r": 300, "alpha": 1}}, "recipe.lora.r", "up to rank 512"),
        ({}, {"quantization": "4bit"}, "recipe.quantization", "4-bit base"),
    ],
)
def test_what_vllm_cannot_do(evaluation, recipe, field, words):
    found = [e for e in problems(study(evaluation, recipe)) if "vLLM" in e.problem]
    (error,) = found
    assert error.field == field and words in error.problem and error.mend
    asked = study({**evaluation, "engine": "transformers"}, recipe)
    assert not any("vLLM" in e.problem for e in problems(asked))


def test_a_model_whose_heads_are_too_small():
    (error,) = problems(study(models=["sandbox:small", "sandbox:tiny"]))
    assert error.field == "models[1]" and "24 dimensions" in error.problem


def test_check_says_what_is_missing_here_and_where(tmp_path, monkeypatch):
    file = tmp_path / "study.yaml"
    file.write_text(
        "models: [sandbox:small]\ntasks: [math]\nlattice: {n_sft: [0, 5], n_pref: [0]}\n"
        "recipe: sandbox\nevaluation:\n  n_items: 5\n  engine: vllm\n"
    )
    monkeypatch.setattr(f"{INSTALLED}.cuda_is_available", lambda: False)
    for version, words in ((None, "not installed"), ("0.18.1", "0.18.1 is installed")):
        monkeypatch.setattr(f"{INSTALLED}.vllm_version", lambda v=version: v)
        missing, no_gpu = check_file(file, here=True).errors
        assert words in missing.problem and "CUDA GPU" in no_gpu.problem
        assert missing.row == no_gpu.row == 7 and missing.file == str(file)
    assert check_file(file).errors == ()  # to read results, or on the machine that plans
    monkeypatch.setattr(f"{INSTALLED}.vllm_version", lambda: "0.20.1.dev3")
    monkeypatch.setattr(f"{INSTALLED}.cuda_is_available", lambda: True)
    assert check_file(file, here=True).errors == ()


def test_who_shares_an_engine():
    found = compile_study(study())
    groups = engine_groups(found.stages, 4)
    flat = [key for group in groups for key in group]
    generated = [key for key, stage in found.stages.items() if stage.kind == "generate"]
    assert sorted(flat) == sorted(generated)  # 2 × 8 and the base, once
    assert {len(group) for group in groups} <= {2, 3, 4}
    for other in ({"lora": None}, {"dtype": "float32"}):
        assert engine_groups(compile_study(study(recipe=other)).stages) == ()
    merged = compile_study(study(recipe={"stage_two": "merge_16bit"}))
    kept = [key for group in engine_groups(merged.stages, 100) for key in group]
    after = {s.label.split(" ·")[0] for k, s in merged.stages.items() if k in kept}
    assert "generate after sft 5 and preference 0" in after
    assert "generate after sft 5 and preference 8" not in after
    assert engine_groups(compile_study(Study.of(STUDY)).stages) == ()

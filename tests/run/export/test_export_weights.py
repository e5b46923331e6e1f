"""Exported weights, loaded the ordinary way, give the logits of the policy in the store."""

from __future__ import annotations

import json
import re

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from apportion.errors import StoreError, StudyError
from apportion.models.policy import load_policy
from apportion.models.resolve import resolve_model
from apportion.run.export.cell import find_cell
from apportion.run.export.weights import concatenated, export_weights
from apportion.store.store import Store

IDS = torch.arange(180).reshape(3, 60)


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits


def policy_logits(study, parts, upto=None) -> torch.Tensor:
    with study.opened() as store:
        chain = [store.artifact(stage.key) for stage in parts.training][:upto]
        ref = resolve_model(parts.spec["model"]["name"])
        merged = int(parts.merges_16bit and upto is None)
        return logits(load_policy(ref, chain, dtype="float32", merge_16bit=merged))


def exported(study, parts, out, form):
    with study.opened() as store:
        return export_weights(parts, store, out, form)


def base(folder):
    config = json.loads((folder / "adapter_config.json").read_text())
    return AutoModelForCausalLM.from_pretrained(config["base_model_name_or_path"])


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-5)


def test_a_chain_as_one_adapter(ran, tmp_path):
    study = ran("chain")
    folder = exported(study, study.parts, tmp_path / "x", "adapter")
    loaded = logits(PeftModel.from_pretrained(base(folder), folder))
    assert close(loaded, policy_logits(study, study.parts))
    assert not close(loaded, policy_logits(study, study.parts, upto=1))
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (6, 6)
    readme = (folder / "README.md").read_text()
    assert "but for rounding" in readme and "dtype=torch.float32" in readme


def test_a_chain_one_by_one_as_its_readme_says(ran, tmp_path):
    study = ran("chain")
    folder = exported(study, study.parts, tmp_path / "x", "peft-chain")
    readme = (folder / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", readme, flags=re.S)
    names: dict = {}
    exec(code.replace("DIR", str(folder)), names)
    assert torch.equal(logits(names["model"]), policy_logits(study, study.parts))  # every bit
    assert "to the last bit" in readme
    alone = PeftModel.from_pretrained(base(folder / "sft"), folder / "sft")
    assert torch.equal(logits(alone), policy_logits(study, study.parts, upto=1))


@pytest.mark.parametrize("name", ["whole", "chain", "merge16"])
def test_a_whole_model(ran, tmp_path, name):
    study = ran(name)
    folder = exported(study, study.parts, tmp_path / "x", "merged")
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert loaded.dtype == torch.float32
    assert close(logits(loaded), policy_logits(study, study.parts))
    assert resolve_model(str(folder)).kind == "local"  # with its tokenizer
    if name == "merge16":
        with study.opened() as store:
            chain = [store.artifact(stage.key) for stage in study.parts.training]
        ref = resolve_model(study.parts.spec["model"]["name"])
        assert not close(logits(loaded), logits(load_policy(ref, chain, dtype="float32")))


@pytest.mark.parametrize("wanted", [(18, 0, 0), (0, 15, 0)])
def test_one_stage_alone(ran, tmp_path, wanted):
    study = ran("chain")
    parts = find_cell(study.plan, wanted)
    folder = exported(study, parts, tmp_path / "x", "adapter")
    loaded = logits(PeftModel.from_pretrained(base(folder), folder))
    assert torch.equal(loaded, policy_logits(study, parts))  # every bit


def test_adapters_of_other_ranks_and_scales():
    stream = torch.Generator().manual_seed(0)
    configs = [{"r": 2, "lora_alpha": 8}, {"r": 5, "lora_alpha": 1}]
    weights = [
        {
            "x.lora_A.weight": torch.randn(c["r"], 7, generator=stream),
            "x.lora_B.weight": torch.randn(4, c["r"], generator=stream),
        }
        for c in configs
    ]
    whole = concatenated(weights, configs)
    expected = sum(
        c["lora_alpha"] / c["r"] * w["x.lora_B.weight"] @ w["x.lora_A.weight"]
        for c, w in zip(configs, weights, strict=True)
    )
    assert torch.allclose(whole["x.lora_B.weight"] @ whole["x.lora_A.weight"], expected, atol=1e-6)
    assert whole["x.lora_A.weight"].shape == (7, 7)


@pytest.mark.parametrize(
    "odd", [{"use_rslora": True}, {"use_dora": True}, {"bias": "all"}, {"rank_pattern": {"x": 1}}]
)
def test_adapters_that_are_more_than_a_product_are_refused(odd):
    weights = {"x.lora_A.weight": torch.ones(1, 2), "x.lora_B.weight": torch.ones(2, 1)}
    config = {"r": 1, "lora_alpha": 1}
    with pytest.raises(StudyError, match="beside each other"):
        concatenated([weights, weights], [config, config | odd])
    with pytest.raises(StudyError, match="beside each other"):
        concatenated([weights, {**weights, "y.lora_A.weight": torch.ones(1, 2)}], [config, config])


@pytest.mark.parametrize(
    ("name", "wanted", "form", "problem"),
    [
        ("whole", (18, 15, 0), "adapter", "trained all weights"),
        ("whole", (18, 15, 0), "peft-chain", "trained all weights"),
        ("merge16", (18, 15, 0), "adapter", "rounded weights"),
        ("chain", (0, 0, 0), "merged", "untuned base"),
    ],
)
def test_what_there_is_not(ran, tmp_path, name, wanted, form, problem):
    study = ran(name)
    with pytest.raises(StudyError, match=problem):
        exported(study, find_cell(study.plan, wanted), tmp_path / "x", form)
    assert not (tmp_path / "x").exists()


def test_a_cell_that_was_not_run(ran, tmp_path):
    with (
        Store.open(tmp_path / "empty") as store,
        pytest.raises(StoreError, match="not in the store"),
    ):
        export_weights(ran("chain").parts, store, tmp_path / "x", "merged")

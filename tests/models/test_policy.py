from __future__ import annotations

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from apportion.config.recipe import LoraRecipe
from apportion.errors import ModelError, StageError
from apportion.models.policy import (
    adapters_of,
    load_base,
    load_policy,
    prepare_for_training,
    save_trained,
)
from apportion.models.resolve import resolve_model

IDS = torch.tensor([[5, 17, 80, 33, 9, 200, 64]])
LORA = LoraRecipe(r=4, alpha=8)


@pytest.fixture
def ref(tiny_model_dir):
    return resolve_model(str(tiny_model_dir))


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(input_ids=ids).logits


def disturb(model, seed):
    """Stands for training: every trainable weight moves."""
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn(weight.shape, generator=stream)
    return model


def trainable(model):
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.fixture
def chain(ref, tmp_path):
    """An SFT adapter, a preference adapter on it, and what the trained model said in the end."""
    sft = disturb(prepare_for_training(load_base(ref, dtype="float32"), LORA, seed=1), 1)
    save_trained(sft, tmp_path / "sft")
    start = load_policy(ref, [tmp_path / "sft"], dtype="float32")
    preference = disturb(prepare_for_training(start, LORA, seed=2), 2)
    save_trained(preference, tmp_path / "preference")
    return [tmp_path / "sft", tmp_path / "preference"], logits(sft), logits(preference)


def merged_by_hand(ref, folders):
    """The base with scale * B @ A added to each weight, straight from the files, in float64."""
    model = load_base(ref, dtype="float32").double()
    weights = dict(model.named_parameters())
    for folder in folders:
        config = json.loads((folder / "adapter_config.json").read_text())
        scale = config["lora_alpha"] / config["r"]
        adapter = load_file(folder / "adapter_model.safetensors")
        for name, a in adapter.items():
            if name.endswith("lora_A.weight"):
                b = adapter[name.replace("lora_A", "lora_B")]
                target = name.removeprefix("base_model.model.").replace(".lora_A", "")
                weights[target].data += scale * b.double() @ a.double()
    return model


def test_a_chain_is_the_base_with_both_adapters_merged(ref, chain):
    folders, after_sft, after_preference = chain
    for n, said in ((1, after_sft), (2, after_preference)):
        loaded = logits(load_policy(ref, folders[:n], dtype="float32"))
        assert torch.equal(loaded, said)
        by_hand = logits(merged_by_hand(ref, folders[:n]))
        torch.testing.assert_close(loaded.double(), by_hand, atol=2e-4, rtol=1e-5)
    assert (after_preference - after_sft).abs().max() > 0.1
    assert (after_sft - logits(load_base(ref, dtype="float32"))).abs().max() > 0.1


def test_both_adapters_contribute_to_generation(ref, chain):
    folders, *_ = chain
    how = {"max_new_tokens": 8, "do_sample": False}
    both = load_policy(ref, folders, dtype="float32").generate(input_ids=IDS, **how)
    by_hand = merged_by_hand(ref, folders).float().generate(input_ids=IDS, **how)
    assert torch.equal(both, by_hand)


def test_a_saved_adapter_loads_the_ordinary_way(ref, chain):
    folders, after_sft, after_preference = chain
    ordinary = PeftModel.from_pretrained(load_base(ref, dtype="float32"), folders[0])
    assert torch.equal(logits(ordinary), after_sft)
    merged = ordinary.merge_and_unload()
    over = PeftModel.from_pretrained(merged, folders[1])
    torch.testing.assert_close(logits(over), after_preference, atol=2e-4, rtol=1e-5)


def test_only_the_newest_adapter_is_saved_and_trainable(ref, chain):
    folders, *_ = chain
    model = load_policy(ref, folders[:1], dtype="float32")
    assert trainable(model) == set()
    model = prepare_for_training(model, LORA, seed=0)
    assert len(adapters_of(model)) == 2
    assert len(trainable(model)) == 2 * 7 * 2  # A and B, seven projections, two layers
    assert all(f".{adapters_of(model)[-1]}." in name for name in trainable(model))
    assert len(load_file(folders[1] / "adapter_model.safetensors")) == 28


def test_a_new_adapter_has_no_effect_and_is_drawn_under_its_seed(ref, chain):
    folders, after_sft, _ = chain
    before = torch.random.get_rng_state()

    def prepared(seed):
        model = load_policy(ref, folders[:1], dtype="float32")
        model = prepare_for_training(model, LORA, seed=seed)
        torch.testing.assert_close(logits(model), after_sft)
        return [w.detach() for n, w in model.named_parameters() if n in trainable(model)]

    one, again, other = prepared(3), prepared(3), prepared(4)
    assert all(map(torch.equal, one, again))
    assert not all(map(torch.equal, one, other))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_all_linear_means_every_projection_but_the_output_layer(ref):
    model = prepare_for_training(load_base(ref, dtype="float32"), LORA, seed=0)
    layers = {name.split(".")[-4] for name in trainable(model)}
    assert layers == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"
    }  # fmt: skip


def test_layers_that_are_not_there_are_the_users_mistake(ref):
    with pytest.raises(ModelError, match="target"):
        prepare_for_training(
            load_base(ref, dtype="float32"), LoraRecipe(target_modules=("nope",)), seed=0
        )


def test_whole_weights_go_there_and_back(ref, tmp_path):
    model = disturb(prepare_for_training(load_base(ref, dtype="float32"), None, seed=0), 5)
    assert len(trainable(model)) == len(list(model.parameters()))
    save_trained(model, tmp_path / "a")
    for loaded in (
        load_policy(ref, [tmp_path / "a"], dtype="float32"),
        AutoModelForCausalLM.from_pretrained(tmp_path / "a"),
    ):
        assert torch.equal(logits(loaded), logits(model))
    disturb(model, 6)
    save_trained(model, tmp_path / "b")
    both = load_policy(ref, [tmp_path / "a", tmp_path / "b"], dtype="float32")
    assert torch.equal(logits(both), logits(model))


def test_whole_weights_of_a_16_bit_model_are_trained_and_saved_in_32(ref, tmp_path):
    model = load_base(ref, dtype="bfloat16")
    rounded = logits(model)
    assert rounded.dtype == torch.bfloat16
    model = prepare_for_training(model, None, seed=0)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    save_trained(model, tmp_path / "a")
    saved = load_file(tmp_path / "a" / "model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {torch.float32}
    assert torch.equal(logits(load_policy(ref, [tmp_path / "a"], dtype="bfloat16")), rounded)


def test_merging_in_16_bits_rounds_every_weight(ref, chain):
    folders, after_sft, _ = chain
    by_hand = merged_by_hand(ref, folders[:1]).to(torch.float32)
    for weight in by_hand.parameters():
        weight.data = weight.data.bfloat16().float()
    merged = load_policy(ref, folders[:1], dtype="float32", merge_16bit=1)
    assert adapters_of(merged) == ()
    torch.testing.assert_close(logits(merged), logits(by_hand), atol=1e-3, rtol=1e-3)
    assert (logits(merged) - after_sft).abs().max() > 1e-3
    both = load_policy(ref, folders, dtype="float32", merge_16bit=1)
    assert len(adapters_of(both)) == 1


def test_a_directory_without_a_model_is_no_artifact(ref, tmp_path):
    with pytest.raises(StageError, match="neither a model nor an adapter"):
        load_policy(ref, [tmp_path], dtype="float32")


def test_a_model_that_cannot_be_loaded_is_the_users_mistake(ref, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "no-such-type"}')
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_policy(ref, [tmp_path], dtype="float32")

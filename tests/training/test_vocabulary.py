"""The output layer in chunks against all logits at once: values, gradients, and who is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from test_against_independent import LORA, disturbed
from torch import nn
from transformers import Gemma2Config, Gemma2ForCausalLM, GraniteConfig, GraniteForCausalLM

from apportion.config.recipe import LoraRecipe
from apportion.models.policy import prepare_for_training
from apportion.training import vocabulary
from apportion.training.batches import Row, sequence_logps, token_logps
from apportion.training.packing import Batches
from apportion.training.vocabulary import head_is_last, wants_chunks
from tiny import make_tiny_gpt2

CPU = torch.device("cpu")
GROUPS = [[Row((5, 6, 7, 8, 9), 3), Row((5, 6, 7, 8, 4, 2), 3)], [Row(tuple(range(30, 60)), 4)]]
N = 2 + 3 + 26


def chunk(monkeypatch, logits):
    """Chunks of so many logits, from the first on."""
    monkeypatch.setattr(vocabulary, "CHUNKED_FROM", 1)
    monkeypatch.setattr(vocabulary, "CHUNK_LOGITS", logits)


def plainly(monkeypatch):
    monkeypatch.setattr(vocabulary, "CHUNKED_FROM", 2**60)


def found(model, *, packed=False):
    """Log-probabilities, and the gradient of a loss that weighs tokens differently."""
    model.zero_grad()
    logps = token_logps(model, Batches(packed, 0, CPU).of(GROUPS))
    (logps * torch.linspace(0.5, 2.0, N)).sum().backward()
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return logps.detach(), grads


def agree(one, other, tight=1e-6):
    (logps, grads), (wanted, wanted_grads) = one, other
    assert grads.keys() == wanted_grads.keys()
    apart = sum(float(((grads[n] - g) ** 2).sum()) for n, g in wanted_grads.items())
    size = sum(float((g**2).sum()) for g in wanted_grads.values())
    values = (logps - wanted).abs().max() / wanted.abs().max()
    return float(values) <= tight and (apart / size) ** 0.5 <= tight


def untied_with_bias(model):
    old = model.get_output_embeddings()
    head = nn.Linear(old.in_features, old.out_features, bias=True)
    head.weight.data = old.weight.data.clone()
    head.bias.data = torch.linspace(-1, 1, old.out_features)
    model.set_output_embeddings(head)
    model.config.tie_word_embeddings = False
    return model


HEAD_TOO = LoraRecipe(r=4, alpha=8, target_modules=("q_proj", "lm_head"))
KINDS = {
    "tied, whole": lambda tiny: tiny.model(),
    "bias, whole": lambda tiny: untied_with_bias(tiny.model()),
    "lora": lambda tiny: tiny.model(LORA),
    "lora on the head": lambda tiny: tiny.model(HEAD_TOO),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_chunks_are_the_whole(tiny, monkeypatch, kind, packed):
    model = disturbed(KINDS[kind](tiny))
    plainly(monkeypatch)
    wanted = found(model, packed=packed)
    for logits in (1, 264 * 7, 264 * 1000):  # chunks of one token, of seven, of all
        chunk(monkeypatch, logits)
        assert agree(found(model, packed=packed), wanted)
    with torch.no_grad():
        ungraded = token_logps(model, Batches(packed, 0, CPU).of(GROUPS))
    torch.testing.assert_close(ungraded, wanted[0], rtol=1e-5, atol=1e-5)


def test_the_exact_answer(tiny, monkeypatch):
    """In 64 bits the two ways differ by 1e-12: it is rounding and nothing else."""
    model = disturbed(tiny.model()).double()
    plainly(monkeypatch)
    wanted = found(model)
    chunk(monkeypatch, 264 * 5)
    assert agree(found(model), wanted, tight=1e-12)


def test_dropout_of_an_adapter_of_the_head_is_the_same_when_made_again(tiny, monkeypatch):
    recipe = LoraRecipe(r=4, alpha=8, dropout=0.5, target_modules=("lm_head",))
    model = disturbed(tiny.model(recipe)).train()
    chunk(monkeypatch, 264 * 7)
    torch.manual_seed(3)
    logps, grads = found(model)
    name = next(n for n in grads if "lora_B" in n)
    weight = dict(model.named_parameters())[name]
    step = 1e-3 * grads[name] / grads[name].norm()
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            weight += sign * step
            torch.manual_seed(3)
            logps = token_logps(model, Batches(False, 0, CPU).of(GROUPS))
            ends.append(float((logps * torch.linspace(0.5, 2.0, N)).sum()))
            weight -= sign * step
    assert (ends[0] - ends[1]) / 2e-3 == pytest.approx(float(grads[name].norm()), rel=1e-2)


def test_sixteen_bits(tiny, monkeypatch):
    """Weights in 32 bits, the model in 16 (autocast): the chunks are computed in 16 too."""
    model = disturbed(tiny.model())
    model.config.dtype = torch.bfloat16
    plainly(monkeypatch)
    wanted = found(model)
    chunk(monkeypatch, 264 * 7)
    assert agree(found(model), wanted, tight=2e-2)
    model.config.dtype = torch.float32
    plainly(monkeypatch)
    assert not agree(found(model), wanted, tight=1e-4)  # that is, 16 bits were seen


SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 264,
         "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0}  # fmt: skip


@pytest.mark.parametrize("kind", ["capped", "scaled"])
def test_a_model_that_does_more_to_its_logits_is_left_alone(monkeypatch, kind):
    torch.manual_seed(0)
    capped = Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=30.0)
    model = (
        Gemma2ForCausalLM(capped)
        if kind == "capped"
        else GraniteForCausalLM(GraniteConfig(**SIZES, logits_scaling=8.0))
    ).eval()
    plainly(monkeypatch)
    wanted = found(model)
    chunk(monkeypatch, 264 * 7)
    assert not head_is_last(model) and not wants_chunks(model, 10**9)
    assert agree(found(model), wanted, tight=0)


def test_another_layout_of_modules(tmp_path, monkeypatch):
    from tiny_examples import Tiny

    model = Tiny(make_tiny_gpt2(tmp_path / "m")).model()
    plainly(monkeypatch)
    wanted = found(model)
    chunk(monkeypatch, 264 * 7)
    assert head_is_last(model) and agree(found(model), wanted)


def test_a_fault_would_be_seen(tiny, monkeypatch):
    model = disturbed(tiny.model())
    plainly(monkeypatch)
    wanted = found(model)
    chunk(monkeypatch, 264 * 7)
    real = vocabulary.chunked_logps
    faults = {
        "targets": lambda h, s, t, v: real(h, s, t.roll(1), v),
        "states": lambda h, s, t, v: real(h, s.roll(1, 0), t, v),
        "no gradient": lambda h, s, t, v: real(h, s.detach(), t, v),
    }
    for name, wrong in faults.items():
        monkeypatch.setattr("apportion.training.batches.chunked_logps", wrong)
        one = found(model)
        same = one[1].keys() == wanted[1].keys() and agree(one, wanted, tight=1e-3)
        assert not same, name


def test_embedded_models_never_get_chunks(tiny):
    assert not wants_chunks(tiny.model(), 10_000)
    assert vocabulary.CHUNKED_FROM > 1_200 * 16 * 256  # their vocabulary, a whole batch at once


def test_the_model_is_left_as_it_was(tiny, monkeypatch):
    chunk(monkeypatch, 264)
    model = prepare_for_training(tiny.model(LORA), LORA, seed=0).train()
    sequence_logps(model, Batches(False, 0, CPU).of(GROUPS))
    assert all(m.training for m in model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert copy.deepcopy(model) is not None

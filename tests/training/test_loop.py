from __future__ import annotations

import sys

import pytest
import torch
from tiny_examples import Tiny
from transformers.trainer_pt_utils import get_parameter_names

from apportion.config.recipe import LoraRecipe, PreferenceRecipe, SftRecipe
from apportion.errors import StageError, StudyError
from apportion.models.policy import load_policy, prepare_for_training, save_trained
from apportion.training import loop
from apportion.training.batches import Row, collate, encode, micro_batches, token_logps
from apportion.training.dpo import reference_logps, train_dpo
from apportion.training.sft import train_sft
from tiny import make_tiny_gpt2

SFT = SftRecipe(learning_rate=2e-3, batch_size=4, epochs=2, warmup_ratio=0)
DPO = PreferenceRecipe(learning_rate=1e-3, batch_size=4, epochs=2, warmup_ratio=0)
DROPOUT = LoraRecipe(r=4, dropout=0.5)


def sft(tiny, recipe=SFT, *, lora=None, seed=0, model=None, **how):
    model = tiny.model(lora) if model is None else model
    logs = train_sft(
        model, *tiny.how, tiny.demonstrations, recipe,
        max_length=tiny.max_length, seed=seed, **how,
    )  # fmt: skip
    return model, logs


def dpo(tiny, model, recipe=DPO, *, reference=None, seed=0):
    if reference is None:
        reference = references(tiny, model)
    logs = train_dpo(
        model, *tiny.how, tiny.pairs, recipe,
        reference=reference, max_length=tiny.max_length, seed=seed,
    )  # fmt: skip
    return model, logs


def references(tiny, model):
    return reference_logps(model, *tiny.how, tiny.pairs, max_length=tiny.max_length, batch_size=4)


def weights(model):
    return [weight.detach().clone() for weight in model.parameters()]


def same(one, other):
    return all(map(torch.equal, weights(one), weights(other)))


@pytest.mark.parametrize("lora", [None, DROPOUT], ids=["whole", "dropout"])
def test_the_same_inputs_give_the_same_bits(tiny, lora):
    (one, logs), (two, again) = sft(tiny, lora=lora), sft(tiny, lora=lora)
    torch.rand(7)  # the caller's random state does not matter
    assert same(one, two)
    assert logs == again
    assert not same(one, sft(tiny, lora=lora, seed=1)[0])
    three, _ = dpo(tiny, one)
    four, _ = dpo(tiny, two)
    assert same(three, four)


def test_dropout_is_drawn_under_the_seed_and_only_in_training(tiny):
    dropped, _ = sft(tiny, lora=DROPOUT)
    whole, _ = sft(tiny, lora=LoraRecipe(r=4))
    assert not same(dropped, whole)
    assert references(tiny, dropped.train()) == references(tiny, dropped.eval())


def test_the_models_own_dropout_stays_off(tmp_path):
    tiny = Tiny(make_tiny_gpt2(tmp_path / "m"))
    ready, asleep = tiny.model().train(), tiny.model().eval()
    assert references(tiny, ready) == references(tiny, asleep)
    for train in (sft, lambda t, *, model: dpo(t, model)):
        train(tiny, model=ready)
        train(tiny, model=asleep)
        assert same(ready, asleep)
    assert not same(ready, tiny.model())


def test_the_dropout_of_a_frozen_adapter_stays_off(tiny, tmp_path):
    """With the new adapter's dropout at 0, training is the same whatever the old one's was."""
    trained, _ = sft(tiny, lora=LoraRecipe(r=4))
    save_trained(trained, tmp_path / "a")
    config = tmp_path / "a" / "adapter_config.json"

    def tuned():
        model = load_policy(tiny.ref, [tmp_path / "a"], dtype="float32")
        return dpo(tiny, prepare_for_training(model, LoraRecipe(r=4), seed=1))[0]

    before = tuned()
    text = config.read_text()
    config.write_text(text.replace('"lora_dropout": 0.0', '"lora_dropout": 0.5'))
    assert config.read_text() != text
    assert same(before, tuned())


def test_micro_batches_change_rounding_only(tiny):
    whole, logs = sft(tiny, SFT.model_copy(update={"micro_batch_size": 4}))
    for micro in (1, 2, None):
        model, others = sft(tiny, SFT.model_copy(update={"micro_batch_size": micro}))
        for one, other in zip(weights(whole), weights(model), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
        assert [log.loss for log in logs] == pytest.approx([o.loss for o in others], abs=1e-5)
        assert [log.tokens for log in logs] == [other.tokens for other in others]


def test_state_is_left_as_it_was(tiny):
    model = tiny.model()
    model.train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    state = torch.random.get_rng_state()
    sft(tiny, model=model)
    dpo(tiny, model)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(weight.grad is None for weight in model.parameters())
    assert not model.lm_head._forward_pre_hooks


def test_only_the_newest_adapter_moves(tiny, tmp_path):
    first, _ = sft(tiny, lora=LoraRecipe(r=4))
    save_trained(first, tmp_path / "a")
    start = load_policy(tiny.ref, [tmp_path / "a"], dtype="float32")
    fixed = references(tiny, start)
    model = prepare_for_training(start, LoraRecipe(r=4), seed=1)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    dpo(tiny, model, reference=fixed)
    moved = {n for n, weight in model.named_parameters() if not torch.equal(weight, before[n])}
    assert moved == {n for n in before if ".stage2." in n}


@pytest.mark.parametrize("lora", [None, LoraRecipe(r=4)], ids=["whole", "lora"])
def test_going_on_from_what_was_saved_is_going_on(tiny, tmp_path, lora):
    """Stage two from the files gives the bits of stage two without them; and so does loading it."""
    first, _ = sft(tiny, lora=lora)
    save_trained(first, tmp_path / "a")
    chain = [tmp_path / "a"]
    loaded = load_policy(tiny.ref, chain, dtype="float32")
    assert references(tiny, loaded) == references(tiny, first)
    second, logs = dpo(tiny, prepare_for_training(loaded, lora, seed=1))
    ready = prepare_for_training(first, lora, seed=1)
    straight, straight_logs = dpo(tiny, ready)
    assert same(second, straight)
    assert logs == straight_logs
    save_trained(second, tmp_path / "b")
    chain.append(tmp_path / "b")
    final = load_policy(tiny.ref, chain, dtype="float32")
    assert references(tiny, final) == references(tiny, second)


def test_the_reference_is_the_same_before_and_after_a_new_adapter(tiny, tmp_path):
    model, _ = sft(tiny, lora=LoraRecipe(r=4))
    before = references(tiny, model)
    after = references(tiny, prepare_for_training(model, LoraRecipe(r=4), seed=1))
    assert before == after


def test_records_say_what_happened(tiny):
    seen = []
    _, logs = sft(tiny, on_step=lambda log, steps: seen.append((log, steps)))
    assert [log for log, _ in seen] == logs
    assert {steps for _, steps in seen} == {len(logs)} == {4}
    assert [log.step for log in logs] == [1, 2, 3, 4]
    lengths = [len(e.prompt) + len(e.response) for e in tiny.examples]
    assert sum(log.tokens for log in logs) == 2 * sum(lengths)
    assert logs[-1].loss < logs[0].loss


def test_a_loss_that_is_not_finite_names_step_and_mend(tiny):
    with pytest.raises(StageError, match=r"at step 2 of 4\.") as caught:
        sft(tiny, SFT.model_copy(update={"learning_rate": 1e30}))
    assert "learning rate" in caught.value.mend


def test_nothing_to_train_on_is_said(tiny):
    with pytest.raises(StageError, match="no example is left"):
        train_sft(tiny.model(), *tiny.how, [], SFT, max_length=64, seed=0)


def test_a_reference_of_other_pairs_is_refused(tiny):
    chosen, rejected = references(tiny, model := tiny.model())
    with pytest.raises(StageError, match="lacks a pair"):
        dpo(tiny, model, reference=([None] * len(chosen), rejected))
    with pytest.raises(ValueError, match="shorter"):
        dpo(tiny, model, reference=(chosen[:-1], rejected))


def test_the_8_bit_optimiser_is_never_replaced_in_silence(tiny, monkeypatch):
    recipe = SFT.model_copy(update={"optimizer": "adamw_8bit"})
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(StudyError, match="bitsandbytes") as caught:
        sft(tiny, recipe)
    assert "adamw" in caught.value.mend
    monkeypatch.setitem(sys.modules, "bitsandbytes", sys)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(StudyError, match="GPU"):
        sft(tiny, recipe)


def test_weight_decay_goes_where_the_trainer_puts_it(tiny):
    model = tiny.model()
    model.register_module("extra", torch.nn.Linear(2, 2))
    model.register_module("final", torch.nn.LayerNorm(2))
    names = {id(weight): name for name, weight in model.named_parameters()}
    patterns = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]
    theirs = set(get_parameter_names(model, [torch.nn.LayerNorm], patterns)) & set(names.values())
    decayed, free = loop._by_decay(model)
    assert {names[id(weight)] for weight in decayed} == theirs
    assert {names[id(weight)] for weight in free} == set(names.values()) - theirs
    assert "extra.bias" in {names[id(weight)] for weight in free}


def test_examples_are_cut_from_the_start_and_dropped_without_a_response(tiny):
    eos = tiny.tokenizer.eos_token_id
    row = encode(tiny.template, "abcd", "ef", max_length=99)
    assert (len(row.ids), row.start, row.ids[-1]) == (8, 4, eos)
    cut = encode(tiny.template, "abcd", "ef", max_length=6)
    assert cut == Row(ids=row.ids[:6], start=4)
    assert encode(tiny.template, "abcd", "ef", max_length=4) is None
    assert encode(tiny.template, "", "ef", max_length=4) is None


def test_padding_and_neighbours_do_not_matter(tiny):
    model = tiny.model()
    rows = [Row((5, 6, 7, 8), 1), Row((9, 5), 1), Row((3,) * 30, 29)]
    device = torch.device("cpu")
    with torch.no_grad():
        together = [token_logps(model, collate(rows, pad=pad, device=device)) for pad in (0, 77)]
        alone = torch.cat(
            [token_logps(model, collate([row], pad=0, device=device)) for row in rows]
        )
    assert torch.equal(together[0], together[1])
    torch.testing.assert_close(together[0], alone)


def test_micro_batches_by_hand():
    lengths = [300, 100, 200, 50]
    assert micro_batches([0, 1, 2, 3], lengths, 2, cpu=True) == [[3, 1], [2, 0]]
    assert micro_batches([0, 1, 2], lengths, None, cpu=False) == [[1, 2, 0]]
    # 50, 100 and 200 do not fit 512 together: 3 rows of 200 tokens are 600
    assert micro_batches([0, 1, 2, 3], lengths, None, cpu=True) == [[3, 1], [2], [0]]


def test_16_bit_models_are_trained_in_32_bits_and_run_in_16(tiny):
    from apportion.models.policy import load_base

    model = prepare_for_training(load_base(tiny.ref, dtype="bfloat16"), None, seed=0)
    rows = collate([Row((5, 6, 7, 8), 1)], pad=0, device=torch.device("cpu"))
    with torch.no_grad():
        rounded, exact = token_logps(model, rows), token_logps(tiny.model(), rows)
    assert rounded.dtype == torch.float32
    assert not torch.allclose(rounded, exact, atol=1e-5)
    torch.testing.assert_close(rounded, exact, atol=0.1, rtol=0.05)
    _, logs = sft(tiny, model=model)
    assert logs[-1].loss < logs[0].loss
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}

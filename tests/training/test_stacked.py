"""Runs stacked over one base against the same runs alone: records, adapters, references."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from test_against_independent import disturbed

from apportion.config.recipe import KtoRecipe, LoraRecipe, PreferenceRecipe, SftRecipe
from apportion.data.records import labels_of
from apportion.models.policy import (
    load_base,
    load_policy,
    prepare_for_training,
    save_adapter,
    save_trained,
)
from apportion.models.stack import UnsuitedToStack, add_run, using
from apportion.training import stacked
from apportion.training.dpo import dpo_objective, reference_logps, train_dpo
from apportion.training.kto import (
    KtoObjective,
    encode_labels,
    kto_reference,
    kto_schedule,
    train_kto,
)
from apportion.training.loop import schedule_of
from apportion.training.packing import batches_for
from apportion.training.sft import sft_objective, train_sft
from apportion.training.stacked import Run, train_stacked

LORA = LoraRecipe(r=4, alpha=8)
SFT = SftRecipe(learning_rate=2e-2, epochs=3, batch_size=3, max_grad_norm=0.5)
PREFERENCE = PreferenceRecipe(learning_rate=1e-2, epochs=2, batch_size=2, beta=0.3)
KTO = KtoRecipe(beta=0.3, group_size=2)
LOSS, WEIGHTS = 2e-5, 5e-5  # nats; relative to how far training moved an adapter


@pytest.fixture(scope="module")
def chain(tiny, tmp_path_factory):
    """The folder of an adapter that does something."""
    folder = tmp_path_factory.mktemp("sft")
    save_trained(disturbed(tiny.model(LORA), seed=4), folder)
    return folder


def solo(tiny, method, folders, n, seed, recipe):
    """Logs, the trained adapter and where it began, as a stage of its own would have them."""
    model = load_policy(tiny.ref, folders, dtype="float32")
    kwargs = {"seed": seed}
    if method == "sft":
        model = prepare_for_training(model, LORA, seed=seed)
        start = adapter_of(model)
        logs = train_sft(model, *tiny.how, tiny.demonstrations[:n], recipe,
                         max_length=tiny.max_length, **kwargs)  # fmt: skip
    elif method == "dpo":
        fixed = reference_logps(model, *tiny.how, tiny.pairs[:n], max_length=64, batch_size=4)
        model = prepare_for_training(model, LORA, seed=seed)
        start = adapter_of(model)
        logs = train_dpo(model, *tiny.how, tiny.pairs[:n], recipe, reference=fixed,
                         max_length=64, **kwargs)  # fmt: skip
    else:
        rows = labels(tiny, n, seed)
        fixed = kto_reference(model, tiny.tokenizer, rows, batch_size=4)
        model = prepare_for_training(model, LORA, seed=seed)
        start = adapter_of(model)
        logs = train_kto(model, tiny.tokenizer, rows, recipe, KTO, reference=fixed, **kwargs)
    return logs, adapter_of(model), start


def labels(tiny, n, seed):
    told = labels_of(tiny.kept_pairs)[:n]
    return encode_labels(tiny.template, told, max_length=64, group_size=2, seed=seed)


def adapter_of(model, name=None):
    from peft import get_peft_model_state_dict

    name = name or list(model.peft_config)[-1]
    state = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    return {key: value.detach().clone() for key, value in state.items()}


def together(tiny, method, cells, recipe, *, packed=True, objectives=lambda made: made):
    """The same runs stacked: the runs, and their adapters in the order in which they ended."""
    model = load_base(tiny.ref, dtype="float32")
    made = []
    for index, (folders, n, seed) in enumerate(cells):
        model, names = add_run(model, folders, LORA, index=index, seed=seed)
        made.append((names, n, seed))
    pairs, batches = tiny.pairs, replace(batches_for(model, pad=0), packed=packed)
    runs = []
    for names, n, seed in made:
        if method == "sft":
            told = sft_objective(tiny.template, tiny.demonstrations[:n], recipe, max_length=64)
        elif method == "dpo":
            with using(model, names.frozen):
                fixed = reference_logps(model, *tiny.how, pairs[:n], max_length=64, batch_size=4)
            how = {"reference": fixed, "max_length": 64}
            told = dpo_objective(tiny.template, pairs[:n], recipe, **how)
        else:
            rows = labels(tiny, n, seed)
            with using(model, names.frozen):
                fixed = kto_reference(model, tiny.tokenizer, rows, batch_size=4)
            told = KtoObjective(rows, fixed, KTO)
        if method == "kto":
            schedule = kto_schedule(told.rows, recipe)
        else:
            groups = told.groups(range(len(told.lengths)))
            schedule = schedule_of(told.lengths, recipe, seed=seed, costs=batches.costs(groups),
                                   cpu=True)  # fmt: skip
        runs.append(Run(told, names, schedule))
    runs = objectives(runs)
    ends = []

    def ended(run):
        ends.append((run, adapter_of(model, run.chain.own)))

    train_stacked(model, runs, recipe, batches, ended=ended)
    return runs, {id(run): adapter for run, adapter in ends}, [run for run, _ in ends]


def same(alone, run, adapter):
    logs, weights, start = alone
    assert len(run.logs) == len(logs)
    for one, other in zip(run.logs, logs, strict=True):
        assert one.loss == pytest.approx(other.loss, abs=LOSS, rel=LOSS)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-4)
        assert (one.step, one.tokens, one.lr) == (other.step, other.tokens, other.lr)
        if "accuracy" in one.extra and abs(other.extra["margin"]) < 1e-5:  # its sign is rounding
            other.extra["accuracy"] = one.extra["accuracy"]
        assert one.extra == pytest.approx(other.extra, rel=1e-4, abs=1e-4)
    assert adapter.keys() == weights.keys()
    apart = sum(float(((adapter[k] - w) ** 2).sum()) for k, w in weights.items())
    moved = sum(float(((start[k] - w) ** 2).sum()) for k, w in weights.items())
    assert (apart / moved) ** 0.5 <= WEIGHTS


# sizes differ, and so do lengths, steps, last batches and seeds
CELLS = {
    "sft": ([], 8, 1), "sft small": ([], 3, 2), "sft one": ([], 1, 3), "sft again": ([], 8, 4),
}  # fmt: skip


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("weighting", ["token", "sequence"])
def test_sft(tiny, packed, weighting):
    recipe = SFT.model_copy(update={"loss_weighting": weighting})
    cells = list(CELLS.values())
    runs, adapters, ends = together(tiny, "sft", cells, recipe, packed=packed)
    for run, cell in zip(runs, cells, strict=True):
        same(solo(tiny, "sft", *cell, recipe), run, adapters[id(run)])
    lengths = [len(run.logs) for run in ends]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]  # each ended when it was done
    assert all(run.seconds > 0 for run in runs)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_preference_over_chains_of_its_own(tiny, chain, tmp_path, method, packed):
    """Two over different SFT adapters, one over the base, one more over the first."""
    other = tmp_path / "other"
    save_trained(disturbed(tiny.model(LORA), seed=6), other)
    cells = [([chain], 8, 1), ([other], 5, 1), ([], 8, 2), ([chain], 2, 3)]
    runs, adapters, _ = together(tiny, method, cells, PREFERENCE, packed=packed)
    for run, cell in zip(runs, cells, strict=True):
        same(solo(tiny, method, *cell, PREFERENCE), run, adapters[id(run)])


def test_passes_of_their_own(tiny, chain):
    """Micro-batches of one: runs have different numbers of passes in a step."""
    recipe = SFT.model_copy(update={"micro_batch_size": 1})
    cells = [([chain], 5, 1), ([], 8, 2), ([chain], 2, 2)]
    runs, adapters, _ = together(tiny, "sft", cells, recipe)
    for run, cell in zip(runs, cells, strict=True):
        same(solo(tiny, "sft", *cell, recipe), run, adapters[id(run)])


def test_the_first_step_begins_where_a_run_alone_does(tiny, chain):
    """To the bit: the new adapters, and the references."""
    model = load_base(tiny.ref, dtype="float32")
    names = []
    for index, (folders, seed) in enumerate([([chain], 5), ([], 6), ([chain], 7)]):
        model, added = add_run(model, folders, LORA, index=index, seed=seed)
        names.append((folders, seed, added))
    for folders, seed, added in names:
        alone = load_policy(tiny.ref, folders, dtype="float32")
        how = {"max_length": 64, "batch_size": 4}
        wanted = reference_logps(alone, *tiny.how, tiny.pairs, **how)
        with using(model, added.frozen):
            assert reference_logps(model, *tiny.how, tiny.pairs, **how) == wanted
        start = adapter_of(prepare_for_training(alone, LORA, seed=seed))
        ours = adapter_of(model, added.own)
        assert start.keys() == ours.keys() and all(torch.equal(start[k], ours[k]) for k in start)


def poisoned(run, at):
    """The run, whose loss is not a number from its step `at` on."""
    real, calls = run.objective, []

    class Bad:
        lengths, dropped = real.lengths, real.dropped
        groups, groups_before = real.groups, real.groups_before

        def loss(self, logps, before, micro, batch):
            calls.append(1)
            loss, means = real.loss(logps, before, micro, batch)
            return (loss * float("nan") if len(calls) >= at else loss), means

    return replace(run, objective=Bad())


@pytest.mark.parametrize("at", [1, 3])
def test_one_that_fails_fails_alone(tiny, at):
    cells = list(CELLS.values())

    def spoil(runs):
        return [runs[0], runs[1], runs[2], poisoned(runs[3], at)]

    runs, adapters, ends = together(tiny, "sft", cells, SFT, objectives=spoil)
    bad = runs[3]
    assert bad.error is not None and f"the loss is nan at step {at} of" in bad.error.problem
    assert len(bad.logs) == at - 1 and len(ends) == 4
    for run, cell in list(zip(runs, cells, strict=True))[:3]:
        assert run.error is None
        same(solo(tiny, "sft", *cell, SFT), run, adapters[id(run)])


def test_an_adapter_is_saved_as_one_of_its_own_would_be(tiny, chain, tmp_path):
    cells = [([chain], 5, 1), ([], 5, 1)]
    model = load_base(tiny.ref, dtype="float32")
    for index, (folders, _, seed) in enumerate(cells):
        model, names = add_run(model, folders, LORA, index=index, seed=seed)
    for folder in ("alone", "ours"):
        (tmp_path / folder).mkdir()
    save_trained(tiny.model(LORA, seed=1), tmp_path / "alone")
    save_adapter(model, names.own, tmp_path / "ours")
    one, other = (load_file(tmp_path / f / "adapter_model.safetensors") for f in ("alone", "ours"))
    assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
    load_policy(tiny.ref, [tmp_path / "ours"], dtype="float32")


def test_a_fault_would_be_seen(tiny, chain, monkeypatch):
    """Adapters exchanged; rows cut elsewhere; one clipping for all; one learning rate for all."""
    cells = [([chain], 5, 1), ([], 8, 2)]
    wanted = [solo(tiny, "sft", *cell, SFT) for cell in cells]

    def is_seen():
        runs, adapters, _ = together(tiny, "sft", cells, SFT)
        for alone, run in zip(wanted, runs, strict=True):
            try:
                same(alone, run, adapters[id(run)])
            except AssertionError:
                return True
        return False

    assert not is_seen()
    real, step = stacked._sizes, stacked.StackedWeights.step
    faults = {
        ("_sizes",): lambda *a: {n: s[::-1] for n, s in real(*a).items()},
        ("StackedWeights", "step"): lambda self, r, *, norms, **k: step(
            self, r, norms=[max(norms)] * len(norms), **k),
        ("StackedWeights", "step", ""): lambda self, r, *, rates, **k: step(
            self, r, rates=[rates[0]] * len(rates), **k),
    }  # fmt: skip
    for (name, *more), fault in faults.items():
        with monkeypatch.context() as patch:
            if more:
                patch.setattr(stacked.StackedWeights, "step", fault)
            else:
                patch.setattr(stacked, name, fault)
            assert is_seen(), name


def test_what_cannot_be_stacked_says_so(tiny, tmp_path):
    head = LoraRecipe(r=2, alpha=2, target_modules=("q_proj", "lm_head"))
    model, names = add_run(load_base(tiny.ref, dtype="float32"), [], head, index=0, seed=0)
    told = sft_objective(tiny.template, tiny.demonstrations, SFT, max_length=64)
    with pytest.raises(UnsuitedToStack, match="lm_head"):
        train_stacked(model, [Run(told, names, [[[0]]])], SFT, batches_for(model, pad=0),
                      ended=lambda run: None)  # fmt: skip


def test_the_model_is_left_as_it_was(tiny, chain):
    model, names = add_run(load_base(tiny.ref, dtype="float32"), [chain], LORA, index=0, seed=0)
    base = {n: p.clone() for n, p in model.named_parameters() if names.own not in n}
    told = sft_objective(tiny.template, tiny.demonstrations, SFT, max_length=64)
    train_stacked(model, [Run(told, names, [[[0, 1]]] * 3)], SFT, batches_for(model, pad=0),
                  ended=lambda run: None)  # fmt: skip
    after = dict(model.named_parameters())
    assert all(torch.equal(after[n], p) for n, p in base.items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())

"""What the bridge adds to TRL: going on after a crash, adapter chains, settings, clear errors."""

from __future__ import annotations

import importlib.util
import json
import weakref

import pytest

pytest.importorskip("trl", reason="TRL is not installed")

import torch
from tiny_examples import PAIRS
from transformers import TrainerCallback

from apportion.config.recipe import KtoRecipe, LoraRecipe, PreferenceRecipe, SftRecipe
from apportion.data.records import labels_of
from apportion.errors import StageError, StudyError
from apportion.models.policy import load_base, load_policy, prepare_for_training, save_trained
from apportion.training.dpo import encode_pairs, reference_logps
from apportion.training.kto import encode_labels
from apportion.training.trl.columns import dpo_columns, kto_columns, lengths_of
from apportion.training.trl.settings import Settings, arguments, per_device, steps
from apportion.training.trl.train import last_checkpoint, train

RECIPE = PreferenceRecipe(
    learning_rate=1e-3, epochs=2, batch_size=2, micro_batch_size=1, warmup_ratio=0.0
)
LORA = LoraRecipe(r=2, alpha=4, dropout=0.2)


def settings(method="dpo", recipe=RECIPE, **changes):
    return Settings(method, recipe, 64, 7, **changes)


def pair_rows(tiny):
    return [r for r in encode_pairs(tiny.template, PAIRS, max_length=64) if r]


def weights(model):
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


class _Crash(Exception):
    pass


class CrashAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise _Crash


def chain(tiny, folder):
    """A frozen adapter that does something."""
    model = prepare_for_training(load_base(tiny.ref, dtype="float32"), LORA, seed=1)
    stream = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight += 0.1 * torch.randn(weight.shape, generator=stream)
    save_trained(model, folder)
    return folder


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "chain"])
def test_a_training_that_was_cut_short_goes_on_to_the_same_end(tiny, tmp_path, lora):
    before = [] if lora is None else [chain(tiny, tmp_path / "sft")]

    def start():
        return load_policy(tiny.ref, before, dtype="float32")

    def go(folder, **more):
        model = prepare_for_training(start(), lora, seed=7)
        how = settings(save_seconds=more.pop("save_seconds", 1e9))
        columns = dpo_columns(pair_rows(tiny))
        done = train(model, tiny.tokenizer, columns, how, folder, reference=start, **more)
        return done, weights(model)

    once, wanted = go(tmp_path / "once")
    assert last_checkpoint(tmp_path / "once" / "checkpoints") is None
    with pytest.raises(_Crash):
        go(tmp_path / "twice", save_seconds=0.0, callbacks=[CrashAt(5)])
    place = tmp_path / "twice" / "checkpoints"
    torn = place / "checkpoint-6"  # written half when the power went
    torn.mkdir()
    (torn / "trainer_state.json").write_text('{"global_st')
    assert last_checkpoint(place) == str(place / "checkpoint-5") and not torn.exists()
    seen = []
    again, found = go(tmp_path / "twice", on_step=lambda log, of: seen.append((log.step, of)))
    assert seen == [(6, 8), (7, 8), (8, 8)]
    assert again.logs == once.logs  # also those from before the crash
    assert same(found, wanted)
    if lora is not None:  # what is frozen stayed what it was
        first = weights(start())
        for name, value in found.items():
            if ".stage2." not in name and name in first:
                assert torch.equal(value, first[name])
        assert any(float(v.abs().max()) > 0 for n, v in found.items() if "lora_B.stage2" in n)


def test_the_reference_is_the_whole_chain(tiny, tmp_path):
    """TRL left alone would switch all adapters off, the frozen one of the SFT stage too."""
    before = [chain(tiny, tmp_path / "sft")]

    def start():
        return load_policy(tiny.ref, before, dtype="float32")

    model = prepare_for_training(start(), LORA, seed=7)
    columns = dpo_columns(pair_rows(tiny))
    done = train(model, tiny.tokenizer, columns, settings(), tmp_path / "t", reference=start)
    how = (tiny.tokenizer, tiny.template)
    ours = reference_logps(start(), *how, tiny.kept_pairs, max_length=64, batch_size=4)
    base = reference_logps(tiny.model(), *how, tiny.kept_pairs, max_length=64, batch_size=4)
    found = torch.tensor(done.reference["ref_chosen_logps"])
    assert torch.allclose(found, torch.tensor(ours[0]), atol=1e-3)
    assert not torch.allclose(found, torch.tensor(base[0]), atol=0.1)
    assert done.logs[0].loss == pytest.approx(0.6931, abs=0.2)


def test_the_callers_random_streams_and_settings_stay(tiny, tmp_path):
    import random

    import datasets
    import numpy

    torch.manual_seed(3), random.seed(3), numpy.random.seed(3)
    states = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].tolist()
    bars = datasets.are_progress_bars_disabled()
    how = settings(recipe=RECIPE.model_copy(update={"epochs": 1}))
    train(tiny.model(), tiny.tokenizer, dpo_columns(pair_rows(tiny)), how, tmp_path,
          reference=tiny.model)  # fmt: skip
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), numpy.random.get_state()[1].tolist()) == states[1:]
    assert datasets.are_progress_bars_disabled() == bars


def test_nothing_keeps_a_trainer_once_it_is_done(tiny, tmp_path):
    """Its optimiser's state would stay beside the next stage; its processes' group would too."""
    made = []

    class Seen(TrainerCallback):
        def on_train_begin(self, args, state, control, optimizer=None, **kwargs):
            made.append(weakref.ref(optimizer.optimizer))

    model = prepare_for_training(load_base(tiny.ref, dtype="float32"), None, seed=7)
    columns = dpo_columns(pair_rows(tiny))

    def start():
        return load_base(tiny.ref, dtype="float32")

    train(model, tiny.tokenizer, columns, settings(), tmp_path, reference=start, callbacks=[Seen()])
    assert len(made) == 1 and made[0]() is None


def test_only_the_newest_adapters_dropout_is_left(tiny, tmp_path):
    from apportion.training.trl.trainers import silence_dropout

    model = prepare_for_training(
        load_policy(tiny.ref, [chain(tiny, tmp_path)], dtype="float32"), LORA, seed=0
    )
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.3
    silence_dropout(model)
    drops = {n: m.p for n, m in model.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert {p for n, p in drops.items() if n.endswith("stage2")} == {0.2}
    assert {p for n, p in drops.items() if not n.endswith("stage2")} <= {0.0}
    assert all(getattr(m, "attention_dropout", 0.0) == 0.0 for m in model.modules())


def test_on_a_cpu_16_bits_and_checkpointing_are_off_and_nothing_is_reported(tmp_path):
    found = arguments(settings(), tmp_path, 7, processes=1)
    if not torch.cuda.is_available():
        assert found["bf16"] is False and found["gradient_checkpointing"] is False
    assert found["report_to"] == "none"
    told = arguments(settings(trackers=("wandb", "mlflow")), tmp_path, 7, processes=1)
    assert told["report_to"] == ["wandb", "mlflow"]
    assert found["warmup_steps"] == 0 and found["gradient_accumulation_steps"] == 2


@pytest.mark.parametrize(
    ("n", "batch", "micro", "size"),
    [(8, 4, 2, 2), (11, 4, 2, 1), (10, 4, 2, 2), (11, 4, None, 4), (14, 8, 4, 2), (9, 8, 4, 4)],
)
def test_dpo_passes_of_one_size_within_every_step(n, batch, micro, size):
    """TRL takes the mean over passes: a short one's pairs would weigh more."""
    recipe = RECIPE.model_copy(update={"batch_size": batch, "micro_batch_size": micro})
    assert per_device(settings(recipe=recipe), n, 1) == size


def test_what_does_not_go_with_several_processes():
    kto = settings("kto", kto=KtoRecipe())
    with pytest.raises(StudyError, match="over all processes"):
        per_device(kto, 8, 2)
    with pytest.raises(StudyError, match="do not make up a batch of 2"):
        per_device(settings(), 8, 3)


def test_columns_have_the_native_tokens(tiny):
    rows = pair_rows(tiny)
    columns = dpo_columns(rows)
    for i, (chosen, rejected) in enumerate(rows):
        assert tuple(columns["prompt_ids"][i] + columns["chosen_ids"][i]) == chosen.ids
        assert tuple(columns["prompt_ids"][i] + columns["rejected_ids"][i]) == rejected.ids
    assert lengths_of(columns) == [len(c.ids) + len(r.ids) for c, r in rows]
    labels = encode_labels(tiny.template, labels_of(PAIRS), max_length=40, group_size=2, seed=0)
    columns = kto_columns(labels)
    assert lengths_of(columns) == [len(row.ids) for row in labels.matched]
    assert steps(len(columns["label"]), settings("kto"))[0] == [0, 1]


def test_a_loss_that_is_not_finite_stops_the_training(tiny, tmp_path):
    model = tiny.model()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(StageError, match="step 1 of"):
        train(model, tiny.tokenizer, dpo_columns(pair_rows(tiny)), settings(), tmp_path,
              reference=tiny.model)  # fmt: skip


def test_a_trl_that_makes_other_examples_is_refused(tiny, tmp_path, monkeypatch):
    from apportion.training.trl import trainers

    def meddle(self, dataset, *args, **kwargs):
        return dataset.map(lambda row: {"chosen_ids": row["chosen_ids"][:-1]})

    monkeypatch.setattr(trainers.Bridged, "_prepare_dataset", meddle)
    with pytest.raises(StageError, match="changed the examples"):
        train(tiny.model(), tiny.tokenizer, dpo_columns(pair_rows(tiny)), settings(), tmp_path,
              reference=tiny.model)  # fmt: skip


def test_a_trl_that_keeps_its_own_order_is_refused(tiny, tmp_path, monkeypatch):
    from apportion.training.trl import trainers

    monkeypatch.delattr(trainers.Bridged, "_get_train_sampler")
    with pytest.raises(StageError, match="another order"):
        train(tiny.model(), tiny.tokenizer, dpo_columns(pair_rows(tiny)), settings(), tmp_path,
              reference=tiny.model)  # fmt: skip


def test_missing_packages_are_named(tiny, tmp_path, monkeypatch):
    real = importlib.util.find_spec
    for module in ("training.trl.installed", "models.policy"):
        monkeypatch.setattr(
            f"apportion.{module}.find_spec",
            lambda name: None if name in ("wandb", "bitsandbytes") else real(name),
        )
    with pytest.raises(StudyError, match="wandb is not installed"):
        train(tiny.model(), tiny.tokenizer, {}, settings(trackers=("wandb",)), tmp_path)
    with pytest.raises(StudyError, match="bitsandbytes"):
        load_base(tiny.ref, dtype="float32", quantization="4bit")


def test_4_bits_need_a_gpu(tiny, monkeypatch):
    """On a CPU bitsandbytes gives no gradients once the model was used without, and no error."""
    monkeypatch.setattr("apportion.models.policy.find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(StudyError, match="CUDA GPU"):
        load_base(tiny.ref, dtype="float32", quantization="4bit")


def test_a_job_survives_its_folder(tmp_path):
    from apportion.training.trl.job import Job

    job = Job(
        settings("kto", kto=KtoRecipe(beta=0.3), trackers=("mlflow",)),
        "sandbox:small", ("a", "b"), LORA, merge_16bit=1, quantization="4bit", dropped=3,
    )  # fmt: skip
    job.write(tmp_path, {"label": [True]})
    assert Job.read(tmp_path) == job
    sft = Job(settings("sft", SftRecipe(learning_rate=1e-3)), "m", (), None)
    sft.write(tmp_path, {"input_ids": [[1]]})
    assert Job.read(tmp_path) == sft
    assert json.loads((tmp_path / "columns.json").read_text()) == {"input_ids": [[1]]}

"""KTO by hand, in float64, one label at a time: no batching, no padding, nothing of the package."""

from __future__ import annotations

import copy
import math
from collections import Counter

import independent
import pytest
import torch

from apportion.config.recipe import KtoRecipe, LoraRecipe, PreferenceRecipe
from apportion.data.records import Label, Pair, labels_of
from apportion.errors import StageError, StudyError
from apportion.training.kto import (
    encode_labels,
    kto_loss,
    kto_reference,
    kto_schedule,
    train_kto,
)
from apportion.training.packing import batches_for

KTO = KtoRecipe(beta=0.3, desirable_weight=1.5, undesirable_weight=0.7)
LABELS = tuple(
    Label(f"Number {i}?" + " Say." * (i % 2), "It is " + "so " * (i % 4) + str(i), i % 3 != 0)
    for i in range(9)
)


def recipe(**changes) -> PreferenceRecipe:
    values = {"learning_rate": 1e-3, "epochs": 1, "batch_size": 4, "warmup_ratio": 0.0}
    return PreferenceRecipe(**{**values, **changes})


def encoded(tiny, labels=LABELS, *, group=3, max_length=64, seed=2):
    return encode_labels(tiny.template, labels, max_length=max_length, group_size=group, seed=seed)


def disturbed(model, seed):
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.05 * torch.randn(weight.shape, generator=stream)
    return model


def example(row):
    return independent.Example(list(row.ids[: row.start]), list(row.ids[row.start :]))


def by_hand(model, frozen, rows, groups, kto, *, z=None):
    """The loss of a step and the z of each group. `z`: another one in place of the estimate."""
    total, kls = 0.0, []
    for group in groups:
        with torch.no_grad():
            s = [
                independent.response_logps(model, example(rows.mismatched[i])).sum()
                - independent.response_logps(frozen, example(rows.mismatched[i])).sum()
                for i in group
            ]
            kl = max(0.0, float(sum(s)) / len(s)) if z is None else z
        kls.append(kl)
        for i in group:
            policy = independent.response_logps(model, example(rows.matched[i])).sum()
            with torch.no_grad():
                fixed = independent.response_logps(frozen, example(rows.matched[i])).sum()
            gain = (policy - fixed - kl) if rows.desirable[i] else (kl - (policy - fixed))
            weight = kto.desirable_weight if rows.desirable[i] else kto.undesirable_weight
            loss = weight * (1 - 1 / (1 + torch.exp(-kto.beta * gain)))
            total = total + loss / len(group) / len(groups)
    return total, kls


# Seeds under which the estimate of the KL is above 0 in some group and not in all.
@pytest.mark.parametrize(
    ("lora", "seed"), [(None, 7), (LoraRecipe(r=4, alpha=8), 1)], ids=["whole", "lora"]
)
def test_loss_gradient_and_kl(tiny, lora, seed):
    rows = encoded(tiny)
    frozen = tiny.model()
    reference = kto_reference(frozen, tiny.tokenizer, rows, batch_size=2)
    model = disturbed(tiny.model(lora), seed)
    other = copy.deepcopy(model).double()
    wanted, kls = by_hand(other, frozen.double(), rows, rows.groups, KTO)
    gradient = independent.gradient(other, wanted)
    assert min(kls) == 0 < 0.1 < max(kls) and [len(g) for g in rows.groups] == [3, 3, 3]

    loss_of = kto_loss(model, rows, reference, KTO, batches_for(model, pad=0))
    model.zero_grad()
    loss = kl = 0.0
    for group in rows.groups:
        part, means = loss_of(group, range(9))
        part.backward()
        loss += part.item()
        kl += means["kl"].item()
    assert loss == pytest.approx(float(wanted.detach()), abs=1e-5)
    assert kl == pytest.approx(sum(kls) / 3, rel=1e-4)
    apart = size = 0.0
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            apart += float(((weight.grad.double() - gradient[name]) ** 2).sum())
            size += float((gradient[name] ** 2).sum())
    assert (apart / size) ** 0.5 < 1e-4
    without, _ = by_hand(other, frozen, rows, rows.groups, KTO, z=0.0)
    assert abs(float(without.detach()) - loss) > 1e-4  # leaving the KL out would be seen


def test_mismatched_responses_are_the_groups_own_rotated(tiny):
    rows = encoded(tiny)
    for group in rows.groups:
        own = [example(rows.matched[i]) for i in group]
        others = [example(rows.mismatched[i]) for i in group]
        assert [e.prompt for e in others] == [e.prompt for e in own]
        assert [e.response for e in others] == [own[i - 1].response for i in range(len(own))]


def test_groups_are_fixed_by_the_seed_and_the_same_in_every_epoch(tiny):
    rows, again, other = encoded(tiny), encoded(tiny), encoded(tiny, seed=3)
    assert rows == again != other
    assert Counter(row.ids for row in rows.matched) == Counter(row.ids for row in other.matched)
    twice = kto_schedule(encoded(tiny, group=2), recipe(epochs=2))
    assert twice[: len(twice) // 2] == twice[len(twice) // 2 :]
    assert twice[0] == [[0, 1], [2, 3]]


def test_prompts_stay_whole_and_sequences_are_cut_behind(tiny):
    rows = encoded(tiny, max_length=16)
    prompts = {tuple(tiny.template.prompt_ids(label.prompt)) for label in LABELS}
    for row in (*rows.matched, *rows.mismatched):
        assert row.ids[: row.start] in prompts and row.start < len(row.ids) <= 16


def test_what_does_not_fit_and_a_last_label_alone_are_dropped(tiny):
    assert encoded(tiny, group=4).dropped == 1  # 9 = 4 + 4 + 1
    assert [len(g) for g in encoded(tiny, group=4).groups] == [4, 4]
    long = Label("?" * 80, "yes", True)
    assert encoded(tiny, (*LABELS, long)).dropped == 1
    with pytest.raises(StageError, match="two labels"):
        train(tiny, encoded(tiny, LABELS[:1]), recipe())


def train(tiny, rows, how, kto=KTO, seed=0):
    model = tiny.model()
    reference = kto_reference(model, tiny.tokenizer, rows, batch_size=4)
    return train_kto(model, tiny.tokenizer, rows, how, kto, reference=reference, seed=seed)


def test_the_first_step_starts_where_the_reference_is(tiny):
    """Then r = s = 0, so every label's loss is half its weight."""
    rows = encoded(tiny, group=2)
    first, *_ = train(tiny, rows, recipe())
    assert first.extra["kl"] == pytest.approx(0, abs=1e-4)
    wanted = [KTO.desirable_weight if d else KTO.undesirable_weight for d in rows.desirable[:4]]
    assert first.loss == pytest.approx(sum(wanted) / 8, abs=1e-4)
    assert first.tokens == sum(len(row.ids) for row in rows.matched[:4])


def test_training_parts_the_rewards(tiny):
    how = recipe(epochs=10, batch_size=8, learning_rate=3e-4)
    logs = train(tiny, encoded(tiny, group=4), how)
    margins = [log.extra["margin"] for log in logs]
    assert margins == sorted(margins) and margins[-1] > 0.5
    assert all(math.isfinite(log.grad_norm) for log in logs)


def test_no_mean_of_nothing(tiny):
    rows = encoded(tiny, [Label(f"p{i}", f"r{i}", True) for i in range(4)], group=2)
    (log,) = train(tiny, rows, recipe())
    assert "chosen_logp" in log.extra
    assert not {"rejected_logp", "rejected_reward", "margin"} & set(log.extra)


def test_groups_that_do_not_make_up_a_batch(tiny):
    with pytest.raises(StudyError, match="groups of 3"):
        train(tiny, encoded(tiny, group=3), recipe())


def test_labels_alternate_and_larger_pools_only_append():
    pairs = [Pair(f"p{i}", f"good{i}", f"bad{i}") for i in range(5)]
    labels = labels_of(pairs)
    assert labels[:2] == [Label("p0", "good0", True), Label("p1", "bad1", False)]
    assert labels_of(pairs[:3]) == labels[:3]
    assert len({label.prompt for label in labels}) == 5

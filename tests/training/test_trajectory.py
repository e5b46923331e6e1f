"""A trajectory in legs is one run of the same schedule, written out by hand for one size."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from independent import dpo_loss, sft_loss
from torch import nn

from apportion.compile.trajectory import legs
from apportion.config.recipe import LoraRecipe, PreferenceRecipe, SftRecipe
from apportion.data.records import Demonstration, Pair
from apportion.errors import StageError
from apportion.training.dpo import reference_logps, train_dpo
from apportion.training.loop import effective_batches
from apportion.training.sft import train_sft
from apportion.training.trajectory import STATE, Leg

B, EPOCHS, RATE, DECAY = 2, 2, 2e-3, 0.01
HOW = {"learning_rate": RATE, "epochs": EPOCHS, "batch_size": B, "weight_decay": DECAY,
       "warmup_ratio": 0.5}  # fmt: skip
SFT, DPO = SftRecipe(**HOW), PreferenceRecipe(**HOW, beta=0.5)
DATA = [
    Demonstration(f"What is {i} and {i}?", f"It is {2 * i}." + "!" * (i % 4)) for i in range(15)
]
PAIRS = [Pair(d.prompt, d.response, "No idea" + "." * (i % 3)) for i, d in enumerate(DATA)]
LORA = LoraRecipe(r=2, alpha=4)


def one_by_one(tiny, tmp_path, n, sizes, train, lora=None):
    """The legs of `n` as stages run them: a model made anew, and the state from a file."""
    told, previous, logs = legs(n, sizes, SFT), None, []
    for number, leg in enumerate(told):
        keep = None if leg.cooldown else tmp_path / f"{n}-{number}"
        if keep:
            keep.mkdir()
        how = Leg(leg.cooldown, leg.warmup_steps, previous, keep)
        model = tiny.model(lora)
        logs.append(train(model, slice(leg.begin, leg.end), seed=100 + leg.begin, leg=how))
        previous = keep
    return model, logs


def by_hand(model, n, loss_of):
    """Warm-up, constant, 1 - sqrt: sizes 5 and 15 in batches of 2, two epochs, written out.

    Trunk: 0 to 2 and 2 to 12 (four fifths of 5 and 15, whole batches, two examples left at least);
    cool-downs 2 to 5 and 12 to 15.
    Warm-up: half of the 6 steps of the smallest size.
    """
    begins = {5: [0, 2, 5], 15: [0, 2, 12, 15]}[n]
    steps = []
    for begin, end in pairwise(begins):
        batches = list(effective_batches(end - begin, SFT, 100 + begin))
        steps += [(begin, batch, end == n, j, len(batches)) for j, batch in enumerate(batches)]
    named = {k: w for k, w in model.named_parameters() if w.requires_grad}
    first = {k: torch.zeros_like(w) for k, w in named.items()}
    second = {k: torch.zeros_like(w) for k, w in named.items()}
    rates = []
    for t, (begin, batch, cools, j, m) in enumerate(steps, start=1):
        rate = RATE * min(1, (t - 1) / 3) * ((1 - math.sqrt(j / m)) if cools else 1)
        rates.append(rate)
        model.zero_grad()
        loss_of(model, [begin + index for index in batch]).backward()
        norm = nn.utils.clip_grad_norm_(named.values(), 1.0)
        assert norm > 0
        with torch.no_grad():
            for name, weight in named.items():
                first[name] = 0.9 * first[name] + 0.1 * weight.grad
                second[name] = 0.999 * second[name] + 0.001 * weight.grad**2
                weight *= 1 - rate * (0 if "norm" in name else DECAY)
                step = first[name] / (1 - 0.9**t)
                weight -= rate * step / ((second[name] / (1 - 0.999**t)).sqrt() + 1e-8)
    return rates


@pytest.mark.parametrize("n", [5, 15])
@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "adapter"])
def test_a_branch_equals_a_run_of_its_schedule_by_hand(tiny, tmp_path, n, lora):
    def train(model, part, **how):
        return train_sft(model, *tiny.how, DATA[part], SFT, max_length=64, **how)

    model, logs = one_by_one(tiny, tmp_path, n, [5, 15], train, lora)
    hand = tiny.model(lora)
    examples = [tiny.example(d.prompt, d.response) for d in DATA]
    rates = by_hand(hand, n, lambda m, batch: sft_loss(m, [examples[i] for i in batch]))
    assert [log.lr for leg in logs for log in leg] == pytest.approx(rates)
    for ours, theirs in zip(model.parameters(), hand.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=2e-5)
    moved = [
        not torch.equal(a, b)
        for a, b in zip(model.parameters(), tiny.model(lora).parameters(), strict=True)
    ]
    assert any(moved)


def test_a_preference_branch_equals_a_run_by_hand(tiny, tmp_path):
    words = (*tiny.how, PAIRS)
    known = reference_logps(tiny.model(), *words, max_length=64, batch_size=4)

    def train(model, part, **how):
        reference = (known[0][part], known[1][part])
        return train_dpo(
            model, *tiny.how, PAIRS[part], DPO, reference=reference, max_length=64, **how
        )

    model, _ = one_by_one(tiny, tmp_path, 15, [5, 15], train)
    hand = tiny.model()
    pairs = [(tiny.example(p.prompt, p.chosen), tiny.example(p.prompt, p.rejected)) for p in PAIRS]
    fixed = list(zip(*known, strict=True))
    by_hand(
        hand,
        15,
        lambda m, batch: dpo_loss(m, [pairs[i] for i in batch], [fixed[i] for i in batch], 0.5),
    )
    for ours, theirs in zip(model.parameters(), hand.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=2e-5)


def test_the_state_of_another_model_is_refused(tiny, tmp_path):
    keep = tmp_path / "s"
    keep.mkdir()
    how = {"max_length": 64, "seed": 0}
    train_sft(tiny.model(), *tiny.how, DATA[:4], SFT, leg=Leg(False, 0, None, keep), **how)
    assert [file.name for file in keep.iterdir()] == [STATE]
    with pytest.raises(StageError, match="not of this model"):
        train_sft(tiny.model(LORA), *tiny.how, DATA[:4], SFT, leg=Leg(True, 0, keep), **how)

"""Losses, gradients and whole trajectories against an implementation in float64.

Batched, padded and accumulated in float32 here; one example at a time in float64 there.
"""

from __future__ import annotations

import copy

import independent
import pytest
import torch

from apportion.config.recipe import LoraRecipe, PreferenceRecipe, SftRecipe
from apportion.training.batches import encode
from apportion.training.dpo import dpo_loss, encode_pairs, reference_logps, train_dpo
from apportion.training.packing import batches_for
from apportion.training.sft import sft_loss, train_sft

BETA = 0.3
LORA = LoraRecipe(r=4, alpha=8)


def disturbed(model, seed=9):
    """Away from the reference, and from an adapter that has no effect yet."""
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.05 * torch.randn(weight.shape, generator=stream)
    return model


def exact(model):
    return copy.deepcopy(model).double()


def our_sft(tiny, model, weighting, micro):
    rows = [r for d in tiny.demonstrations if (r := encode(
        tiny.template, d.prompt, d.response, max_length=tiny.max_length))]  # fmt: skip
    return total(
        model, sft_loss(model, rows, weighting, batches_for(model, pad=0)), len(rows), micro
    )


def our_dpo(tiny, model, reference, micro, beta=BETA):
    rows = [r for r in encode_pairs(tiny.template, tiny.pairs, max_length=tiny.max_length) if r]
    return total(
        model, dpo_loss(model, rows, reference, beta, batches_for(model, pad=0)), len(rows), micro
    )


def total(model, loss_of, n, micro):
    model.zero_grad()
    loss = 0.0
    for begin in range(0, n, micro):
        part, _ = loss_of(range(begin, min(n, begin + micro)), range(n))
        part.backward()
        loss += part.item()
    return loss, {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}


def the_reference(tiny):
    """Log-probabilities under the untouched model: ours, and the exact ones."""
    model = tiny.model()
    ours = reference_logps(model, *tiny.how, tiny.pairs, max_length=tiny.max_length, batch_size=3)
    with torch.no_grad():
        theirs = [
            tuple(float(independent.response_logps(exact(model), e).sum()) for e in pair)
            for pair in tiny.example_pairs
        ]
    return ours, theirs


def distances(ours, theirs):
    """Of the losses; of the gradients, relative to the length of the whole gradient."""
    (loss, grads), (exact_loss, exact_grads) = ours, theirs
    assert grads.keys() == exact_grads.keys()
    apart = sum(float(((grads[n].double() - g) ** 2).sum()) for n, g in exact_grads.items())
    size = sum(float((g**2).sum()) for g in exact_grads.values())
    return abs(loss - float(exact_loss.detach())), (apart / size) ** 0.5


def agree(ours, theirs):
    loss, gradient = distances(ours, theirs)
    return loss <= 1e-5 and gradient <= 1e-4


def with_gradient(model, loss):
    return loss, independent.gradient(model, loss)


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "lora"])
@pytest.mark.parametrize("weighting", ["token", "sequence"])
def test_sft_loss_and_gradient(tiny, weighting, lora):
    model = disturbed(tiny.model(lora))
    other = exact(model)
    theirs = with_gradient(other, independent.sft_loss(other, tiny.examples, weighting))
    for micro in (1, 3, 100):
        assert agree(our_sft(tiny, model, weighting, micro), theirs)


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "lora"])
def test_dpo_loss_and_gradient(tiny, lora):
    ours, theirs = the_reference(tiny)
    model = disturbed(tiny.model(lora))
    other = exact(model)
    wanted = with_gradient(other, independent.dpo_loss(other, tiny.example_pairs, theirs, BETA))
    kept = [(c, r) for c, r in zip(*ours, strict=True) if c is not None]
    for micro in (1, 3, 100):
        assert agree(our_dpo(tiny, model, kept, micro), wanted)


def test_reference_log_probabilities(tiny):
    ours, theirs = the_reference(tiny)
    found = list(zip(*ours, strict=True))
    assert [i for i, pair in enumerate(found) if pair == (None, None)] == [3]
    kept = [pair for pair in found if pair[0] is not None]
    torch.testing.assert_close(torch.tensor(kept), torch.tensor(theirs), atol=2e-4, rtol=1e-6)


@pytest.mark.parametrize("fault", [{"shift": 0}, {"on_prompt": True}], ids=["shift", "prompt"])
def test_a_fault_in_the_sft_loss_would_be_seen(tiny, fault):
    model = disturbed(tiny.model())
    other = exact(model)
    ours = our_sft(tiny, model, "token", 3)
    assert agree(ours, with_gradient(other, independent.sft_loss(other, tiny.examples)))
    faulty = with_gradient(other, independent.sft_loss(other, tiny.examples, **fault))
    loss, gradient = distances(ours, faulty)
    assert loss > 1e-3
    assert gradient > 1e-2


def test_weightings_differ(tiny):
    model = disturbed(tiny.model())
    loss, gradient = distances(
        our_sft(tiny, model, "token", 3),
        with_gradient(m := exact(model), independent.sft_loss(m, tiny.examples, "sequence")),
    )
    assert loss > 1e-3
    assert gradient > 1e-2


def test_end_of_text_is_in_the_loss(tiny):
    """Leaving each response's last token out is seen."""
    model = disturbed(tiny.model())
    short = [
        independent.Example(e.prompt, e.response[:-1]) for e in tiny.examples if e.response[1:]
    ]
    other = exact(model)
    faulty = with_gradient(other, independent.sft_loss(other, short))
    loss, gradient = distances(our_sft(tiny, model, "token", 3), faulty)
    assert loss > 1e-3
    assert gradient > 1e-2


@pytest.mark.parametrize("fault", ["beta", "reference", "swapped", "shift", "mask"])
def test_a_fault_in_the_dpo_loss_would_be_seen(tiny, fault):
    ours, theirs = the_reference(tiny)
    model = disturbed(tiny.model())
    other = exact(model)
    beta, pairs, how = BETA, tiny.example_pairs, {}
    if fault == "beta":
        beta = 1.1 * BETA
    elif fault == "reference":  # the policy itself instead of the model it started from
        with torch.no_grad():
            theirs = [
                tuple(float(independent.response_logps(other, e).sum()) for e in pair)
                for pair in pairs
            ]
    elif fault == "swapped":
        pairs = [(rejected, chosen) for chosen, rejected in pairs]
    elif fault == "shift":
        how = {"shift": 0}
    else:  # the first response token is masked; (the whole prompt would cancel in the margin)
        pairs = [
            (c, independent.Example([*r.prompt, r.response[0]], r.response[1:])) for c, r in pairs
        ]
    kept = [(c, r) for c, r in zip(*ours, strict=True) if c is not None]
    faulty = with_gradient(other, independent.dpo_loss(other, pairs, theirs, beta, **how))
    loss, gradient = distances(our_dpo(tiny, model, kept, 3), faulty)
    assert loss > 1e-3
    assert gradient > 1e-2


# Batches of 4 of 7 examples: the last one is partial. Clipping is active in some steps.
LOOP = {"batch_size": 4, "epochs": 3, "weight_decay": 0.1, "warmup_ratio": 0.3}


@pytest.mark.parametrize(
    ("schedule", "weighting", "micro", "lora"),
    [
        ("cosine", "token", 2, None),
        ("linear", "sequence", 1, None),
        ("constant", "token", None, LORA),
    ],
)
def test_an_sft_trajectory(tiny, schedule, weighting, micro, lora):
    recipe = SftRecipe(
        learning_rate=3e-3, schedule=schedule, loss_weighting=weighting,
        micro_batch_size=micro, max_grad_norm=4.0 if lora is None else 1.6, **LOOP,
    )  # fmt: skip
    model = tiny.model(lora)
    other, start = exact(model), exact(model)
    logs = train_sft(
        model, *tiny.how, tiny.demonstrations, recipe, max_length=tiny.max_length, seed=4
    )
    examples = tiny.examples
    losses, norms = independent.train(
        other,
        len(examples),
        lambda m, batch: independent.sft_loss(m, [examples[i] for i in batch], weighting),
        recipe,
        seed=4,
    )
    same_trajectory(logs, losses, norms, recipe)
    same_weights(model, other, start)
    assert {log.extra["dropped"] for log in logs} == {1.0}


def test_a_dpo_trajectory(tiny):
    recipe = PreferenceRecipe(
        learning_rate=1e-3, beta=BETA, micro_batch_size=2, max_grad_norm=5.0, **LOOP
    )
    model = tiny.model()
    other, start = exact(model), exact(model)
    ours, theirs = the_reference(tiny)
    logs = train_dpo(
        model, *tiny.how, tiny.pairs, recipe,
        reference=ours, max_length=tiny.max_length, seed=4,
    )  # fmt: skip
    pairs = tiny.example_pairs
    losses, norms = independent.train(
        other,
        len(pairs),
        lambda m, batch: independent.dpo_loss(
            m, [pairs[i] for i in batch], [theirs[i] for i in batch], BETA
        ),
        recipe,
        seed=4,
    )
    same_trajectory(logs, losses, norms, recipe)
    same_weights(model, other, start)
    assert logs[0].loss == pytest.approx(0.693147, abs=1e-4)  # margin 0 at the start
    assert logs[-1].extra["margin"] > 0.1


def same_trajectory(logs, losses, norms, recipe):
    assert len(logs) == len(losses) == 6
    assert [log.loss for log in logs] == pytest.approx(losses, abs=1e-5)
    assert [log.grad_norm for log in logs] == pytest.approx(norms, rel=1e-4)
    rates = [independent.rate(step, 6, recipe) for step in range(6)]
    assert [log.lr for log in logs] == pytest.approx(rates)
    clipped = [norm > recipe.max_grad_norm for norm in norms[1:]]
    assert any(clipped)
    assert not all(clipped)


def same_weights(model, other, start):
    assert distance_of_weights(model, other, start) < 1e-4


def distance_of_weights(model, other, start):
    """Relative to how far the weights went."""
    there, begin = dict(other.named_parameters()), dict(start.named_parameters())
    apart = moved = 0.0
    for name, weight in model.named_parameters():
        apart += ((weight.detach().double() - there[name].detach()) ** 2).sum().item()
        moved += ((there[name] - begin[name]).detach() ** 2).sum().item()
    return (apart / moved) ** 0.5


@pytest.mark.parametrize(
    "fault",
    [
        {"max_grad_norm": 1e9},
        {"weight_decay": 0.0},
        {"schedule": "linear"},
        {"warmup_ratio": 0.0},
        {"batch_size": 3},
        {"learning_rate": 2.97e-3},
    ],
    ids=lambda fault: next(iter(fault)),
)
def test_a_fault_in_the_loop_would_be_seen(tiny, fault):
    recipe = SftRecipe(learning_rate=3e-3, max_grad_norm=4.0, **LOOP)
    model = tiny.model()
    other, start = exact(model), exact(model)
    train_sft(model, *tiny.how, tiny.demonstrations, recipe, max_length=tiny.max_length, seed=4)
    examples = tiny.examples
    independent.train(
        other,
        len(examples),
        lambda m, batch: independent.sft_loss(m, [examples[i] for i in batch]),
        recipe.model_copy(update=fault),
        seed=4,
    )
    assert distance_of_weights(model, other, start) > 1e-3

"""Packed sequences against padded ones, and the layout by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_against_independent import BETA, LORA, disturbed, total
from tiny_examples import Tiny

from apportion.config.recipe import KtoRecipe
from apportion.data.records import labels_of
from apportion.models.policy import load_base
from apportion.training import packing
from apportion.training.batches import Row, encode, sequence_logps, token_passes
from apportion.training.dpo import dpo_loss, encode_pairs
from apportion.training.kto import encode_labels, kto_loss
from apportion.training.packing import Batches, batches_for, can_pack, pack
from apportion.training.sft import sft_loss
from tiny import make_tiny_gpt2

CPU = torch.device("cpu")
A, B = Row((5, 6, 7, 8, 9), 3), Row((5, 6, 7, 8, 4, 2), 3)


def test_the_layout_by_hand():
    """Two that share four tokens, the last of which is a response token, behind one alone."""
    batch = pack([[Row((1, 2, 3), 1)], [A, B]], device=CPU)
    assert batch.ids.tolist() == [[1, 2, 3, 5, 6, 7, 8, 9, 4, 2]]
    assert batch.packed.positions.tolist() == [[0, 1, 2, 0, 1, 2, 3, 4, 4, 5]]
    # states that predict: 2 and 3; then 8 and 9 of A; 8, 4 and 2 of B
    assert batch.place.tolist() == [0, 1, 5, 6, 5, 6, 8]
    assert batch.target.tolist() == [2, 3, 8, 9, 8, 4, 2]
    assert batch.row.tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert batch.packed.places.tolist() == [0, 1, 5, 6, 8]
    assert batch.packed.masks[1].int().tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]
    assert batches(True).costs([[A], [A, B], [A, A]]) == [5, 7, 6]  # each keeps a token of its own


def batches(packed):
    return Batches(packed, 0, CPU)


def both(model, loss_of, n, micro):
    """Loss and gradient: packed, and padded."""
    assert can_pack(model)
    return tuple(total(model, loss_of(batches(packed)), n, micro) for packed in (True, False))


def agree(one, other):
    (loss, grads), (wanted, wanted_grads) = one, other
    apart = sum(float(((grads[n] - g) ** 2).sum()) for n, g in wanted_grads.items())
    size = sum(float((g**2).sum()) for g in wanted_grads.values())
    return abs(loss - wanted) <= 1e-5 and (apart / size) ** 0.5 <= 1e-5


def rows_of(tiny):
    found = [encode(tiny.template, d.prompt, d.response, max_length=tiny.max_length)
             for d in tiny.demonstrations]  # fmt: skip
    return [row for row in found if row]


@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "lora"])
@pytest.mark.parametrize("micro", [3, 100])
def test_packed_is_padded(tiny, lora, micro):
    model = disturbed(tiny.model(lora))
    rows = rows_of(tiny)
    agreeing = both(model, lambda how: sft_loss(model, rows, "token", how), len(rows), micro)
    assert agree(*agreeing)
    pairs = [p for p in encode_pairs(tiny.template, tiny.pairs, max_length=tiny.max_length) if p]
    fixed = [(-9.0 - i, -11.0) for i in range(len(pairs))]
    assert agree(
        *both(model, lambda how: dpo_loss(model, pairs, fixed, BETA, how), len(pairs), micro)
    )
    shared = sum(len(a.ids) + len(b.ids) for a, b in pairs) - sum(batches(True).costs(pairs))
    assert shared > 0.3 * sum(len(a.ids) for a, _ in pairs)  # there is something to share


def test_packed_kto_is_padded(tiny):
    model = disturbed(tiny.model())
    rows = encode_labels(
        tiny.template, labels_of(tiny.kept_pairs), max_length=tiny.max_length, group_size=7, seed=0
    )
    n = len(rows.matched)
    fixed = ([-20.0] * n, [-25.0] * n)
    kto = KtoRecipe(beta=0.1)
    agreeing = both(model, lambda how: kto_loss(model, rows, fixed, kto, how), n, 7)
    assert agree(*agreeing)


def test_a_fault_would_be_seen(tiny, monkeypatch):
    """The second of a pair seeing the first; positions that go on; a place that is left out."""
    model = disturbed(tiny.model())
    pairs = [[A, B]]
    right = sequence_logps(model, pack(pairs, device=CPU))
    torch.testing.assert_close(right, sequence_logps(model, batches(False).of(pairs)))
    batch = pack(pairs, device=CPU)
    layout = batch.packed
    faults = {
        "positions": replace(layout, positions=torch.arange(7).unsqueeze(0)),
        "mask": replace(layout, masks=(torch.ones(2, 6, dtype=torch.bool),)),
        "places": replace(layout, places=layout.places[1:]),
        "alone": replace(layout, spans=(packing.Span(0, 7, 0),), masks=(None,)),
    }
    for name, wrong in faults.items():
        found = sequence_logps(model, replace(batch, packed=wrong))
        assert (found - right).abs().max() > 1e-3, name
        with monkeypatch.context() as patch:  # and the trial of a model would end in padding
            real = packing.pack

            def faulty(groups, *, device, name=name, real=real):
                good = real(groups, device=device)
                part = good.packed
                changed = {
                    "positions": {"positions": torch.arange(part.positions.numel())[None]},
                    "mask": {"masks": tuple(m if m is None else m | True for m in part.masks)},
                    "places": {"places": part.places[1:]},
                    "alone": {"spans": (packing.Span(0, part.positions.numel(), 0),),
                              "masks": (None,)},
                }[name]  # fmt: skip
                return replace(good, packed=replace(part, **changed))

            patch.setattr(packing, "pack", faulty)
            assert not can_pack(model), name
    assert can_pack(model)


def test_models_that_cannot_are_padded(tiny, tmp_path):
    model = load_base(tiny.ref, dtype="float32")
    model.config._attn_implementation = "eager"
    assert not batches_for(model, pad=0).packed
    model.config._attn_implementation = "sdpa"
    assert batches_for(model, pad=0).packed
    model.config.layer_types = ["full_attention", "sliding_attention"]
    assert not batches_for(model, pad=0).packed
    other = Tiny(make_tiny_gpt2(tmp_path / "m")).model()  # absolute positions, another layout
    rows = [[Row((5, 6, 7), 1)], [Row((5, 6, 7, 8), 3), Row((5, 6, 7, 9), 3)]]
    found = sequence_logps(other, batches_for(other, pad=0).of(rows))
    torch.testing.assert_close(found, sequence_logps(other, batches(False).of(rows)))


def test_the_model_is_left_as_it_was(tiny):
    model = tiny.model()
    sequence_logps(model, pack([[A, B]], device=CPU))
    assert model.config._attn_implementation == "sdpa"
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_passes_by_hand(monkeypatch):
    monkeypatch.setattr("apportion.training.batches.PACKED_TOKENS", 10)
    assert token_passes([2, 0, 1, 3], [4, 5, 6, 3]) == [[2, 0], [1, 3]]
    assert token_passes([0, 1], [4, 5]) == [[0, 1]]
    assert token_passes([0, 1], [99, 1]) == [[0], [1]]

"""The GPU's layout of packed rows; its kernel is a slow one that follows its definition."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_against_independent import disturbed
from test_packing import CPU, A, B, batches, rows_of
from transformers import LlamaConfig, LlamaForCausalLM

from apportion.training import packing, varlen
from apportion.training.attention import Span
from apportion.training.batches import Row, numbers_like, sequence_logps, to_device
from apportion.training.dpo import encode_pairs
from apportion.training.packing import can_pack, pack


def by_definition(q, k, v, layout, scale):
    """Sequence i: its queries and keys are those between ends i and i + 1; the last query sees all
    keys, the one before it all but one, and so on."""
    repeats = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(repeats, dim=1) for x in (k, v))
    found = torch.full_like(q, float("nan"))
    ends_q, ends_k = layout.ends_q.tolist(), layout.ends_k.tolist()
    for a, b, c, d in zip(ends_q, ends_q[1:], ends_k, ends_k[1:], strict=False):
        assert b - a <= layout.longest_q
        assert d - c <= layout.longest_k
        for at in range(a, b):
            last = d - (b - 1 - at)
            weights = torch.einsum("hd,khd->hk", q[at], k[c:last]) * scale
            found[at] = torch.einsum("hk,khd->hd", weights.softmax(-1), v[c:last])
    return found


@pytest.fixture
def on_cpu(monkeypatch):
    """A CPU takes the GPU's way."""
    monkeypatch.setattr(varlen, "_kernel", by_definition)
    monkeypatch.setattr(packing, "blocks", varlen)


def test_the_sights_by_hand():
    """Three tokens alone; then two of which the second sees the first two of the first."""
    ends_q, ends_k, seen = varlen.sights([Span(0, 3, 0), Span(2, 2, 1)])
    assert ends_q == [0, 3, 7, 8]
    assert ends_k == [0, 3, 7, 10]
    assert seen == [0, 1, 2, 3, 4, 5, 6, 3, 4, 7]


def test_nothing_is_copied_where_nothing_is_shared():
    alone = varlen.layout_of([Span(0, 3, 0), Span(0, 200, 0)], range(203), [1], CPU)
    assert alone.seen is None
    assert alone.ends_q.tolist() == alone.ends_k.tolist() == [0, 3, 203]
    assert (alone.longest_q, alone.longest_k) == (256, 256)
    pair = varlen.layout_of([Span(2, 2, 1)], range(5), [1], CPU)
    assert pair.seen.tolist() == [0, 1, 2, 3, 0, 1, 4]
    assert pair.ends_q.dtype == torch.int32


def test_it_is_the_cpus_way(tiny, on_cpu):
    model = disturbed(tiny.model())
    assert can_pack(model)
    pairs = [p for p in encode_pairs(tiny.template, tiny.pairs, max_length=tiny.max_length) if p]
    for groups in ([[row] for row in rows_of(tiny)[:6]], pairs[:5], [[A], pairs[0], [A, B]]):
        found = sequence_logps(model, pack(groups, device=CPU))
        torch.testing.assert_close(found, sequence_logps(model, batches(False).of(groups)))


@pytest.mark.parametrize("wrong", ["positions", "seen", "ends_k"])
def test_a_fault_would_be_seen(tiny, on_cpu, wrong):
    model = disturbed(tiny.model())
    batch = pack([[A, B]], device=CPU)
    right, layout = sequence_logps(model, batch), batch.packed
    faulty = {
        "positions": layout.positions * 0,
        "seen": layout.seen.flip(0),
        "ends_k": torch.tensor([0, 6, 11], dtype=torch.int32),
    }[wrong]
    found = sequence_logps(model, replace(batch, packed=replace(layout, **{wrong: faulty})))
    assert not torch.allclose(found, right, atol=1e-3)


def test_what_the_kernel_cannot_do_is_padded():
    assert not varlen.can_compute(CPU, torch.bfloat16)
    assert not varlen.can_compute(torch.device("cuda"), torch.float32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu_packed_is_padded():
    device = torch.device("cuda")
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=50, hidden_size=128, intermediate_size=256,
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)  # fmt: skip
    model = LlamaForCausalLM(config).to(device, torch.bfloat16).eval()
    model.config.dtype = torch.bfloat16
    assert can_pack(model)
    groups = [[Row((5, 6, 7), 1)], [A, B]]
    found = sequence_logps(model, pack(groups, device=device))
    wanted = sequence_logps(model, packing.Batches(False, 0, device).of(groups))
    torch.testing.assert_close(found, wanted, atol=0.1, rtol=0)


def test_numbers_go_where_they_are_wanted():
    one, none = to_device([[1, 2], []], CPU)
    assert one.tolist() == [1, 2]
    assert none.dtype == torch.long
    like = torch.zeros(2, dtype=torch.float64)
    assert numbers_like([0.1], like).tolist() == [0.1]  # not rounded to 32 bits on the way

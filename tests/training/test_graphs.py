"""Capacities and filling by hand, by property and through a model; recordings where a GPU is."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_against_independent import LORA, disturbed
from test_packing import CPU, A, B, batches, rows_of
from test_varlen import by_definition
from transformers import LlamaConfig, LlamaForCausalLM

from apportion.config.recipe import KtoRecipe, PreferenceRecipe, SftRecipe
from apportion.models.policy import prepare_for_training
from apportion.training import graphs, packing, varlen
from apportion.training.attention import Span, within
from apportion.training.batches import Batch, Row, sequence_logps, to_device
from apportion.training.dpo import DpoObjective, dpo_loss
from apportion.training.graphs import Capacity, Needs, capacities, fill, launch_bound, needs_of
from apportion.training.kto import KtoObjective, KtoRows, kto_loss, kto_schedule
from apportion.training.loop import fit
from apportion.training.packing import Batches, lists_of
from apportion.training.sft import SftObjective, sft_loss
from apportion.training.varlen import Layout, sights


def test_needs_by_hand():
    assert needs_of([Span(0, 5, 0), Span(3, 2, 4)]) == Needs(14, 3, 3, 7)


def test_capacities_by_hand():
    passes = [Needs(100 + n, 4, 0, 50) for n in range(10)]
    # 109 tokens and one of filling; one sequence of filling may be 128 tokens long
    assert capacities(passes) == [Capacity(128, 5, 0, 128, 128)]
    shared = [Needs(300, 4, 70, 200)] * 8
    assert capacities(shared) == [Capacity(320, 6, 448, 256, 512)]
    assert capacities(passes[:7]) == []
    assert len(capacities([Needs(64 * n, 4, 0, 50) for n in range(1, 65)])) == 2
    assert [one.tokens for one in capacities([Needs(n, 4, 0, 50) for n in range(1, 257)])] == [
        128, 192, 256, 320
    ]  # fmt: skip


def test_a_pass_of_a_large_model_is_not_recorded():
    model = torch.nn.Linear(1000, 1000, bias=False)
    assert launch_bound(model, [Needs(2_000_000, 1, 0, 1)])
    assert not launch_bound(model, [Needs(2_000_001, 1, 0, 1)])


SPANS = st.lists(
    st.builds(
        lambda common, a, b: Span(common if b else 0, a, b),
        st.integers(0, 90), st.integers(1, 90), st.integers(0, 90),
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@given(st.lists(SPANS, min_size=8, max_size=12))
def test_every_pass_is_held_and_nothing_sees_the_filling(passes):
    sizes = capacities([needs_of(spans) for spans in passes])
    for spans in passes:
        size = next(one for one in sizes if one.holds(needs_of(spans)))
        n = sum(span.total for span in spans)
        full = fill(size, range(n), range(n), sights(spans))
        assert len(full.ids) == len(full.positions) == size.tokens == full.ends_q[-1]
        assert len(full.ends_q) == len(full.ends_k) == size.sequences + 1
        assert full.ends_k[-1] == (size.keys or size.tokens)
        assert len(full.seen) == size.keys
        queries, keys = (
            [after - before for before, after in pairwise(ends)]
            for ends in (full.ends_q, full.ends_k)
        )
        assert all(0 <= q <= k for q, k in zip(queries, keys, strict=True))
        assert max(queries) <= size.longest_q
        assert max(keys) <= size.longest_k
        real = full.ends_q.index(n)  # sequences end where the pass ends: filling is its own
        assert full.ends_q[: real + 1] == sights(spans)[0]
        if size.keys:
            assert all(at >= n for at in full.seen[full.ends_k[real] :])
            assert all(at < n for at in full.seen[: full.ends_k[real]])


def filled_batch(groups, size):
    """What a recording computes, without one."""
    row = lists_of(groups)
    full = fill(size, row.ids, row.positions, sights(row.spans))
    lists = [full.ids, full.positions, full.ends_q, full.ends_k, full.seen]
    ids, positions, q, k, seen, *told = to_device([*lists, row.place, row.target, row.owner], CPU)
    layout = Layout(positions.unsqueeze(0), None, q.int(), k.int(),
                    seen if size.keys else None, size.longest_q, size.longest_k)  # fmt: skip
    return Batch(ids.unsqueeze(0), *told, row.n_rows, layout)


@pytest.mark.parametrize("shared", [False, True])
def test_a_filled_pass_is_the_pass(tiny, monkeypatch, shared):
    monkeypatch.setattr(varlen, "_kernel", by_definition)
    model = disturbed(tiny.model())
    groups = [[A, B], [B, A], [Row((5, 6), 1)]] if shared else [[row] for row in rows_of(tiny)[:4]]
    size = capacities([needs_of(lists_of(groups).spans)] * 8)[0]
    found, grads = [], []
    for batch in (filled_batch(groups, size), batches(False).of(groups)):
        model.zero_grad()
        logps = sequence_logps(model, batch)
        (logps * torch.arange(1.0, len(logps) + 1)).sum().backward()
        found.append(logps.detach())
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(found[0], found[1])
    assert (grads[0] - grads[1]).norm() <= 1e-5 * grads[1].norm()


def test_states_go_through_the_output_layer_alone(tiny):
    model = disturbed(tiny.model())
    batch = batches(True).of([[A, B]])
    wanted = sequence_logps(model, batch)
    layout = replace(batch.packed, places=torch.arange(batch.ids.numel()))

    def states():
        with within(model, layout) as more:
            return model.base_model(input_ids=batch.ids, use_cache=False, **more)[0][0]

    torch.testing.assert_close(
        sequence_logps(model, replace(batch, packed=None, states=states)), wanted
    )


def test_without_a_recorder_nobody_wants_the_schedule():
    assert Batches(True, 0, CPU).expecting(SftObjective([], "token")) is None


def test_what_no_recording_holds_is_packed_as_ever(tiny):
    from apportion.training.recorder import Recorder

    made = Batches(True, 0, CPU, Recorder(tiny.model())).of([[A, B]])
    assert made.states is None
    assert made.packed is not None


def gpu_model(lora):
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=50, hidden_size=128, intermediate_size=256,
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)  # fmt: skip
    model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    model.config.dtype = torch.bfloat16
    return prepare_for_training(model, lora, seed=0).to("cuda")


def gpu_rows():
    stream = torch.Generator().manual_seed(0)
    return [
        Row(tuple(torch.randint(3, 50, (20 + n % 7,), generator=stream).tolist()), 9)
        for n in range(64)
    ]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("way", ["whole", "lora", "compiled"])
def test_on_a_gpu_replays_train_as_the_model_does(shared, way, monkeypatch):
    from apportion.training.recorder import Recorder

    monkeypatch.setattr("apportion.training.compiled.WORTH", 0 if way == "compiled" else 1e99)
    rows = gpu_rows()
    pairs = [(row, Row((*row.ids[:12], *row.ids[5:15]), 9)) for row in rows]
    recipe = SftRecipe(epochs=4, batch_size=8, learning_rate=1e-3)
    logs = {}
    for recorded in (False, True):
        model = gpu_model(LORA if way == "lora" else None)
        assert packing.can_pack(model)
        recorder = Recorder(model) if recorded else None
        made = Batches(True, 0, torch.device("cuda"), recorder)
        if shared:
            told = DpoObjective(pairs, [(-40.0, -40.0)] * 64, 0.1)
            loss = dpo_loss(model, pairs, told.reference, 0.1, made)
        else:
            told = SftObjective(rows, "token")
            loss = sft_loss(model, rows, "token", made)
        logs[recorded] = fit(model, loss, told.lengths, recipe, seed=0,
            costs=made.costs(told.groups(range(64))), expect=made.expecting(told))  # fmt: skip
        if recorder is not None:
            assert recorder.refused == []
            assert len(recorder.sizes) == 1
    for one, other in zip(logs[True], logs[False], strict=True):
        assert one.loss == pytest.approx(other.loss, rel=0.02, abs=0.02)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=0.1)
    assert logs[True][-1].loss < logs[True][0].loss


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu_kto_replays_both_its_passes():
    from apportion.training.recorder import Recorder

    rows = gpu_rows()
    before = (*rows[1:], rows[0])
    mixed = tuple(
        Row((*row.ids[:9], *other.ids[9:]), 9) for row, other in zip(rows, before, strict=True)
    )
    labels = KtoRows(tuple(rows), mixed, tuple(n % 2 == 0 for n in range(64)), 8, 0)
    fixed, kto = ([-40.0] * 64, [-40.0] * 64), KtoRecipe(group_size=8)
    recipe = PreferenceRecipe(epochs=2, batch_size=8, learning_rate=1e-3)
    logs = {}
    for recorded in (False, True):
        model = gpu_model(None)
        recorder = Recorder(model) if recorded else None
        made = Batches(True, 0, torch.device("cuda"), recorder)
        told = KtoObjective(labels, fixed, kto)
        logs[recorded] = fit(model, kto_loss(model, labels, fixed, kto, made), told.lengths, recipe,
            seed=0, schedule=kto_schedule(labels, recipe), expect=made.expecting(told))  # fmt: skip
        assert recorder is None or len(recorder.sizes) == 1
    for one, other in zip(logs[True], logs[False], strict=True):
        assert one.loss == pytest.approx(other.loss, rel=0.02, abs=0.02)
        assert one.extra["kl"] == pytest.approx(other.extra["kl"], rel=0.05, abs=0.3)


class Stand:
    """A recording that computes anew: what a graph would replay, on a CPU."""

    def __init__(self, lm, size, buffers, pool):
        self.lm, self.size, self.device = lm, size, CPU

    def __call__(self, numbers):
        ids, positions, ends_q, ends_k, seen = numbers
        layout = Layout(positions.unsqueeze(0), None, ends_q.int(), ends_k.int(),
            seen if self.size.keys else None, self.size.longest_q, self.size.longest_k)  # fmt: skip
        with within(self.lm, layout) as more:
            return self.lm.base_model(input_ids=ids.unsqueeze(0), use_cache=False, **more)[0][0]


@pytest.fixture
def recorder(tiny, monkeypatch):
    from apportion.training import recorder

    monkeypatch.setattr(varlen, "_kernel", by_definition)
    monkeypatch.setattr(recorder, "Recording", Stand)
    monkeypatch.setattr("torch.cuda.graph_pool_handle", lambda: None)
    return recorder.Recorder(disturbed(tiny.model()))


PASSES = [[[A, B]], [[B, A]], [[A], [B]]] * 3


def test_passes_are_replayed_from_what_holds_them(recorder):
    recorder.prepare(PASSES)
    assert len(recorder.sizes) == 1
    assert recorder.refused == []
    for groups in PASSES[:3]:
        replayed = recorder.batch(groups)
        assert replayed.states is not None
        wanted = sequence_logps(recorder._model, batches(False).of(groups))
        torch.testing.assert_close(sequence_logps(recorder._model, replayed), wanted)
    assert recorder.batch([[A, B]] * 60) is None


def test_too_few_passes_or_too_large_ones_are_not_recorded(recorder, monkeypatch):
    recorder.prepare(PASSES[:7])
    assert recorder.sizes == []
    monkeypatch.setattr(graphs, "LAUNCH_BOUND", 1.0)
    recorder.prepare(PASSES)
    assert recorder.sizes == recorder.refused == []


def test_layers_that_cannot_be_compiled_are_recorded_as_they_are(recorder, monkeypatch):
    from apportion.training import compiled

    monkeypatch.setattr(compiled, "WORTH", 0)
    tried = []

    def fails_once(*told):
        tried.append(told)
        if len(tried) == 1:
            raise RuntimeError("no compiler")
        return Stand(*told)

    monkeypatch.setattr("apportion.training.recorder.Recording", fails_once)
    with pytest.warns(UserWarning, match="without compiled layers: RuntimeError: no compiler"):
        recorder.prepare(PASSES)
    assert len(recorder.sizes) == 1
    assert recorder.refused == ["RuntimeError: no compiler"]


def test_a_replay_that_gives_other_numbers_is_not_used(recorder, monkeypatch):
    class Wrong(Stand):
        def __call__(self, numbers):
            return super().__call__(numbers) * 2

    monkeypatch.setattr("apportion.training.recorder.Recording", Wrong)
    with pytest.warns(UserWarning, match="without CUDA graphs: a replay gives other numbers"):
        recorder.prepare(PASSES)
    assert recorder.sizes == []
    assert recorder.batch([[A, B]]) is None

"""Steps at fixed addresses give what steps at growing ones give; recorded where a GPU is."""

from __future__ import annotations

import pytest
import torch
from test_decode import GREEDY, PROMPTS, SAMPLE, World, ends_early, expected

from apportion.config.evaluation import Decoding
from apportion.generation import decode, replayed
from apportion.generation.cache import roomy_cache
from tiny import make_tiny_gpt2

LONG = Decoding(max_new_tokens=60)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return ends_early(tmp_path_factory.mktemp("m") / "m")


@pytest.fixture
def by_hand(monkeypatch):
    """The step is never recorded: everything else is as on a GPU. Counts the recordings asked."""
    asked = []
    monkeypatch.setattr(decode, "recordable", lambda *_: True)
    monkeypatch.setattr(decode, "FEWEST", 2)
    monkeypatch.setattr(replayed.Replayed, "record", lambda self: asked.append(self))
    return asked


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("leaving", [0.25, 0.9])
def test_fixed_steps_are_growing_steps(world, by_hand, monkeypatch, batch_size, leaving):
    monkeypatch.setattr(decode, "WORTH_LEAVING", leaving)
    found = world.ask(batch_size=batch_size)
    assert [(c.text, c.n_tokens, c.truncated) for c in found] == [
        expected(world, prompt) for prompt in PROMPTS
    ]
    assert by_hand
    # where rows leave, those that stay are recorded anew
    if batch_size == 100 and leaving == 0.9:
        assert len({len(one._ids) for one in by_hand}) > 1


def test_absolute_positions(tmp_path, by_hand):
    other = World(make_tiny_gpt2(tmp_path / "m"))
    found = other.ask(batch_size=100)
    assert [c.text for c in found] == [expected(other, prompt)[0] for prompt in PROMPTS]
    assert by_hand


def test_sampling_takes_the_same_numbers(world, by_hand, monkeypatch):
    fixed = world.ask(decoding=SAMPLE, seed=5, batch_size=100)
    assert by_hand
    monkeypatch.setattr(decode, "recordable", lambda *_: False)
    assert fixed == world.ask(decoding=SAMPLE, seed=5, batch_size=100)


def test_what_was_never_written_does_not_matter(world, by_hand, monkeypatch):
    """New tensors hold anything, NaN too."""
    empty = torch.Tensor.new_empty
    monkeypatch.setattr(
        torch.Tensor, "new_empty", lambda self, *size: empty(self, *size).fill_(torch.nan)
    )
    found = world.ask(batch_size=100)
    assert by_hand
    assert [c.text for c in found] == [expected(world, prompt)[0] for prompt in PROMPTS]


def test_a_step_that_cannot_be_recorded_is_taken_as_ever(world, by_hand, monkeypatch):
    def fail(self):
        self._forward()  # writes to the cache, as a recording does
        raise RuntimeError("asks midway")

    monkeypatch.setattr(replayed.Replayed, "record", fail)
    with pytest.warns(UserWarning, match="without a CUDA graph: asks midway"):
        found = world.ask(batch_size=100)
    assert [c.text for c in found] == [expected(world, prompt)[0] for prompt in PROMPTS]


def test_a_replay_that_differs_is_told():
    plain = torch.tensor([[4.0, -2.0]])
    assert replayed.agree(plain + 0.05, plain)
    assert not replayed.agree(plain + 0.1, plain)
    assert not replayed.agree(plain * torch.nan, plain)


def test_only_plain_attention_on_a_gpu_is_recorded(world):
    cache = roomy_cache(world.model.config, 8)
    gpu = torch.device("cuda")
    assert replayed.recordable(world.model, cache, gpu)
    assert not replayed.recordable(world.model, cache, torch.device("cpu"))
    cache.layers[0] = object()
    assert not replayed.recordable(world.model, cache, gpu)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("decoding", "seed"), [(LONG, None), (GREEDY, None), (SAMPLE, 5)])
def test_recorded_on_a_gpu(world, monkeypatch, decoding, seed):
    monkeypatch.setattr(decode, "FEWEST", 2)
    recorded = []
    record = replayed.Replayed.record
    monkeypatch.setattr(
        replayed.Replayed, "record", lambda self: (recorded.append(self), record(self))
    )
    world.model.to("cuda")
    try:
        found = world.ask(decoding=decoding, seed=seed, batch_size=100)
        assert recorded
        assert all(one._graph is not None for one in recorded)
        monkeypatch.setattr(decode, "recordable", lambda *_: False)
        plain = world.ask(decoding=decoding, seed=seed, batch_size=100)
    finally:
        world.model.to("cpu")
    assert found == plain

"""Sampled pairs among edited ones: an order that only appends, a share, a rate, no prompt twice."""

from __future__ import annotations

import random
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.data.records import Pair
from apportion.errors import DataError
from apportion.sandbox import sampled
from apportion.sandbox.sampled import SampledPair, SampledPairs, partly_sampled, write_sampled
from apportion.tasks.registry import EMBEDDED, get_task

NOISE = 0.1
KNOWN = tuple(
    SampledPair(f"p{i}", f"better {i}", f"worse {i}", "careful" if i % 3 else "sampled")
    for i in range(600)
)


def edited(n, *, seed):
    """Every tenth prompt is one that sampled pairs have too."""
    return [
        Pair(f"p{i}" if i % 10 == 0 else f"e{seed}-{i}", f"chosen {i}", f"rejected {i}")
        for i in range(n)
    ]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    write_sampled(folder / "t.jsonl.gz", SampledPairs({"task": "t"}, KNOWN))
    return partly_sampled("t", edited, noise=NOISE, folder=folder)


def is_sampled(pair: Pair) -> bool:
    return pair.chosen.startswith(("better", "worse"))


@given(st.integers(0, 2000), st.integers(0, 400), st.integers(0, 5))
def test_a_larger_n_only_appends(pairs, n, fewer, seed):
    larger = pairs(n, seed=seed)
    assert len(larger) == n
    assert pairs(max(0, n - fewer), seed=seed) == larger[: max(0, n - fewer)]


def test_half_are_sampled_until_they_are_used_up(pairs):
    found = pairs(3000, seed=1)
    kinds = [is_sampled(pair) for pair in found]
    assert sum(kinds) == len(KNOWN)
    early = kinds[:800]
    assert abs(sum(early) / 800 - sampled.SHARE) < 4 * sqrt(0.25 / 800)
    # neither kind goes with odd or even places, which is how labels for KTO are taken from pairs
    even = sum(early[::2]) / 400
    assert abs(even - sampled.SHARE) < 4 * sqrt(0.25 / 400)
    assert not any(kinds[2000:])


def test_no_prompt_comes_twice(pairs):
    prompts = [pair.prompt for pair in pairs(3000, seed=1)]
    assert len(set(prompts)) == len(prompts)


def test_seeds_take_other_pairs_in_another_order(pairs):
    one, two = ([p.prompt for p in pairs(300, seed=s) if is_sampled(p)] for s in (1, 2))
    shared = len(set(one) & set(two))
    assert one != two and 0 < shared < len(one) / 2  # 150 of 600 each: about 38 by chance


def test_labels_are_swapped_at_the_stated_rate_and_the_same_for_every_seed(pairs):
    def swapped(seed):
        return {p.prompt: p.chosen.startswith("worse") for p in pairs(3000, seed=seed)
                if is_sampled(p)}  # fmt: skip

    one = swapped(1)
    assert one == swapped(2)
    rate = sum(one.values()) / len(one)
    assert abs(rate - NOISE) < 4 * sqrt(NOISE * (1 - NOISE) / len(one))


def test_edited_pairs_of_the_file_are_not_swapped_again(tmp_path):
    all_edited = tuple(SampledPair(f"p{i}", "a", "b", "edited") for i in range(200))
    write_sampled(tmp_path / "t.jsonl.gz", SampledPairs({"task": "t"}, all_edited))
    found = partly_sampled("t", edited, noise=0.5, folder=tmp_path)(300, seed=0)
    served = [p for p in found if p.chosen in "ab"]
    assert len(served) > 100 and all(p.chosen == "a" for p in served)


def test_the_order_of_the_file_does_not_matter(pairs, tmp_path):
    mixed = list(KNOWN)
    random.Random(0).shuffle(mixed)
    write_sampled(tmp_path / "t.jsonl.gz", SampledPairs({"task": "t"}, tuple(mixed)))
    other = partly_sampled("t", edited, noise=NOISE, folder=tmp_path)
    assert other(500, seed=3) == pairs(500, seed=3)


def test_without_a_file_all_pairs_are_edited_ones(tmp_path):
    assert partly_sampled("t", edited, noise=NOISE, folder=tmp_path)(50, seed=2) == edited(
        50, seed=2
    )


def test_a_damaged_file_is_one_clear_error(tmp_path):
    path = tmp_path / "t.jsonl.gz"
    write_sampled(path, SampledPairs({"task": "other"}, KNOWN))
    for damage in (path.read_bytes(), path.read_bytes()[:-9], b"no gzip"):
        path.write_bytes(damage)
        sampled.read_sampled.cache_clear()
        with pytest.raises(DataError) as caught:
            partly_sampled("t", edited, noise=NOISE, folder=tmp_path)(5, seed=0)
        assert caught.value.file == str(path) and "sample_pairs.py" in caught.value.mend
    sampled.read_sampled.cache_clear()


@pytest.mark.parametrize("task", EMBEDDED)
def test_what_is_shipped_fits_the_task(task):
    """Of every task that has a file: its prompts are the preference side's of this very version."""
    found = sampled.read_sampled(task)
    path = sampled.FOLDER / f"{task}.jsonl.gz"
    assert bool(found.pairs) == path.exists()
    if not found.pairs:
        return
    import importlib

    from apportion.data.sides import side_of

    world = importlib.import_module(f"apportion.sandbox.{task}")
    assert path.stat().st_size <= 300_000
    assert found.facts["task_version"] == get_task(task).version
    assert len({p.prompt for p in found.pairs}) == len(found.pairs) >= 2_500
    for pair in found.pairs:
        side = side_of(pair.prompt, sft=world.SFT_FRACTION, preference=world.PREFERENCE_FRACTION)
        assert side == "preference"
        assert pair.better.strip() and pair.worse.strip() and pair.better != pair.worse
    assert sum(p.source == "edited" for p in found.pairs) < 0.5 * len(found.pairs)

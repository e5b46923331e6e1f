"""Subsets: nested, stable under added data, without duplicates; sides apart."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.data.prefixes import characters, prefixes
from apportion.data.records import Demonstration, Item, Pair, ordered_digest
from apportion.data.subset import order, split_sides, take
from apportion.errors import DataError

words = st.text(max_size=6)
demonstrations = st.lists(st.builds(Demonstration, words, words), max_size=30)
pairs = st.lists(st.builds(Pair, words, words, words), max_size=30)
seeds = st.integers(0, 2**32)


@given(pool=demonstrations, more=demonstrations, seed=seeds)
def test_added_data_never_reorders(
    pool: list[Demonstration], more: list[Demonstration], seed: int
) -> None:
    before = order(pool, seed=seed)
    kept = set(before)
    assert [e for e in order(pool + more, seed=seed) if e in kept] == before


@given(pool=pairs, seed=seeds, shuffle=st.randoms())
def test_the_order_of_the_pool_and_duplicates_do_not_matter(
    pool: list[Pair], seed: int, shuffle: random.Random
) -> None:
    again = pool + pool[:3]
    shuffle.shuffle(again)
    assert order(again, seed=seed) == order(pool, seed=seed)
    assert len(order(pool, seed=seed)) == len(set(pool))


@given(pool=demonstrations, seed=seeds, data=st.data())
def test_nested(pool: list[Demonstration], seed: int, data: st.DataObject) -> None:
    large = data.draw(st.integers(0, len(set(pool))))
    small = data.draw(st.integers(0, large))
    assert take(pool, large, seed=seed)[:small] == take(pool, small, seed=seed)


def test_seeds_give_different_orders() -> None:
    pool = [Demonstration(str(n), "x") for n in range(50)]
    assert len({tuple(order(pool, seed=seed)) for seed in range(20)}) == 20


def test_every_example_is_as_likely_to_be_first() -> None:
    pool = [Demonstration(str(n), "x") for n in range(4)]
    first = [take(pool, 1, seed=seed)[0].prompt for seed in range(2000)]
    for n in range(4):
        assert 420 < first.count(str(n)) < 580  # 500 ± 4 standard deviations


def test_too_few() -> None:
    pool = [Demonstration("a", "b")] * 5
    with pytest.raises(DataError, match="1 different"):
        take(pool, 2, seed=0)


@given(pool=pairs, others=demonstrations)
def test_no_prompt_is_on_two_sides(pool: list[Pair], others: list[Demonstration]) -> None:
    a, b = (split_sides(p, sft=0.4, preference=0.3) for p in (pool, others))
    assert sum(map(len, a.values())) == len(pool)
    for side in a:
        for other in a:
            if side != other:
                assert not {e.prompt for e in a[side]} & {e.prompt for e in b[other]}
                assert not {e.prompt for e in a[side]} & {e.prompt for e in a[other]}


@given(pool=demonstrations | pairs, data=st.data())
def test_prefix_digests_are_those_of_the_prefixes(
    pool: list[Demonstration] | list[Pair], data: st.DataObject
) -> None:
    wanted = data.draw(st.sets(st.integers(0, len(pool)), max_size=6))
    found = prefixes(pool, wanted)
    assert set(found) == wanted
    for n, prefix in found.items():
        assert prefix.n == n
        assert prefix.digest == ordered_digest(pool[:n])
        assert prefix.characters == sum(map(characters, pool[:n]))


def test_characters_that_are_read() -> None:
    assert characters(Demonstration("abc", "de")) == 5
    assert characters(Pair("abc", "de", "f")) == 9
    assert characters(Item("id", "abc", "reference")) == 3


def test_a_prefix_longer_than_the_list() -> None:
    with pytest.raises(ValueError, match="no prefixes"):
        prefixes([Demonstration("a", "b")], [2])

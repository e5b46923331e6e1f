"""Worlds are fixed by (split, index), stay inside their bounds, and scatter as they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.surface.worlds import FAMILIES, HIGH, LOW, Laboratory, Noise, gain, world

COUNTS = st.integers(0, 200_000)


@given(st.integers(0, 500), COUNTS, COUNTS)
def test_a_truth_stays_inside_the_bounds(index: int, n_sft: int, n_pref: int) -> None:
    assert LOW <= float(world("calibration", index).truth(n_sft, n_pref)) <= HIGH


def test_worlds_are_fixed_and_the_two_splits_differ() -> None:
    here, again, there = world("test", 7), world("test", 7), world("calibration", 7)
    assert here == again
    assert here.truth(300, 900) != there.truth(300, 900)
    assert {world("test", i).family for i in range(len(FAMILIES))} == set(FAMILIES)


def test_the_gain_by_hand() -> None:
    assert gain([0, 100, 300], 100, 1) == pytest.approx([0, 1 / 2, 3 / 4])


@pytest.mark.parametrize("index", range(len(FAMILIES)))
def test_a_line_is_the_surface_at_its_counts(index: int) -> None:
    one = world("test", index)
    money = 1200.0
    n_sft, n_pref = 0.25 * money / one.prices[0], 0.75 * money / one.prices[1]
    assert one.on_line(money, [0.25])[0] == pytest.approx(float(one.truth(n_sft, n_pref)))


def test_a_quarter_is_wrong_where_it_says_so() -> None:
    shares, lost = np.linspace(0, 1, 101), []
    for index in range(600):
        one = world("test", index)
        if one.family == "a quarter is wrong":
            scores = one.on_line(4000, shares)
            lost.append(scores.max() - scores[25])
    assert np.mean(lost) > 0.08


def test_a_cell_measured_twice_is_the_same_and_items_are_shared() -> None:
    lab = Laboratory(world("test", 3))
    first = lab.items(100, 200, 0)
    assert lab.items(100, 200, 0) is first
    assert (Laboratory(world("test", 3)).items(100, 200, 0) == first).all()
    assert not (lab.items(100, 200, 1) == first).all()
    assert len(lab.measured) == 2


def scores(noise: Noise, cells: list[tuple[int, int]], replicates: int) -> np.ndarray:
    """Mean scores (replicates, cells) with very many items, so that only run noise is left."""
    one = replace(world("test", 1), noise=replace(noise, n_items=20_000, spread=0.0))
    lab = Laboratory(one)
    return np.array([[lab.items(*cell, r).mean() for cell in cells] for r in range(replicates)])


@pytest.mark.parametrize(
    ("noise", "correlated"),
    [
        (Noise(0.05, 0.0, 0.0), (True, True)),  # the data of a replicate: everywhere
        (Noise(0.0, 0.05, 0.0), (True, False)),  # an SFT run: in the cells that share it
        (Noise(0.0, 0.0, 0.05), (False, False)),  # a preference run: in its cell alone
    ],
)
def test_noise_is_nested(noise: Noise, correlated: tuple[bool, bool]) -> None:
    measured = scores(noise, [(400, 200), (400, 800), (900, 800)], 60)
    table = np.corrcoef(measured.T)
    for value, expected in zip((table[0, 1], table[0, 2]), correlated, strict=True):
        assert (value > 0.9) if expected else (abs(value) < 0.45)
    true = float(world("test", 1).truth(400, 200))
    sd = 0.05 * np.sqrt(4 * true * (1 - true))
    assert measured[:, 0].std(ddof=1) == pytest.approx(sd, rel=0.35)

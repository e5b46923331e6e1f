"""The win rate against the share of pairs in which one is larger."""

from __future__ import annotations

import random
from math import inf, nan
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.metrics import winrate

NUMBERS = st.floats(-1e6, 1e6)


@pytest.mark.parametrize(
    ("u", "v", "w"), [(1, 0, 1), (0, 1, 0), (0.3, 0.3, 0.5), (0.1 + 0.2, 0.3, 0.5), (-2, -3, 1)]
)
def test_a_response_wins_ties_or_loses(u: float, v: float, w: float) -> None:
    assert winrate.against(u, v) == w


@given(NUMBERS, NUMBERS)
def test_what_one_wins_the_other_loses(u: float, v: float) -> None:
    assert winrate.against(u, v) + winrate.against(v, u) == 1


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20))
def test_the_same_against_the_same_is_one_half(values: list[int]) -> None:
    assert mean(winrate.against(u, v) for u in values for v in values) == pytest.approx(0.5)


def test_ties_may_be_wider() -> None:
    assert winrate.against(1.0, 1.2, tie=0.25) == 0.5
    assert winrate.against(1.0, 1.5, tie=0.25) == 0.0


def test_it_estimates_the_probability_of_being_better() -> None:
    """Of two normals one standard deviation apart the higher wins Φ(1/√2) = 0.760 of the time."""
    rng = random.Random(0)
    wins = [winrate.against(rng.gauss(1, 1), rng.gauss(0, 1)) for _ in range(20_000)]
    assert mean(wins) == pytest.approx(0.760, abs=0.013)


@pytest.mark.parametrize(("u", "v", "tie"), [(nan, 0, 0), (0, inf, 0), (0, 0, -1), (0, 0, nan)])
def test_a_judge_that_does_not_decide_is_an_error(u: float, v: float, tie: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        winrate.against(u, v, tie=tie)

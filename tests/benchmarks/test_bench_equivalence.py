"""The test of equivalence against scipy's one-sided t tests, and how often it errs."""

from __future__ import annotations

import random
import statistics

import pytest
from loops.equivalence import equivalence, replicate_noise
from scipy.stats import ttest_1samp


def by_scipy(differences: list[float], margin: float) -> float:
    """The larger p of H: mean >= margin and H: mean <= -margin."""
    above = ttest_1samp(differences, margin, alternative="less").pvalue
    below = ttest_1samp(differences, -margin, alternative="greater").pvalue
    return float(max(above, below))


@pytest.mark.parametrize("mean", [-0.03, -0.01, 0.0, 0.004, 0.019, 0.05])
def test_p_is_the_larger_of_two_one_sided_tests(mean):
    stream = random.Random(1)
    differences = [stream.gauss(mean, 0.02) for _ in range(14)]
    found = equivalence(differences, [str(i) for i in range(14)], margin=0.02)
    assert found.p == pytest.approx(by_scipy(differences, 0.02))
    inside = ttest_1samp(differences, 0).confidence_interval(0.90)
    assert (found.low, found.high) == pytest.approx((inside.low, inside.high))
    assert found.shown == (inside.low > -0.02 and inside.high < 0.02)


def test_cells_of_one_sft_model_count_as_one():
    differences = [0.01, 0.03, -0.01, 0.0, 0.02, 0.02]
    groups = ["a", "a", "b", "b", "c", "c"]
    found = equivalence(differences, groups)
    means = [0.02, -0.005, 0.02]
    assert found.groups == 3 and found.cells == 6
    assert found.mean == pytest.approx(statistics.fmean(means))
    assert found.p == pytest.approx(by_scipy(means, 0.02))


def test_without_any_spread_the_mean_decides():
    assert equivalence([0.0, 0.0, 0.0], ["a", "b", "c"]).shown
    assert not equivalence([0.02, 0.02], ["a", "b"]).shown
    with pytest.raises(ValueError, match="two SFT models"):
        equivalence([0.0, 0.0], ["a", "a"])


def test_sides_a_margin_apart_are_seldom_called_equivalent():
    stream = random.Random(0)
    wrong = 0
    for _ in range(1000):
        differences = [stream.gauss(0.02, 0.015) for _ in range(8)]
        wrong += equivalence(differences, [str(i) for i in range(8)]).shown
    assert 30 <= wrong <= 70  # 5 %


def test_replicate_noise_pools_over_cells():
    scores = {("a", 0): 0.1, ("a", 1): 0.3, ("b", 0): 0.5, ("b", 1): 0.5, ("c", 0): 0.9}
    assert replicate_noise(scores) == pytest.approx(((0.02 + 0.0) / 2) ** 0.5)
    assert replicate_noise({("a", 0): 0.1}) is None

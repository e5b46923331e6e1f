"""Noise and intervals against definitions of their own, and against luck in flat tables."""

from __future__ import annotations

import numpy as np
import pytest

from apportion.findings.best_mix import largest_budget
from apportion.findings.best_share import falls
from apportion.findings.contrast import Differences, family_bounds, two_sided
from apportion.findings.evidence import Row, gather
from apportion.findings.noise import coin_sd
from findings.worlds import flat, on_lines


def row(n_sft, items=None, *, replicate=0, score=None, stderr=None, n_items=None, task="t"):
    value = float(np.mean(items)) if items is not None else score
    return Row(
        "m", task, "dpo", n_sft, 0, replicate, "done", None, value, stderr, n_items, (), items
    )


def test_item_noise_of_a_difference_is_that_of_the_paired_items():
    rng = np.random.default_rng(0)
    first = (rng.random(400) < 0.6).astype(float)
    second = np.where(rng.random(400) < 0.8, first, 1 - first)  # mostly the same items are right
    evidence = gather([row(1, tuple(first)), row(2, tuple(second))], n_draws=20_000)
    gap = evidence.items[:, 0] - evidence.items[:, 1]
    assert gap.std() == pytest.approx((first - second).std() / np.sqrt(400), rel=0.1)
    apart = np.sqrt(first.var() / 400 + second.var() / 400)
    assert gap.std() < 0.8 * apart
    assert abs(gap.mean()) < 0.05 * gap.std()


def test_eight_items_that_all_failed_are_not_without_noise():
    evidence = gather([row(1, (0.0,) * 8), row(2, (0.0,) * 8)], n_draws=20_000)
    # One toss among nine: weight Beta(1, 8), value 0 or 1.
    weight = np.random.default_rng(1).beta(1, 8, 200_000)
    toss = np.random.default_rng(2).integers(0, 2, 200_000)
    assert evidence.items[:, 0].std() == pytest.approx((weight * toss).std(), rel=0.05)
    assert (evidence.items[:, 0] - evidence.items[:, 1]).std() > 0.05


def test_a_reported_error_of_zero_is_that_of_the_coin():
    evidence = gather([row(1, score=0.0, stderr=0.0, n_items=8)], n_draws=20_000)
    tosses = np.array([0.0] * 8 + [0.5])
    assert coin_sd(8) == pytest.approx(np.sqrt(tosses.mean() * (1 - tosses.mean()) / 9))
    assert evidence.items.std() == pytest.approx(coin_sd(8), rel=0.03)


def test_run_noise_is_learnt_from_replicates_and_else_the_prior_s():
    def cells(sd, replicates):
        rng = np.random.default_rng(3)
        return [
            row(n, score=float(0.5 + sd * rng.standard_normal()), stderr=0.01, replicate=r)
            for n in range(1, 61)
            for r in range(replicates)
        ]

    wide, narrow = gather(cells(0.1, 4)), gather(cells(0.005, 4))
    assert np.median(wide.sigma) == pytest.approx(0.1, rel=0.1)
    assert np.median(narrow.sigma) == pytest.approx(0.005, rel=0.5)
    assert wide.run.std() == pytest.approx(0.1 / 2, rel=0.1)
    alone = gather(cells(0.1, 1), n_draws=20_000)
    expected = np.sqrt(4 * 0.03**2 / np.random.default_rng(4).chisquare(4, 200_000))
    assert np.median(alone.sigma) == pytest.approx(np.median(expected), rel=0.03)


def test_the_base_model_has_no_run_noise():
    evidence = gather([row(0, score=0.1, stderr=0.01), row(5, score=0.1, stderr=0.01)])
    assert evidence.run[:, 0].std() == 0 and evidence.run[:, 1].std() > 0


def test_the_interval_of_the_largest_covers_it():
    """Coverage at truths that are flat, and with one best: 90 % or more of either."""
    rng = np.random.default_rng(5)
    for truth in (np.zeros(5), np.array([0.0, 0.0, 3.0, 1.0, 0.0])):
        eps = rng.standard_normal((2000, 5))
        below = above = 0
        for _ in range(400):
            found = Differences(truth + rng.standard_normal(5), eps)
            _, low, high = found.largest()
            below += high < truth.max()
            above += low > truth.max()
        assert below <= 0.08 * 400 and above <= 0.08 * 400


def test_bounds_of_a_family_pay_for_its_size():
    rng = np.random.default_rng(6)
    eps = [rng.standard_normal((2000, 4)) for _ in range(10)]
    wrong = 0
    for _ in range(200):
        made = [Differences(rng.standard_normal(4), one) for one in eps]
        wrong += any(low > 0 for low, _ in family_bounds(made))
    assert wrong <= 0.1 * 200


def test_an_interval_turns_skewed_noise_the_right_way():
    eps = np.random.default_rng(7).exponential(1, 20_000) - 1  # estimates too high are far too high
    low, high = two_sided(0.0, eps)
    assert low == pytest.approx(1 - np.log(20), abs=0.1)
    assert high == pytest.approx(1 + np.log(0.95), abs=0.1)


def test_luck_in_flat_tables_is_not_mistaken_for_a_mix():
    """A posterior of the maximum without pooling said (b) in 23 % of such tables."""
    said, slopes = 0, 0
    for seed in range(120):
        rows = on_lines(flat, replicates=2, sigma=0.02, n_items=150, seed=seed)
        evidence = gather(rows, n_draws=500)
        said += largest_budget(evidence).verdict == "holds"
        slopes += falls(evidence).verdict != "cannot tell"
    assert said <= 0.1 * 120
    assert slopes <= 0.1 * 120

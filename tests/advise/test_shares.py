"""Advice on worlds made by hand: what is best, what is safe, what is refused."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import constant, estimate, line_estimate, noisy

from apportion.advise.regret import best_region, safe, statistics
from apportion.advise.shares import advise, advise_levels
from apportion.advise.words import SANDBOX, describe
from apportion.config.budget import PriceRange, Prices
from apportion.errors import ResultsError

SHARES = np.array([0.0, 0.25, 0.5, 1.0])


def test_statistics_by_hand():
    mu = np.array([[0.5, 0.6, 0.4], [0.7, 0.6, 0.4], [0.6, 0.6, 0.4], [0.5, 0.58, 0.58]])
    stats = statistics(mu, epsilon=0.05)
    assert stats.p_best == pytest.approx([(1 + 0.5) / 4, (1 + 0.5 + 0.5) / 4, 0.5 / 4])
    assert stats.expected_regret == pytest.approx([0.18 / 4, 0.1 / 4, 0.7 / 4])
    assert stats.p_safe == pytest.approx([0.5, 0.75, 0.25])
    assert stats.q90_regret[2] == pytest.approx(np.quantile([0.2, 0.3, 0.2, 0.0], 0.9))


def test_safe_shares_may_have_gaps_and_may_be_empty():
    mu = np.tile([0.60, 0.50, 0.595, 0.30], (20, 1))
    assert safe(SHARES, statistics(mu, 0.01), 0.1) == (0.0, 0.5)
    half = np.array([[0.6, 0.5, 0.1, 0.1], [0.5, 0.6, 0.1, 0.1]] * 10)
    assert safe(SHARES, statistics(half, 0.01), 0.1) == ()


def test_the_region_is_the_smallest_set_that_holds_the_best():
    counts = [10, 62, 27, 1]
    mu = np.concatenate([np.tile(np.eye(4)[k], (count, 1)) for k, count in enumerate(counts)])
    stats = statistics(mu, 0.01)
    assert best_region(SHARES, stats, 0.5) == (0.25,)
    assert best_region(SHARES, stats, 0.11) == (0.25, 0.5)
    assert best_region(SHARES, stats, 0.1) == (0.0, 0.25, 0.5)
    assert best_region(SHARES, stats, 0.001) == (0.0, 0.25, 0.5, 1.0)


def test_a_clear_winner():
    world = line_estimate({100: {0.0: constant(0.2), 0.25: constant(0.6), 1.0: constant(0.5)}})
    advice = advise(world, 100)
    assert (advice.share, advice.n_sft, advice.n_pref) == (0.25, 25, 75)
    assert advice.safe_shares == advice.best_share_region == (0.25,)
    assert advice.expected_regret == advice.q90_regret == 0
    assert advice.confident
    assert not advice.extrapolated
    assert not any("cannot be told apart" in reason for reason in advice.reasons)
    assert advice.next_purchase is None
    assert any("next purchase" in reason for reason in advice.reasons)


def test_ties_cannot_be_told_apart_and_are_both_safe():
    world = line_estimate(
        {100: {0.25: noisy(0.6, 0.001, 1), 0.5: noisy(0.6, 0.001, 2), 1.0: constant(0.3, 4000)}}
    )
    advice = advise(world, 100)
    assert advice.safe_shares == (0.25, 0.5)
    assert advice.best_share_region == (0.25, 0.5)
    told = [reason for reason in advice.reasons if "cannot be told apart" in reason]
    assert len(told) == 1
    assert "100 %" not in told[0]


def test_single_replicates_and_doubt_make_advice_unsure():
    columns = {100: {0.25: noisy(0.6, 0.05, 1), 0.5: noisy(0.61, 0.05, 2)}}
    assert not advise(line_estimate(columns), 100).confident
    clear = {100: {0.25: constant(0.6), 0.5: constant(0.3)}}
    assert advise(line_estimate(clear), 100).confident
    once = advise(line_estimate(clear, replicates=1), 100)
    assert not once.confident
    assert any("single replicate" in reason for reason in once.reasons)


def test_baselines_are_exact_interpolated_or_absent_with_a_reason():
    world = line_estimate(
        {
            100: {0.0: constant(0.2), 0.4: constant(0.6), 0.5: constant(0.5)},
            400: {0.0: constant(0.2), 0.4: constant(0.6), 0.5: constant(0.7)},
        }
    )
    largest, quarter, half, everything = advise(world, 100).baselines
    assert (largest.share, largest.interpolated) == (0.5, False)
    assert largest.expected_regret == pytest.approx(0.1)
    assert quarter.interpolated
    assert quarter.expected_score == pytest.approx(0.2 + 0.4 * 0.25 / 0.4)
    assert quarter.difference.mean == pytest.approx(0.6 - quarter.expected_score)
    assert half.verdict == "the recommended share is better"
    assert everything.expected_score is None
    assert "outside the measured" in everything.reason


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_never_worse_than_the_obvious(data):
    shares = data.draw(
        st.lists(st.sampled_from([0, 0.1, 0.2, 0.5, 0.75, 1]), min_size=2, unique=True)
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    sd = data.draw(st.sampled_from([0.0, 0.01, 0.3]))
    columns = {
        b: {s: np.clip(rng.random() + sd * rng.standard_normal(200), 0, 1) for s in shares}
        for b in (100.0, 1000.0)
    }
    budget = data.draw(st.sampled_from([60.0, 100.0, 300.0, 1000.0, 3000.0]))
    advice = advise(line_estimate(columns), budget)
    for rule in (*advice.shares, *advice.baselines):
        if rule.expected_regret is not None:
            assert advice.expected_regret <= rule.expected_regret + 1e-12
            assert advice.expected_score >= rule.expected_score - 1e-12
    held = sum(row.p_best for row in advice.shares if row.share in advice.best_share_region)
    assert held >= 1 - advice.delta - 1e-9
    assert set(advice.safe_shares) == {r.share for r in advice.shares if r.p_safe >= 1 - 0.1}
    json.dumps(advice.to_json(), allow_nan=False)


def test_json_has_the_promised_keys_and_refuses_what_is_not_finite():
    advice = advise(line_estimate({100: {0.0: constant(0.2), 1.0: constant(0.5)}}), 100)
    promised = {
        "budget", "share", "n_sft", "n_pref", "expected_score", "score_interval", "safe_shares",
        "best_share_region", "expected_regret", "q90_regret", "baselines", "next_purchase",
        "extrapolated", "confident", "reasons", "replicates", "n_items", "sandbox",
    }  # fmt: skip
    assert promised <= set(advice.to_json())
    assert json.loads(json.dumps(advice.to_json(), allow_nan=False)) == advice.to_json()
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="expected_score"):
            dataclasses.replace(advice, expected_score=bad).to_json()


BETWEEN = {
    100: {0.0: constant(0.2, 4000), 1.0: constant(0.4, 4000)},
    10_000: {0.0: constant(0.6, 4000), 1.0: constant(0.5, 4000)},
}


def test_between_the_lines_it_interpolates_in_log_budget_with_wider_intervals():
    advice = advise(line_estimate(BETWEEN), 1000)
    assert advice.origin == "interpolated"
    assert not advice.extrapolated
    by_share = {row.share: row for row in advice.shares}
    assert by_share[0.0].expected_score == pytest.approx(0.4, abs=0.01)
    assert by_share[1.0].expected_score == pytest.approx(0.45, abs=0.01)
    low, high = by_share[0.0].score_interval
    assert high - low == pytest.approx(2 * 1.645 * 0.4 * np.sqrt(0.25 / 3), rel=0.1)
    assert by_share[0.0].n_pref == 1000
    assert any("interpolated" in reason for reason in advice.reasons)


def test_beyond_the_lines_it_is_extrapolated_and_never_confident():
    advice = advise(line_estimate(BETWEEN), 20_000)
    assert advice.extrapolated
    assert not advice.confident
    assert advice.shares[0].expected_score == pytest.approx(0.6, abs=0.01)
    low, high = advice.shares[0].score_interval
    assert high - low == pytest.approx(2 * 1.645 * 0.4 / np.log2(100), rel=0.1)
    assert (advice.shares[1].n_sft, advice.shares[0].n_pref) == (20_000, 20_000)


@pytest.mark.parametrize("budget", [20, 50_000, 0, -5, float("nan")])
def test_far_away_or_senseless_budgets_are_refused(budget):
    with pytest.raises(ResultsError) as caught:
        advise(line_estimate(BETWEEN), budget)
    assert caught.value.field == "budget"
    assert caught.value.mend


def test_too_little_evidence_is_refused():
    one = line_estimate({100: {0.25: constant(0.5)}})
    with pytest.raises(ResultsError, match="not enough evidence"):
        advise(one, 100)
    empty = line_estimate(
        {100: {0.25: constant(0.5)}}, status="not enough evidence", reasons=["no"]
    )
    with pytest.raises(ResultsError, match="no"):
        advise(empty, 100)


@pytest.mark.parametrize("limits", [{"epsilon": -1}, {"epsilon": float("nan")}, {"delta": 0}])
def test_senseless_limits_are_refused(limits):
    with pytest.raises(ResultsError):
        advise(line_estimate(BETWEEN), 100, **limits)


def test_levels_without_two_shares_are_said():
    world = line_estimate(
        {100: {0.0: constant(0.2), 1.0: constant(0.5)}, 400: {1.0: constant(0.7)}}
    )
    given_, refused = advise_levels(world)
    assert [advice.budget for advice in given_] == [100]
    assert len(refused) == 1
    assert "400" in refused[0]


def lattice(f):
    levels = (0, 100, 1000)
    return estimate({(a, b): constant(f(a, b)) for a in levels for b in levels})


def test_a_lattice_serves_any_prices():
    def plane(a, b):
        return 0.1 + 0.05 * np.log1p(a) + 0.03 * np.log1p(b)

    world = lattice(plane)
    for prices in (Prices(sft=1, preference=1), Prices(sft=2, preference=0.5)):
        advice = advise(world, 400, prices=prices)
        assert advice.origin == "interpolated"
        for row in advice.shares:
            n_sft, n_pref = row.share * 400 / prices.sft, (1 - row.share) * 400 / prices.preference
            assert row.expected_score == pytest.approx(plane(n_sft, n_pref))
            assert (row.n_sft, row.n_pref) == (round(n_sft), round(n_pref))
    assert advice.baselines[0].reason == "a lattice has no measured budget"


def test_a_lattice_leaves_out_what_it_does_not_cover():
    world = lattice(lambda a, b: 0.5)
    advice = advise(world, 1500)
    shares = [row.share for row in advice.shares]
    assert shares[0] == pytest.approx(0.35)
    assert shares[-1] == pytest.approx(0.65)
    assert any("covers only" in reason for reason in advice.reasons)
    with pytest.raises(ResultsError, match="crosses the measured lattice"):
        advise(world, 5000)


def test_lines_hold_only_for_their_own_prices():
    world = line_estimate(BETWEEN)
    assert advise(world, 100, prices=Prices()).budget == 100
    assert advise(world, 100, prices=Prices(preference=PriceRange(low=0.99, high=1.01)))
    with pytest.raises(ResultsError, match="other prices"):
        advise(world, 100, prices=Prices(sft=2))


def test_the_paragraph_says_what_it_rests_on():
    world = line_estimate({100: {0.25: noisy(0.6, 0.02, 1), 0.5: noisy(0.6, 0.02, 2)}})
    words = describe(advise(world, 100, sandbox=True, epsilon=0.02, delta=0.05))
    for part in ("2 replicates", "300 test items", "ε = 0.02", "δ = 0.05", SANDBOX, "leaning"):
        assert part in words
    plain = describe(advise(world, 100))
    assert SANDBOX not in plain
    assert "nan" not in plain.lower()

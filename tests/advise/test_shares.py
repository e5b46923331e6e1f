"""Advice on surfaces made by hand: what is best, what is safe, what is refused."""

import dataclasses
import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import budget_lines, lattice, peak, surface

from apportion.advise.line import inside
from apportion.advise.next_purchase import _towards
from apportion.advise.regret import best_region, safe, statistics
from apportion.advise.rules import LARGEST, RIVAL
from apportion.advise.shares import advise, advise_levels
from apportion.advise.words import SANDBOX, describe
from apportion.config.budget import PriceRange, Prices, Terms
from apportion.errors import ResultsError
from apportion.prices import Amount, Cost, exact_spend

SHARES = np.array([0.0, 0.25, 0.5, 1.0])
LINES = budget_lines((100, 1000), SHARES)


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


def test_equal_scores_everywhere_are_never_confident():
    advice = advise(surface(peak(0.25, height=0), LINES), 1000)
    assert advice.expected_regret == 0 and not advice.confident


def test_a_clear_winner():
    advice = advise(surface(peak(0.25), LINES), 1000)
    assert (advice.share, advice.n_sft, advice.n_pref) == (0.25, 250, 750)
    assert advice.best_share_region == (0.25,)
    assert advice.safe_shares == (0.15, 0.2, 0.25, 0.3, 0.35)  # 0.5 * 0.14² is just below a point
    assert advice.expected_regret == advice.q90_regret == 0
    assert advice.confident and not advice.extrapolated and advice.origin == "measured"
    assert not any("cannot be told apart" in reason for reason in advice.reasons)


def test_doubt_is_said_and_makes_advice_unsure():
    flat = advise(surface(peak(0.25, height=0), LINES, sd=0.05), 1000)
    assert not flat.confident
    assert any("cannot be told apart" in reason for reason in flat.reasons)
    assert any("probability of only" in reason for reason in flat.reasons)


@pytest.mark.parametrize(
    ("cells", "more"),
    [
        (LINES, {"replicated": 0}),
        (LINES, {"effective": 5.0}),
        (budget_lines((100, 1000), (0.25,)), {}),
        ({(10, 0): (), (0, 10): (), (1000, 0): (), (0, 1000): ()}, {}),
    ],
)
def test_a_clear_curve_without_evidence_is_not_confident(cells, more):
    advice = advise(surface(peak(0.25, steepness=3), cells, **more), 1000)
    assert advice.expected_regret == 0 and not advice.confident


def test_the_rules_by_hand():
    law = peak(0.4)
    world = surface(law, budget_lines((100, 1000), (0.0, 0.25, 0.5, 1.0)))
    rules = {rule.name: rule for rule in advise(world, 400).baselines}
    assert rules[LARGEST].share == 0.5
    top = 0.2 + 0.5 * (1 - 0.1**2)
    close = [s for s in (0, 0.25, 0.5, 1) if 0.2 + 0.5 * (1 - (s - 0.4) ** 2) >= 0.9 * top]
    assert rules[RIVAL].share == (min(close) + max(close)) / 2
    for rule in rules.values():
        regret = 0.5 * (rule.share - 0.4) ** 2
        assert rule.expected_regret == pytest.approx(regret, abs=1e-9)
        assert rule.interpolated
    assert rules["all SFT"].verdict == "the recommended share is better"


def test_rules_that_need_a_measured_budget_say_so_on_a_lattice():
    advice = advise(surface(peak(0.4), lattice((0, 100, 1000), (0, 100, 1000))), 400)
    assert advice.baselines[0].reason == "a lattice has no measured budget"
    assert advice.share == 0.4


@settings(max_examples=60, deadline=None)
@given(
    at=st.floats(0, 1),
    sd=st.sampled_from([0.0, 0.01, 0.2]),
    budget=st.sampled_from([60, 100, 300, 1000, 3000]),
    have=st.sampled_from([(0, 0), (50, 0), (0, 400)]),
    priced=st.booleans(),
)
def test_never_worse_than_the_obvious(at, sd, budget, have, priced):
    prices = Prices(sft=2.5, preference=0.4) if priced else None
    advice = advise(surface(peak(at), LINES, sd=sd), budget, prices=prices, have=have)
    for rule in (*advice.shares, *advice.baselines):
        if rule.expected_regret is not None:
            assert advice.expected_regret <= rule.expected_regret + 1e-9
            assert advice.expected_score >= rule.expected_score - 1e-9
    held = sum(row.p_best for row in advice.shares if row.share in advice.best_share_region)
    assert held >= 1 - advice.delta - 1e-9
    assert set(advice.safe_shares) == {r.share for r in advice.shares if r.p_safe >= 1 - 0.1}
    spent = (advice.n_sft - have[0]) * advice.prices[0] + (advice.n_pref - have[1]) * (
        advice.prices[1]
    )
    assert spent <= budget + 1e-6
    json.dumps(advice.to_json(), allow_nan=False)


def test_json_has_the_promised_keys_and_refuses_what_is_not_finite():
    advice = advise(surface(peak(0.25), LINES), 100)
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


def test_what_is_owned_is_free_and_shifts_the_line():
    def law(s, p):
        return np.minimum(s, 300) / 1000 + np.minimum(p, 300) / 2000

    world = surface(law, lattice((0, 300, 600), (0, 300, 600)))
    bare, owning = advise(world, 300), advise(world, 300, have=(300, 0))
    assert (bare.n_sft, bare.n_pref) == (300, 0)
    assert (owning.n_sft, owning.n_pref) == (300, 300)
    assert owning.share == 0


def test_ranges_of_prices_give_one_robust_split_and_a_table():
    def law(s, p):
        return 0.3 * (1 - np.exp(-s / 200)) + 0.3 * (1 - np.exp(-p / 200))

    world = surface(law, lattice((0, 500, 1000), (0, 500, 1000, 5000)))
    prices = Prices(sft=1, preference=PriceRange(low=0.1, high=2))
    advice = advise(world, 500, prices=prices)
    cheap, dear = advice.price_table
    assert (cheap.preference, dear.preference) == (0.1, 2.0)

    def regret(share, preference):
        def score(s):
            return law(np.floor(500 * s), np.floor((500 - np.floor(500 * s)) / preference))

        return max(score(row.share) for row in advice.shares) - score(share)

    worst = {row.share: max(regret(row.share, 0.1), regret(row.share, 2)) for row in advice.shares}
    assert advice.share == min(worst, key=worst.get)
    assert advice.expected_regret == pytest.approx(worst[advice.share], abs=1e-9)
    assert dear.regret_of_recommended == pytest.approx(regret(advice.share, 2), abs=1e-9)


def test_outside_of_the_measured_hull_is_extrapolated_and_never_confident():
    world = surface(peak(0.25, steepness=3), LINES)
    beyond = advise(world, 2000)
    assert beyond.extrapolated and not beyond.confident
    assert any("extrapolated" in reason for reason in beyond.reasons)
    assert advise(world, 500).origin == "interpolated"


def test_the_hull_by_hand():
    estimate = surface(peak(0.5), budget_lines((1000,), (0.0, 0.5, 1.0))).estimate
    asked = np.array([[400, 600], [300, 300], [500, 520], [600, 600], [1100, 0]], float)
    assert inside(estimate, asked[:, 0], asked[:, 1]) == (True, True, True, False, False)
    one = surface(peak(0.5), budget_lines((100, 1000), (0.25,))).estimate
    assert inside(one, np.array([125.0, 125.0]), np.array([375.0, 300.0])) == (True, False)


@pytest.mark.parametrize("budget", [1, 1_000_000, 0, -5, float("nan"), 2.5])
def test_far_away_or_senseless_budgets_are_refused(budget):
    with pytest.raises(ResultsError) as caught:
        advise(surface(peak(0.25), LINES), budget)
    assert caught.value.field == "budget"
    assert caught.value.mend


def test_a_surface_without_evidence_is_refused():
    poor = surface(peak(0.25), LINES, status="not enough evidence", reasons=("too few cells",))
    with pytest.raises(ResultsError, match="too few cells"):
        advise(poor, 100)


@pytest.mark.parametrize("limits", [{"epsilon": -1}, {"epsilon": float("nan")}, {"delta": 0}])
def test_senseless_limits_are_refused(limits):
    with pytest.raises(ResultsError):
        advise(surface(peak(0.25), LINES), 100, **limits)


def test_every_measured_level_is_answered():
    given_, refused = advise_levels(surface(peak(0.25), LINES))
    assert [advice.budget for advice in given_] == [100, 1000]
    assert refused == ()


def test_the_next_purchase_by_hand():
    def law(s, p):
        return np.minimum(s, 200) / 1000 + np.minimum(p, 200) / 4000

    world = surface(law, lattice((0, 200, 400), (0, 200, 400)))
    first = advise(world, 200, step=100).next_purchase
    assert (first.kind, first.n_sft, first.n_pref) == ("demonstrations", 100, 0)
    assert first.gain == pytest.approx(0.1) and not first.stop
    by_kind = {way.kind: way.gain for way in first.ways}
    assert by_kind["preference units"] == pytest.approx(0.025)
    later = advise(world, 200, have=(200, 0), step=100).next_purchase
    assert later.n_pref == 100 and later.n_sft == 0
    done = advise(world, 200, have=(200, 200), step=100).next_purchase
    assert done.stop and done.gain == pytest.approx(0)
    worth = advise(world, 200, have=(200, 0), step=100, worth=0.2).next_purchase
    assert worth.stop


def test_the_next_purchase_in_money_never_costs_more_than_the_step():
    world = surface(peak(0.25), LINES)
    prices = Prices(sft=3, preference=0.7)
    following = advise(world, Amount(500, "usd"), prices=prices, step=100).next_purchase
    for way in following.ways:
        assert way.n_sft * 3 + way.n_pref * 0.7 <= 100 + 1e-9
    assert advise(world, Amount(500, "usd"), prices=prices, step=0.5).next_purchase is None


def test_fixed_costs_and_rejects_are_paid_and_said():
    def law(s, p):
        return np.minimum(s, 200) / 1000 + np.minimum(p, 200) / 4000

    world = surface(law, lattice((0, 200, 400), (0, 200, 400)))
    sft, preference = Terms(price=1, fixed=40, rejected=0.5), Terms(price=1, fixed=60)
    prices = Prices(sft=sft, preference=preference)
    advice = advise(world, Amount(440, "usd"), prices=prices, step=100)
    assert (advice.n_sft, advice.n_pref, advice.orders) == (200, 0, (400, 0))
    assert (advice.cost, advice.prices) == (440, (2.0, 1.0))
    for row in advice.shares:
        assert exact_spend(row.n_sft, row.n_pref, prices) <= 440
    ways = {way.kind: (way.n_sft, way.n_pref) for way in advice.next_purchase.ways}
    assert ways["demonstrations"] == ways["towards the split"] == (30, 0)  # (100 - 40) / 2
    assert ways["preference units"] == (0, 40)
    assert "order 400 demonstrations" in describe(advice)
    assert "order" not in describe(advise(world, Amount(440, "usd"), prices=Prices()))
    with pytest.raises(ResultsError, match="buys nothing"):
        advise(world, Amount(40, "usd"), prices=prices)


@settings(max_examples=40)
@given(
    lacking=st.tuples(st.integers(0, 500), st.integers(0, 500)),
    step=st.integers(0, 1000),
    fixed=st.tuples(st.integers(0, 300), st.integers(0, 300)),
    kept=st.sampled_from([Fraction(1), Fraction(9, 10), Fraction(1, 3)]),
)
def test_a_step_towards_the_split_never_costs_more_nor_buys_more(lacking, step, fixed, kept):
    costs = tuple(Cost(Fraction(3, 2), Fraction(f), kept) for f in fixed)
    target = (100 + lacking[0], lacking[1])
    bought = _towards((100, 0), target, costs, Fraction(step))
    assert all(0 <= b <= n for b, n in zip(bought, lacking, strict=True))
    assert sum(c.of(n) for c, n in zip(costs, bought, strict=True)) <= step
    if sum(c.of(n) for c, n in zip(costs, lacking, strict=True)) <= step:
        assert bought == lacking


def test_the_paragraph_says_what_it_rests_on():
    world = surface(peak(0.3, height=0.01), LINES, sd=0.02)
    words = describe(advise(world, 100, sandbox=True, epsilon=0.02, delta=0.05))
    for part in ("2 replicates", "300 test items", "ε = 0.02", "δ = 0.05", SANDBOX, "leaning"):
        assert part in words
    plain = describe(advise(world, 100))
    assert SANDBOX not in plain
    assert "nan" not in plain.lower()

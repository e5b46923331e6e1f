"""The first plan: money, what is owned, price ranges, and how far the figure carries."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apportion.advise.plan import SHARES, plan
from apportion.advise.published import by_task, load_published
from apportion.advise.purchase import SEED_DEMONSTRATIONS
from apportion.config.budget import PriceRange, Prices, Terms
from apportion.errors import StudyError
from apportion.prices import Amount, spend

USD = Prices(sft=2.5, preference=0.5)
RANGES = Prices(sft=2.5, preference=PriceRange(low=0.4, high=0.9))


def test_a_first_plan_has_counts_money_and_its_evidence():
    answer = plan("gsm8k", 5000, USD)
    assert answer.published_tasks == ("math",)
    for bought in (answer.whole, answer.first):
        assert bought.cost[0] == pytest.approx(2.5 * bought.n_sft + 0.5 * bought.n_pref)
    assert 5000 - 2.5 <= answer.whole.cost[1] <= 5000
    assert 0 < answer.first.cost[1] <= 1000
    assert "one seed, read off a figure" in answer.evidence
    assert "not measured on your model" in answer.evidence
    assert not answer.extrapolated
    json.dumps(answer.to_json(), allow_nan=False)


def test_the_paper_s_two_findings_come_out():
    """Small budgets go to demonstrations; large ones need preference data, after some SFT."""
    small = plan("math", 500, Prices(), unit="examples")
    large = plan("math", 20_000, Prices(), unit="examples")
    assert small.share >= 0.9
    assert 0.05 <= large.share <= 0.6
    cold = large.shares[0]
    assert cold.share == 0
    assert cold.worst_expected_regret > 0.3


def test_never_worse_than_the_fixed_rules():
    for task in ("math", "ifeval", "tldr", "helpfulness", "poetry"):
        answer = plan(task, 3000, RANGES)
        assert all(answer.expected_regret <= rule.expected_regret for rule in answer.baselines)
        assert answer.expected_regret >= min(r.worst_expected_regret for r in answer.shares)


def test_a_peak_in_a_gap_of_the_figure_is_named_but_not_recommended():
    answer = plan("summarization", 20_000, Prices(), unit="examples")
    assert answer.share == 0.25
    assert any(
        "peaks at" in reason and "nothing was measured" in reason for reason in answer.reasons
    )


def test_in_sample_the_plan_is_near_the_measured_best():
    """A check of sanity, no evidence: the figure is what the plan was made from."""
    for task, points in by_task(load_published()).items():
        budget = max(p.n_sft + p.n_pref for p in points)
        scores = {p.n_sft / budget: p.score for p in points if p.n_sft + p.n_pref == budget}
        share = plan(task, budget, Prices(), unit="examples").share
        assert max(scores.values()) - scores[share] <= 0.01


def test_price_ranges_give_one_robust_share_and_a_table():
    answer = plan("math", 5000, RANGES)
    assert [(row.sft, row.preference) for row in answer.price_table] == [
        (2.5, 0.4),
        (2.5, 0.65),
        (2.5, 0.9),
    ]
    low, high = (answer.price_table[k].regret_of_recommended for k in (0, 2))
    assert answer.expected_regret == pytest.approx(max(low, high))
    assert answer.whole.cost[0] < answer.whole.cost[1] <= 5000
    assert any("ranges" in reason for reason in answer.reasons)
    sure = plan("math", 5000, Prices(sft=2.5, preference=0.4))
    assert len(sure.price_table) == 1


def test_what_is_owned_is_free_and_shifts_the_line():
    without = plan("math", 1000, Prices(), unit="examples")
    rich = plan("math", 1000, Prices(), {"sft": 10_000}, unit="examples")
    assert rich.share < without.share
    assert rich.expected_score > without.expected_score
    assert rich.whole.n_sft + rich.whole.n_pref == 1000
    assert (rich.have_sft, rich.have_pref) == (10_000, 0)


@settings(max_examples=25, deadline=None)
@given(
    budget=st.floats(3, 1e6),
    sft=st.floats(0.01, 3),
    low=st.floats(0.01, 3),
    have=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
)
def test_nothing_is_overspent_or_negative(budget, sft, low, have):
    prices = Prices(sft=sft, preference=PriceRange(low=low, high=low * 2 + 0.001))
    try:
        answer = plan("math", budget, prices, {"sft": have[0], "preference": have[1]})
    except StudyError as error:
        assert "buys nothing" in error.problem  # a whole budget below the price of one unit
        return
    for bought in (answer.whole, answer.first):
        assert bought.n_sft >= 0
        assert bought.n_pref >= 0
        assert bought.cost[1] <= budget * (1 + 1e-9)
    assert answer.first.n_sft <= max(answer.whole.n_sft, SEED_DEMONSTRATIONS)
    assert answer.first == answer.whole or answer.first.cost[1] <= 0.2 * budget * (1 + 1e-9)
    json.dumps(answer.to_json(), allow_nan=False)


def test_the_plan_pays_fixed_costs_and_rejects():
    prices = Prices(
        sft=Terms(price="0.5..1", fixed=150, rejected=0.2), preference=Terms(price=0.25, fixed=900)
    )
    answer = plan("math", 1000, prices)
    high = Prices(sft=Terms(price=1, fixed=150, rejected=0.2), preference=prices.preference)
    for bought in (answer.whole, answer.first):
        assert bought.cost[1] == spend(bought.n_sft, bought.n_pref, high)
        assert bought.orders == (math.ceil(bought.n_sft / 0.8), bought.n_pref)
    assert answer.whole.cost[1] <= 1000 and answer.first.cost[1] <= 200
    assert answer.first.n_pref == 0  # its fee alone is more than the pilot
    with pytest.raises(StudyError, match="buys nothing"):
        plan("math", 150, prices)


def test_the_pilot_is_not_a_cold_start():
    prices = Prices(sft=30, preference=0.5)
    poor = plan("summarization", 20_000, prices)
    assert poor.share * 0.2 * 20_000 / 30 < SEED_DEMONSTRATIONS  # the split alone would not do
    assert poor.first.n_sft == SEED_DEMONSTRATIONS
    assert any("cold start" in reason for reason in poor.reasons)
    owning = plan("summarization", 20_000, prices, {"sft": 500})
    assert owning.first.n_sft <= owning.share * 0.2 * 20_000 / 30
    assert not any("cold start" in reason for reason in owning.reasons)
    dear = plan("summarization", 20_000, Prices(sft=100, preference=0.5))
    assert (dear.first.n_sft, dear.first.n_pref) == (40, 0)  # the whole pilot, and not enough


def test_tiny_budgets():
    answer = plan("math", 3, Prices(), unit="examples")
    assert answer.first == answer.whole
    assert any("too small for a pilot" in reason for reason in answer.reasons)
    assert answer.extrapolated
    with pytest.raises(StudyError, match="buys nothing"):
        plan("math", 1, Prices(sft=2, preference=3))


def test_outside_of_the_figure_it_says_so_and_is_wider():
    inside = plan("math", 20_000, Prices(), unit="examples")
    outside = plan("math", 400_000, Prices(), unit="examples")
    assert not inside.extrapolated
    assert outside.extrapolated
    assert any("extrapolated" in reason for reason in outside.reasons)
    width = [a.score_interval[1] - a.score_interval[0] for a in (inside, outside)]
    assert width[1] > 1.5 * width[0]
    assert outside.expected_regret > inside.expected_regret


def test_an_unknown_task_averages_the_published_ones_with_wider_intervals():
    pooled = plan("poetry", 3000, Prices(), unit="examples")
    assert len(pooled.published_tasks) == 4
    assert any("nothing is published" in reason for reason in pooled.reasons)
    one = plan("math", 3000, Prices(), unit="examples")
    widths = [a.score_interval[1] - a.score_interval[0] for a in (one, pooled)]
    assert widths[1] > widths[0]
    parts = [
        plan(task, 3000, Prices(), unit="examples")
        for task in ("math", "ifeval", "tldr", "helpfulness")
    ]
    k = int(np.flatnonzero(SHARES == 0.5)[0])
    mean = np.mean([part.shares[k].expected_score for part in parts])
    assert pooled.shares[k].expected_score == pytest.approx(mean, abs=0.005)


@pytest.mark.parametrize(
    ("budget", "have", "field"),
    [
        (0, None, "budget"),
        (float("nan"), None, "budget"),
        (100, {"sft": -1}, "have.sft"),
        (100, {"labels": 5}, "have.labels"),
        (100, {"sft": 1.5}, "have.sft"),
    ],
)
def test_senseless_questions_are_refused(budget, have, field):
    with pytest.raises(StudyError) as caught:
        plan("math", budget, Prices(), have)
    assert caught.value.field == field


def test_an_amount_brings_its_own_unit():
    assert plan("math", Amount(700, "examples"), USD) == plan("math", 700, USD, unit="examples")


def test_the_same_question_has_the_same_answer():
    assert plan("math", 700, USD) == plan("math", 700, USD)


def test_planning_loads_nothing_heavy():
    code = (
        "import sys; from apportion.advise.plan import plan; "
        "from apportion.config.budget import Prices; plan('math', 700, Prices()); "
        "print([m for m in ('torch', 'scipy', 'matplotlib', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

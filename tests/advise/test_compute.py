"""Advice that pays its training: the line, what is owned, the next batch, and the words."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import budget_lines, peak, surface

from apportion.advise.plan import plan
from apportion.advise.shares import advise, advise_levels
from apportion.advise.study import Question, advise_study
from apportion.advise.timing import Timing
from apportion.advise.words import describe, ordered
from apportion.config.budget import GpuHour, PriceRange, Prices, Terms
from apportion.config.compute import Seconds
from apportion.errors import ResultsError, StudyError
from apportion.prices import Amount, exact
from apportion.run.results import CellResult
from apportion.surface.simulate import law, simulate

LINES = budget_lines((100, 1000), (0.0, 0.25, 0.5, 1.0))
WORLD = surface(peak(0.25), LINES)
SECONDS = Seconds(sft=0.9, preference=1.8)
TIMING = Timing(SECONDS, "12 SFT stages and 20 preference stages")
DATA = Prices(sft=2.5, preference=0.4)


def priced(price=200.0, seconds=SECONDS, **data):
    hour = GpuHour(price=price, seconds=seconds)
    return Prices(**{"sft": 2.5, "preference": 0.4, **data}, gpu_hour=hour)


@settings(max_examples=40, deadline=None)
@given(
    budget=st.sampled_from([60, 333, 1000]),
    price=st.floats(0.01, 500),
    have=st.sampled_from([(0, 0), (50, 0), (30, 40)]),
    terms=st.booleans(),
)
def test_nothing_is_overspent_with_training(budget, price, have, terms):
    sft = Terms(price=2.5, fixed=20, rejected=0.1, redundancy=2) if terms else 2.5
    found = advise(WORLD, budget, prices=priced(price, sft=sft), have=have)
    each = exact(float(price)) / 3600
    for share in found.shares:
        trained = each * (exact(0.9) * share.n_sft + exact(1.8) * share.n_pref)
        bought = Fraction(2, 5) * (share.n_pref - have[1])
        if not terms:
            bought += Fraction(5, 2) * (share.n_sft - have[0])
        assert trained + bought <= budget
    assert found.cost <= budget * (1 + 1e-12)
    assert found.compute.cost == pytest.approx(
        float(each * (exact(0.9) * found.n_sft + exact(1.8) * found.n_pref))
    )
    assert found.compute.part == pytest.approx(found.compute.cost / budget)
    step = found.next_purchase
    assert step is None or step.step <= budget - found.compute.owned_cost + 1e-9


@pytest.mark.parametrize("have", [(0, 0), (50, 30)])
@pytest.mark.parametrize(
    "budget", [Amount(333, "usd"), Amount(1000, "usd"), Amount(300, "examples")]
)
def test_free_compute_is_today_s_answer_to_the_bit(budget, have):
    free = DATA.model_copy(update={"gpu_hour": GpuHour(price=0, seconds=SECONDS)})
    today = advise(WORLD, budget, prices=DATA, have=have)
    assert advise(WORLD, budget, prices=free, have=have, timing=TIMING) == today
    assert today.compute is None and "ompute" not in describe(today)


def test_a_budget_of_examples_pays_no_compute():
    today = advise(WORLD, Amount(300, "examples"), prices=DATA)
    untimed = DATA.model_copy(update={"gpu_hour": GpuHour(price=2)})
    assert advise(WORLD, Amount(300, "examples"), prices=untimed) == today


def test_seconds_by_hand_are_a_price_by_hand():
    mine = advise(WORLD, 1000, prices=priced(2))
    by_hand = advise(WORLD, 1000, prices=Prices(sft=2.5005, preference=0.401))
    assert replace(mine, compute=None) == by_hand
    assert mine.compute.source == "given" and mine.compute.evidence is None
    assert mine.compute.data_prices == (2.5, 0.4)


def test_measured_seconds_are_those_by_hand_and_say_where_from():
    untimed = DATA.model_copy(update={"gpu_hour": GpuHour(price=200)})
    mine = advise(WORLD, 1000, prices=untimed, timing=TIMING)
    by_hand = advise(WORLD, 1000, prices=priced(200))
    assert replace(mine, compute=None) == replace(by_hand, compute=None)
    assert mine.compute.source == "measured"
    assert mine.compute.seconds == (0.9, 1.8)
    words = describe(mine)
    assert "at 0.9 s per demonstration and 1.8 s per preference unit" in words
    assert "measured on your runs: 12 SFT stages and 20 preference stages" in words
    assert "as you gave them" in describe(by_hand)
    other = Timing(Seconds(sft=9, preference=9), "1 row")
    assert advise(WORLD, 1000, prices=priced(200), timing=other) == by_hand  # by hand stands


def test_the_line_moves_with_the_price_of_compute():
    """Prices 1 and 1 and training of 3 and 0: a demonstration costs four."""
    slow = priced(3600, Seconds(sft=3, preference=1e-9), sft=1, preference=1)
    rows = {row.share: row for row in advise(WORLD, 1000, prices=slow).shares}
    assert (rows[1.0].n_sft, rows[1.0].n_pref) == (250, 0)
    assert (rows[0.0].n_sft, rows[0.5].n_sft) == (0, 125)


def test_what_is_owned_is_trained_on_first():
    """100 USD, 50 demonstrations owned: training on them is 25, and 75 are left to split."""
    hour = priced(1800, Seconds(sft=1, preference=2), sft=1, preference=1)
    found = advise(WORLD, 100, prices=hour, have=(50, 0))
    rows = {row.share: row for row in found.shares}
    assert (rows[1.0].n_sft, rows[1.0].n_pref) == (50 + 50, 0)
    assert (rows[0.0].n_sft, rows[0.0].n_pref) == (50, 37)
    assert found.compute.owned_cost == 25
    new = found.n_sft - 50, found.n_pref
    assert found.cost == 25 + 1.5 * new[0] + 2 * new[1] <= 100
    assert found.compute.hours == pytest.approx((found.n_sft + 2 * found.n_pref) / 3600)
    assert found.next_purchase.step == pytest.approx(0.2 * 75)
    assert "25 USD of it on what is owned" in describe(found)


def test_a_budget_that_cannot_train_on_what_is_owned():
    hour = priced(3600, Seconds(sft=1, preference=2))
    with pytest.raises(ResultsError, match="owned costs 500, and the budget is 400") as caught:
        advise(WORLD, 400, prices=hour, have=(500, 0))
    assert caught.value.field == "have" and "larger budget" in caught.value.mend


def test_a_budget_in_gpu_hours():
    """Of 1 GPU-hour each half trains on 2,000 demonstrations or 1,000 units; money is no part."""
    found = advise(WORLD, Amount(1, "gpu_hours"), prices=priced(7), have=(0, 0))
    rows = {row.share: row for row in found.shares}
    assert (rows[0.5].n_sft, rows[0.5].n_pref) == (2000, 1000)
    assert found.unit == "gpu_hours" and found.compute.price is None
    assert found.compute.hours == found.cost == pytest.approx(1, abs=1e-3)
    assert (
        "1 GPU-hours" in describe(found) and ordered(found) == "" and "USD" not in describe(found)
    )
    assert advise(WORLD, Amount(1, "gpu_hours"), timing=TIMING).shares == found.shares
    levels, refused = advise_levels(WORLD, unit="gpu_hours", timing=TIMING)
    assert not levels and len(refused) == 2  # 100 hours of this are far from what was measured


def test_ranges_of_compute_give_one_robust_split():
    found = advise(WORLD, 1000, prices=priced(PriceRange(low=100, high=900)))
    assert len(found.price_table) == 2
    ends = [advise(WORLD, 1000, prices=priced(p)) for p in (100.0, 900.0)]
    assert [(row.sft, row.preference) for row in found.price_table] == [e.prices for e in ends]
    assert found.compute.price == 500
    json.dumps(found.to_json(), allow_nan=False)


def test_what_to_order_leaves_the_compute_out():
    terms = Terms(price=2.5, fixed=20, rejected=0.1)
    found = advise(WORLD, 1000, prices=priced(200, sft=terms))
    data = found.cost - found.compute.cost
    assert f"for {data:,.2f} USD with fixed costs" in ordered(found)
    assert ordered(advise(WORLD, 1000, prices=priced(200))) == ""


def test_unknown_seconds_are_one_clear_error():
    untimed = DATA.model_copy(update={"gpu_hour": GpuHour(price=2)})
    for amount, prices in ((Amount(100, "usd"), untimed), (Amount(4, "gpu_hours"), DATA)):
        with pytest.raises(ResultsError) as caught:
            advise(WORLD, amount, prices=prices)
        assert caught.value.field == "prices.gpu_hour.seconds"
        assert "seconds_sft=0.8" in caught.value.mend


def rows(model="m", start=5.0, sft=0.2, preference=0.5, timed=True):
    """A lattice of simulated cells as a table has them, with the time of a row."""
    cells = {(a, b): law(a, b) for a in (0, 100, 400) for b in (0, 100, 400)}
    made = simulate(cells, replicates=2, sigma=0.02, n_items=100, seed=3)
    return [
        CellResult(
            model,
            *(one.task, one.method, one.n_sft, one.n_pref, one.replicate, "done"),
            score=one.score,
            n_items=100,
            seconds=start + sft * one.n_sft + preference * one.n_pref if timed else None,
        )
        for one in made
    ]


def test_every_model_pays_its_own_time():
    prices = Prices(sft=1, preference=1, gpu_hour=360)
    asked = Question((Amount(300, "usd"), Amount(0.05, "gpu_hours")), prices)
    both = [*rows("small"), *rows("large", sft=2.0, preference=5.0)]
    answer = advise_study(both, asked)
    found = {(one.model, one.unit): one.compute.seconds for one in answer.advice}
    assert found["small", "usd"] == found["small", "gpu_hours"] == (0.2, 0.5)
    assert found["large", "usd"] == (2.0, 5.0)
    assert all(one.compute.evidence == "18 rows" for one in answer.advice)


def test_a_study_without_times_is_refused_only_where_it_matters():
    prices = Prices(sft=1, preference=1, gpu_hour=360)
    untimed = rows(timed=False)
    with pytest.raises(ResultsError, match="no measured time"):
        advise_study(untimed, Question((Amount(300, "usd"),), prices))
    by_hand = prices.model_copy(update={"gpu_hour": GpuHour(price=360, seconds=SECONDS)})
    for asked in (
        Question((Amount(300, "usd"),), by_hand),
        Question((Amount(300, "examples"),), prices),
    ):
        assert len(advise_study(untimed, asked).advice) == 1


def test_a_large_model_does_not_train_as_fast_as_the_small_ones():
    prices = Prices(sft=1, preference=1, gpu_hour=360)
    asked = Question((Amount(300, "usd"),), prices, model="large", family=("m",))
    with pytest.raises(ResultsError, match=r"large · .* no measured time"):
        advise_study(rows(), asked)


def test_a_first_plan_takes_seconds_by_hand():
    free = plan("math", 5000, DATA, {"sft": 300})
    dear = plan("math", 5000, priced(2000), {"sft": 300})
    assert dear.whole.n_sft + dear.whole.n_pref < free.whole.n_sft + free.whole.n_pref
    owned = 300 * 0.9 / 3600 * 2000
    assert dear.whole.cost[1] + owned <= 5000
    assert any("0.9 s per demonstration" in reason for reason in dear.reasons)
    hours = plan("math", Amount(2, "gpu_hours"), priced(2))
    assert hours.unit == "gpu_hours" and hours.whole.cost[1] <= 2
    with pytest.raises(StudyError, match="how many seconds"):
        plan("math", 5000, Prices(gpu_hour=2))
    with pytest.raises(StudyError, match="owned costs"):
        plan("math", 100, priced(2000), {"sft": 300})

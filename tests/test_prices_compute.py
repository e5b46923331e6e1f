"""Prices with compute in them: never overspent, today's answer where it is free, exact by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from apportion.compile import compile_study
from apportion.config.compute import GpuHour, Seconds
from apportion.config.price import Terms
from apportion.config.study import PriceRange, Prices, Study
from apportion.errors import StudyError
from apportion.prices import (
    Amount,
    billed,
    corners,
    counts,
    data_only,
    effective,
    end,
    exact,
    exact_spend,
    is_definite,
    mid,
    needs_seconds,
    owned_training,
    parse_budget,
    parse_have,
    parse_prices,
    points,
    rest_of,
    spend,
    timed,
)

shares = st.integers(0, 100).map(lambda n: n / 100) | st.floats(0, 1)
money = st.integers(0, 10**7).map(lambda cents: cents / 100)
cents = st.integers(1, 5000).map(lambda n: n / 100)
seconds = st.builds(
    lambda sft, preference: Seconds(sft=sft, preference=preference),
    st.integers(1, 10**5).map(lambda n: n / 1000),
    st.integers(1, 10**5).map(lambda n: n / 1000),
)
hours = st.builds(lambda price, each: GpuHour(price=price, seconds=each), cents, seconds)
terms = st.builds(
    Terms,
    price=cents,
    fixed=st.integers(0, 10**5).map(lambda n: n / 100),
    rejected=st.integers(0, 99).map(lambda n: n / 100),
    redundancy=st.integers(10, 100).map(lambda n: n / 10),
)
kinds = st.just(0) | cents | terms
prices = st.builds(lambda s, p, h: Prices(sft=s, preference=p, gpu_hour=h), kinds, kinds, hours)
owned = st.tuples(st.integers(0, 2000), st.integers(0, 2000))


def training(n_sft: int, n_pref: int, hour: GpuHour) -> Fraction:
    """Money for training on these, by its definition."""
    time = n_sft * exact(hour.seconds.sft) + n_pref * exact(hour.seconds.preference)
    return time / 3600 * exact(hour.price)


@given(share=shares, budget=money, price=prices, have=owned)
def test_never_overspends_with_the_training_on_all_there_is(share, budget, price, have):
    rest = rest_of(Amount(budget, "usd"), have, price)
    if rest.value <= 0:
        assert training(*have, price.gpu_hour) >= exact(budget)
        return
    n_sft, n_pref = counts(share, rest.value, price)
    bought = exact_spend(n_sft, n_pref, data_only(price))
    paid = bought + training(have[0] + n_sft, have[1] + n_pref, price.gpu_hour)
    assert paid <= exact(budget)
    assert paid == exact_spend(n_sft, n_pref, price) + owned_training(have, price)
    if share < 1:  # one more preference unit is not to be had
        assert exact_spend(n_sft, n_pref + 1, price) > exact(rest.value)
    assert exact_spend(n_sft + 1, 0, price) > exact(share) * exact(rest.value)


@given(share=shares, budget=money, s=cents, p=cents | terms, have=owned)
def test_free_compute_is_no_compute_to_the_bit(share, budget, s, p, have):
    plain = Prices(sft=s, preference=p)
    free = Prices(sft=s, preference=p, gpu_hour=0)
    amount = Amount(budget, "usd")
    assert billed(free, "usd") == plain and not needs_seconds(free, "usd")
    assert rest_of(amount, have, free) is amount
    assert counts(share, budget, free) == counts(share, budget, plain)
    assert effective(mid(free)) == effective(mid(plain))


@given(share=shares, budget=money)
def test_seconds_by_hand_are_a_price_by_hand(share, budget):
    hour = {"price": 2, "seconds": {"sft": 0.9, "preference": 1.8}}
    mine = Prices(sft=2.5, preference=0.4, gpu_hour=hour)
    assert effective(mine) == (2.5005, 0.401)
    by_hand = Prices(sft=2.5005, preference=0.401)
    assert counts(share, budget, mine) == counts(share, budget, by_hand)


@given(share=shares, budgets=st.tuples(money, money), price=prices)
def test_more_money_buys_no_fewer_demonstrations(share, budgets, price):
    less, more = (counts(share, budget, price) for budget in sorted(budgets))
    assert less[0] <= more[0]


@given(share=shares, budget=money, price=prices, dearer=st.integers(1, 100))
def test_dearer_compute_buys_no_more(share, budget, price, dearer):
    hour = price.gpu_hour.model_copy(update={"price": price.gpu_hour.price * (1 + dearer)})
    dear = price.model_copy(update={"gpu_hour": hour})
    assert counts(share, budget, dear)[0] <= counts(share, budget, price)[0]
    assert counts(0, budget, dear)[1] <= counts(0, budget, price)[1]


def test_rejected_examples_are_not_trained_on():
    hour = GpuHour(price=3600, seconds=Seconds(sft=2, preference=1))
    price = Prices(sft=Terms(price=1, rejected=0.5, fixed=10), preference=0, gpu_hour=hour)
    assert spend(3, 0, price) == 10 + 6 * 1 + 3 * 2
    assert spend(0, 4, price) == 4
    assert effective(price) == (4, 1)


def test_a_budget_in_hours_pays_compute_alone():
    hour = GpuHour(price=99, seconds=Seconds(sft=36, preference=72))
    price = Prices(sft=2.5, preference=Terms(price=1, fixed=7), gpu_hour=hour)
    paid = billed(price, "gpu_hours")
    assert counts(0.5, 4, paid) == (200, 100)
    assert owned_training((100, 50), paid) == 2
    assert rest_of(Amount(4, "gpu_hours"), (100, 50), paid) == Amount(2, "gpu_hours")
    assert billed(price, "examples") is None and billed(paid, "gpu_hours") == paid


def test_which_budgets_need_seconds():
    untimed = Prices(gpu_hour=2)
    assert [needs_seconds(untimed, u) for u in ("examples", "usd", "gpu_hours")] == [
        False,
        True,
        True,
    ]
    assert [needs_seconds(Prices(), u) for u in ("usd", "gpu_hours")] == [False, True]
    measured = timed(untimed, Seconds(sft=1, preference=2))
    assert measured.gpu_hour == GpuHour(price=2, seconds=Seconds(sft=1, preference=2))
    assert timed(measured, Seconds(sft=7, preference=7)) == measured  # by hand stands
    with pytest.raises(ValueError, match="no seconds"):
        counts(0.5, 100, untimed)
    with pytest.raises(ValueError, match="no seconds"):
        billed(untimed, "usd")


def test_ranges_of_compute():
    hour = GpuHour(price=PriceRange(low=1, high=3), seconds=Seconds(sft=3600, preference=7200))
    price = Prices(sft=PriceRange(low=1, high=2), preference=1, gpu_hour=hour)
    assert not is_definite(price)
    assert [effective(p) for p in corners(price)] == [(2, 3), (4, 7), (3, 3), (5, 7)]
    assert effective(mid(price)) == (3.5, 5) and effective(end(price, "high")) == (5, 7)
    free = Prices(sft=0, preference=0, gpu_hour=hour)
    assert len(corners(data_only(free))) == 1  # prices without compute need not be right alone


def test_data_is_free_only_beside_compute():
    with pytest.raises(ValidationError, match="unless compute has a price"):
        Prices(sft=0)
    assert Prices(sft=0, preference=0, gpu_hour=2).sft == 0


@pytest.mark.parametrize(
    ("texts", "hour"),
    [
        (["gpu_hour=2.00"], GpuHour(price=2)),
        (["gpu_hour=$1.5..2.5"], GpuHour(price=PriceRange(low=1.5, high=2.5))),
        (["gpu_hour=0"], GpuHour(price=0)),
        (
            ["gpu_hour=2, seconds_sft=0.8, seconds_preference=1.9"],
            GpuHour(price=2, seconds=Seconds(sft=0.8, preference=1.9)),
        ),
        (["human", "gpu_hour=2"], GpuHour(price=2)),
        (["sft=0", "preference=0", "gpu_hour=2"], GpuHour(price=2)),
    ],
)
def test_compute_on_the_command_line(texts, hour):
    assert parse_prices(texts).gpu_hour == hour


def test_a_study_s_compute_stays_under_the_command_line():
    study = Prices(sft=1, preference=1, gpu_hour={"price": 2})
    assert parse_prices(["sft=3"], study) == Prices(sft=3, preference=1, gpu_hour=2)
    named = parse_prices(["human"], study)
    assert named.gpu_hour == study.gpu_hour and named.sft == Prices.model_validate("human").sft


@pytest.mark.parametrize(
    ("texts", "field", "problem", "mend"),
    [
        (["gpu_hour=-1"], "gpu_hour", "not a price", "2.50"),
        (["gpu_hour=1e9"], "gpu_hour", "at most", "GPU-hour"),
        (["gpu_hour=2,seconds_sft=1"], "seconds_preference", "missing", "seconds_preference=1.9"),
        (["gpu_hour=2,seconds=1"], "gpu_hour", "not understood", "seconds_sft=0.8"),
        (["gpu_hour=2,seconds_sft=x"], "gpu_hour.seconds_sft", "not a number", "seconds_sft=0.8"),
        (["gpu_hour=2,seconds_sft=0,seconds_preference=1"], "seconds_sft", "above 0", "above 0"),
        (["gpu_hour=2", "gpu_hour=3"], "--price", "given twice", "gpu_hour"),
        (["sft=0"], "--price sft", "unless compute has a price", "2.50"),
        (["sft=0", "gpu_hour=0"], "--price sft", "unless compute has a price", "2.50"),
        (["sft=0,fixed=5", "gpu_hour=2"], "--price sft", "above 0", "2.50"),
    ],
)
def test_wrong_compute_on_the_command_line(texts, field, problem, mend):
    with pytest.raises(StudyError) as caught:
        parse_prices(texts)
    error = caught.value
    assert field in (error.field or "") and problem in error.problem and mend in (error.mend or "")


def test_compute_cannot_be_owned():
    with pytest.raises(StudyError, match="not understood"):
        parse_have(["gpu_hour=3"])


@pytest.mark.parametrize("text", ["40gpuh", "40 GPUh", "40 gpu-hours", "40gpu_hours"])
def test_a_budget_in_hours_as_text(text):
    assert parse_budget(text) == Amount(40, "gpu_hours")
    assert parse_budget("2.5gpuh") == Amount(2.5, "gpu_hours")
    with pytest.raises(StudyError, match="not a budget"):
        parse_budget("$40gpuh")


def study(**changes) -> Study:
    base = {
        "models": ["sandbox:small"],
        "tasks": ["math"],
        "budget": {"unit": "examples", "levels": [20, 40]},
        "shares": [0, 0.5, 1],
        "replicates": 1,
        "recipe": "sandbox",
        "evaluation": {"n_items": 20},
    }
    return Study.of({**base, **changes})


def test_a_price_of_compute_changes_no_stage():
    plain = compile_study(study(prices={"sft": 2, "preference": 1}))
    priced = compile_study(study(prices={"sft": 2, "preference": 1, "gpu_hour": 3}))
    assert priced.cells == plain.cells  # their stages' keys too
    assert list(priced.stages) == list(plain.stages)


def test_a_study_in_money_pays_its_training():
    hour = {"price": 3600, "seconds": {"sft": 3, "preference": 1}}
    paid = study(
        budget={"unit": "usd", "levels": [40]}, prices={"sft": 1, "preference": 1, "gpu_hour": hour}
    )
    assert points(paid) == {
        (0, 0): (),
        (0, 20): ((40, 0),),
        (5, 10): ((40, 0.5),),
        (10, 0): ((40, 1),),
    }
    same = study(budget={"unit": "usd", "levels": [40]}, prices={"sft": 4, "preference": 2})
    assert compile_study(paid).cells == compile_study(same).cells


def test_a_study_in_hours():
    hour = {"price": 2, "seconds": {"sft": 360, "preference": 720}}
    hours = study(budget={"unit": "gpu_hours", "levels": [4]}, prices={"gpu_hour": hour})
    assert points(hours) == {
        (0, 0): (),
        (0, 20): ((4, 0),),
        (20, 10): ((4, 0.5),),
        (40, 0): ((4, 1),),
    }

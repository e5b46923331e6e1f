"""Money to examples: exact, never overspent, and the same whatever floats would have said."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.config.study import PriceRange, Prices, Study
from apportion.errors import StudyError
from apportion.prices import (
    Amount,
    corners,
    counts,
    exact,
    exact_spend,
    is_definite,
    mid,
    parse_budget,
    parse_have,
    parse_price,
    parse_prices,
    points,
    spend,
)

shares = st.integers(0, 100).map(lambda n: n / 100) | st.floats(0, 1)
money = st.integers(0, 10**7).map(lambda cents: cents / 100)
cents = st.integers(1, 5000).map(lambda n: n / 100)
prices = st.builds(lambda sft, pref: Prices(sft=sft, preference=pref), cents, cents)


@given(share=shares, budget=money, price=prices)
def test_never_overspends_and_leaves_less_than_one_unit(
    share: float, budget: float, price: Prices
) -> None:
    n_sft, n_pref = counts(share, budget, price)
    assert n_sft >= 0 and n_pref >= 0
    left = exact(budget) - exact_spend(n_sft, n_pref, price)
    assert left >= 0
    assert left < exact(price.sft if share == 1 else price.preference)
    assert spend(n_sft, n_pref, price) <= budget
    # The demonstrations are within their share, and one more would not be.
    part = exact(share) * exact(budget)
    assert n_sft * exact(price.sft) <= part < (n_sft + 1) * exact(price.sft)


@given(share=shares, budgets=st.tuples(money, money), price=prices)
def test_demonstrations_grow_with_the_budget(
    share: float, budgets: tuple[float, float], price: Prices
) -> None:
    less, more = (counts(share, budget, price) for budget in sorted(budgets))
    assert less[0] <= more[0]


@given(budget=money, price=prices)
def test_the_ends_buy_one_kind(budget: float, price: Prices) -> None:
    assert counts(0, budget, price)[0] == 0
    assert counts(1, budget, price)[1] == 0


@given(share=shares, budget=st.integers(0, 10**7))
def test_examples_add_up(share: float, budget: int) -> None:
    n_sft, n_pref = counts(share, budget)
    assert n_sft + n_pref == budget and n_sft >= 0 and n_pref >= 0
    assert abs(n_sft - exact(share) * budget) <= Fraction(1, 2)


@given(share=shares, budgets=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)))
def test_both_counts_grow_with_a_budget_of_examples(share: float, budgets: tuple[int, int]) -> None:
    less, more = (counts(share, budget) for budget in sorted(budgets))
    # Rounding half to even may move one example from one kind to the other.
    assert less[0] <= more[0] and less[1] <= more[1] + 1


@pytest.mark.parametrize(
    ("share", "budget", "price", "bought"),
    [
        (0.25, 5000, (2.5, 0.5), (500, 7500)),
        (0.1, 0.3, (0.03, 0.09), (1, 3)),  # floats: 0.1 * 0.3 / 0.03 < 1
        (0.7, 1, (0.1, 0.1), (7, 3)),  # floats: 0.7 / 0.1 < 7
        (0.5, 10, (3, 4), (1, 1)),
        (1, 10, (3, 1), (3, 0)),
        (0.5, 1, (5, 7), (0, 0)),
    ],
)
def test_by_hand(
    share: float, budget: float, price: tuple[float, float], bought: tuple[int, int]
) -> None:
    assert counts(share, budget, Prices(sft=price[0], preference=price[1])) == bought


@pytest.mark.parametrize(
    ("share", "budget", "bought"),
    [(0.25, 250, (62, 188)), (0.75, 250, (188, 62)), (0.1, 250, (25, 225)), (0.01, 100, (1, 99))],
)
def test_examples_by_hand(share: float, budget: int, bought: tuple[int, int]) -> None:
    """62.5 → 62 and 187.5 → 188: half to even."""
    assert counts(share, budget) == bought


def test_ranges_must_be_made_definite() -> None:
    loose = Prices(sft=2.0, preference=PriceRange(low=0.4, high=0.9))
    assert not is_definite(loose)
    with pytest.raises(ValueError, match="definite"):
        counts(0.5, 100, loose)
    with pytest.raises(ValueError, match="definite"):
        spend(1, 1, loose)
    assert mid(loose) == Prices(sft=2.0, preference=0.65)
    assert corners(loose) == (Prices(sft=2, preference=0.4), Prices(sft=2, preference=0.9))
    both = Prices(sft=PriceRange(low=1, high=2), preference=PriceRange(low=3, high=4))
    assert len(corners(both)) == 4 and all(is_definite(p) for p in corners(both))
    assert corners(mid(both)) == (mid(both),)


@pytest.mark.parametrize(("share", "budget"), [(-0.1, 1), (1.1, 1), (float("nan"), 1), (0.5, -1)])
def test_out_of_range(share: float, budget: float) -> None:
    with pytest.raises(ValueError, match="out of range"):
        counts(share, budget)
    with pytest.raises(ValueError, match="not whole"):
        counts(0.5, 1.5)


def study(**changes: object) -> Study:
    base = {"models": "sandbox:small", "tasks": "math", "recipe": "sandbox"}
    return Study.of({**base, **changes})


def test_points_of_a_lattice() -> None:
    found = points(study(lattice={"n_sft": [10, 5], "n_pref": [7]}))
    assert found == {(0, 0): (), (5, 7): (), (10, 7): ()}


def test_points_of_lines_that_meet() -> None:
    found = points(study(budget={"levels": [100, 200]}, shares=[0, 0.5, 1]))
    assert found[(0, 0)] == ()
    assert found[(50, 50)] == ((100, 0.5),)
    assert list(found) == sorted(found) and len(found) == 7
    meeting = points(study(budget={"levels": [2]}, shares=[0, 0.1]))
    assert meeting == {(0, 0): (), (0, 2): ((2, 0), (2, 0.1))}


def test_points_in_money() -> None:
    found = points(
        study(
            budget={"unit": "usd", "levels": [100]},
            shares=[0.5],
            prices={"sft": 10, "preference": 2},
        )
    )
    assert found == {(0, 0): (), (5, 25): ((100, 0.5),)}


@pytest.mark.parametrize(
    ("text", "price"),
    [("2.50", 2.5), (" $3 ", 3.0), ("0.40..0.90", PriceRange(low=0.4, high=0.9)), ("1..1", 1.0)],
)
def test_parse_price(text: str, price: object) -> None:
    assert parse_price(text) == price


@pytest.mark.parametrize("text", ["", "x", "-1", "0", "1..", "..1", "2..1", "0..1", "1..2..3",
                                  "nan", "inf", "1e9", "1,5", "٣"])  # fmt: skip
def test_parse_price_refuses(text: str) -> None:
    with pytest.raises(StudyError) as raised:
        parse_price(text, field="--price sft")
    assert raised.value.mend and raised.value.field == "--price sft"


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("5000usd", Amount(5000, "usd")),
        ("5000 USD", Amount(5000, "usd")),
        ("$99.50", Amount(99.5, "usd")),
        ("2000", Amount(2000, "examples")),
        ("2000 examples", Amount(2000, "examples")),
        ("1e4", Amount(10000, "examples")),
    ],
)
def test_parse_budget(text: str, amount: Amount) -> None:
    assert parse_budget(text) == amount


@pytest.mark.parametrize("text", ["", "usd", "-5", "0", "5.5", "5,000usd", "5 eur", "1e400usd",
                                  "1e9", "$5 examples", "nan"])  # fmt: skip
def test_parse_budget_refuses(text: str) -> None:
    with pytest.raises(StudyError) as raised:
        parse_budget(text)
    assert raised.value.mend and raised.value.field == "budget"


@given(text=st.text(max_size=12) | st.text(alphabet="0123456789.$eusd ", max_size=12))
def test_parsers_raise_nothing_else(text: str) -> None:
    for parse in (parse_price, parse_budget):
        try:
            parse(text)
        except StudyError as error:
            assert error.mend


def test_parse_what_the_user_has_and_pays() -> None:
    assert parse_have(["sft=300"]) == (300, 0)
    assert parse_have([]) == (0, 0)
    assert parse_prices(["preference=0.4..0.9"]) == Prices(
        sft=1, preference=PriceRange(low=0.4, high=0.9)
    )
    for wrong in (["300"], ["dpo=1"], ["sft=1", "sft=2"], ["sft=-1"], ["sft=1.5"], ["sft="]):
        with pytest.raises(StudyError):
            parse_have(wrong)
    for wrong in (["2"], ["dpo=1"], ["sft=1", "sft=2"], ["sft=0"]):
        with pytest.raises(StudyError):
            parse_prices(wrong)

"""Money to examples: exact, never overspent, and the same whatever floats would have said."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.config.price import Terms
from apportion.config.price_presets import PRICES
from apportion.config.study import PriceRange, Prices, Study
from apportion.errors import StudyError
from apportion.prices import (
    Amount,
    corners,
    counts,
    effective,
    end,
    exact,
    exact_spend,
    is_definite,
    mid,
    orders,
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


terms = st.builds(
    Terms,
    price=cents,
    fixed=st.integers(0, 10**5).map(lambda n: n / 100),
    rejected=st.integers(0, 99).map(lambda n: n / 100),
    redundancy=st.integers(10, 100).map(lambda n: n / 10),
)


def paid(n: int, price: Terms) -> Fraction:
    """What n usable examples cost, by its definition: the fewest whole ones that yield n."""
    kept = 1 - exact(price.rejected)
    bought = ceil(n / kept)
    assert bought * kept >= n and (bought == 0 or (bought - 1) * kept < n)
    money = bought * exact(price.price) * exact(price.redundancy)  # type: ignore[arg-type]
    return money + (exact(price.fixed) if n else 0)


@given(share=shares, budget=money, sft=terms, preference=terms)
def test_terms_never_overspend_and_one_more_is_not_affordable(
    share: float, budget: float, sft: Terms, preference: Terms
) -> None:
    price = Prices(sft=sft, preference=preference)
    n_sft, n_pref = counts(share, budget, price)
    total, part = exact(budget), exact(share) * exact(budget)
    assert paid(n_sft, sft) + paid(n_pref, preference) == exact_spend(n_sft, n_pref, price) <= total
    assert paid(n_sft, sft) <= part < paid(n_sft + 1, sft)
    if share == 1:
        assert n_pref == 0
    else:
        assert paid(n_pref + 1, preference) > total - paid(n_sft, sft)


@given(budget=money, sft=terms, preference=terms)
def test_the_ends_pay_the_fixed_cost_of_one_kind(
    budget: float, sft: Terms, preference: Terms
) -> None:
    price = Prices(sft=sft, preference=preference)
    for share, one in ((0, preference), (1, sft)):
        bought = counts(share, budget, price)
        kind = 1 - share
        assert bought[1 - kind] == 0
        assert exact_spend(*bought, price) == paid(bought[kind], one)


@given(share=shares, budgets=st.tuples(money, money), sft=terms)
def test_demonstrations_grow_with_the_budget_on_terms_too(
    share: float, budgets: tuple[float, float], sft: Terms
) -> None:
    less, more = (counts(share, budget, Prices(sft=sft)) for budget in sorted(budgets))
    assert less[0] <= more[0]


def test_terms_by_hand() -> None:
    price = Prices(
        sft=Terms(price=2, fixed=100, rejected=0.2, redundancy=1.5),
        preference=Terms(price=0.5, rejected=0.5),
    )
    # 1,000 buys demonstrations for 500: 400 after the fee, 133 at 3 each, of which 106.4 pass.
    n_sft, n_pref = counts(0.5, 1000, price)
    assert (n_sft, orders(n_sft, 0, price)[0]) == (106, 133)  # ceil(106 / 0.8) = 133
    # They cost 100 + 399; the other 501 buy 1,002 units, of which half pass.
    assert n_pref == 501
    assert spend(106, 501, price) == 1000
    assert effective(price) == (3.75, 1.0)
    # A share too small for the fee buys no demonstrations and pays no fee.
    assert counts(0.1, 1000, price) == (0, 1000)
    # What is left at a large share may not reach for the other kind's fee.
    dear = Prices(sft=1, preference=Terms(price=1, fixed=200))
    assert counts(0.9, 1000, dear) == (900, 0)
    assert counts(0.8, 1000, dear) == (800, 0)
    assert counts(0.7, 1000, dear) == (700, 100)


def test_ranges_and_terms_together() -> None:
    loose = Prices(sft=Terms(price="0.4..0.8", fixed=7), preference=2)  # type: ignore[arg-type]
    assert not is_definite(loose)
    with pytest.raises(ValueError, match="definite"):
        counts(0.5, 100, loose)
    assert mid(loose).sft == Terms(price=0.6000000000000001, fixed=7)
    assert [p.sft for p in corners(loose)] == [Terms(price=p, fixed=7) for p in (0.4, 0.8)]
    assert end(loose, "high").sft == Terms(price=0.8, fixed=7)


def test_terms_that_say_only_a_price_are_that_price() -> None:
    assert Prices.model_validate({"sft": {"price": 2.5, "rejected": 0}}).sft == 2.5


def test_presets_are_prices_with_sources() -> None:
    human = Prices.model_validate("human")
    assert human == Prices(sft=PriceRange(low=0.5, high=1), preference=PriceRange(low=0.5, high=1))
    assert Prices.model_validate({"preset": "human", "sft": 3}).sft == 3
    assert Prices.model_validate("synthetic") == Prices(sft=0.001, preference=0.001)
    frontier = Prices.model_validate("frontier")
    # The demonstration costs what Alpaca's did (500 / 52,000), and 1 to 2 times a preference.
    assert frontier.sft == round(500 / 52_000, 4)
    assert isinstance(frontier.preference, PriceRange)
    assert frontier.sft / frontier.preference.high == 1  # type: ignore[operator]
    assert frontier.sft / frontier.preference.low == 2  # type: ignore[operator]
    for preset in PRICES.values():
        for source in (preset.sft_source, preset.preference_source):
            assert "arXiv" in source or "Alpaca" in source


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
    assert parse_prices(["sft=2.5,fixed=$200,rejected=10%, redundancy=3"]) == Prices(
        sft=Terms(price=2.5, fixed=200, rejected=0.1, redundancy=3)
    )
    assert parse_prices(["sft=3", "human"]) == Prices.model_validate({"preset": "human", "sft": 3})
    over = Prices(sft=5, preference=7)
    assert parse_prices(["sft=3"], over) == Prices(sft=3, preference=7)
    assert parse_prices(["synthetic"], over) == Prices.model_validate("synthetic")
    for wrong in (["2"], ["dpo=1"], ["sft=1", "sft=2"], ["sft=0"], ["humans"],
                  ["human", "synthetic"], ["sft=human"], ["sft=1,5"], ["sft=1,fee=2"],
                  ["sft=1,fixed=2,fixed=3"], ["sft=1,fixed=x"], ["sft=1,rejected=1"],
                  ["sft=1,rejected=100%"], ["sft=1,redundancy=0.5"], ["sft=1,fixed=-1"],
                  ["sft=,fixed=1"], ["sft=1,"], ["sft=1,fixed=1e999"]):  # fmt: skip
        with pytest.raises(StudyError):
            parse_prices(wrong)

"""Advice for whole studies: every group answered or refused with its reason."""

from __future__ import annotations

from dataclasses import replace

import pytest

from apportion.advise.study import Question, advise_study
from apportion.config.study import Prices
from apportion.errors import ResultsError
from apportion.prices import Amount
from apportion.surface.simulate import budget_cells, law, simulate

LEVELS, SHARES = (100, 1000), (0.0, 0.25, 1.0)


def rows(model="sandbox:small", **more):
    cells = budget_cells(LEVELS, SHARES)
    truth = {key: law(*key) for key in cells}
    made = simulate(truth, replicates=2, sigma=0.02, n_items=100, seed=3, lines=cells, **more)
    return [replace(row, model=model) for row in made]


def test_every_group_gets_its_own_advice():
    answer = advise_study([*rows("sandbox:small"), *rows("org/real")])
    asked = [(one.model, one.budget, one.sandbox) for one in answer.advice]
    assert asked == [
        ("sandbox:small", 100, True),
        ("sandbox:small", 1000, True),
        ("org/real", 100, False),
        ("org/real", 1000, False),
    ]
    assert answer.refused == ()
    assert [estimate.model for estimate in answer.estimates] == ["sandbox:small", "org/real"]


def test_a_budget_out_of_reach_is_refused_and_the_others_are_not():
    answer = advise_study(
        rows(), Question(budgets=(Amount(300, "examples"), Amount(1e6, "examples")))
    )
    assert [one.budget for one in answer.advice] == [300]
    assert len(answer.refused) == 1
    assert "budget 1,000,000" in answer.refused[0] and "not enough evidence" in answer.refused[0]
    assert answer.refused[0].endswith("Mend: Measure a budget nearer to it.")


def test_too_little_evidence_is_said_once():
    few = [row for row in rows() if (row.n_sft, row.n_pref) in {(0, 0), (100, 0)}]
    answer = advise_study(few)
    assert answer.advice == ()
    assert len(answer.refused) == 1
    assert answer.refused[0].count("not enough evidence") == 1


def test_failed_cells_are_absent_and_the_rest_is_answered():
    made = [
        replace(row, status="failed", reason="the disk was full", score=None, item_scores=None)
        if (row.n_sft, row.n_pref) == (250, 750)
        else row
        for row in rows()
    ]
    answer = advise_study(made)
    measured = {one.budget: [r.share for r in one.shares if r.measured] for one in answer.advice}
    assert measured == {100: [0.0, 0.25, 1.0], 1000: [0.0, 1.0]}
    assert any("the disk was full" in reason for reason in answer.estimates[0].absent)


def test_a_lattice_answers_any_budget_and_says_so_without_one():
    cells = {(a, b): law(a, b) for a in (0, 100, 400) for b in (0, 100, 400)}
    made = simulate(cells, replicates=2, sigma=0.02, n_items=100, seed=3)
    unasked = advise_study(made)
    assert unasked.advice == () and "--budget" in unasked.refused[0]
    asked = (Amount(300, "usd"),)
    dear = advise_study(made, Question(asked, Prices(sft=2, preference=1))).advice
    even = advise_study(made, Question(asked, Prices(sft=1, preference=1))).advice
    assert max(row.n_sft for row in dear[0].shares) == 150
    assert max(row.n_sft for row in even[0].shares) == 300


def test_a_model_that_was_not_measured_gets_its_relatives_advice_and_no_confidence():
    question = Question(budgets=(Amount(1000, "examples"),), model="org/big", family=("small",))
    (advice,) = advise_study(rows("small"), question).advice
    own = advise_study(rows("small"), replace(question, model="small", family=())).advice[0]
    assert advice.model == "org/big" and advice.share == own.share
    assert any(row.measured for row in own.shares)
    assert advice.extrapolated and not advice.confident
    assert not any(row.measured for row in advice.shares)
    assert any("org/big was not measured: small stands in" in reason for reason in advice.reasons)


def test_a_model_with_a_few_cells_is_fitted_under_its_relatives_prior():
    few = [row for row in rows("big") if row.n_sft + row.n_pref in (0, 100)]
    question = Question(budgets=(Amount(1000, "examples"),), model="big", family=("small",))
    answer = advise_study([*rows("small"), *few], question)
    (surface,) = answer.surfaces
    assert surface.model == "big" and "family" in surface.diagnostics.weights
    alone = advise_study(few, replace(question, family=()))
    assert "learnt" in alone.surfaces[0].diagnostics.weights


def test_a_relative_that_hardly_does_the_task_is_a_reason_to_doubt():
    low = {(a, b): 0.02 + 0.1 * a / 400 for a in (0, 100, 400) for b in (0, 100, 400)}
    poor = [
        replace(r, model="poor")
        for r in simulate(low, replicates=2, sigma=0.01, n_items=100, seed=3)
    ]
    question = Question(budgets=(Amount(400, "examples"),), model="big", family=("poor",))
    for more in ([], rows("big")):
        (advice,) = advise_study([*poor, *more], question).advice
        assert any("poor hardly does this task" in reason for reason in advice.reasons)
    (advice,) = advise_study(rows("big"), replace(question, family=())).advice
    assert not any("hardly" in reason for reason in advice.reasons)


@pytest.mark.parametrize(
    ("model", "family", "problem"),
    [
        ("big", ("nano",), "nano: no such model has rows"),
        ("big", (), "big: no such model has rows"),
        (None, ("small",), "no other model"),
        ("small", ("small",), "no other model"),
    ],
)
def test_a_family_that_cannot_be_used(model, family, problem):
    with pytest.raises(ResultsError, match=problem):
        advise_study(rows("small"), Question(model=model, family=family))


def test_relatives_without_a_surface_are_refused():
    few = [row for row in rows("small") if row.n_sft in (0, 100) and row.n_pref == 0]
    answer = advise_study(few, Question(model="big", family=("small",)))
    assert answer.advice == () and "no smaller model of big" in answer.refused[0]

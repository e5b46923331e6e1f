"""Seconds per example, from times that are known by hand; every refusal names field and mend."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apportion.advise.timing import FIELD, timing_of
from apportion.errors import ResultsError
from apportion.run.results import CellResult

CELLS = [(0, 0), (0, 400), (100, 0), (100, 300), (400, 0), (200, 200), (0, 100), (300, 100)]


def row(n_sft, n_pref, replicate=0, **more):
    place = {"model": "m", "task": "t", "method": "dpo", "status": "done", "score": 0.5}
    return CellResult(n_sft=n_sft, n_pref=n_pref, replicate=replicate, **{**place, **more})


def table(start=9.0, sft=0.21, preference=0.5, cells=CELLS):
    return [row(a, b, seconds=start + sft * a + preference * b) for a, b in cells]


def stages(start=3.0, sft=0.21, preference=0.5, cells=CELLS):
    return [
        row(
            a,
            b,
            replicate,
            sft_seconds=start + sft * a if a else None,
            pref_seconds=start + preference * b if b else None,
        )
        for a, b in cells
        for replicate in (0, 1)
    ]


def timing(rows, **place):
    return timing_of(rows, **{"model": "m", "task": "t", "method": "dpo", **place})


def seconds(rows):
    found = timing(rows).seconds
    return found.sft, found.preference


def test_a_table_tells_both_kinds_and_what_every_row_costs():
    assert seconds(table()) == (0.21, 0.5)
    assert timing(table()).evidence == "8 rows"


def test_training_stages_come_before_whole_rows():
    rows = [replace(one, seconds=1e5) for one in stages()]
    assert seconds(rows) == (0.21, 0.5)
    # Cells share their SFT stages: (100, 0) and (100, 300) have one between them.
    assert timing(rows).evidence == "8 SFT stages and 10 preference stages"


def test_one_kind_of_stages_is_not_enough():
    rows = [replace(one, pref_seconds=None) for one in stages()]
    with pytest.raises(ResultsError, match="preference units was timed"):
        timing(rows)
    assert seconds([*rows, *(replace(one, replicate=9) for one in table())]) == (0.21, 0.5)


@settings(max_examples=40, deadline=None)
@given(
    sft=st.floats(0.01, 10),
    preference=st.floats(0.01, 10),
    start=st.floats(0, 100),
    late=st.integers(0, 7),
)
def test_one_run_on_a_busy_machine_moves_nothing(sft, preference, start, late):
    rows = table(start, sft, preference)
    rows[late] = replace(rows[late], seconds=rows[late].seconds * 20 + 500)
    assert seconds(rows) == pytest.approx((sft, preference), rel=0.006)


def test_noise_averages_out():
    rng = np.random.default_rng(1)
    cells = [(a, b) for a in (0, 100, 400) for b in (0, 100, 400)] * 6
    rows = [
        row(a, b, k, seconds=(9 + 0.21 * a + 0.5 * b) * rng.uniform(0.9, 1.1))
        for k, (a, b) in enumerate(cells)
    ]
    assert seconds(rows) == pytest.approx((0.21, 0.5), rel=0.1)


def test_one_budget_line_has_no_start_up_of_its_own():
    cells = [(0, 400), (100, 300), (400, 0)]
    found = seconds(table(start=0, cells=cells))
    assert found == (0.21, 0.5)
    assert seconds(table(start=40, cells=cells)) == (0.31, 0.6)  # it goes to the examples


def test_a_kind_is_never_free():
    rows = [row(a, b, seconds=10.0 + 0.5 * b) for a, b in CELLS]
    found = timing(rows).seconds if _told(rows) else None
    assert found is None or found.sft > 0


def _told(rows):
    try:
        timing(rows)
    except ResultsError as error:
        assert "do not grow with demonstrations" in error.problem
        return False
    return True


def test_scale_goes_through():
    fast, slow = timing(table()).seconds, timing(table(90, 2.1, 5)).seconds
    assert (slow.sft, slow.preference) == pytest.approx((10 * fast.sft, 10 * fast.preference))


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([row(a, b) for a, b in CELLS], "no measured time (seconds)"),
        ([row(a, b, seconds=0.0) for a, b in CELLS], "every measured time is 0"),
        ([replace(one, sft_seconds=0.0) for one in stages()], "every measured time is 0"),
        (table(cells=[(0, 0), (100, 0), (200, 0)]), "no row with preference units"),
        (table(cells=[(100, 100), (200, 200)]), "stand in one proportion"),
        ([row(a, b, seconds=1e9) for a, b in CELLS], "not within 0 to"),
        ([replace(one, status="failed") for one in table()], "no measured time"),
        ([replace(one, method="kto") for one in table()], "no measured time"),
    ],
)
def test_times_that_say_nothing(rows, problem):
    with pytest.raises(ResultsError) as caught:
        timing(rows)
    assert problem in caught.value.problem and "m · t · dpo" in caught.value.problem
    assert caught.value.field == FIELD == "prices.gpu_hour.seconds"
    assert "by hand" in caught.value.mend and "seconds_sft=0.8" in caught.value.mend

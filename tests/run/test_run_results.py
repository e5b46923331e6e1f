"""Results: summaries by hand, tables to the byte, nothing invented."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest

from apportion.run.bodies import summarise
from apportion.run.results import CellResult, Results, collect, to_csv, to_json
from apportion.store.store import Store
from fake_study import fake_plan, run_fake


def row(strict, lenient=1.0, ok=True, truncated=False, n_tokens=10):
    return {
        "strict": strict,
        "lenient": lenient,
        "format_ok": ok,
        "truncated": truncated,
        "n_tokens": n_tokens,
    }


def test_a_summary_by_hand():
    rows = [row(1.0), row(0.0, ok=False), row(1.0, truncated=True, n_tokens=30), row(0.0, 0.0)]
    found = summarise(rows, "strict")
    assert found["score"] == found["strict"] == 0.5
    assert found["lenient"] == 0.75
    # sample variance of 1, 0, 1, 0 is 1/3
    assert found["stderr"] == pytest.approx(math.sqrt(1 / 3) / 2)
    assert found["format_failure_rate"] == found["truncation_rate"] == 0.25
    assert found["mean_response_tokens"] == 15
    assert summarise(rows, "lenient")["score"] == 0.75


def test_one_item_has_no_standard_error():
    assert summarise([row(1.0)], "strict")["stderr"] is None


def cell(**kwargs) -> CellResult:
    place = {"model": "m", "task": "t", "method": "dpo", "n_sft": 0, "n_pref": 0, "replicate": 0}
    return CellResult(**{**place, "status": "missing", **kwargs})


def test_missing_is_an_empty_field_and_null():
    one = cell(reason='its sft stage failed: "no", they said')
    (read,) = csv.DictReader(io.StringIO(to_csv([one])))
    assert read["score"] == read["stderr"] == read["n_items"] == ""
    assert read["reason"] == one.reason
    (found,) = to_json([one])
    assert found["score"] is None and json.loads(json.dumps(found)) == {**found, "lines": []}


def test_rows_are_sorted_and_numbers_are_exact():
    cells = [
        cell(n_sft=10, score=0.1 + 0.2, status="done"),
        cell(n_sft=2),
        cell(n_sft=10, n_pref=1),
    ]
    text = to_csv(cells)
    assert text == to_csv(reversed(cells))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(r["n_sft"], r["n_pref"]) for r in rows] == [("2", "0"), ("10", "0"), ("10", "1")]
    assert float(rows[1]["score"]) == 0.1 + 0.2


def test_collect_keeps_scores_per_item_in_order(tmp_path):
    plan = fake_plan(n_sft=(0, 2), n_pref=(0, 3))
    with Store.open(tmp_path / "s") as store:
        assert {(r.status, r.reason) for r in collect(plan, store)} == {("missing", "not run yet")}
    run_fake(plan, tmp_path / "s")
    with Store.open(tmp_path / "s", read_only=True) as store:
        results = Results(tuple(collect(plan, store)))
        for place, result in zip(plan.cells, results, strict=True):
            path = store.artifact(place.score_key) / "items.jsonl"
            items = [json.loads(line) for line in path.read_text().splitlines()]
            assert [item["item_id"] for item in items] == [str(i) for i in range(8)]
            assert result.item_scores == tuple(item["strict"] for item in items)
            assert result.score == pytest.approx(sum(result.item_scores) / 8)
            assert result.lines == ((10.0, 0.5),)
            kinds = {plan.stages[key].kind: store.record(key) for key in place.stages}
            of_sft, of_pref = kinds.get("sft"), kinds.get("preference")
            assert result.sft_seconds == (of_sft.seconds if of_sft else None)
            assert result.pref_seconds == (of_pref.seconds if of_pref else None)
    assert len(results) == 4 and results[-1].n_pref == 3
    assert results[-1].train_tokens == 7 * (2 + 3)  # as the bodies reported, not as estimated
    assert results[0].train_tokens == 0

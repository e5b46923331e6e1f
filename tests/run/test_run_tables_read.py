"""Somebody's table of results: read as written, or refused with the file, row, column and mend."""

from __future__ import annotations

import json

import pytest

from apportion.errors import ResultsError
from apportion.run.results import CellResult
from apportion.run.tables import read_csv, read_jsonl, read_table, to_csv, to_jsonl

HEADER = "model,task,method,n_sft,n_pref,replicate,score,stderr,n_items"
GOOD = "m,t,dpo,250,750,0,0.5,0.02,600"


def written(tmp_path, *rows: str, name: str = "results.csv"):
    path = tmp_path / name
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_a_row(tmp_path):
    (one,) = read_csv(written(tmp_path, HEADER, GOOD))
    assert (one.model, one.task, one.method, one.status) == ("m", "t", "dpo", "done")
    assert (one.n_sft, one.n_pref, one.replicate, one.n_items) == (250, 750, 0, 600)
    assert (one.score, one.stderr, one.lines, one.item_scores) == (0.5, 0.02, (), None)


def test_shares_of_budgets(tmp_path):
    table = written(
        tmp_path,
        "model,task,method,sft_share,budget_examples,score,n_items",
        "m,t,dpo,0.25,1000,0.5,600",
        "m,t,dpo,1,999,0.5,600",
    )
    first, second = read_csv(table)
    assert (first.n_sft, first.n_pref, first.lines) == (250, 750, ((1000.0, 0.25),))
    assert (second.n_sft, second.n_pref) == (999, 0)


def test_both_counts_and_shares_where_they_agree(tmp_path):
    header = "model,task,method,n_sft,n_pref,sft_share,budget_examples,score,n_items"
    (one,) = read_csv(written(tmp_path, header, "m,t,dpo,10,990,0.01,1000,0.5,600"))
    assert one.lines == ((1000.0, 0.01),)
    with pytest.raises(ResultsError, match="the row says 11"):
        read_csv(written(tmp_path, header, "m,t,dpo,11,500,0.01,1000,0.5,600"))


def rows_of(cells):
    return [f"m,t,dpo,{a},{b},0,0.5,,600" for a, b in cells]


def test_sums_make_budget_lines(tmp_path):
    cells = [(0, 0), (0, 100), (50, 50), (100, 0), (0, 200), (200, 0), (7, 1)]
    found = read_csv(written(tmp_path, HEADER, *rows_of(cells)))
    assert [one.lines for one in found] == [
        (),
        ((100.0, 0.0),),
        ((100.0, 0.5),),
        ((100.0, 1.0),),
        ((200.0, 0.0),),
        ((200.0, 1.0),),
        (),
    ]
    assert all(one.lines == () for one in read_csv(tmp_path / "results.csv", lines=False))


def test_a_lattice_stays_a_lattice(tmp_path):
    cells = [(a, b) for a in (0, 50, 100) for b in (0, 50, 100)]
    assert all(one.lines == () for one in read_csv(written(tmp_path, HEADER, *rows_of(cells))))


def test_a_spreadsheet_s_byte_order_mark_spaces_and_empty_lines(tmp_path):
    path = tmp_path / "x.csv"
    rows = [HEADER, "", GOOD.replace(",", " , "), ",,,,,,,,"]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(rows).encode())
    (one,) = read_csv(path)
    assert one.model == "m" and one.n_items == 600


def test_our_own_tables_come_back(tmp_path):
    cells = [
        CellResult("m", "t", "dpo", 2, 3, 0, "done", score=0.5, n_items=2, item_scores=(0.0, 1.0)),
        CellResult("m", "t", "dpo", 2, 3, 1, "missing", reason="not run yet"),
        CellResult("m", "t", "dpo", 0, 0, 0, "done", score=0.25, stderr=0.1, strict=0.25),
        CellResult(
            "m",
            "u",
            "dpo",
            0,
            0,
            0,
            "done",
            score=0.75,
            n_items=2,
            item_scores=(0.0, 1.0),
            item_weights=(1.0, 3.0),
        ),
    ]
    (tmp_path / "x.jsonl").write_text(to_jsonl(cells))
    (tmp_path / "x.csv").write_text(to_csv(cells))
    ordered = [cells[2], cells[0], cells[1], cells[3]]
    assert read_table(tmp_path / "x.jsonl") == ordered
    without = [
        CellResult(**{**vars(one), "item_scores": None, "item_weights": None}) for one in ordered
    ]
    assert read_table(tmp_path / "x.csv") == without


def test_the_time_of_a_row_is_read_and_goes_on_as_json_lines(tmp_path):
    (tmp_path / "x.csv").write_text(f"{HEADER},seconds\n{GOOD},12.5\n")
    (one,) = read_table(tmp_path / "x.csv")
    assert one.seconds == 12.5 and one.sft_seconds is one.pref_seconds is None
    (tmp_path / "x.jsonl").write_text(to_jsonl([one]))
    assert read_table(tmp_path / "x.jsonl")[0].seconds == 12.5
    assert "seconds" not in to_csv([one])
    (tmp_path / "x.csv").write_text(f"{HEADER},seconds\n{GOOD},soon\n")
    with pytest.raises(ResultsError, match="'soon' is not a number") as caught:
        read_table(tmp_path / "x.csv")
    assert (caught.value.row, caught.value.field) == (2, "seconds")


def test_times_of_one_s_own_runs_are_not_written():
    place = ("m", "t", "dpo", 2, 3, 0, "done")
    timed = CellResult(*place, score=0.5, n_items=2, sft_seconds=1.0, pref_seconds=2.0)
    plain = CellResult(*place, score=0.5, n_items=2)
    assert timed == plain
    assert to_jsonl([timed]) == to_jsonl([plain]) and to_csv([timed]) == to_csv([plain])


@pytest.mark.parametrize(
    ("rows", "where", "problem"),
    [
        ([""], "", "empty"),
        ([HEADER], "", "no rows"),
        ([HEADER.replace("score,", ""), GOOD], ":1", "'score' is missing"),
        ([HEADER.replace("model,", ""), GOOD], ":1", "'model' is missing"),
        ([HEADER.replace("n_pref,", ""), GOOD], ":1", "'n_pref' is missing"),
        ([HEADER.replace(",stderr,n_items", ""), "m,t,dpo,1,1,0,0.5"], ":1", "how noisy"),
        ([HEADER.replace("stderr", "sterr"), GOOD], ":1", "no column 'sterr'"),
        ([HEADER.replace("stderr", "score"), GOOD], ":1", "stands twice"),
        ([HEADER.replace(",", ";"), GOOD], ":1", "not separated by commas"),
        ([GOOD, GOOD], ":1", "no column 'm'"),
        ([HEADER, GOOD, "m,t,dpo,1,2,0,0.5,0.02"], ":3", "8 fields under 9"),
        ([HEADER, GOOD + ",x"], ":2", "10 fields under 9"),
        ([HEADER, GOOD, "", GOOD], ":4: replicate", "stands in row 2"),
        ([HEADER, "m,t,dpo,250,750,0,52.3,,600"], ":2: score", "divide it by 100"),
        ([HEADER, "m,t,dpo,250,750,0,1.01,,600"], ":2: score", "above 1"),
        ([HEADER, "m,t,dpo,250,750,0,1.5,,600"], ":2: score", "fraction, at most 1."),
        ([HEADER, "m,t,dpo,250,750,0,-0.1,,600"], ":2: score", "negative"),
        ([HEADER, "m,t,dpo,250,750,0,nan,,600"], ":2: score", "never a number"),
        ([HEADER, "m,t,dpo,250,750,0,inf,,600"], ":2: score", "not a number"),
        ([HEADER, "m,t,dpo,250,750,0,good,,600"], ":2: score", "'good' is not a number"),
        ([HEADER, "m,t,dpo,250,750,0,,,600"], ":2: score", "empty"),
        ([HEADER, "m,t,dpo,-250,750,0,0.5,,600"], ":2: n_sft", "negative"),
        ([HEADER, "m,t,dpo,250,7.5,0,0.5,,600"], ":2: n_pref", "not a count"),
        ([HEADER, "m,t,dpo,250,1e300,0,0.5,,600"], ":2: n_pref", "not a count"),
        ([HEADER, "m,t,dpo,250,,0,0.5,,600"], ":2: n_pref", "empty"),
        ([HEADER, ",t,dpo,250,750,0,0.5,,600"], ":2: model", "empty"),
        ([HEADER, "m,t,dpo,250,750,0,0.5,,"], ":2: n_items", "neither"),
        ([HEADER, "m,t,dpo,250,750,0,0.5,,0"], ":2: n_items", "number of test items"),
        ([HEADER, "m,t,dpo,250,750,0,0.5,2,600"], ":2: stderr", "above 1"),
        ([HEADER, "m,t,dpo,250,750,-1,0.5,,600"], ":2: replicate", "negative"),
        ([HEADER, 'm,t,dpo,250,750,0,0.5,,"600'], ":2", "not CSV"),
        ([HEADER + ",status", GOOD + ",ok"], ":2: status", "no status"),
        ([HEADER + ",status", GOOD + ",failed"], ":2: score", "has no score"),
        (
            ["model,task,method,sft_share,budget_examples,score,n_items", "m,t,dpo,25,1000,.5,6"],
            ":2: sft_share",
            "above 1",
        ),
        (
            ["model,task,method,sft_share,budget_examples,score,n_items", "m,t,dpo,0.5,,.5,6"],
            ":2: budget_examples",
            "empty",
        ),
        (
            ["model,task,method,sft_share,budget_examples,score,n_items", "m,t,dpo,0.5,0,.5,6"],
            ":2: budget_examples",
            "is 0",
        ),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path, rows, where, problem):
    path = written(tmp_path, *rows)
    with pytest.raises(ResultsError, match=problem) as caught:
        read_csv(path)
    assert str(caught.value).startswith(f"{path}{where}: ")
    assert caught.value.exit_code == 2 and caught.value.mend


@pytest.mark.parametrize(
    ("data", "problem"),
    [(b"\xff\xfe\x00m", "UTF-8"), (b"\x89PNG\r\n\x1a\n", "UTF-8"), (b"a\0b", "not text")],
)
def test_what_is_not_text(tmp_path, data, problem):
    (tmp_path / "x.csv").write_bytes(data)
    with pytest.raises(ResultsError, match=problem):
        read_csv(tmp_path / "x.csv")


def test_what_is_not_a_file(tmp_path):
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(ResultsError, match="cannot be read"):
            read_csv(path)


ROW = {"model": "m", "task": "t", "method": "dpo", "n_sft": 1, "n_pref": 2, "score": 0.5}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"item_scores": [0.5, 2]}, "scores from 0 to 1"),
        ({"item_scores": []}, "scores from 0 to 1"),
        ({"item_scores": "many"}, "scores from 0 to 1"),
        ({"item_scores": [0.0, 0.0]}, "not the mean"),
        ({"item_scores": [0.0, 1.0], "item_weights": [1, 3]}, "not the weighted mean"),
        ({"item_scores": [0.0, 1.0], "item_weights": [1, 0]}, "one positive number for each"),
        ({"item_scores": [0.0, 1.0], "item_weights": [1]}, "one positive number for each"),
        ({"n_items": 5, "item_weights": [1, 1]}, "one positive number for each"),
        ({"item_scores": [0.0, 1.0], "n_items": 3}, "number of test items"),
        ({"n_items": True}, "not a number"),
        ({"n_items": 5, "scores": 1}, "no column 'scores'"),
        ({"n_items": 5, "model": 7}, "not a name"),
        ({"n_items": 5, "lines": [[0, 1]]}, "budget, share"),
        ({"n_items": 5, "lines": 3}, "budget, share"),
    ],
)
def test_json_lines_that_cannot_be_used(tmp_path, change, problem):
    good = json.dumps({**ROW, "replicate": 1, "n_items": 9})
    path = written(tmp_path, good, json.dumps(ROW | change), name="x.jsonl")
    with pytest.raises(ResultsError, match=problem) as caught:
        read_jsonl(path)
    assert caught.value.row == 2


@pytest.mark.parametrize("line", ['{"model": "m"', "[1]", "7", "[" * 100_000])
def test_half_a_line_of_json(tmp_path, line):
    with pytest.raises(ResultsError, match=r"JSON") as caught:
        read_jsonl(written(tmp_path, line, name="x.jsonl"))
    assert caught.value.row == 1


def test_an_engine_is_read_and_two_are_not_compared(tmp_path):
    header, base = f"{HEADER},engine", "m,t,dpo,0,0,0,0.4,0.02,600"
    table = written(tmp_path, header, f"{GOOD},vllm", f"{base},vllm")
    cells = read_csv(table)
    assert [one.engine for one in cells] == ["vllm", "vllm"]
    (tmp_path / "x.jsonl").write_text(to_jsonl(cells))
    assert {one.engine for one in read_jsonl(tmp_path / "x.jsonl")} == {"vllm"}
    assert to_csv(cells).splitlines()[0].endswith(",engine")
    assert [one.engine for one in read_csv(written(tmp_path, header, f"{GOOD},"))] == [None]
    mixed = written(tmp_path, header, f"{GOOD},vllm", f"{base},transformers")
    with pytest.raises(ResultsError, match="by transformers and vllm") as refused:
        read_csv(mixed)
    assert refused.value.field == "engine" and refused.value.mend

"""import, export, and the answers that a table of results gives, through the command."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter

import pytest

from apportion.cli import main

HEADER = "model,task,method,n_sft,n_pref,replicate,score,n_items"
CELLS = [(a, b - a) for b in (100, 400) for a in (0, b // 4, b // 2, b)]
ROWS = [
    f"me/mine,own,dpo,{a},{b},{r},{0.3 + 0.1 * (a > 0) + 0.0002 * b + 0.01 * r:.4f},500"
    for a, b in CELLS
    for r in (0, 1)
]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("\n".join([HEADER, *ROWS]) + "\n")
    return path


@pytest.fixture
def command(monkeypatch, capsys):
    """A function from arguments to (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["apportion", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return run


def test_a_refused_budget_is_told_once(command, table):
    ask = ["advise", "--results", table, "--budget"]
    code, out, err = command(*ask, "10000000")
    assert code == 2 and "No advice" not in out
    assert err.count("budget of 10,000,000 is more than 50 times") == 1
    code, out, err = command(*ask, "300", "--budget", "10000000")
    assert code == 0 and "No advice for me/mine · own · dpo, budget 10,000,000" in out


def test_advice_from_a_table(command, table):
    code, out, _ = command("advise", "--results", table, "--json")
    advice = json.loads(out)["advice"]
    assert code == 0 and [one["budget"] for one in advice] == [100, 400]
    assert 0.15 <= advice[1]["share"] <= 0.4
    assert [row["share"] for row in advice[1]["shares"] if row["measured"]] == [0, 0.25, 0.5, 1]


def test_a_report_from_a_table(command, table, tmp_path):
    assert command("report", "--results", table, "--out", tmp_path / "r")[0] == 0
    assert "me/mine on own" in (tmp_path / "r" / "report.html").read_text()


def test_advice_about_money_from_a_lattice(command, tmp_path):
    rows = [f"m,t,dpo,{a},{b},0,{0.3 + a / 1000},500" for a in (0, 50, 100) for b in (0, 50, 100)]
    (tmp_path / "x.csv").write_text("\n".join([HEADER, *rows]))
    ask = ["--results", tmp_path / "x.csv", "--budget", "100usd", "--json"]
    code, out, err = command("advise", *ask, "--price", "sft=2", "--price", "preference=1")
    assert code == 0, err
    (advice,) = json.loads(out)["advice"]
    assert advice["n_sft"] == 50 and advice["share"] == 1


def test_advice_that_pays_compute_from_a_table(command, table):
    timed = [f"{HEADER},seconds"]
    for row in ROWS:
        a, b = (int(n) for n in row.split(",")[3:5])
        timed.append(f"{row},{9 + 0.2 * a + 0.5 * b}")
    table.write_text("\n".join(timed))
    ask = ["advise", "--results", table, "--budget", "300usd", "--price", "gpu_hour=360"]
    (advice,) = json.loads(command(*ask, "--json")[1])["advice"]
    assert advice["compute"]["seconds"] == [0.2, 0.5] and advice["prices"] == [1.02, 1.05]
    assert advice["compute"]["data_prices"] == [1, 1] and advice["cost"] <= 300
    _, out, _ = command(*ask)
    said = " ".join(out.split())
    assert "0.2 s per demonstration" in said and "measured on your runs: 16 rows" in said
    by_hand = "gpu_hour=360,seconds_sft=2,seconds_preference=5"
    (other,) = json.loads(command(*ask[:-1], by_hand, "--json")[1])["advice"]
    assert other["prices"] == [1.2, 1.5] and other["compute"]["source"] == "given"
    code, _, err = command(*ask, "--have", "sft=100000")
    assert code == 2 and "leave out of what is owned" in err  # the mend of this, not of others
    assert err.count("Mend:") == 1


def test_a_budget_in_gpu_hours_from_a_table(command, table):
    hour = "gpu_hour=0,seconds_sft=1,seconds_preference=2"
    ask = ["advise", "--results", table, "--budget", "0.1gpuh", "--price", hour, "--step"]
    code, out, err = command(*ask, "0.02gpuh", "--json")
    assert code == 0, err
    (advice,) = json.loads(out)["advice"]
    ends = {row["share"]: (row["n_sft"], row["n_pref"]) for row in advice["shares"]}
    assert ends[0] == (0, 180) and ends[1] == (360, 0) and advice["unit"] == "gpu_hours"
    assert advice["next_purchase"]["step"] == 0.02
    assert command(*ask, "5usd")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ["--results", "TABLE", "--budget", "300usd", "--price", "gpu_hour=2"],
            "mine.csv: prices.gpu_hour.seconds: compute cannot be priced",
        ),
        (["--results", "TABLE", "--budget", "4gpuh"], "seconds_sft=0.8"),
        (["--results", "TABLE", "--budget", "4gpuh", "--price", "sft=2"], "change nothing"),
        (["--results", "TABLE", "--price", "gpu_hour=2"], "without a budget in money"),
        ([], "give a study or a table"),
        (["x.yaml", "--results", "x.csv"], "not both"),
        (["--results", "none.csv"], "cannot be read"),
        (["--results", "TABLE", "--price", "sft=2"], "without a budget in money"),
        (["--results", "TABLE", "--step", "20"], "no budget"),
        (["--results", "TABLE", "--budget", "100000"], "no advice"),
        (["--results", "ONE"], "no advice"),
    ],
)
def test_a_question_without_an_answer(command, table, tmp_path, arguments, problem):
    one = tmp_path / "one.csv"
    one.write_text("\n".join([HEADER, ROWS[2]]))
    named = {"TABLE": table, "ONE": one}
    code, _, err = command("advise", *[named.get(word, word) for word in arguments])
    assert code == 2 and problem in err and "Traceback" not in err


def test_tables_and_logs_come_together(command, table, tmp_path):
    log = tmp_path / "samples_own_2026-01-01T00-00-00.0.jsonl"
    line = {"doc_id": 0, "resps": [], "filter": "none", "metrics": ["acc"], "acc": 1.0}
    log.write_text("\n".join(json.dumps({**line, "doc_id": i}) for i in range(4)))
    out = tmp_path / "all.jsonl"
    assert command("import", table, "--out", out)[0] == 0
    ask = ["import", log, "--out", out, "--model", "me/mine"]
    assert command(*ask, "--cell", "0,0")[1].split() == f"{out}: 17 results, 1 of them new.".split()
    code, _, err = command(*ask, "--cell", "0,0")
    assert code == 2 and "already in the table" in err
    for missing in (["--cell"], ["--model"]):
        code, _, err = command(
            "import",
            log,
            "--out",
            out,
            *(["--model", "m"] if missing == ["--cell"] else ["--cell", "1,1"]),
        )
        assert code == 2 and f"{missing[0]} is needed" in err
    advice = json.loads(command("advise", "--results", out, "--json")[1])["advice"]
    assert [one["budget"] for one in advice] == [100, 400]


def test_a_trainer_s_run(command, tmp_path):
    (tmp_path / "run").mkdir()
    history = [{"eval_exact": 0.5, "step": 3}]
    (tmp_path / "run" / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    ask = ["import", tmp_path / "run", "--out", tmp_path / "t.csv", "--cell", "1,2"]
    ask += ["--model", "m", "--task", "t", "--metric", "eval_exact"]
    assert "--items" in command(*ask)[2]
    assert command(*ask, "--items", "50")[0] == 0
    assert "m,t,dpo,1,2,0,done,0.5,,50" in (tmp_path / "t.csv").read_text()
    assert command("import", tmp_path, "--out", tmp_path / "t.csv")[0] == 2


STUDY = """
models: [sandbox:small]
tasks: [math]
lattice: {n_sft: [0, 8], n_pref: [0, 8]}
replicates: 1
recipe: sandbox
evaluation: {n_items: 3}
"""


def test_export_of_a_study_that_was_not_run(command, tmp_path):
    study = tmp_path / "s.yaml"
    study.write_text(STUDY)
    code, out, err = command("export", study, "--cell", "8,8", "--out", tmp_path / "x")
    assert code == 0 and "python train.py" in out, err
    there = {path.name for path in (tmp_path / "x").iterdir()}
    files = {"train.py", "scoring.py", "sft.jsonl", "preference.jsonl", "test.jsonl"}
    assert there == files | {"README.md", "requirements.txt", "model"}
    compile((tmp_path / "x" / "train.py").read_text(), "train.py", "exec")
    for form, problem in (("merged", "store"), ("adapter", "store"), ("zip", "zip")):
        code, _, err = command(
            "export", study, "--cell", "8,8", "--out", tmp_path / "y", "--as", form
        )
        assert code == 2 and problem in err
    code, _, err = command("export", study, "--cell", "9,8", "--out", tmp_path / "y")
    assert code == 2 and "no cell 9,8" in err and not (tmp_path / "y").exists()


def test_the_table_of_rules_loses_nothing_in_80_columns() -> None:
    from types import SimpleNamespace

    from rich.console import Console

    from apportion.advise.types import Baseline
    from apportion.cli.show_advice import _rule_table

    name = "middle of the near-best shares of a-rather-long/Model-Name-135M-Instruct"
    reason = "a share of 0.3 lies outside the measured ones, 0.5 to 1"
    rules = [Baseline(name, None, reason=reason), Baseline("half and half", 0.5)]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(_rule_table(SimpleNamespace(baselines=rules)))
    shown = console.export_text()
    assert "…" not in shown and max(map(len, shown.splitlines())) <= 80
    assert Counter("".join(f"{name} {reason}".split())) <= Counter(shown)  # a long word is broken
    for heading in ("simple rule", "share", "score", "advice gains", "90 %"):
        assert heading in shown

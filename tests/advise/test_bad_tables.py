"""Tables that say little or nonsense: a clear error, or advice that is not confident."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

HEADER = "model,task,method,n_sft,n_pref,replicate,score,stderr,n_items"
LINES = "model,task,method,sft_share,budget_examples,replicate,score,stderr"


def row(a, b, score, r=0):
    return f"m,t,dpo,{a},{b},{r},{score},0.02,400"


GOOD = [row(a, b, 0.3 + a / 4000 + b / 9000, r) for a in (0, 100, 400) for b in (0, 100, 400)
        for r in (0, 1)]  # fmt: skip


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    def run(lines, *more, header=HEADER):
        from apportion.cli import main

        file = tmp_path / "table.csv"
        file.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        words = ["advise", "--results", str(file), *more, "--json"]
        monkeypatch.setattr(sys, "argv", ["apportion", *words])
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, (json.loads(out) if out.strip() else None), err

    return run


def without(name):
    place = HEADER.split(",").index(name)
    return [",".join(v for k, v in enumerate(line.split(",")) if k != place) for line in GOOD]


@pytest.mark.parametrize("name", ["model", "n_sft", "n_pref", "score"])
def test_missing_columns(ask, name):
    header = ",".join(c for c in HEADER.split(",") if c != name)
    code, _, err = ask(without(name), "--budget", "400", header=header)
    assert code == 2 and name in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (row(400, 100, 1.2, 5), "1"),
        (row(400, 100, "nan", 5), "nan"),
        (row(-4, 100, 0.4, 5), "-4"),
        (GOOD[3], "row 5"),
        (row(400, 100, "", 5), "score"),
        (row("many", 100, 0.4, 5), "many"),
    ],
)
def test_rows_that_cannot_be_used(ask, bad, said):
    code, _, err = ask([*GOOD, bad], "--budget", "400")
    assert code == 2 and said in err and "Traceback" not in err


@pytest.mark.parametrize(
    "lines",
    [
        [row(100, 0, 0.4)],
        [row(100, 0, 0.4), row(0, 100, 0.3)],
        [row(0, 0, 0.1)],
        [f"m,t,dpo,{a},{b},0,0.4,," for a in (0, 100) for b in (100, 400)],
    ],
)
def test_too_little_is_said_to_be_too_little(ask, lines):
    code, _, err = ask(lines, "--budget", "100")
    assert code == 2
    assert "not enough evidence" in err or "nothing says how noisy the score is" in err


@pytest.mark.parametrize(
    "lines",
    [
        [row(a, b, 0.4, r) for a in (0, 100, 400) for b in (0, 100, 400) for r in (0, 1)],
        [row(n // 4, n - n // 4, s, r) for n, s in ((100, 0.3), (400, 0.5), (1600, 0.6))
         for r in (0, 1)],
        [row(a, b, 0.3 + a / 1000) for a in (0, 100, 400) for b in (0, 100, 400)],
    ],
    ids=["all equal", "one share", "one replicate"],
)  # fmt: skip
def test_what_compares_nothing_is_never_confident(ask, lines):
    code, answer, _ = ask(lines, "--budget", "400")
    assert code == 0
    (advice,) = answer["advice"]
    assert advice["confident"] is False and advice["reasons"]


def test_one_budget_answers_itself_and_marks_the_rest(ask):
    lines = [f"m,t,dpo,{s},1000,{r},{0.3 + s / 4},0.01" for s in (0, 0.25, 0.5, 1) for r in (0, 1)]
    code, answer, _ = ask(lines, "--budget", "1000", "--budget", "8000", header=LINES)
    assert code == 0
    here, beyond = answer["advice"]
    assert here["share"] >= 0.5 and not here["extrapolated"]
    assert beyond["extrapolated"] and not beyond["confident"]


def test_ten_thousand_rows(ask):
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4000, (5000, 2))
    lines = [
        f"m,t,dpo,{a},{b},{r},{0.2 + 0.3 * a / (a + 500) + 0.1 * b / (b + 900):.4f},0.02,400"
        for a, b in counts.tolist() for r in (0, 1)
    ]  # fmt: skip
    code, answer, _ = ask(sorted(set(lines)), "--budget", "3000")
    assert code == 0
    (advice,) = answer["advice"]
    best = max(0.2 + 0.3 * 3000 * s / (3000 * s + 500) + 0.1 * 3000 * (1 - s) / (3900 - 3000 * s)
               for s in np.linspace(0, 1, 101))  # fmt: skip
    assert advice["expected_score"] == pytest.approx(best, abs=0.03)

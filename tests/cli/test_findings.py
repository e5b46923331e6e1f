"""`apportion findings`: one source, a text for people, one JSON document."""

from __future__ import annotations

import json
import sys

import pytest

from apportion.advise.published import FIGURE
from apportion.cli import main

HEADER = "model,task,method,n_sft,n_pref,replicate,score,n_items,study,split,train_tokens,key"
ROWS = [
    f"me/mine-{size}B,own,dpo,{round(s * b)},{b - round(s * b)},{r},{0.2 + 0.4 * s:.3f},500,g,x,9,k"
    for size in (1, 3)
    for b in (100, 400)
    for s in (0, 0.05, 0.25, 0.5, 1)
    for r in (0, 1)
]


@pytest.fixture
def command(monkeypatch, capsys):
    """A function from arguments to (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["apportion", "findings", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return run


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("\n".join([HEADER, *ROWS]) + "\n")
    return path


def test_a_table_with_columns_that_others_wrote(command, table):
    code, out, err = command("--results", table, "--json")
    assert code == 0, err
    found = json.loads(out)
    said = {one["letter"]: one["verdict"] for one in found["findings"]}
    assert list(said) == list("abcdefgh")
    assert said["d"] != "not measured" and said["h"] != "not measured"
    assert said["f"] == "not measured"


def test_the_text_names_every_statement_and_the_common_model_once(command):
    code, out, _ = command("--published")
    assert code == 0 and out.count("Llama-3.1-8B") == 1
    assert all(f"({letter}) " in out for letter in "abcdefgh")
    assert "+14.0" in out and "+1.6 to +23.5" in out


def test_the_figure_s_file_is_the_figure(command):
    assert command("--results", FIGURE, "--json")[1] == command("--published", "--json")[1]


def test_what_is_small_is_the_user_s_to_say(command, table):
    places = {}
    for small in (100, 400):
        found = json.loads(command("--results", table, "--small", small, "--json")[1])
        places[small] = {p["budget"] for p in found["findings"][0]["places"]}
    assert places == {100: {100}, 400: {100, 400}}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "give a study or a table"),
        (["--published", "--results", "TABLE"], "source of its own"),
        (["--results", "none.csv"], "cannot be read"),
        (["--published", "--size", "x"], "no size"),
        (["--published", "--size", "x=nan"], "no size"),
        (["--published", "--small", "0"], "no budget"),
    ],
)
def test_bad_questions(command, table, arguments, problem):
    code, _, err = command(*[table if word == "TABLE" else word for word in arguments])
    assert code == 2 and problem in err and "Traceback" not in err

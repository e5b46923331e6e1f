"""A study with a shared trajectory through the command: what it saves, and what its audit says."""

from __future__ import annotations

import json
import sys

import pytest

from apportion.cli import main

STUDY = """\
models: [sandbox:tiny]
tasks: [math]
budget: {unit: examples, levels: [8, 16]}
shares: [0, 0.5, 1]
replicates: 1
trajectory: shared
recipe: {preset: sandbox, sft: {epochs: 1, batch_size: 2}, preference: {epochs: 1, batch_size: 2}}
evaluation: {n_items: 6, decoding: {max_new_tokens: 16}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("study")


@pytest.fixture
def command(monkeypatch, capsys):
    """A function from arguments to standard output; the command must succeed."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["apportion", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, err = capsys.readouterr()
        assert not ended.value.code, err
        return " ".join(out.split())

    return run


def test_check_run_results_advise_and_report_speak_of_it(place, command):
    study = place / "study.yaml"
    study.write_text(STUDY)
    told = json.loads(command("check", study, "--no-measure", "--json"))["trajectory"]
    assert told["shared_tokens"] < told["independent_tokens"]
    assert told["audit_cells"] == 2 and told["audit_tokens"] > 0
    shown = command("check", study, "--no-measure")
    assert "It changes the recipe" in shown and f"for {told['audit_cells']} cells" in shown

    command("run", study, "--workers", "0")
    rows = json.loads(command("results", study, "--json"))
    assert len(rows) == 7 and {row["status"] for row in rows} == {"done"}
    sentence = "sandbox:tiny · math · dpo: the shared trajectory's scores"
    assert sentence in command("results", study)
    assert sentence in command("advise", study)
    (audit,) = json.loads(command("advise", study, "--json"))["audit"]
    assert (audit["planned"], audit["cells"]) == (2, 2)
    low, high = audit["interval"]
    assert low < audit["difference"] < high and audit["verdict"] == "cannot be told apart"
    command("report", study, "--out", place / "page")
    page = next((place / "page").glob("*.html")).read_text()
    assert "The shared trajectory against independent runs" in page
    assert "cannot be told apart from independent runs" in page


def test_an_ordinary_study_speaks_of_none(place, command):
    study = place / "plain.yaml"
    study.write_text(STUDY.replace("shared", "independent"))
    assert json.loads(command("check", study, "--no-measure", "--json"))["trajectory"] is None
    assert "trajectory" not in command("check", study, "--no-measure")


def test_a_difference_beyond_noise_is_a_warning(capsys):
    from apportion.cli.show_run import show_audit
    from apportion.run.audit import Audit

    show_audit([Audit("m", "t", "dpo", 2, 2, -0.031, (-0.043, -0.019))])
    assert " ".join(capsys.readouterr().out.split()) == (
        "warning: m · t · dpo: the shared trajectory's scores are 3.1 ± 1.2 points below "
        "independent runs (90 % interval, 2 of 2 audited cells): do not use it."
    )

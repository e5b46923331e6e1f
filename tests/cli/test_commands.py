"""The command line as a user meets it: exit codes, one message, no traceback, nothing lost."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

TINY = """\
models: [sandbox:small]
tasks: [math]
budget: {unit: examples, levels: [8, 16]}
shares: [0, 0.5, 1]
replicates: 1
recipe: {preset: sandbox, sft: {epochs: 1, batch_size: 8}, preference: {epochs: 1, batch_size: 8}}
evaluation: {n_items: 6, decoding: {max_new_tokens: 24}}
"""


def apportion(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """One whole process of the command."""
    return subprocess.run(
        [sys.executable, "-m", "apportion", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=600,
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny study that was run once through the command; its study file."""
    study = tmp_path_factory.mktemp("study") / "study.yaml"
    study.write_text(TINY, encoding="utf-8")
    done = apportion("run", study)
    assert done.returncode == 0, done.stderr
    return study


def test_help_names_every_command() -> None:
    shown = apportion("--help").stdout
    for command in ("plan", "quickstart", "init", "check", "run", "results", "advise", "report"):
        assert f"\n  {command} " in shown


def test_no_heavy_import_for_help() -> None:
    code = (
        "import sys, apportion.cli.main as m\n"
        "heavy = {'torch', 'transformers', 'numpy', 'pydantic', 'matplotlib', 'rich', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_init_then_check(tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    assert apportion("init", study).returncode == 0
    checked = apportion("check", study, "--no-measure", "--json")
    assert checked.returncode == 0, checked.stderr
    answer = json.loads(checked.stdout)
    assert answer["stages"] < answer["naive_stages"]
    assert 0 < answer["detectable_difference"] < 1


def test_init_never_overwrites(tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_text("mine", encoding="utf-8")
    refused = apportion("init", study)
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert study.read_text(encoding="utf-8") == "mine"


def test_results_as_csv_and_json_agree(ran: Path) -> None:
    table = list(csv.DictReader(io.StringIO(apportion("results", ran, "--csv").stdout)))
    rows = json.loads(apportion("results", ran, "--json").stdout)
    assert len(table) == len(rows) == 7  # two budgets of three shares, and the base model
    assert {row["status"] for row in table} == {"done"}
    for text, row in zip(table, rows, strict=True):
        assert float(text["score"]) == row["score"]
        assert 0 <= row["score"] <= 1
        assert row["n_items"] == 6


def test_a_second_run_does_nothing(ran: Path) -> None:
    log = ran.with_suffix(".store") / "executions.log"
    before = log.read_bytes()
    again = apportion("run", ran)
    assert again.returncode == 0
    assert log.read_bytes() == before


def test_advise_gives_every_key(ran: Path) -> None:
    answered = apportion("advise", ran, "--json")
    assert answered.returncode == 0, answered.stderr
    first, second = json.loads(answered.stdout)["advice"]
    assert (first["budget"], second["budget"]) == (8, 16)
    keys = {
        *("budget", "share", "n_sft", "n_pref", "expected_score", "score_interval"),
        *("safe_shares", "best_share_region", "expected_regret", "q90_regret", "baselines"),
        *("next_purchase", "extrapolated", "confident", "reasons"),
    }
    assert keys <= set(first)
    assert first["sandbox"] is True
    assert first["confident"] is False  # one replicate of six items is no evidence


def test_advise_in_money_with_owned_data(ran: Path) -> None:
    asked = ("--budget", "20usd", "--price", "sft=2", "--have", "sft=4", "--step", "5usd")
    answered = apportion("advise", ran, *asked, "--json")
    assert answered.returncode == 0, answered.stderr
    (advice,) = json.loads(answered.stdout)["advice"]
    assert advice["have"] == [4, 0] and advice["unit"] == "usd"
    assert (advice["n_sft"] - 4) * 2 + advice["n_pref"] <= 20
    assert advice["next_purchase"]["step"] == 5


def test_advise_with_compute_that_the_study_measured(ran: Path) -> None:
    asked = ("--budget", "20usd", "--price", "sft=2", "--price", "gpu_hour=900", "--json")
    answered = apportion("advise", ran, *asked)
    assert answered.returncode == 0, answered.stderr
    (advice,) = json.loads(answered.stdout)["advice"]
    compute = advice["compute"]
    assert compute["source"] == "measured" and "SFT stage" in compute["evidence"]
    assert min(compute["seconds"]) > 0 and advice["cost"] <= 20
    data = advice["n_sft"] * 2 + advice["n_pref"]
    assert advice["cost"] == pytest.approx(data + compute["cost"])


def test_report_is_one_file_and_its_figures(ran: Path, tmp_path: Path) -> None:
    made = apportion("report", ran, "--out", tmp_path / "report")
    assert made.returncode == 0, made.stderr
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "sandbox" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert list((tmp_path / "report").glob("*.png"))
    assert list((tmp_path / "report").glob("*.pdf"))


def test_results_before_any_run(tmp_path: Path) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(TINY, encoding="utf-8")
    refused = apportion("results", study)
    assert refused.returncode == 2
    assert "apportion run" in refused.stderr
    assert not study.with_suffix(".store").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "--task", "math", "--budget", "0usd"], "--budget"),
        (["plan", "--task", "math", "--budget", "lots"], "--budget"),
        (["plan", "--task", "math", "--budget", "50usd", "--price", "sft=0"], "sft"),
        (["plan", "--task", "math", "--budget", "50usd", "--price", "dpo=1"], "--price"),
        (["plan", "--task", "math", "--budget", "50usd", "--price", "sft=2..1"], "sft"),
        (["plan", "--task", "math", "--budget", "50usd", "--have", "sft=-3"], "--have"),
        (["plan", "--task", "math", "--budget", "50", "--price", "sft=2"], "--price"),
        (["plan", "--task", "math", "--budget", "5gpuh"], "seconds_sft=0.8"),
        (["plan", "--task", "math", "--budget", "50usd", "--price", "gpu_hour=2"], "gpu_hour"),
        (["run", "no-such-file.yaml"], "no-such-file.yaml"),
        (["run", "."], "."),
        (["init", "no/such/folder/study.yaml"], "study.yaml"),
        (["init", "study.yaml", "--task", "chess"], "chess"),
        (["init", "study.yaml", "--model", "sandbox:huge"], "sandbox:huge"),
    ],
)
def test_mistakes_get_one_message_and_exit_2(
    arguments: list[str], said: str, tmp_path: Path
) -> None:
    refused = apportion(*arguments, cwd=tmp_path)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "Mend: " in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_plan_answers_from_published_evidence() -> None:
    shown = apportion(
        *("plan", "--task", "math", "--budget", "5000usd", "--price", "sft=2.50"),
        *("--price", "preference=0.40..0.90", "--have", "sft=300", "--json"),
    )
    assert shown.returncode == 0, shown.stderr
    answer = json.loads(shown.stdout)
    assert "Llama-3.1-8B" in answer["evidence"]
    assert answer["first"]["cost"][1] <= 0.2 * 5000 + 1e-6
    assert answer["whole"]["cost"][1] <= 5000 + 1e-6
    low, high = answer["score_interval"]
    assert low < answer["expected_score"] < high

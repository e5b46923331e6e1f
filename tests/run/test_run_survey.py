"""What `check` says before anything is spent, against counts made by hand."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest

from apportion.compile import compile_study
from apportion.config.study import Study
from apportion.run.provenance import provenance
from apportion.run.run import run_plan
from apportion.run.survey import survey

VALUES = {
    "models": ["sandbox:small"],
    "tasks": ["math"],
    "budget": {"unit": "examples", "levels": [8, 16]},
    "shares": [0, 0.5, 1],
    "replicates": 1,
    "prices": {"sft": 2, "preference": {"low": 0.5, "high": 1}},
    "recipe": {"preset": "sandbox", "sft": {"epochs": 1}, "preference": {"epochs": 1}},
    "evaluation": {"n_items": 4, "decoding": {"max_new_tokens": 4}},
}


def test_counts_money_and_power_without_measuring(tmp_path):
    plan = compile_study(Study.of(VALUES))
    found = survey(plan, tmp_path / "none", measure=False)
    # Cells (8,0) (4,4) (0,8) (16,0) (8,8) (0,16) and the base: 7 generations and scores. SFT on 4,
    # 8 and 16, where a loop trains 8, 4, 16, 8; preference tuning four times either way.
    assert (found.cells, found.stages, found.naive_stages) == (7, 7 + 7 + 3 + 4, 7 + 7 + 4 + 4)
    assert found.naive_training_tokens > found.training_tokens
    assert found.data.demonstrations == found.data.preference_units == 16
    assert found.data.money == (16 * 2 + 16 * 0.5, 16 * 2 + 16 * 1)
    variance = 2 * (0.25 * (1 - found.correlation) / 4 + found.run_sd**2)
    z = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
    assert found.detectable_difference == pytest.approx(z * math.sqrt(variance))
    assert found.seconds is None and found.disk_bytes is None  # not measured is not a number
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_after_a_run_nothing_is_left_to_do_and_the_report_knows_how_it_was_made(tmp_path):
    plan = compile_study(Study.of(VALUES))
    run_plan(plan, tmp_path / "store", workers=0)
    found = survey(plan, tmp_path / "store")
    assert found.reused_stages == found.stages
    assert (found.seconds, found.disk_bytes) == (0.0, 0)
    facts = {title: dict(rows) for title, rows in provenance(plan, tmp_path / "store")}
    assert facts["Work"]["Stages done"] == f"{found.stages} of {found.stages}"
    assert facts["Recipe"]["sft.epochs"] == "1"
    assert facts["Models and data"]["math: sft, seed 0"].startswith("16 examples")
    assert "host" not in facts["Versions"]

"""What is shown of a run."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from apportion.run.progress import ProgressDisplay, readable
from fake_study import fake_plan, run_fake


def shown(plan, store, *, terminal, monkeypatch) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=100, highlight=False)
    monkeypatch.setenv("CI", "false")
    with ProgressDisplay(console) as display:
        run_fake(plan, store, on_event=display)
    return text.getvalue()


def test_plain_lines_say_what_was_done(tmp_path, monkeypatch):
    plan = fake_plan(n_sft=(0, 2), n_pref=(0,))
    monkeypatch.setenv("FAKE_TROUBLE", json.dumps({"score 2+0": "stage_error"}))
    text = shown(plan, tmp_path / "s", terminal=False, monkeypatch=monkeypatch)
    assert "5 stages: 0 reused, 5 to run" in text
    assert "] sft 2 · replicate 0: " in text
    assert "failed: score 2+0 · replicate 0: the loss is not finite." in text
    assert "(4 run, 0 reused, 1 failed)" in text
    assert "\x1b" not in text
    again = shown(plan, tmp_path / "s", terminal=False, monkeypatch=monkeypatch)
    assert "4 reused, 1 to run" in again


def test_a_terminal_gets_a_bar_that_goes_away(tmp_path, monkeypatch):
    text = shown(fake_plan(), tmp_path / "s", terminal=True, monkeypatch=monkeypatch)
    assert "/17" in text and "━" in text
    assert text.rstrip().endswith("(17 run, 0 reused)")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (59.4, "59 s"), (61, "1 min 1 s"), (3600 * 2 + 300, "2 h 5 min")],
)
def test_readable_times(seconds, said):
    assert readable(seconds) == said

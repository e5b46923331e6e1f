"""A run in a box of time: it starts nothing late, keeps what it did, and goes on later."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from apportion.run import events
from apportion.run.progress import ProgressDisplay
from apportion.store.executions import ran_again
from apportion.store.store import Store
from fake_study import artifacts, fake_plan, run_fake


@pytest.mark.parametrize("workers", [0, 2])
def test_a_box_that_is_over_at_once_runs_nothing(tmp_path, workers):
    plan = fake_plan()
    report = run_fake(plan, tmp_path / "s", workers, time_box=0.0)
    assert report.out_of_time and report.exit_code == 0
    assert (report.executed, len(report.not_run)) == (0, len(plan.stages))
    assert run_fake(plan, tmp_path / "s", workers).executed == len(plan.stages)


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_starts_after_the_end_and_what_runs_is_finished(tmp_path, workers):
    plan, ends, starts = fake_plan(replicates=2, delay=0.2), [], []

    def listen(event):
        if isinstance(event, events.StageStarted):
            starts.append(event.key)
        if isinstance(event, events.StageFinished):
            ends.append(event.key)

    report = run_fake(plan, tmp_path / "s", workers, on_event=listen, time_box=0.3)
    assert report.out_of_time and not report.interrupted
    assert 0 < report.executed < len(plan.stages)
    assert sorted(starts) == sorted(ends) and len(ends) == report.executed
    assert artifacts(tmp_path / "s") == set(ends)
    assert report.executed + len(report.not_run) == len(plan.stages)
    # another box and a run without one come to the end, and run nothing twice
    assert run_fake(plan, tmp_path / "s", workers, time_box=0.1).reused == report.executed
    assert run_fake(plan, tmp_path / "s", workers).exit_code == 0
    assert artifacts(tmp_path / "s") == set(plan.stages)
    assert ran_again(tmp_path / "s" / "executions.log") == []


def test_a_box_that_is_long_enough_changes_nothing(tmp_path):
    plan = fake_plan()
    report = run_fake(plan, tmp_path / "s", time_box=3600.0)
    assert not report.out_of_time and report.executed == len(plan.stages)


def test_it_does_not_wait_for_another_run_beyond_its_time(tmp_path):
    plan = fake_plan(n_sft=(2,), n_pref=(0,))
    first = next(iter(plan.stages.values()))
    with Store.open(tmp_path / "s") as store, store.claim(first.key):
        began = time.monotonic()
        report = run_fake(plan, tmp_path / "s", time_box=0.3)
        assert time.monotonic() - began >= 0.3
    assert report.out_of_time and report.executed == 0


def test_failures_are_still_told(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_TROUBLE", '{"sft": "raise"}')
    plan = fake_plan(n_sft=(2,), n_pref=(0, 3))
    report = run_fake(plan, tmp_path / "s", time_box=3600.0)
    assert report.exit_code == 1 and not report.out_of_time


def test_what_is_left_is_said(tmp_path):
    text = io.StringIO()
    with ProgressDisplay(Console(file=text, width=100, highlight=False)) as display:
        run_fake(fake_plan(), tmp_path / "s", on_event=display, time_box=0.0)
    assert "time is up after" in text.getvalue()
    assert "17 of 17 stages are left; the same command goes on from here." in text.getvalue()

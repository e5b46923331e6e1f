"""Running a plan: reuse, failures, dying workers, two runs at once, Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from apportion.errors import StoreError
from apportion.run import events
from apportion.run.results import collect, to_csv
from apportion.store.executions import ran_again, read_executions
from apportion.store.store import Store
from fake_study import artifacts, end_of, fake_plan, in_child, run_fake


def table(plan, place) -> str:
    with Store.open(place, read_only=True) as store:
        return to_csv(collect(plan, store))


def trouble(monkeypatch, **wishes):
    monkeypatch.setenv(
        "FAKE_TROUBLE", json.dumps({k.replace("_", " "): v for k, v in wishes.items()})
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_every_stage_runs_once_and_a_second_run_does_nothing(tmp_path, workers):
    plan, seen = fake_plan(), []
    report = run_fake(plan, tmp_path / "s", workers, on_event=seen.append)
    assert (report.executed, report.reused, report.exit_code) == (len(plan.stages), 0, 0)
    started = [e.key for e in seen if isinstance(e, events.StageStarted)]
    finished = [e.key for e in seen if isinstance(e, events.StageFinished)]
    assert sorted(started) == sorted(finished) == sorted(plan.stages)
    order = [(type(event), getattr(event, "key", None)) for event in seen]
    for key, stage in plan.stages.items():
        for parent in stage.parents:
            ended = order.index((events.StageFinished, parent))
            assert ended < order.index((events.StageStarted, key))
    again = run_fake(plan, tmp_path / "s", workers)
    assert (again.executed, again.reused) == (0, len(plan.stages))


def test_the_number_of_workers_changes_no_number(tmp_path):
    plan = fake_plan(n_sft=(0, 2))
    for workers in (0, 1, 3):
        run_fake(plan, tmp_path / str(workers), workers)
    assert len({table(plan, tmp_path / str(workers)) for workers in (0, 1, 3)}) == 1


def test_a_larger_study_reuses_a_smaller_one(tmp_path):
    small, large = fake_plan(n_sft=(0, 2)), fake_plan(n_sft=(0, 2, 4))
    run_fake(small, tmp_path / "s")
    report = run_fake(large, tmp_path / "s")
    assert report.reused == len(small.stages)
    assert report.executed == len(large.stages) - len(small.stages)


def test_a_part_of_the_cells_counts_its_own_stages_alone(tmp_path):
    """An adaptive search runs a few cells at a time: the others are not "reused"."""
    plan, seen = fake_plan(), []
    part = replace(plan, cells=plan.cells[:1])
    needed = set(plan.cells[0].stages)
    report = run_fake(part, tmp_path / "s", 0, on_event=seen.append)
    assert (report.total, report.executed, report.reused) == (len(needed), len(needed), 0)
    (began,) = [event for event in seen if isinstance(event, events.PlanStarted)]
    assert (began.total, began.reused) == (len(needed), 0)
    whole = run_fake(plan, tmp_path / "s", 0)
    assert (whole.total, whole.reused) == (len(plan.stages), len(needed))


def test_an_artifact_that_nothing_needs_any_more_may_be_deleted(tmp_path):
    plan = fake_plan()
    run_fake(plan, tmp_path / "s")
    for kind in ("sft", "preference", "generate"):
        shutil.rmtree(tmp_path / "s" / "artifacts" / kind)
    assert run_fake(plan, tmp_path / "s").executed == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failed_stage_stops_only_what_depends_on_it(tmp_path, monkeypatch, workers):
    plan = fake_plan()
    trouble(monkeypatch, sft_2="raise", score_4="stage_error")
    report = run_fake(plan, tmp_path / "s", workers)
    assert sorted(f.label for f in report.failed) == [
        "score 4+0 · replicate 0",
        "score 4+3 · replicate 0",
        "sft 2 · replicate 0",
    ]
    assert report.exit_code == 1 and len(report.not_run) == 5
    assert report.executed == len(plan.stages) - 3 - 5
    with Store.open(tmp_path / "s") as store:
        results = {(r.n_sft, r.n_pref): r for r in collect(plan, store)}
    lost = results[2, 3]
    assert lost.status == "missing" and lost.score is None and lost.item_scores is None
    assert lost.reason.startswith("its sft stage failed: ValueError: no luck in <store>")
    assert results[4, 0].status == "failed"
    assert results[4, 0].reason == "the loss is not finite."
    assert results[0, 3].status == "done" and len(results[0, 3].item_scores) == 8
    (text,) = (tmp_path / "s" / "failures").glob(f"{report.failed[0].key}.txt")
    assert "Traceback" in text.read_text()
    # without the trouble, the failed ones and what waited for them run, nothing else
    monkeypatch.delenv("FAKE_TROUBLE")
    report = run_fake(plan, tmp_path / "s", workers)
    assert report.executed == 8 and report.exit_code == 0
    run_fake(plan, tmp_path / "clean")
    assert table(plan, tmp_path / "s") == table(plan, tmp_path / "clean")


DEATHS = {
    "segfault": "its worker process crashed (SIGSEGV)",
    "killed": "its worker process was killed (SIGKILL), most likely for want of memory",
    "exit": "its worker process ended with exit code 3",
}


@pytest.mark.parametrize("how", DEATHS)
def test_a_worker_that_dies_fails_its_stage_and_is_replaced(tmp_path, monkeypatch, how):
    plan = fake_plan()
    trouble(monkeypatch, sft_2=how)
    report = run_fake(plan, tmp_path / "s", 1)
    assert [(f.label, f.reason) for f in report.failed] == [("sft 2 · replicate 0", DEATHS[how])]
    assert report.executed == len(plan.stages) - 6
    assert list((tmp_path / "s" / "tmp").iterdir()) == []
    if how == "exit":
        text = tmp_path / "s" / "failures" / f"{report.failed[0].key}.txt"
        assert "last words" in text.read_text()
    monkeypatch.delenv("FAKE_TROUBLE")
    assert run_fake(plan, tmp_path / "s", 1).exit_code == 0


def test_a_worker_that_dies_after_its_commit_has_not_failed(tmp_path, monkeypatch):
    plan = fake_plan(n_sft=(0, 2), n_pref=(0,))
    monkeypatch.setenv("APPORTION_CRASH_AT", "indexed:2:worker")
    report = run_fake(plan, tmp_path / "s", 1)
    assert not report.failed and report.executed == len(plan.stages)
    assert ran_again(tmp_path / "s" / "executions.log") == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_ends_the_run_with_its_mend(tmp_path, monkeypatch, workers):
    plan = fake_plan()
    trouble(monkeypatch, sft_4="full")
    with pytest.raises(StoreError, match="disk is full") as caught:
        run_fake(plan, tmp_path / "s", workers)
    assert "free some space" in caught.value.mend
    assert list((tmp_path / "s" / "tmp").iterdir()) == []
    monkeypatch.delenv("FAKE_TROUBLE")
    done = artifacts(tmp_path / "s")
    assert run_fake(plan, tmp_path / "s").executed == len(plan.stages) - len(done)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_parent_is_noticed_when_it_is_used_and_runs_again(tmp_path, workers):
    small, large = fake_plan(n_sft=(2,), n_pref=(0,)), fake_plan(n_sft=(2,), n_pref=(0, 3))
    run_fake(small, tmp_path / "s")
    (sft,) = [key for key, stage in small.stages.items() if stage.kind == "sft"]
    weights = tmp_path / "s" / "artifacts" / "sft" / sft / "weights.bin"
    weights.write_bytes(b"\0" + weights.read_bytes()[1:])
    seen = []
    report = run_fake(large, tmp_path / "s", workers, on_event=seen.append)
    assert report.executed == 4 and report.reused == 2 and not report.failed
    assert any("weights.bin does not match" in text for text in report.warnings)
    assert any(isinstance(e, events.Warning) for e in seen)
    run_fake(large, tmp_path / "clean")
    assert table(large, tmp_path / "s") == table(large, tmp_path / "clean")
    assert ran_again(tmp_path / "s" / "executions.log") == []


def test_a_damaged_score_runs_again_and_is_missing_until_then(tmp_path):
    plan = fake_plan(n_sft=(0, 2))
    run_fake(plan, tmp_path / "s")
    truth = table(plan, tmp_path / "s")
    (tmp_path / "s" / "artifacts" / "score" / plan.cells[1].score_key / "items.jsonl").unlink()
    with Store.open(tmp_path / "s", read_only=True, warn=lambda text: None) as store:
        assert collect(plan, store)[1].status == "missing"
        assert "damaged" in collect(plan, store)[1].reason
    assert run_fake(plan, tmp_path / "s").executed == 1
    assert table(plan, tmp_path / "s") == truth


def test_two_runs_on_one_store_share_the_work(tmp_path):
    plan = fake_plan(n_sft=(0, 2), replicates=2, delay=0.05)
    Store.open(tmp_path / "s").close()
    children = [in_child(lambda: run_fake(plan, tmp_path / "s", 2)) for _ in range(2)]
    assert [end_of(child) for child in children] == [0, 0]
    lines = read_executions(tmp_path / "s" / "executions.log")
    assert Counter(line["event"] for line in lines) == {
        "started": len(plan.stages),
        "finished": len(plan.stages),
    }
    run_fake(plan, tmp_path / "clean")
    assert table(plan, tmp_path / "s") == table(plan, tmp_path / "clean")


def test_a_stage_that_another_process_holds_is_waited_for(tmp_path):
    plan = fake_plan(n_sft=(2,), n_pref=(0,))
    first = next(iter(plan.stages.values()))
    seen = []
    with Store.open(tmp_path / "s") as store:
        claim = store.claim(first.key)
        threading.Timer(0.5, claim.release).start()
        report = run_fake(plan, tmp_path / "s", on_event=seen.append)
    assert [e.key for e in seen if isinstance(e, events.StageWaiting)] == [first.key]
    assert report.executed == len(plan.stages)


@pytest.mark.parametrize(
    ("how", "workers"), [(signal.SIGINT, 0), (signal.SIGINT, 2), (signal.SIGTERM, 2)]
)
def test_ctrl_c_keeps_what_is_finished_and_leaves_nobody(tmp_path, how, workers):
    plan = fake_plan(replicates=2, delay=0.1)
    place, said = tmp_path / "s", tmp_path / "said"

    def work():
        report = run_fake(plan, place, workers)
        said.write_text(json.dumps([report.exit_code, report.executed, len(report.not_run)]))

    child = in_child(work, own_group=True)
    while not (place / "artifacts" / "sft").exists():
        time.sleep(0.02)
    os.killpg(child, how) if how == signal.SIGINT else os.kill(child, how)
    assert end_of(child) == 0
    code, executed, left = json.loads(said.read_text())
    assert code == 130 and 0 < executed < len(plan.stages)
    assert executed + left == len(plan.stages)
    assert len(artifacts(place)) >= executed
    assert list((place / "tmp").iterdir()) == []
    assert _group(child) == []
    assert run_fake(plan, place).exit_code == 0
    assert ran_again(place / "executions.log") == []


def _group(leader: int) -> list[str]:
    """Processes of a group that are still there."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == leader and fields[0] != "Z":
            found.append(pid)
    return found


def test_workers_die_with_a_master_that_is_killed(tmp_path, monkeypatch):
    """While they work: the end of their pipe would tell them only between two stages."""
    trouble(monkeypatch, sft="sleep:60")
    plan, log = fake_plan(n_sft=(2, 4)), tmp_path / "s" / "executions.log"
    child = in_child(lambda: run_fake(plan, tmp_path / "s", 2), own_group=True)
    while len(read_executions(log)) < 2:
        time.sleep(0.02)
    assert len(_group(child)) == 3
    os.kill(child, signal.SIGKILL)
    end_of(child)
    for _ in range(500):
        if not _group(child):
            break
        time.sleep(0.02)
    assert _group(child) == []


def test_doing_nothing_imports_no_torch(tmp_path):
    plan = fake_plan(n_sft=(0,), n_pref=(0,))
    run_fake(plan, tmp_path / "s")
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; from fake_study import *; "
        f"import apportion.run.api, apportion.run.progress; "
        f"r = run_fake(fake_plan(n_sft=(0,), n_pref=(0,)), {str(tmp_path / 's')!r}, 2); "
        "assert r.executed == 0; "
        "print([m for m in ('torch', 'transformers', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr

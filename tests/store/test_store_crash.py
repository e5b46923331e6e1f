"""A process killed at any boundary between two writes loses nothing and repeats nothing."""

from __future__ import annotations

import json
import signal

import pytest

from apportion.data.records import Pair
from apportion.run.reference import cached_reference
from apportion.run.results import collect, to_csv
from apportion.store import crash
from apportion.store.executions import read_executions
from apportion.store.store import Store
from fake_study import artifacts, end_of, fake_plan, in_child, run_fake

PLAN = fake_plan(n_sft=(2,), n_pref=(3,))  # one stage of each kind
KINDS = ["sft", "preference", "generate", "score"]


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> str:
    return finish(tmp_path_factory.mktemp("truth") / "s")


def finish(place) -> str:
    report = run_fake(PLAN, place)
    assert not report.failed and not report.not_run
    with Store.open(place) as store:
        return to_csv(collect(PLAN, store))


def crashes(place, at, monkeypatch, work=None):
    """Run in a child that is killed at the boundary; it must have been reached."""
    monkeypatch.setenv(crash.ENV, at)
    crash._passes.clear()
    code = end_of(in_child(work or (lambda: run_fake(PLAN, place))))
    monkeypatch.delenv(crash.ENV)
    assert code == -signal.SIGKILL


def check_rest(place, truth):
    """The rest runs, and nothing that was visible runs again."""
    done = artifacts(place)
    known = len(read_executions(place / "executions.log"))
    assert finish(place) == truth
    lines = read_executions(place / "executions.log")[known:]
    again = {line["key"] for line in lines if line["event"] == "started"}
    assert again == set(PLAN.stages) - done
    assert list((place / "tmp").iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("point", crash.COMMIT)
def test_a_crash_while_committing(tmp_path, monkeypatch, truth, point, kind):
    count = KINDS.index(kind) + 1
    crashes(tmp_path / "s", f"{point}:{count}", monkeypatch)
    visible = count if crash.COMMIT.index(point) >= crash.COMMIT.index("renamed") else count - 1
    assert len(artifacts(tmp_path / "s")) == visible
    check_rest(tmp_path / "s", truth)


@pytest.mark.parametrize("point", crash.OPENING)
def test_a_crash_while_creating(tmp_path, monkeypatch, truth, point):
    crashes(tmp_path / "s", point, monkeypatch)
    check_rest(tmp_path / "s", truth)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("point", crash.FAILURE)
def test_a_crash_while_recording_a_failure(tmp_path, monkeypatch, truth, point, kind):
    monkeypatch.setenv("FAKE_TROUBLE", json.dumps({kind: "raise"}))
    crashes(tmp_path / "s", point, monkeypatch)
    monkeypatch.delenv("FAKE_TROUBLE")
    check_rest(tmp_path / "s", truth)


@pytest.mark.parametrize("point", ["quarantined", "quarantine_indexed"])
def test_a_crash_while_setting_damage_aside(tmp_path, monkeypatch, truth, point):
    finish(tmp_path / "s")
    key = PLAN.cells[0].score_key
    (tmp_path / "s" / "artifacts" / "score" / key / "items.jsonl").write_text("")
    crashes(tmp_path / "s", point, monkeypatch)
    assert key not in artifacts(tmp_path / "s")
    check_rest(tmp_path / "s", truth)


@pytest.mark.parametrize("point", ["index_moved", "index_rebuilt"])
def test_a_crash_while_mending_the_index(tmp_path, monkeypatch, truth, point):
    finish(tmp_path / "s")
    (tmp_path / "s" / "store.sqlite").write_bytes(b"noise" * 1000)
    crashes(tmp_path / "s", point, monkeypatch)
    check_rest(tmp_path / "s", truth)


@pytest.mark.parametrize("point", crash.REFERENCE)
def test_a_crash_while_keeping_references(tmp_path, monkeypatch, point):
    pairs = [Pair(f"p{i}", "a", "b") for i in range(5)]
    asked = []

    def compute(chunk):
        asked.append(len(chunk))
        return [1.0] * len(chunk), [2.0] * len(chunk)

    work = lambda: cached_reference(tmp_path, {"m": 1}, pairs, compute)  # noqa: E731
    crashes(tmp_path, point, monkeypatch, work)
    assert work() == ([1.0] * 5, [2.0] * 5)
    assert bool(asked) == (point != "reference_written")


def test_every_point_is_reached_by_these_tests():
    tried = {*crash.COMMIT, *crash.OPENING, *crash.FAILURE, *crash.MENDING, *crash.REFERENCE}
    assert tried == set(crash.POINTS)


def test_an_unknown_point_is_a_mistake(monkeypatch):
    monkeypatch.setenv(crash.ENV, "renamed")
    with pytest.raises(ValueError, match="not a crash point"):
        crash.crash_point("renmaed")

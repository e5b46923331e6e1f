"""Commits, claims, damage, and full disks."""

from __future__ import annotations

import errno
import json
import os
import shutil

import pytest

from apportion.errors import StoreError
from apportion.store import files
from apportion.store.executions import append_execution, ran_again, read_executions
from apportion.store.store import Store
from fake_study import artifacts, fake_plan, stage

ONE = stage("sft", {"n": 1}, None, "sft 1", tokens=5)


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "s", warn=lambda text: warnings.append(text)) as opened:
        warnings = opened.heard = []
        yield opened


def write(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "weights").write_bytes(b"12345")
    return {"loss": 0.5, "tokens": 7}


def test_a_commit_is_found_again_whole(store):
    record = store.commit(ONE, write, worker={"device": "cpu"})
    folder = store.artifact(ONE.key)
    assert folder == store.path / "artifacts" / "sft" / ONE.key
    assert (folder / "sub" / "weights").read_bytes() == b"12345"
    assert store.record(ONE.key) == record
    assert record.summary == {"loss": 0.5, "tokens": 7} and record.tokens == 7
    assert record.spec == ONE.spec and record.status == "done"
    assert {"python", "torch", "transformers", "peft", "apportion"} <= set(record.versions)
    manifest = json.loads((folder / "manifest.json").read_text())["files"]
    assert set(manifest) == {"record.json", "sub/weights"}
    assert list((store.path / "tmp").iterdir()) == []


def test_a_failing_body_leaves_nothing(store):
    def fails(folder):
        write(folder)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.commit(ONE, fails)
    assert store.record(ONE.key) is None and store.artifact(ONE.key) is None
    assert list((store.path / "tmp").iterdir()) == [] and artifacts(store.path) == set()


def test_a_number_that_is_none_is_refused(store):
    with pytest.raises(ValueError, match="JSON"):
        store.commit(ONE, lambda folder: {"loss": float("nan")})
    assert store.record(ONE.key) is None


def test_a_failure_is_kept_and_then_replaced_by_success(store):
    store.fail(ONE, "the loss is not finite", traceback="line 1")
    record = store.record(ONE.key)
    assert (record.status, record.reason) == ("failed", "the loss is not finite")
    assert (store.path / "failures" / f"{ONE.key}.txt").read_text() == "line 1"
    assert store.artifact(ONE.key) is None
    store.commit(ONE, write)
    assert store.record(ONE.key).status == "done"
    assert list((store.path / "failures").iterdir()) == []


def test_a_claim_is_exclusive_and_freed(store):
    with store.claim("k") as claim:
        assert claim.held
        assert store.claim("k") is None
        with Store.open(store.path) as other:
            assert other.claim("k") is None
            assert other.claim("another") is not None
    assert store.claim("k") is not None


def test_nothing_is_committed_over_another_process(store):
    with store.claim(ONE.key):
        with pytest.raises(StoreError, match="another process"):
            store.commit(ONE, write)
        with pytest.raises(StoreError, match="another process"):
            store.fail(ONE, "x")


def _flip(folder):
    path = folder / "sub" / "weights"
    data = bytearray(path.read_bytes())
    data[2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "a bit": (_flip, "sub/weights does not match its checksum"),
    "a file": (lambda f: (f / "sub" / "weights").unlink(), "sub/weights is missing"),
    "manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json is missing"),
    "manifest text": (
        lambda f: (f / "manifest.json").write_text('{"files": 3}'),
        "manifest.json cannot be read",
    ),
    "record": (lambda f: (f / "record.json").write_text("{}"), "record.json does not match"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_artifact_is_set_aside_and_told(tmp_path, name):
    harm, told = DAMAGES[name]
    with Store.open(tmp_path / "s") as first:
        first.commit(ONE, write)
        harm(first.artifact(ONE.key))
    heard = []
    with Store.open(tmp_path / "s", read_only=True, warn=heard.append) as reader:
        assert reader.artifact(ONE.key) is None
        assert artifacts(tmp_path / "s") == {ONE.key}
    with Store.open(tmp_path / "s", warn=heard.append) as second:
        assert second.artifact(ONE.key) is None
        assert second.record(ONE.key) is None
        assert len(heard) == 2 and all(told in text for text in heard)
        assert [p.name for p in (second.path / "quarantine").iterdir()] == [f"sft-{ONE.key}-0"]
        second.commit(ONE, write)
        assert second.artifact(ONE.key) is not None


def test_a_damaged_artifact_that_is_claimed_elsewhere_is_left_to_them(tmp_path):
    with Store.open(tmp_path / "s") as first:
        first.commit(ONE, write)
        _flip(first.artifact(ONE.key))
    with (
        Store.open(tmp_path / "s", warn=lambda text: None) as second,
        second.claim(ONE.key) as claim,
    ):
        assert second.artifact(ONE.key) is None
        assert artifacts(second.path) == {ONE.key}
        assert second.artifact(ONE.key, claim=claim) is None
        assert artifacts(second.path) == set()


def test_an_artifact_that_was_deleted_is_not_done(store):
    store.commit(ONE, write)
    shutil.rmtree(store.path / "artifacts" / "sft")
    assert store.record(ONE.key) is None and store.artifact(ONE.key) is None


def _full_write(monkeypatch, after):
    real, left = os.write, [after]

    def write_some(handle, data):
        left[0] -= len(data)
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data)

    monkeypatch.setattr(os, "write", write_some)


def _full_fsync(monkeypatch, after):
    real, left = os.fsync, [after]

    def sync(handle):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", sync)


@pytest.mark.parametrize("after", range(0, 1600, 100))
def test_a_disk_that_fills_while_writing_shows_nothing_half_written(store, monkeypatch, after):
    _full_write(monkeypatch, after)
    _check_full(store, monkeypatch)


@pytest.mark.parametrize("after", range(8))
def test_a_disk_that_fills_while_syncing_shows_nothing_half_written(store, monkeypatch, after):
    _full_fsync(monkeypatch, after)
    _check_full(store, monkeypatch)


def _check_full(store, monkeypatch):
    try:
        store.commit(ONE, write)
    except StoreError as error:
        assert "disk is full" in error.problem and "free some space" in error.mend
    monkeypatch.undo()
    assert list((store.path / "tmp").iterdir()) == []
    if artifacts(store.path):
        assert files.damage(store.path / "artifacts" / "sft" / ONE.key) is None
        assert store.record(ONE.key).status == "done"
    else:
        assert store.record(ONE.key) is None
        store.commit(ONE, write)
        assert store.artifact(ONE.key) is not None


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("Error while serializing: IoError(Os { message: No space left on device })"),
    ],
)
def test_a_body_that_meets_a_full_disk_is_a_full_disk(store, error):
    def fails(folder):
        raise error

    with pytest.raises(StoreError, match="disk is full"):
        store.commit(ONE, fails)


def test_a_body_that_may_not_read_its_data_is_no_fault_of_the_store(store):
    def fails(folder):
        raise PermissionError(errno.EACCES, "Permission denied", "/data/mine.jsonl")

    with pytest.raises(PermissionError):
        store.commit(ONE, fails)


def test_the_log_survives_a_torn_line(tmp_path):
    log = tmp_path / "log"
    assert read_executions(log) == []
    append_execution(log, "a", "sft", "started")
    with log.open("ab") as file:
        file.write(b'\n{"key": "a", "ev')
    append_execution(log, "a", "sft", "finished")
    assert [line["event"] for line in read_executions(log)] == ["started", "finished"]


def test_what_ran_twice_is_counted(tmp_path):
    log = tmp_path / "log"
    for key, event in [
        ("a", "started"), ("a", "started"), ("a", "finished"),
        ("b", "started"), ("b", "finished"), ("b", "quarantined"), ("b", "started"),
        ("c", "started"), ("c", "failed"), ("c", "started"), ("c", "finished"), ("c", "started"),
    ]:  # fmt: skip
        append_execution(log, key, "sft", event)
    assert ran_again(log) == ["c"]


def test_every_record_of_a_plan_is_listed(store):
    plan = fake_plan(n_sft=(0, 2))
    for one in plan.stages.values():
        store.commit(one, write)
    assert {record.key for record in store.records()} == set(plan.stages)

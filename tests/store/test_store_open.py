"""Opening a store: what it refuses, and with which mend."""

from __future__ import annotations

import errno
import json
import os
import sqlite3

import pytest

from apportion.errors import StoreError
from apportion.store import index, layout
from apportion.store.store import Store
from fake_study import artifacts, fake_plan, run_fake


def refused(path, **kwargs) -> StoreError:
    with pytest.raises(StoreError) as caught:
        Store.open(path, **kwargs)
    assert caught.value.exit_code == 2
    assert caught.value.mend
    assert caught.value.file.startswith(str(path))
    return caught.value


def test_makes_a_marked_store_and_opens_it_again(tmp_path):
    place = tmp_path / "deep" / "s"
    Store.open(place).close()
    assert json.loads((place / "store.json").read_text())["format"] == "apportion-store"
    db = sqlite3.connect(place / "store.sqlite")
    assert db.execute("PRAGMA user_version").fetchone() == (index.VERSION,)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with Store.open(place) as store:
        assert store.records() == []


def test_refuses_a_file(tmp_path):
    (tmp_path / "f").write_text("x")
    assert "this is a file" in refused(tmp_path / "f").problem


def test_refuses_a_folder_of_something_else_and_leaves_it_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    assert "thesis.tex" in refused(tmp_path).problem
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_finishes_a_creation_that_was_cut_short(tmp_path):
    (tmp_path / "artifacts").mkdir()
    (tmp_path / ".store.json.123").write_text("")
    Store.open(tmp_path).close()
    assert (tmp_path / "store.json").exists()


@pytest.mark.parametrize("how", [{"create": False}, {"read_only": True}])
def test_says_where_there_is_no_store(tmp_path, how):
    assert "no store here" in refused(tmp_path / "none", **how).problem
    assert not (tmp_path / "none").exists()


def test_refuses_a_newer_store(tmp_path):
    Store.open(tmp_path).close()
    marker = tmp_path / "store.json"
    marker.write_text(json.dumps({"format": "apportion-store", "version": 99}))
    assert "newer" in refused(tmp_path).problem


@pytest.mark.parametrize("read_only", [False, True])
def test_refuses_a_newer_index(tmp_path, read_only):
    Store.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "store.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    error = refused(tmp_path, read_only=read_only)
    assert "newer" in error.problem and "upgrade" in error.mend


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": "apportion-store"}', '{"format": "other", "version": 1}']
)
def test_refuses_a_marker_it_cannot_read(tmp_path, text):
    Store.open(tmp_path).close()
    (tmp_path / "store.json").write_text(text)
    refused(tmp_path)


def test_refuses_a_folder_it_may_not_write(tmp_path, monkeypatch):
    Store.open(tmp_path).close()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "cannot be written" in refused(tmp_path).problem


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EIO])
def test_tells_what_the_disk_refuses(tmp_path, monkeypatch, code):
    def mkdir(path, *args, **kwargs):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(os, "mkdir", mkdir)
    refused(tmp_path / "s")


def test_reads_a_store_that_may_not_be_written(tmp_path, monkeypatch):
    plan = fake_plan(n_sft=(0, 2), n_pref=(0,))
    run_fake(plan, tmp_path / "s")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "s" / "artifacts").rglob("*")}

    def no(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("mkdir", "rename", "replace", "write", "fsync"):
        monkeypatch.setattr(os, name, no)
    with Store.open(tmp_path / "s", read_only=True) as store:
        assert len(store.records()) == len(plan.stages)
        assert store.artifact(plan.cells[0].score_key) is not None
        with pytest.raises(StoreError, match="reading only"):
            store.claim("k")
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "s" / "artifacts").rglob("*")}


def test_says_that_the_index_is_locked(tmp_path):
    Store.open(tmp_path).close()
    other = sqlite3.connect(tmp_path / "store.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    plan = fake_plan(n_sft=(0,), n_pref=(0,))
    stage = next(iter(plan.stages.values()))
    with Store.open(tmp_path, busy_seconds=0.05) as store:
        with pytest.raises(StoreError, match="locked by another program") as caught:
            store.fail(stage, "x")
        assert "close the program" in caught.value.mend


def test_falls_back_where_there_is_no_write_ahead_log(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "_on_network", lambda path: True)
    plan = fake_plan(n_sft=(0, 2))
    assert run_fake(plan, tmp_path / "s").executed == len(plan.stages)
    db = sqlite3.connect(tmp_path / "s" / "store.sqlite")
    assert db.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert run_fake(plan, tmp_path / "s").executed == 0


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "ext4"])
def test_knows_network_file_systems(tmp_path, monkeypatch, kind):
    mounts = f"/dev/a / ext4 rw 0 0\nsrv:/x {tmp_path.parent} {kind} rw 0 0\n"
    monkeypatch.setattr(index.Path, "read_text", lambda self, **kw: mounts)
    assert index._on_network(tmp_path / "store.sqlite") == (kind != "ext4")


def broken(kind: str, place) -> None:
    data = place.read_bytes()
    if kind == "noise":
        place.write_bytes(b"noise" * 1000)
    elif kind == "page":
        place.write_bytes(data[:4096] + b"\xff" * 4096 + data[8192:])
    elif kind == "truncated":
        place.write_bytes(data[: len(data) // 2])
    elif kind == "no table":
        db = sqlite3.connect(place)
        db.execute("DROP TABLE stages")
        db.commit()
        db.close()


@pytest.mark.parametrize("kind", ["noise", "page", "truncated", "no table"])
def test_rebuilds_a_corrupted_index_and_loses_nothing(tmp_path, kind, monkeypatch):
    plan, place = fake_plan(), tmp_path / "s"
    monkeypatch.setenv("FAKE_TROUBLE", json.dumps({"score 2+3": "raise"}))
    run_fake(plan, place)
    with Store.open(place) as store:
        before = store.records()
    broken(kind, place / "store.sqlite")
    with Store.open(place, read_only=True) as store:
        assert store.records() == before
    warnings = []
    with Store.open(place, warn=warnings.append) as store:
        assert store.records() == before
    assert "Nothing was lost" in warnings[0]
    assert (place / "store.sqlite.corrupt-0").exists()
    monkeypatch.delenv("FAKE_TROUBLE")
    assert run_fake(plan, place).executed == 1  # the failed one alone


def test_rebuilds_an_index_that_breaks_while_it_is_open(tmp_path):
    plan, place = fake_plan(n_sft=(0, 2)), tmp_path / "s"
    run_fake(plan, place)
    warnings = []
    with Store.open(place, warn=warnings.append) as store:
        for extra in place.glob("store.sqlite-*"):
            extra.unlink()
        broken("noise", place / "store.sqlite")
        assert {r.key for r in store.records()} == set(plan.stages)
    assert warnings


def test_rebuilds_an_index_that_was_deleted(tmp_path):
    plan, place = fake_plan(n_sft=(0, 2)), tmp_path / "s"
    run_fake(plan, place)
    for file in place.glob("store.sqlite*"):
        file.unlink()
    assert run_fake(plan, place).executed == 0
    assert artifacts(place) == set(plan.stages)


def test_sweeps_what_the_dead_left_but_not_what_is_claimed(tmp_path):
    with Store.open(tmp_path) as store:
        (tmp_path / "tmp" / "dead.1").mkdir()
        (tmp_path / "tmp" / "alive.2").mkdir()
        with store.claim("alive"):
            Store.open(tmp_path).close()
            assert [p.name for p in (tmp_path / "tmp").iterdir()] == ["alive.2"]
    Store.open(tmp_path).close()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_names_of_the_layout_are_all_made(tmp_path):
    Store.open(tmp_path).close()
    assert set(layout.FOLDERS) <= {p.name for p in tmp_path.iterdir()}

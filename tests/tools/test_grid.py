"""The grid in chunks, with quick bodies: killed anywhere, or with its store gone, it goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

import grid
import grid_cost
import grid_run
import grid_table
from apportion.run.layout import Layout
from apportion.store.executions import read_executions
from fake_study import DOTTED, N_ITEMS, artifacts, end_of, fake_plan, in_child
from grid_run import Job, Places

ROOT = Path(__file__).resolve().parents[2]
LEVELS = {"n_sft": (0, 2, 4), "n_pref": (0, 3)}


def as_kto(plan):
    """The same cells as another method: those without pairs have the keys of the first."""
    cells = tuple(replace(cell, method="kto") for cell in plan.cells)
    return replace(plan, cells=cells)


@pytest.fixture
def jobs():
    dpo = fake_plan(**LEVELS, replicates=2)
    return [Job("one-dpo", dpo), Job("one-kto", as_kto(fake_plan((0, 4), (0,), replicates=2)))]


def run(jobs, places, **how):
    how.setdefault("layout", Layout(0, 1))
    names = [job.name for job in jobs]
    said = []
    reports = grid_run.run(jobs, places, names=names, bodies=DOTTED, say=said.append, **how)
    return reports, said


def tables(jobs, places):
    """Everything published, but for how long it took."""
    found = []
    for job in jobs:
        table = grid_table.read(places.tables, job.name)
        rows = {place: replace(row, seconds=None) for place, row in table.rows.items()}
        found.append((rows, dict(table.items)))
    return found


def places_in(folder):
    return Places(folder / "tables", folder / "s")


def test_all_cells_are_published_in_chunks_replicate_by_replicate(tmp_path, jobs):
    places = places_in(tmp_path)
    reports, said = run(jobs, places)
    assert [line.split(":")[0] for line in said] == [
        "one-dpo, replicate 0",
        "one-dpo, replicate 1",
    ]  # all of one-kto's cells have keys of one-dpo: published there, they are copied
    assert sum(report.executed for report in reports) == len(jobs[0].plan.stages)
    for job in jobs:
        table = grid_table.read(places.tables, job.name)
        assert not grid_run.left(job, table) and not grid_run.stale(job, table)
        assert len(table.rows) == len(job.plan.cells)
        for row in table.rows.values():
            scores = table.items[row.key]
            assert row.strict == pytest.approx(sum(scores.strict) / N_ITEMS)
            assert row.lenient == pytest.approx(sum(scores.lenient) / N_ITEMS)
            assert row.split == ("truth" if row.replicate else "search")
            assert row.seconds is not None
    rows = grid_table.read(places.tables, "one-dpo").rows
    assert rows["fake:model", "fake", "dpo", 4, 3, 1].train_tokens == 7 * (4 + 3)
    kto = grid_table.read(places.tables, "one-kto").rows["fake:model", "fake", "kto", 4, 0, 1]
    assert kto == replace(rows["fake:model", "fake", "dpo", 4, 0, 1], method="kto")


def test_what_is_published_is_not_run_again_without_a_store(tmp_path, jobs):
    places = places_in(tmp_path)
    run(jobs, places)
    before = {path.name: path.read_bytes() for path in places.tables.iterdir()}
    shutil.rmtree(places.store)
    assert run(jobs, places) == ([], [])
    assert not places.store.exists()
    assert {path.name: path.read_bytes() for path in places.tables.iterdir()} == before


def test_in_a_fresh_checkout_only_what_is_above_unpublished_cells_runs(tmp_path, jobs):
    places, clean = places_in(tmp_path / "a"), places_in(tmp_path / "b")
    run(jobs, places)
    run(jobs, clean)
    table = grid_table.read(places.tables, "one-dpo")
    gone = table.rows["fake:model", "fake", "dpo", 4, 3, 1]
    grid_table.write(places.tables, "one-dpo", grid_table.without(table, [gone]))
    shutil.rmtree(places.store)
    _, said = run(jobs, places)
    assert said == ["one-dpo, replicate 1: 1 cells to measure"]
    (cell,) = [c for c in jobs[0].plan.cells if c.score_key == gone.key]
    assert artifacts(places.store) == set(cell.stages)  # its SFT stage again, and no other
    assert tables(jobs, places) == tables(jobs, clean)


def test_boxes_of_time_with_the_store_lost_between_them_come_to_the_same_end(tmp_path):
    plan = fake_plan(**LEVELS, replicates=2, delay=0.08)
    jobs = [Job("one", plan)]
    places, clean = places_in(tmp_path / "a"), places_in(tmp_path / "b")
    counts = []
    for _ in range(60):
        run(jobs, places, seconds=0.6)
        counts.append(len(grid_table.read(places.tables, "one").keys))
        if not grid_run.left(jobs[0], grid_table.read(places.tables, "one")):
            break
        if len(counts) % 2:
            shutil.rmtree(places.store)
    assert counts == sorted(counts) and len(counts) > 1
    run(jobs, clean)
    assert tables(jobs, places) == tables(jobs, clean)


def test_killed_in_a_chunk_it_goes_on_and_publishes_what_the_store_has(tmp_path):
    jobs = [Job("one", fake_plan(**LEVELS, replicates=2, delay=0.2))]
    places, clean = places_in(tmp_path / "a"), places_in(tmp_path / "b")
    child = in_child(lambda: run(jobs, places, layout=Layout(2, 1)), own_group=True)
    while not (places.store / "artifacts" / "score").exists():
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    end_of(child)
    run(jobs, places)
    run(jobs, clean)
    assert tables(jobs, places) == tables(jobs, clean)
    finished = [
        line["key"]
        for line in read_executions(places.store / "executions.log")
        if line["event"] == "finished"
    ]
    assert len(finished) == len(set(finished))


def test_rows_of_other_data_stop_publishing_until_they_are_dropped(tmp_path, jobs, capsys):
    places = places_in(tmp_path)
    old = [Job("one-dpo", fake_plan(**LEVELS, replicates=2, salt="old"))]
    run(old, places)
    with pytest.raises(ValueError, match="drop one-dpo"):
        run(jobs[:1], places)
    assert grid._drop(jobs[:1], places) == 0
    assert "12 rows dropped" in capsys.readouterr().out
    run(jobs[:1], places)
    assert not grid_run.left(jobs[0], grid_table.read(places.tables, "one-dpo"))


def test_a_failure_costs_its_own_cells(tmp_path, jobs, monkeypatch):
    monkeypatch.setenv("FAKE_TROUBLE", json.dumps({"sft 2 · replicate 0": "raise"}))
    places = places_in(tmp_path)
    reports, _ = run(jobs, places)
    assert [len(report.failed) for report in reports] == [1, 0]
    missing = grid_run.left(jobs[0], grid_table.read(places.tables, "one-dpo"))
    assert {(c.n_sft, c.replicate) for c in missing} == {(2, 0)}
    assert run(jobs[:1], places)[0][0].failed  # it is tried again, and told again
    monkeypatch.delenv("FAKE_TROUBLE")
    run(jobs, places)
    assert not grid_run.left(jobs[0], grid_table.read(places.tables, "one-dpo"))


def test_costs_count_shared_stages_once_and_what_is_published_not_at_all(tmp_path, jobs):
    places = places_in(tmp_path)
    rates = {("fake:model", "fake"): {"sft": 100.0, "preference": 300.0, "generate": 50.0}}
    dpo, kto, total = grid_cost.costs(jobs, places, rates)
    # per replicate: SFT 200 + 400 tokens; DPO 900 thrice; answers 100 six times (once for the base)
    assert dpo.tokens == 2 * (600 + 3 * 900)
    assert dpo.naive_tokens == 2 * (2 * 600 + 3 * 900)
    assert dpo.stages == dpo.left == len(jobs[0].plan.stages)
    assert dpo.seconds == pytest.approx(2 * (6 + 9 + 12))
    assert (kto.stages, kto.left, kto.seconds) == (0, 0, 0)
    assert (total.cells, total.tokens) == (16, dpo.tokens)
    run(jobs, places)
    assert [cost.left for cost in grid_cost.costs(jobs, places, rates)] == [0, 0, 0]


def test_the_table_of_costs_names_every_study(tmp_path, jobs):
    found = grid_cost.costs(jobs, places_in(tmp_path), {})
    text = grid_cost.table(found, workers=2)
    assert [line.split()[0] for line in text.splitlines()] == ["study", "one-dpo", "one-kto", "all"]
    assert found[-1].seconds is None and "–" in text


def test_merge_takes_what_was_measured_elsewhere(tmp_path, jobs, capsys):
    here, there = places_in(tmp_path / "a"), places_in(tmp_path / "b")
    first = [Job("one-dpo", grid_run.part(jobs[0].plan, jobs[0].plan.cells[:4]))]
    run(first, here)
    run(jobs, there)
    assert grid._merge(there.tables, here, ["one-dpo", "one-kto"]) == 0
    assert "one-dpo: 8 cells added" in capsys.readouterr().out
    assert tables(jobs, here) == tables(jobs, there)
    assert grid._merge(tmp_path / "nowhere", here, ["one-dpo"]) == 2


def test_json_lines_have_the_scores_per_item(tmp_path, jobs, capsys):
    from apportion.run.tables import read_jsonl

    places = places_in(tmp_path)
    run(jobs, places)
    grid._jsonl("one-dpo", places)
    (tmp_path / "t.jsonl").write_text(capsys.readouterr().out)
    results = read_jsonl(tmp_path / "t.jsonl")
    assert len(results) == 12 and all(len(one.item_scores) == N_ITEMS for one in results)


def test_studies_of_the_grid_agree_on_what_they_share():
    """Levels are subsets of the main study's, items and recipe the same: so stages are shared."""
    import yaml

    found = {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in (ROOT / "examples" / "grid").glob("*.yaml")
    }
    main = found["math-small-dpo"]
    assert len(found) == 13 and set(grid_run.FIRST) <= set(found)
    for name, study in found.items():
        task, model, method = name.split("-")
        assert (study["tasks"], study["methods"]) == ([task], [method])
        assert study["models"] == [f"sandbox:{model}"]
        for side, levels in study["lattice"].items():
            assert set(levels) <= set(main["lattice"][side]) and 0 in levels
        assert study["replicates"] >= 2
        assert (study["recipe"], study["evaluation"]) == (main["recipe"], main["evaluation"])


def test_a_study_of_the_grid_compiles_and_its_cells_are_a_lattice():
    (job,), why_not = grid_run.load_jobs(ROOT / "examples" / "grid", ["math-small-kto"])
    assert why_not == {} and job.replicates == 2
    assert len(job.plan.cells) == 2 * 5 * 5
    assert len({cell.score_key for cell in job.plan.cells}) == 2 * 24 + 1  # one untuned model


def test_a_study_that_is_not_there_is_named(capsys):
    assert grid.main(["status", "no-such-study"]) == 2
    assert "math-small-dpo" in capsys.readouterr().err


def test_a_row_of_the_same_key_in_another_place_is_not_dropped(tmp_path, jobs):
    """The untuned model is one row per replicate, all of one key."""
    places = places_in(tmp_path)
    run(jobs[:1], places)
    table = grid_table.read(places.tables, "one-dpo")
    row = next(iter(table.rows.values()))
    twin = replace(row, replicate=7)
    both = replace(table, rows={**table.rows, twin.place: twin})
    assert grid_table.without(both, [twin]).rows == table.rows

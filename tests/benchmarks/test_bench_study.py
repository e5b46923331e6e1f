"""The grid, its file and its sittings: what is measured is not measured again."""

from __future__ import annotations

import json
from functools import cache

import pytest
from loops import honest, table
from loops.grid import Grid, Tokens, name_of, sample, steps_of
from loops.ledger import Ledger, OtherGrid

GRID = Grid("sandbox:tiny", "math", ("dpo", "kto"), (20, 40), (0.0, 0.5, 1.0), 2, 8, 1)


def cost(seconds: float) -> dict[str, float]:
    return {"wall": 2 * seconds, "cpu": seconds, "peak_mb": 100.0, "imports_wall": 1.0,
            "imports_cpu": 0.5}  # fmt: skip


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "found.jsonl", GRID.header)


@pytest.fixture
def loop(monkeypatch):
    """An honest loop that notes which cells it ran, in place of processes."""
    ran: list[str] = []
    tokens = cache(Tokens)

    def one(grid, cell, work):
        ran.append(name_of(cell))
        counts = tokens(grid).of(cell)
        processes = [
            {"step": s, "tokens": counts.get(s, 0), **cost(5 + counts.get(s, 0) / 1000)}
            for s in steps_of(cell)
        ]
        return {"score": 0.5, "item_scores": [0.0, 1.0], "processes": processes}

    monkeypatch.setattr(honest, "one", one)
    return ran


def test_a_measured_cell_is_not_measured_again(ledger, loop, tmp_path):
    cells = list(GRID.cells)
    honest.run(GRID, cells[:3], ledger, tmp_path)
    again = Ledger(ledger.path, GRID.header)  # another sitting
    honest.run(GRID, cells[:5], again, tmp_path)
    assert loop == [name_of(cell) for cell in cells[:5]]
    assert set(again.cells("honest")) == set(loop)


def test_no_cell_is_begun_after_the_time(ledger, loop, tmp_path):
    honest.run(GRID, GRID.cells, ledger, tmp_path, until=0.0)
    assert loop == []


def test_a_torn_line_is_as_if_it_had_not_begun(ledger, loop, tmp_path):
    honest.run(GRID, GRID.cells[:2], ledger, tmp_path)
    text = ledger.path.read_text()
    ledger.path.write_text(text[:-20])  # killed while it wrote
    again = Ledger(ledger.path, GRID.header)
    assert list(again.cells("honest")) == [name_of(GRID.cells[0])]
    honest.run(GRID, GRID.cells[:2], again, tmp_path)
    lines = ledger.path.read_text().splitlines()
    assert len(lines) == 3 and all(json.loads(line) for line in lines)


def test_another_grid_is_refused(ledger):
    other = Grid("sandbox:tiny", "math", ("dpo", "kto"), (20, 40), (0.0, 0.5, 1.0), 2, 9, 1)
    with pytest.raises(OtherGrid, match="items, plan"):
        Ledger(ledger.path, other.header)


def test_a_sample_is_drawn_in_turn_from_methods_and_budgets():
    drawn = sample(GRID.cells, 8, seed=3)
    assert drawn == sample(GRID.cells, 8, seed=3) != sample(GRID.cells, 8, seed=4)
    counts = {(m, b): 0 for m in ("dpo", "kto") for b in (20, 40)}
    for cell in drawn:
        counts[cell.method, int(cell.lines[0][0])] += 1
    assert set(counts.values()) == {2} and len(set(map(name_of, drawn))) == 8
    assert len(sample(GRID.cells, 1000, seed=0)) == len(GRID.cells) == 24


def test_tokens_grow_with_examples_and_count_both_responses_of_a_pair():
    tokens = Tokens(GRID)
    by_name = {name_of(cell): tokens.of(cell) for cell in GRID.cells}
    assert set(by_name["dpo-20-20-r0"]) == {"sft", "dpo"}
    assert by_name["dpo-40-0-r0"]["sft"] > by_name["dpo-20-0-r0"]["sft"] > 0
    assert by_name["dpo-0-40-r0"]["dpo"] > 1.8 * by_name["kto-0-40-r0"]["kto"]
    assert by_name["dpo-20-20-r0"]["sft"] == by_name["kto-20-20-r0"]["sft"]


def test_the_table_names_what_is_estimated_and_where_the_gain_is_from(ledger, loop, tmp_path):
    honest.run(GRID, sample(GRID.cells, 12, seed=0), ledger, tmp_path)
    ledger.add("machine", load=1.0, cores=2, versions="torch 0")
    ledger.add("ours", begun=0.0)
    ledger.add("ours", sitting={"wall": 30.0, "cpu": 50.0, "peak_mb": 400.0}, tokens=9)
    for cell in GRID.cells:
        ledger.add("ours", cell=name_of(cell), score=0.5, item_scores=[0.0, 1.0])
    everything = table.processes(GRID, ledger)
    every, once, imports = table.gains(everything, "cpu")
    # the loop above is linear in tokens, so the estimate is exact
    exact = sum(5 + one.tokens / 1000 for one in everything)
    assert every == pytest.approx(exact)
    assert imports == pytest.approx(0.5 * len({one.stage for one in everything}))
    assert once < every
    text = "\n".join(table.lines(GRID, ledger, 0.02))
    assert "estimated: " in text and ": equivalent" in text
    assert "kind loop" in text and "not yet measured" in text
    ratio = f"{exact / 50.0:6.2f}"
    assert ratio in next(line for line in text.splitlines() if line.startswith("honest loop"))


LATTICE = Grid(
    "sandbox:tiny", "math", ("dpo",), (), (), 1, 8, 1, lattice=(0, 10, 20), targets=(20,)
)


def test_a_lattice_is_sampled_over_its_demonstrations():
    assert {(c.n_sft, c.n_pref) for c in LATTICE.cells} == {
        (s, p) for s in (0, 10, 20) for p in (0, 10, 20) if s + p
    }
    assert sorted(cell.n_sft for cell in sample(LATTICE.cells, 3, seed=0)) == [0, 10, 20]


def test_what_a_search_costs_is_a_product_of_its_sources(loop, tmp_path):
    ledger = Ledger(tmp_path / "found.jsonl", LATTICE.header)
    honest.run(LATTICE, LATTICE.cells, ledger, tmp_path)
    everything = table.processes(LATTICE, ledger)
    once = {one.stage: one.tokens for one in everything}
    half = sum(once.values()) / 2
    ledger.add(
        "adaptive",
        sitting={"wall": 3.0, "cpu": 2.0, "peak_mb": None},
        tokens=half,
        found={"a": {}, "b": {}},
        advice=[{"budget": 20, "share": 0.5}],
    )
    text = "\n".join(table.lines(LATTICE, ledger, 0.02))
    assert "search: adaptive ran 2 of 8 cells" in text and "50 % at 20" in text
    (line,) = [one for one in text.splitlines() if one.startswith("    cpu  2 s")]
    numbers = [float(one.strip(",").split()[-1]) for one in line.split(":")[1].split(", ")]
    whole = sum(5 + one.tokens / 1000 for one in everything)
    assert f"{whole / 2:.1f} times" in line and "fewer cells 2.00" in line
    assert numbers[0] * numbers[1] * numbers[2] * numbers[3] == pytest.approx(whole / 2, rel=0.02)


def test_what_was_killed_is_said(ledger):
    for _ in range(2):
        ledger.add("ours", begun=0.0)
    ledger.add("ours", sitting={"wall": 30.0, "cpu": 50.0, "peak_mb": None}, tokens=9)
    for cell in GRID.cells:
        ledger.add("ours", cell=name_of(cell), score=0.5, item_scores=[0.0, 1.0])
    assert "its seconds are too few" in "\n".join(table.lines(GRID, ledger, 0.02))

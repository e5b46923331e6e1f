"""The published tables: what is written is read again to the bit; nothing is lost or guessed."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import grid_table
from apportion.run.tables import read_table
from grid_table import COLUMNS, Items, Row, Table

ROW = Row(
    model="sandbox:small", task="math", method="dpo", n_sft=100, n_pref=0, replicate=1,
    split="truth", score=1 / 3, stderr=0.2, n_items=3, strict=1 / 3, lenient=0.5,
    format_failure_rate=0.0, truncation_rate=0.1, response_tokens=41.5, train_tokens=9_000,
    seconds=12.5, key="a" * 32,
)  # fmt: skip
ITEMS = Items((0.0, 1.0, 0.0), (0.0, 1.0, 0.5))


def table(*rows: Row, items: Items = ITEMS) -> Table:
    return Table({r.place: r for r in rows}, {r.key: items for r in rows}, "digest")


@given(st.lists(st.sampled_from([0.0, 1.0]), max_size=500))
def test_bits_come_back_and_are_bits(scores):
    text = grid_table.pack(scores)
    assert text.startswith("b:") and len(text) <= 2 + 4 * (len(scores) // 24 + 1)
    assert grid_table.unpack(text, len(scores)) == tuple(scores)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=500))
def test_halves_come_back(scores):
    assert grid_table.unpack(grid_table.pack(scores), len(scores)) == tuple(scores)


@given(st.lists(st.floats(0, 1), max_size=50))
def test_any_scores_come_back_to_the_bit(scores):
    assert grid_table.unpack(grid_table.pack(scores), len(scores)) == tuple(scores)


def test_the_first_score_is_in_the_highest_bit():
    assert grid_table.pack([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]) == "b:gA=="  # 0x80
    assert grid_table.pack([1.0, 0.5]) == "h:kA=="  # binary 10 01 0000


@pytest.mark.parametrize(
    ("text", "n"),
    [("b:gA==", 9), ("b:gA==", 0), ("h:gA==", 5), ("x:gA==", 1), ("j:[0.5]", 2), ("j:[2]", 1),
     ("b:?", 1), ("h:wA==", 1)],
)  # fmt: skip
def test_what_does_not_hold_the_scores_is_refused(text, n):
    with pytest.raises(ValueError):
        grid_table.unpack(text, n)


def test_a_table_comes_back_and_its_bytes_depend_on_the_rows_alone(tmp_path):
    second = replace(ROW, replicate=0, split="search", key="b" * 32, stderr=None, seconds=None)
    one, two = table(ROW, second), table(second, ROW)
    grid_table.write(tmp_path / "one", "s", one)
    grid_table.write(tmp_path / "two", "s", two)
    assert grid_table.read(tmp_path / "one", "s") == one
    for name in ("s.csv", "s.items.gz"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["s.csv", "s.items.gz"]


def test_the_package_reads_the_table(tmp_path):
    grid_table.write(tmp_path, "s", table(ROW, replace(ROW, n_pref=50, key="c" * 32)))
    first, second = read_table(tmp_path / "s.csv")
    assert (first.n_sft, first.n_pref, second.n_pref) == (100, 0, 50)
    assert (first.score, first.lenient, first.replicate) == (ROW.score, ROW.lenient, 1)
    assert first.train_tokens == 9_000 and first.response_tokens == 41.5


def test_a_row_without_its_scores_counts_as_unpublished(tmp_path):
    grid_table.write(tmp_path, "s", table(ROW))
    assert grid_table.read(tmp_path, "s").keys == {ROW.key}
    (tmp_path / "s.items.gz").unlink()
    assert grid_table.read(tmp_path, "s").keys == set()


def test_nothing_published_is_no_error_and_damage_is_one(tmp_path):
    assert grid_table.read(tmp_path, "s") == grid_table.EMPTY
    grid_table.write(tmp_path, "s", table(ROW))
    place = tmp_path / "s.items.gz"
    text = gzip.decompress(place.read_bytes()).decode()
    place.write_bytes(gzip.compress(text.replace("b:", "b:AAAA").encode()))
    with pytest.raises(ValueError, match=r"s\.csv"):
        grid_table.read(tmp_path, "s")
    place.write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"s\.items\.gz"):
        grid_table.read(tmp_path, "s")


def test_columns_that_are_others_are_refused(tmp_path):
    (tmp_path / "s.csv").write_text("model,score\nx,1\n")
    with pytest.raises(ValueError, match=COLUMNS[-1]):
        grid_table.read(tmp_path, "s")


def test_merging_adds_keeps_ours_and_tells_of_differences():
    theirs = replace(ROW, score=0.9)
    other = replace(ROW, replicate=0, key="d" * 32)
    both, told = grid_table.merged(table(ROW), table(theirs, other))
    assert set(both.rows) == {ROW.place, other.place} and both.rows[ROW.place] == ROW
    assert both.keys == {ROW.key, other.key}
    assert len(told) == 1 and "0.9" in told[0]
    assert grid_table.merged(table(ROW), table(ROW))[1] == []


def test_tables_of_other_items_are_not_merged():
    with pytest.raises(ValueError, match="different test items"):
        grid_table.merged(table(ROW), replace(table(ROW), digest="another"))


def test_halves_of_replicates():
    assert [grid_table.split_of(r) for r in range(4)] == ["search", "truth", "search", "truth"]

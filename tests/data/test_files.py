"""Every kind of file gives the same rows; the hub is read through `datasets` and nothing else."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from apportion.data import files
from apportion.data.files import read_file
from apportion.data.hub import HubError, read_hub
from apportion.data.source import Source
from apportion.errors import DataError

ROWS = [
    {"prompt": "Grüß Gott, “wie” geht's?", "response": "Gut,\nund selbst?"},
    {"prompt": "a,b;c\td", "response": '"quoted"'},
]
JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def jsonl(path: Path) -> None:
    path.write_text(JSONL, encoding="utf-8")


def packed(path: Path) -> None:
    path.write_bytes(gzip.compress(JSONL.encode()))


def a_list(path: Path) -> None:
    path.write_text(json.dumps(ROWS, indent=2), encoding="utf-8-sig")


def table(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        delimiter = "," if path.suffix == ".csv" else "\t"
        writer = csv.DictWriter(file, ROWS[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)


def parquet(path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as writer

    writer.write_table(pyarrow.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.jsonl", jsonl),
        ("a.ndjson", jsonl),
        ("a.JSONL", jsonl),
        ("a.jsonl.gz", packed),
        ("packed without saying so.jsonl", packed),
        ("a.json", a_list),
        ("a.csv", table),
        ("a.tsv", table),
        ("a.parquet", parquet),
    ],
)
def test_every_kind_gives_the_same_rows(tmp_path, name: str, write) -> None:
    write(tmp_path / name)
    assert [dict(row.values) for row in read_file(tmp_path / name)] == ROWS


def test_row_numbers_are_lines(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_text('\n{"a": 1}\n\n{"a": 2}')
    assert [row.number for row in read_file(tmp_path / "a.jsonl")] == [2, 4]
    (tmp_path / "a.csv").write_text('a,b\n"x\ny",1\nz,2\n')
    assert [row.number for row in read_file(tmp_path / "a.csv")] == [2, 4]


def test_long_rows_and_files_are_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(files, "MAX_ROW", 50)
    for name, text in (("a.jsonl", '{"a": "%s"}\n' % ("x" * 60)), ("a.csv", "a\n" + "x" * 60)):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match="longer than"):
            read_file(tmp_path / name)
    assert csv.field_size_limit() > 1000  # other readers of the process are left alone
    monkeypatch.setattr(files, "MAX_UNPACKED", 5)
    with pytest.raises(DataError, match="larger than"):
        read_file(tmp_path / "a.jsonl")


def test_text_that_compresses_well_is_no_bomb(tmp_path) -> None:
    row = b'{"prompt": "p", "response": "r"}\n'
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(row * 30_000))
    assert len(read_file(tmp_path / "a.jsonl.gz")) == 30_000


def test_a_hub_data_set_is_asked_for_what_the_source_says(monkeypatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked = SimpleNamespace()

    def load_dataset(*names: object, **options: object) -> list[dict]:
        asked.names, asked.options = names, options
        return ROWS

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    source = Source(hub="org/name", config="main", split="test", revision="abc")
    assert [(row.number, dict(row.values)) for row in read_hub(source)] == [*enumerate(ROWS, 1)]
    assert asked.names == ("org/name", "main")
    assert asked.options == {"split": "test", "revision": "abc"}


def test_a_hub_out_of_reach_is_one_clear_error(monkeypatch) -> None:
    datasets = pytest.importorskip("datasets")

    def load_dataset(*_: object, **__: object) -> None:
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(HubError) as raised:
        read_hub(Source(hub="org/name"))
    assert raised.value.file == "hub:org/name[train]"
    assert raised.value.problem.endswith("ConnectionError: no route")

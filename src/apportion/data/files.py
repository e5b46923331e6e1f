"""Rows of a local file: JSON lines, JSON, CSV, TSV or Parquet, the text ones also gzipped.

Nothing is guessed or skipped: what cannot be read is a DataError with the file and its row.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from apportion.errors import DataError, MissingPackage

MAX_ROW = 10_000_000  # bytes of one row
MAX_UNPACKED = 2_000_000_000  # bytes of a file, unpacked
MAX_RATIO = 100  # text shrinks 3 to 20 times; a bomb 1,000 times
SMALL = 32_000_000  # bytes that may be unpacked whatever the ratio
_CHUNK = 1 << 20
_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `number`: 1-based; of a text file its first line, else its place."""

    number: int
    values: Mapping[str, Any]


def read_file(path: Path) -> list[Row]:
    """All rows of a file. DataError (file, row, mend) for whatever cannot be read."""
    _check_place(path)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = (suffixes[:-1] if packed else suffixes)[-1:]
    if kind == [".parquet"]:
        return _read_parquet(path)
    if not kind or kind[0] not in _SUFFIXES:
        raise DataError(
            "the kind of this data file is not known.",
            file=path,
            mend=f"name it by its kind: {', '.join(_SUFFIXES)} (text may be .gz).",
        )
    raw = _bytes(path)
    if kind[0] in (".csv", ".tsv"):
        before = csv.field_size_limit(MAX_ROW)  # the whole process's, so it is put back
        try:
            return list(_csv(path, _text(path, raw), "," if kind[0] == ".csv" else "\t"))
        finally:
            csv.field_size_limit(before)
    rows = _json(path, raw) if kind[0] == ".json" else list(_json_lines(path, raw))
    if not rows:
        raise DataError("the file has no rows.", file=path, mend="put one example in each row.")
    return rows


def _check_place(path: Path) -> None:
    problem = None
    try:
        if path.is_dir():
            problem, mend = "this is a directory.", "name the file in it."
        elif not path.exists():
            problem, mend = "there is no such file.", "check the path; it is relative to the card."
        elif not path.is_file():
            problem, mend = "this is not a regular file.", "name a data file."
        elif path.stat().st_size == 0:
            problem, mend = "the file is empty.", "put one example in each row."
        elif path.stat().st_size > MAX_UNPACKED:
            problem = f"the file is larger than {MAX_UNPACKED // 1_000_000} MB."
            mend = "give the rows that a study may use: it reads them all into memory."
    except (OSError, ValueError) as error:
        problem, mend = f"the file cannot be read ({error}).", "check the path."
    if problem is not None:
        raise DataError(problem, file=path, mend=mend)


def _bytes(path: Path) -> bytes:
    """The file's content, unpacked where it is gzipped."""
    try:
        with path.open("rb") as stream:
            if stream.read(2) != b"\x1f\x8b":
                stream.seek(0)
                return stream.read()
        return _unpacked(path)
    except PermissionError:
        raise DataError(
            "the file may not be read.", file=path, mend="check its permissions."
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"the gzipped file is damaged ({error}).", file=path, mend="copy it again."
        ) from None
    except (OSError, MemoryError) as error:
        raise DataError(
            f"the file cannot be read ({error}).", file=path, mend="check it."
        ) from None


def _unpacked(path: Path) -> bytes:
    allowed = max(SMALL, MAX_RATIO * path.stat().st_size)
    limit = min(MAX_UNPACKED, allowed)
    content = io.BytesIO()
    with gzip.open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            content.write(chunk)
            if content.tell() > limit:
                raise DataError(
                    f"the gzipped file unpacks to more than {limit // 1_000_000} MB.",
                    file=path,
                    mend="unpack it yourself if you trust it, or split it.",
                )
    return content.getvalue()


def _text(path: Path, raw: bytes) -> str:
    """UTF-8, with or without a byte-order mark."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("the file is in UTF-16.", file=path, row=1, mend="save it as UTF-8.")
    if b"\0" in raw:
        row = raw.count(b"\n", 0, raw.index(b"\0")) + 1
        raise DataError("the file is binary, not text.", file=path, row=row, mend="name a text.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            "the file is not UTF-8 text.", file=path, row=row, mend="save it as UTF-8."
        ) from None


def _too_long(path: Path, row: int) -> NoReturn:
    raise DataError(
        f"the row is longer than {MAX_ROW // 1_000_000} MB.",
        file=path,
        row=row,
        mend="is it one example? Split it, or write one object per line.",
    )


# -- JSON ---------------------------------------------------------------------------------------


def _json_lines(path: Path, raw: bytes) -> Iterator[Row]:
    text = _text(path, raw)
    start = text.lstrip()[:1]
    if start == "[" and not text.lstrip().partition("\n")[0].rstrip().endswith("]"):
        raise DataError(
            "this is one JSON list, not one object per line.",
            file=path,
            row=1,
            mend="name the file .json, or write one object per line.",
        )
    # str.splitlines would also cut at characters that JSON texts may hold.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        if len(line) > MAX_ROW:
            _too_long(path, number)
        value = _parse(path, number, line)
        if not isinstance(value, dict):
            raise DataError(
                f"the row is {_kind(value)}, not an object.",
                file=path,
                row=number,
                mend='write {"prompt": ..., "response": ...}.',
            )
        yield Row(number, value)


def _json(path: Path, raw: bytes) -> list[Row]:
    value = _parse(path, None, _text(path, raw))
    if not isinstance(value, list):
        raise DataError(
            f"the file is {_kind(value)}, not a list of objects.",
            file=path,
            mend="write [{...}, {...}], or name the file .jsonl with one object per line.",
        )
    rows = []
    for number, item in enumerate(value, start=1):
        if not isinstance(item, dict):
            raise DataError(
                f"the entry is {_kind(item)}, not an object.",
                file=path,
                row=number,
                mend='write {"prompt": ..., "response": ...}.',
            )
        rows.append(Row(number, item))
    return rows


def _parse(path: Path, number: int | None, text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        row = error.lineno if number is None else number
        at_end = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
        problem = (
            "the JSON ends in the middle: the row is cut off"
            if at_end
            else f"this is not JSON: {error.msg} at character {error.colno}"
        )
        mend = "complete or remove the row." if at_end else "correct the row."
        raise DataError(f"{problem}.", file=path, row=row, mend=mend) from None
    except (ValueError, RecursionError) as error:
        raise DataError(
            "the JSON is nested too deeply."
            if isinstance(error, RecursionError)
            else f"this is not JSON: {error}.",
            file=path,
            row=number,
            mend="correct the row.",
        ) from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is given twice")
    return found


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return kinds.get(type(value), "nothing" if value is None else "a number")


# -- tables -------------------------------------------------------------------------------------


def _csv(path: Path, text: str, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        names = next(reader)
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise DataError(
                f"the column {twice[0]!r} is named twice.", file=path, row=1, mend="rename one."
            )
        count = 0
        line = reader.line_num + 1
        for fields in reader:
            if fields:
                if len(fields) != len(names):
                    raise DataError(
                        f"the row has {len(fields)} fields, the header {len(names)}.",
                        file=path,
                        row=line,
                        mend="put fields that hold the delimiter or line breaks in double quotes.",
                    )
                if sum(map(len, fields)) > MAX_ROW:
                    _too_long(path, line)
                count += 1
                yield Row(line, dict(zip(names, fields, strict=True)))
            line = reader.line_num + 1
    except csv.Error as error:
        if "field larger" in str(error):
            _too_long(path, line)
        raise DataError(
            f"this is not a table: {error}.", file=path, row=line, mend="check the quotes."
        ) from None
    if not count:
        raise DataError(
            "the table has a header and no rows.", file=path, mend="put one example in each row."
        )


def _read_parquet(path: Path) -> list[Row]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise MissingPackage(
            "Parquet needs the package pyarrow.", file=path, mend="pip install 'apportion[hub]'."
        ) from None
    try:
        table = parquet.ParquetFile(path)
        rows: list[Row] = []
        for batch in table.iter_batches(batch_size=1000):
            if batch.nbytes > MAX_ROW * max(1, batch.num_rows):
                _too_long(path, len(rows) + 1)
            rows += [Row(len(rows) + n, values) for n, values in enumerate(batch.to_pylist(), 1)]
    except DataError:
        raise
    except Exception as error:  # pyarrow's errors have no common base
        said = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise DataError(
            f"this is not a Parquet file that can be read: {said[0]}", file=path, mend="check it."
        ) from None
    if not rows:
        raise DataError("the table has no rows.", file=path, mend="put one example in each row.")
    return rows

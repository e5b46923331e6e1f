"""Rows whose columns hold lists, as rows that hold one value each: all combinations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

from apportion.data.files import Row
from apportion.errors import DataError

MAX_COMBINATIONS = 10_000  # of one row


def spread(rows: Sequence[Row], columns: Sequence[str], *, file: str) -> list[Row]:
    """One row for every combination of the elements of `columns`; an empty list makes none.

    A row of the result has the number of the row that it comes from. DataError where a column is
    missing or no list, or where a row makes more than `MAX_COMBINATIONS`.
    """
    return [made for row in rows for made in _combinations(row, columns, file)]


def _combinations(row: Row, columns: Sequence[str], file: str) -> Iterator[Row]:
    lists = []
    for column in columns:
        value = row.values.get(column)
        if not isinstance(value, list | tuple):
            what = "is no list" if column in row.values else "is missing"
            raise DataError(
                f"the column {column!r} {what}, and `each` asks for its elements.",
                file=file,
                row=row.number,
                field=column,
                mend="name a column of lists in `each`, or remove `each`.",
            )
        lists.append(value)
    n = math.prod(map(len, lists))
    if n > MAX_COMBINATIONS:
        raise DataError(
            f"the lists of {' and '.join(columns)} make {n:,} combinations.",
            file=file,
            row=row.number,
            mend=f"shorten them: at most {MAX_COMBINATIONS:,} to a row.",
        )
    for values in product(*lists):
        yield Row(row.number, {**row.values, **dict(zip(columns, values, strict=True))})

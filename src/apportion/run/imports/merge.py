"""Adding results to a table: nothing that is in it is lost, and no cell stands in it twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from apportion.errors import ResultsError
from apportion.run.tables import read_table, to_csv, to_jsonl
from apportion.store.files import replace_synced

if TYPE_CHECKING:
    from apportion.run.results import CellResult


def add_to(out: str | Path, new: Sequence[CellResult]) -> list[CellResult]:
    """Write `new` into the table at `out` (made where it is not there) and return all of it.

    Raises ResultsError where a cell and replicate is already there, or was measured on other test
    items, and where the file cannot be read or written.
    """
    out = Path(out)
    old = read_table(out, lines=False) if out.exists() else []
    places = {_place(one): one for one in old}
    for one in new:
        if _place(one) in places:
            raise ResultsError(
                f"{_named(one)} is already in the table.",
                file=out,
                mend="give it another replicate, or take the old row away.",
            )
        places[_place(one)] = one
    whole = [*old, *new]
    _same_items(whole, out)
    text = to_jsonl(whole) if out.suffix.lower() == ".jsonl" else to_csv(whole)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_synced(out, text.encode())
    except OSError as error:
        raise ResultsError(
            f"it cannot be written: {error.strerror or error}.", file=out, mend="name another file."
        ) from error
    return whole


def _place(one: CellResult) -> tuple[str, str, str, int, int, int]:
    return one.model, one.task, one.method, one.n_sft, one.n_pref, one.replicate


def _named(one: CellResult) -> str:
    where = f"{one.model} · {one.task} · {one.method}"
    return f"cell {one.n_sft} + {one.n_pref}, replicate {one.replicate} ({where})"


def _same_items(rows: Sequence[CellResult], out: Path) -> None:
    """Scores per item are compared between cells, so they must be of the same items."""
    first: dict[tuple[str, str], CellResult] = {}
    for one in rows:
        if one.items_digest is None:
            continue
        before = first.setdefault((one.model, one.task), one)
        if before.items_digest != one.items_digest:
            raise ResultsError(
                f"{_named(one)} was measured on other test items than {_named(before)}.",
                file=out,
                mend="measure all cells of a task on the same items, in the same order.",
            )

"""The decisions of a search as lines of a file: for people, and to take a search up again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apportion.run.results import CellResult
from apportion.search.decide import Cell, Choice, Decision
from apportion.store.files import whole_lines

if TYPE_CHECKING:
    from apportion.compile.plan import Cell as PlanCell

LOG = "search.jsonl"
Group = tuple[str, str, str]  # model, task, method


def cell_of(row: CellResult) -> Cell:
    """Where a row belongs in its group."""
    return row.n_sft, row.n_pref, row.replicate


def tell(store: Path, group: Group, decision: Decision, picked: Sequence[PlanCell]) -> None:
    """Append the decision, with those of its cells that are run."""
    chosen = {(c.n_sft, c.n_pref, c.replicate) for c in picked}
    line = {
        "model": group[0],
        "task": group[1],
        "method": group[2],
        "why": decision.why,
        "targets": [asdict(state) for state in decision.targets],
        "cells": [asdict(choice) for choice in decision.cells if choice.cell in chosen],
    }
    with (store / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def cut_short(
    store: Path, group: Group, rows: Sequence[CellResult], cells: Sequence[PlanCell]
) -> Decision | None:
    """What is left of the group's last decision where some of its cells were run and others not:
    so a search in pieces runs the cells that it would have run in one. None where nothing is."""
    lines = [line for line in whole_lines(store / LOG) if _group_of(line) == group]
    if not lines:
        return None
    told = [
        Choice(
            (one["cell"][0], one["cell"][1], one["cell"][2]), one["cost"], one["gain"], one["why"]
        )
        for one in lines[-1]["cells"]
    ]
    tried = {cell_of(row) for row in rows if row.status in ("done", "failed")}
    left = tuple(one for one in told if one.cell not in tried)
    known = {(cell.n_sft, cell.n_pref, cell.replicate) for cell in cells}
    if not 0 < len(left) < len(told) or not {one.cell for one in left} <= known:
        return None
    return Decision(left, (), lines[-1]["why"])


def _group_of(line: dict[str, Any]) -> Group:
    return line["model"], line["task"], line["method"]

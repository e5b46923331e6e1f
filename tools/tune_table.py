"""What the sweeps of `tune` found, as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FROZEN = "frozen"  # the factor of the run in which nothing is moved


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of results; none where there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: scores of the frozen recipe by cell, and what each other value changes, in points.

    Mean over seeds. A later line of a file replaces an earlier one of the same trial.
    """
    lines = []
    for what in dict.fromkeys((r["model"], r["task"], r["method"]) for r in rows):
        mine = [r for r in rows if (r["model"], r["task"], r["method"]) == what]
        cells = {r["cell"]: (r["n_sft"], r["n_pref"]) for r in mine}
        heads = [f"{cell} ({sft}, {pref})" for cell, (sft, pref) in cells.items()]
        lines += ["", " · ".join(what), "", f"| factor | value | {' | '.join(heads)} |"]
        lines += ["|---|---|" + "---|" * len(cells)]
        for factor, value in dict.fromkeys((r["factor"], r["value"]) for r in mine):
            found = [_shown(mine, cell, factor, value) for cell in cells]
            shown = "all" if value is None else f"{value:g}"
            lines.append(f"| {factor} | {shown} | {' | '.join(found)} |")
    return "\n".join(lines[1:])


def _shown(rows: Sequence[Mapping[str, Any]], cell: str, factor: str, value: float | None) -> str:
    frozen, here = _by_seed(rows, cell, FROZEN, None), _by_seed(rows, cell, factor, value)
    if not here:
        return "–"
    if factor == FROZEN:
        error = sum(r["stderr"] ** 2 for r in here.values()) ** 0.5 / len(here)
        mean = sum(r["score"] for r in here.values()) / len(here)
        return f"{100 * mean:.1f} ± {100 * error:.1f}"
    both = [seed for seed in here if seed in frozen]
    if not both:
        return "–"
    return f"{sum(100 * (here[s]['score'] - frozen[s]['score']) for s in both) / len(both):+.1f}"


def _by_seed(
    rows: Sequence[Mapping[str, Any]], cell: str, factor: str, value: float | None
) -> dict[int, Mapping[str, Any]]:
    wanted = (cell, factor, value)
    return {r["seed"]: r for r in rows if (r["cell"], r["factor"], r["value"]) == wanted}

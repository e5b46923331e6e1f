"""Which cells of a shared trajectory are also run independently: a pure function of the cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from hashlib import sha256
from math import ceil

from apportion.compile.plan import Cell

FEWEST = 2  # of each model, task and method


def audited(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """A tenth of the cells of each model, task and method, but at least two (or all there are).

    They are spread over the sizes: of the trained cells by n_sft + n_pref, cells of one sum in an
    order by hash, the middle one of each of as many equal parts. The order of `cells` does not
    matter but for the order of the answer.
    """
    groups: defaultdict[tuple[str, str, str], list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.model, cell.task, cell.method].append(cell)
    chosen: set[str] = set()
    for members in groups.values():
        trained = sorted((c for c in members if c.n_sft + c.n_pref), key=_place)
        count = min(len(trained), max(FEWEST, ceil(len(members) / 10)))
        middles = [(2 * part + 1) * len(trained) // (2 * count) for part in range(count)]
        chosen |= {_name(trained[middle]) for middle in middles}
    return tuple(cell for cell in cells if _name(cell) in chosen)


def _place(cell: Cell) -> tuple[int, str]:
    told = f"{cell.n_sft} {cell.n_pref} {cell.replicate}"
    return cell.n_sft + cell.n_pref, sha256(told.encode()).hexdigest()


def _name(cell: Cell) -> str:
    places = (cell.n_sft, cell.n_pref, cell.replicate)
    return "\n".join((cell.model, cell.task, cell.method, *map(str, places)))

"""What was measured, as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from apportion.compile import Cell
from loops.equivalence import equivalence, replicate_noise
from loops.extrapolate import EVALUATE, Process, Total, fit, total
from loops.grid import Grid, Tokens, name_of, steps_of
from loops.ledger import Ledger

KINDS = ("wall", "cpu")


@dataclass(frozen=True)
class Known:
    """A process of the honest loop: what it repeats (its stage), and its cost, where measured."""

    stage: str
    step: str
    tokens: int
    cost: dict[str, Any] | None

    def process(self, kind: str) -> Process:
        seconds = float("nan") if self.cost is None else float(self.cost[kind])
        return Process(self.step, self.tokens, seconds)


def processes(grid: Grid, ledger: Ledger) -> list[Known]:
    """Every process that the honest loop takes, in the plan's order."""
    tokens, measured = Tokens(grid), ledger.cells("honest")
    found = []
    for cell in grid.cells:
        counts = tokens.of(cell)
        row = measured.get(name_of(cell))
        costs = [None] * 3 if row is None else row["processes"]
        for place, step in enumerate(steps_of(cell)):
            found.append(Known(cell.stages[place], step, counts.get(step, 0), costs[place]))
    return found


def lines(grid: Grid, ledger: Ledger, margin: float) -> Iterator[str]:
    """The whole report."""
    yield from _head(grid, ledger)
    ours = _ours(grid, ledger)
    everything = processes(grid, ledger)
    yield f"{'':14} {'':>9} {'':>9} {'training':>16} {'peak':>8} {'times ours':>13}"
    heads = f"{'wall s':>9} {'CPU s':>9} {'tokens':>16} {'MB':>8}"
    yield f"{'':14} {heads} {'wall':>6} {'CPU':>6}"
    yield from _row("ours", ours, ours)
    kind, done = _kind(ledger), len(ledger.cells("kind"))
    whole = done == len(grid.cells)
    yield from _row("kind loop", kind, ours if whole else None)
    if done and not whole:
        yield f"    the kind loop has measured {done} of {len(grid.cells)} cells so far"
    honest, said = _honest(everything, ledger)
    yield from _row("honest loop", honest, ours)
    yield from said
    if ours and honest:
        yield from _gains(everything, ours)
    if honest:
        yield from _search(grid, everything, honest, ledger)
    for side in ("honest", "kind"):
        yield from _scores(grid, ledger, side, margin)


def _head(grid: Grid, ledger: Ledger) -> Iterator[str]:
    tally = grid.plan
    loads = [row["load"] for row in ledger.of("machine", "load")]
    yield (
        f"{grid.task} on {grid.model}: {len(grid.cells)} cells, {tally.unique.total} stages of "
        f"{tally.naive.total}; {grid.items} items; TRL with {grid.threads} thread(s)"
    )
    if loads:
        last = list(ledger.of("machine", "load"))[-1]
        yield (
            f"{last['cores']} cores, {last['versions']}; load of the machine as sittings began: "
            f"{min(loads):.1f} to {max(loads):.1f}"
        )
    yield ""


Sums = dict[str, Any]


def _ours(grid: Grid, ledger: Ledger) -> Sums | None:
    sittings = list(ledger.of("ours", "sitting"))
    if not sittings or len(ledger.cells("ours")) < len(grid.cells):
        return None
    cut = sum(1 for _ in ledger.of("ours", "begun")) - len(sittings)
    peaks = [row["sitting"]["peak_mb"] for row in sittings if row["sitting"]["peak_mb"]]
    return {
        **{kind: sum(row["sitting"][kind] for row in sittings) for kind in KINDS},
        "tokens": max(row["tokens"] for row in sittings),
        "peak": max(peaks, default=None),
        "note": f"{cut} sitting(s) of ours were killed: its seconds are too few" if cut else "",
    }


def _kind(ledger: Ledger) -> Sums | None:
    rows = list(ledger.cells("kind").values())
    if not rows:
        return None
    starts = [row["start_up"] for row in ledger.of("kind", "start_up")]
    steps = [one for row in rows for one in row["processes"]]
    peaks = [row["peak_mb"] for row in ledger.of("kind", "peak_mb") if row["peak_mb"]]
    return {
        **{kind: sum(one[kind] for one in (*starts, *steps)) for kind in KINDS},
        "tokens": sum(one["tokens"] for one in steps),
        "peak": max(peaks, default=None),
        "note": "",
    }


def _honest(everything: Sequence[Known], ledger: Ledger) -> tuple[Sums | None, list[str]]:
    """Sums over all cells, and how much of them is estimated."""
    if not ledger.cells("honest"):
        return None, []
    try:
        sums: dict[str, Total] = {kind: _total(everything, kind) for kind in KINDS}
        fits = {kind: fit([one.process(kind) for one in everything if one.cost]) for kind in KINDS}
    except ValueError as error:
        return None, [f"    the honest loop cannot be extrapolated: {error}"]
    peaks = [one.cost["peak_mb"] for one in everything if one.cost and one.cost["peak_mb"]]
    row = {
        **{kind: sums[kind].seconds for kind in KINDS},
        "tokens": sum(one.tokens for one in everything),
        "peak": max(peaks, default=None),
        "note": "",
    }
    said = []
    if sums["cpu"].estimated:
        said.append(
            f"    processes measured: {sums['cpu'].measured}, estimated: {sums['cpu'].estimated}"
        )
    for kind in KINDS:
        of_it = ", ".join(f"{1000 * fits[kind].value(n):.3f} ms a token of {n}"
                          for n in fits[kind].names if n not in ("constant", EVALUATE))  # fmt: skip
        constant = fits[kind].value("constant") if "constant" in fits[kind].names else 0.0
        said.append(
            f"    {kind:4} {constant:.1f} s a training process, {of_it}, "
            f"{fits[kind].value(EVALUATE):.1f} s an evaluation"
            + (f"; 90 % interval of the total {sums[kind].low:.0f} to {sums[kind].high:.0f} s"
               if sums[kind].estimated else "")
        )  # fmt: skip
    return row, said


def _total(everything: Sequence[Known], kind: str) -> Total:
    there = [one.process(kind) for one in everything if one.cost]
    return total(there, [one.process(kind) for one in everything if not one.cost])


def _row(name: str, sums: Sums | None, ours: Sums | None) -> Iterator[str]:
    if sums is None:
        yield f"{name:14} {'not yet measured':>19}"
        return
    peak = "?" if sums["peak"] is None else f"{sums['peak']:.0f}"
    ratios = [f"{sums[kind] / ours[kind]:6.2f}" if ours else f"{'':>6}" for kind in KINDS]
    yield (
        f"{name:14} {sums['wall']:9.0f} {sums['cpu']:9.0f} {sums['tokens']:16,} {peak:>8} "
        + " ".join(ratios)
    )
    if sums["note"]:
        yield f"    {sums['note']}"


def _gains(everything: Sequence[Known], ours: Sums) -> Iterator[str]:
    """The ratio of CPU (and wall) seconds as a product of its sources."""
    yield ""
    yield "honest loop to ours, by source (the factors multiply to the ratio):"
    for kind in KINDS:
        every, once, imports = gains(everything, kind)
        yield (
            f"    {kind:4} sharing stages {every / once:5.2f}, start-up and imports "
            f"{once / (once - imports):5.2f}, step, decoding and the rest "
            f"{(once - imports) / ours[kind]:5.2f}"
        )


def _search(grid: Grid, everything: Sequence[Known], honest: Sums, ledger: Ledger) -> Iterator[str]:
    """The adaptive search against the honest loop's whole grid, as a product of its sources."""
    for row in ledger.of("adaptive", "sitting"):
        yield ""
        yield (
            f"search: adaptive ran {len(row['found'])} of {len(grid.cells)} cells, "
            f"{row['tokens']:,} training tokens; advice: "
            + ", ".join(f"{100 * one['share']:g} % at {one['budget']:g}" for one in row["advice"])
        )
        fewer = sum({one.stage: one.tokens for one in everything}.values()) / row["tokens"]
        for kind in KINDS:
            every, once, imports = gains(everything, kind)
            own = row["sitting"][kind]
            yield (
                f"    {kind:4} {own:.0f} s, the honest loop's whole grid {honest[kind] / own:.1f} "
                f"times as much: sharing {every / once:.2f}, start-up "
                f"{once / (once - imports):.2f}, fewer cells {fewer:.2f}, steps and the rest "
                f"{(once - imports) / own / fewer:.2f}"
            )


def gains(everything: Sequence[Known], kind: str) -> tuple[float, float, float]:
    """Seconds of all processes; of one for every distinct stage; of the latter's imports."""
    there = [one for one in everything if one.cost]
    fitted = None
    if len(there) < len(everything):
        fitted = fit([one.process(kind) for one in there])

    def seconds(one: Known) -> float:
        if one.cost:
            return float(one.cost[kind])
        assert fitted is not None
        if one.step == EVALUATE:
            return fitted.value(EVALUATE)
        return fitted.value("constant") + fitted.value(one.step) * one.tokens

    by_stage: dict[str, list[Known]] = {}
    for one in everything:
        by_stage.setdefault(one.stage, []).append(one)
    once = sum(fmean(map(seconds, group)) for group in by_stage.values())
    imports = {
        evaluated: fmean([one.cost[f"imports_{kind}"] for one in there
                          if one.cost and (one.step == EVALUATE) == evaluated] or [0.0])
        for evaluated in (False, True)
    }  # fmt: skip
    starts = sum(imports[group[0].step == EVALUATE] for group in by_stage.values())
    return sum(map(seconds, everything)), once, starts


def _scores(grid: Grid, ledger: Ledger, side: str, margin: float) -> Iterator[str]:
    ours, theirs = ledger.cells("ours"), ledger.cells(side)
    both = [cell for cell in grid.cells if name_of(cell) in ours.keys() & theirs.keys()]
    if not both:
        return
    differences = [theirs[name_of(c)]["score"] - ours[name_of(c)]["score"] for c in both]
    yield ""
    yield f"scores, {side} loop less ours, in points:"
    try:
        found = equivalence(differences, [_group(cell) for cell in both], margin)
    except ValueError as error:
        yield f"    {error}"
        return
    verdict = "equivalent" if found.shown else "equivalence not shown"
    yield (
        f"    {found.cells} cells of {found.groups} SFT models: mean {100 * found.mean:+.2f}, 90 % "
        f"interval {100 * found.low:+.2f} to {100 * found.high:+.2f}; margin "
        f"{100 * found.margin:g}; p = {found.p:.2g}: {verdict}"
    )
    noise = replicate_noise({(f"{c.method}-{c.n_sft}-{c.n_pref}", c.replicate):
                             ours[name_of(c)]["score"] for c in grid.cells
                             if name_of(c) in ours})  # fmt: skip
    beside = "" if noise is None else f"; replicates of ours, of one cell: {100 * noise:.2f}"
    yield (
        f"    a single cell: root mean square {100 * found.rms:.2f}, largest "
        f"{100 * found.largest:.2f}{beside}"
    )


def _group(cell: Cell) -> str:
    return f"sft-{cell.n_sft}-r{cell.replicate}" if cell.n_sft else name_of(cell)

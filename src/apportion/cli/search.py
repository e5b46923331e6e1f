"""The adaptive search, as `apportion run` shows it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from apportion.cli.common import console

if TYPE_CHECKING:
    from apportion.compile import Plan
    from apportion.run.events import RunReport
    from apportion.search.decide import Decision
    from apportion.search.log import Group


def run_search(
    plan: Plan, store: Path, *, workers: int | None, time_box: float | None = None
) -> RunReport:
    """Search with progress on standard error, and say why each cell is run and why it ends."""
    from apportion.run.progress import ProgressDisplay
    from apportion.search.loop import search_plan

    out = console(err=True)

    def tell(group: Group, decision: Decision) -> None:
        if decision.cells and decision.targets:
            for choice in decision.cells:
                out.print(f"next: {choice.why}", markup=False)
        elif decision.cells:
            out.print(f"{' · '.join(group)}: {len(decision.cells)} first cells", markup=False)

    with ProgressDisplay(out) as display:
        found = search_plan(
            plan,
            store,
            workers=workers,
            on_event=display,
            on_decision=tell,
            time_box=time_box,
        )
    for end in found.ends:
        out.print(f"{end.model} · {end.task} · {end.method}: {end.why}.", markup=False)
        for state in end.decision.targets if end.decision else ():
            out.print(
                f"  budget {state.budget:,g}: {100 * state.share:g} % on SFT, regret "
                f"{100 * state.expected_regret:.2f} points expected, within the tolerance with "
                f"{100 * state.p_safe:.0f} % probability",
                markup=False,
            )
    out.print(
        f"The search ran {found.cells_run} of {found.cells_in_grid} cells, "
        f"{100 * found.part_of_tokens:.0f} % of the grid's training tokens.",
        markup=False,
    )
    return found.run

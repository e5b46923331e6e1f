"""Which cell of a plan is meant, and the specs of its stages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apportion.compile import Cell, Plan, Stage
from apportion.errors import StudyError

_CELL = re.compile(r"\s*(\d+)\s*,\s*(\d+)\s*(?:,\s*(\d+)\s*)?")


@dataclass(frozen=True)
class Parts:
    """A cell and its stages; those it does without are None."""

    cell: Cell
    sft: Stage | None
    preference: Stage | None
    generate: Stage
    score: Stage

    @property
    def spec(self) -> Mapping[str, Any]:
        """The generation's spec: what every cell has (model, template, task, dtype)."""
        return self.generate.spec

    @property
    def training(self) -> tuple[Stage, ...]:
        """The training stages, in their order."""
        return tuple(stage for stage in (self.sft, self.preference) if stage is not None)

    @property
    def lora(self) -> Mapping[str, Any] | None:
        """The adapter's settings; None where all weights are trained, or nothing is."""
        return self.training[0].spec["lora"] if self.training else None

    @property
    def quantization(self) -> str:
        """How the base's weights were kept: ``none`` or ``4bit``."""
        return str(self.spec.get("quantization", "none"))

    @property
    def merges_16bit(self) -> bool:
        """Whether stage two stands on an SFT adapter that was merged into rounded weights."""
        return (
            self.sft is not None
            and self.preference is not None
            and self.lora is not None
            and self.preference.spec["stage_two"] == "merge_16bit"
        )

    @property
    def name(self) -> str:
        """The cell for people."""
        cell = self.cell
        return (
            f"{cell.model} · {cell.task} · {cell.method} · {cell.n_sft} demonstrations + "
            f"{cell.n_pref} preference units · replicate {cell.replicate}"
        )


def parse_cell(text: str) -> tuple[int, int, int]:
    """(n_sft, n_pref, replicate) from ``n_sft,n_pref[,replicate]``; StudyError for other text."""
    found = _CELL.fullmatch(text)
    if found is None:
        raise StudyError(
            f"{text!r} is not a cell.",
            field="--cell",
            mend="write n_sft,n_pref or n_sft,n_pref,replicate, such as 250,750 or 250,750,1.",
        )
    n_sft, n_pref, replicate = found.groups()
    return int(n_sft), int(n_pref), int(replicate or 0)


def find_cell(
    plan: Plan,
    wanted: tuple[int, int, int],
    *,
    model: str | None = None,
    task: str | None = None,
    method: str | None = None,
) -> Parts:
    """The cell of `plan` at `wanted`; StudyError where there is none, or more than one."""
    cells: Sequence[Cell] = plan.cells
    for field, name in (("model", model), ("task", task), ("method", method)):
        there = list(dict.fromkeys(getattr(cell, field) for cell in cells))
        chosen = name
        if name is None and len(there) > 1 and (field != "method" or wanted[1]):
            raise StudyError(
                f"the study has several {field}s: {', '.join(there)}.",
                field=f"--{field}",
                mend=f"say which with --{field}.",
            )
        if name is None:
            chosen = there[0]
        elif name not in there:
            raise StudyError(
                f"the study has no {field} {name!r}.",
                field=f"--{field}",
                mend=f"write one of: {', '.join(there)}.",
            )
        cells = [cell for cell in cells if getattr(cell, field) == chosen]
    for cell in cells:
        if (cell.n_sft, cell.n_pref, cell.replicate) == wanted:
            return _parts(plan, cell)
    points = dict.fromkeys(f"{cell.n_sft},{cell.n_pref}" for cell in cells)
    runs = 1 + max(cell.replicate for cell in cells)
    raise StudyError(
        f"the study has no cell {wanted[0]},{wanted[1]} of replicate {wanted[2]}.",
        field="--cell",
        mend=f"write one of: {'; '.join(points)}; replicates are 0 to {runs - 1}.",
    )


def _parts(plan: Plan, cell: Cell) -> Parts:
    stages = {plan.stages[key].kind: plan.stages[key] for key in cell.stages}
    return Parts(
        cell=cell,
        sft=stages.get("sft"),
        preference=stages.get("preference"),
        generate=stages["generate"],
        score=stages["score"],
    )

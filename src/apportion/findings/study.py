"""All eight statements on one set of results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from apportion.advise.published import FIGURE, load_published
from apportion.errors import ResultsError
from apportion.findings.agreement import methods_agree, sizes_agree
from apportion.findings.best_mix import largest_budget, small_budgets
from apportion.findings.best_share import falls
from apportion.findings.cold_start import no_sft, repaired
from apportion.findings.evidence import N_DRAWS, FindingsRow, Row, as_row, gather
from apportion.findings.price import price_moves
from apportion.findings.types import Finding

SMALL = 1000.0


@dataclass(frozen=True)
class Findings:
    """The statements in order, and what should be known of the results themselves."""

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    small: float

    def to_json(self) -> dict[str, Any]:
        """Only dicts, lists, texts, finite numbers, booleans and None."""
        return {
            "small": self.small,
            "findings": [finding.to_json() for finding in self.findings],
            "notes": list(self.notes),
        }


def find(
    results: Iterable[FindingsRow],
    *,
    small: float = SMALL,
    sizes: Mapping[str, float] | None = None,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> Findings:
    """Test statements (a) to (h). Scores in [0, 1]; `small` in the unit of the budgets.

    `sizes`: parameters of models whose names do not say them. The same results give the same
    findings. Raises ResultsError for a row that cannot be used, and where nothing is finished.
    """
    if not (np.isfinite(small) and small > 0):
        raise ResultsError(f"{small!r} is no budget.", field="small", mend="Give a number above 0.")
    rows = [as_row(row) for row in results]
    if not any(row.status == "done" for row in rows):
        raise ResultsError("no cell has a score.", mend="Run the study first.")
    evidence = gather(rows, n_draws=n_draws, seed=seed)
    notes = list(evidence.notes)
    trained = np.array([key != (0, 0) for group in evidence.groups for key in group.keys])
    if not (evidence.replicates[trained] > 1).any():
        notes.append(
            "no cell has a second replicate: run-to-run noise is the prior's alone (three points)"
        )
    found = (
        small_budgets(evidence, small),
        largest_budget(evidence),
        falls(evidence),
        no_sft(rows, evidence, n_draws=n_draws, seed=seed),
        repaired(evidence),
        methods_agree(evidence),
        price_moves(evidence, seed=seed),
        sizes_agree(evidence, dict(sizes or {})),
    )
    return Findings(found, tuple(notes), small)


def is_published(file: Path) -> bool:
    """Whether a file is a published figure: its header names the reading error."""
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as stream:
            return "digitisation_sd" in stream.readline()
    except OSError:
        return False  # whoever reads it says why


def published_rows(file: Path = FIGURE) -> list[Row]:
    """The published figure as results: one seed, the reading error as the standard error."""
    rows = []
    for point in load_published(file):
        budget = point.n_sft + point.n_pref
        rows.append(
            Row(
                "Llama-3.1-8B", point.task, "dpo", round(point.n_sft), round(point.n_pref), 0,
                "done", None, point.score, point.sd, None,
                ((budget, point.n_sft / budget),) if budget else (), None,
            )
        )  # fmt: skip
    return rows

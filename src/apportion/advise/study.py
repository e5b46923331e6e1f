"""Advice for a whole study: every model, task and method in it, at the budgets asked about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from apportion.advise.regret import DELTA, EPSILON
from apportion.advise.shares import advise, advise_levels
from apportion.advise.types import Advice
from apportion.config.study import Prices
from apportion.errors import ResultsError
from apportion.surface.hierarchy import Estimate, fit
from apportion.surface.rows import ResultRow

SANDBOX_PREFIX = "sandbox:"


@dataclass(frozen=True)
class StudyAdvice:
    """Advice, the estimates behind it, and why there is none where there is none."""

    advice: tuple[Advice, ...]
    estimates: tuple[Estimate, ...]
    refused: tuple[str, ...]


def advise_study(
    results: Iterable[ResultRow],
    *,
    budgets: Sequence[float] | None = None,
    prices: Prices | None = None,
    epsilon: float = EPSILON,
    delta: float = DELTA,
) -> StudyAdvice:
    """Advice for each (model, task, method) of `results`.

    `budgets`: in the unit of the study's budgets; None: every measured one. `prices`: for a
    lattice, the price of each kind. What cannot be answered is in `refused`, with the reason.
    """
    rows = list(results)
    given: list[Advice] = []
    estimates: list[Estimate] = []
    refused: list[str] = []
    for model, task, method in dict.fromkeys((r.model, r.task, r.method) for r in rows):
        name = f"{model} · {task} · {method}"
        sandbox = model.startswith(SANDBOX_PREFIX)
        estimate = fit(rows, model=model, task=task, method=method)
        estimates.append(estimate)
        if estimate.status != "ok":
            refused.append(f"{name}: {'; '.join(estimate.reasons)}")
        elif budgets is None:
            levels, without = advise_levels(estimate, epsilon=epsilon, delta=delta, sandbox=sandbox)
            given += levels
            refused += [f"{name}: {reason}" for reason in without]
            if not levels and not without:
                refused.append(f"{name}: a lattice has no budgets of its own: ask with --budget")
        else:
            for budget in budgets:
                try:
                    given.append(
                        advise(
                            estimate,
                            budget,
                            prices=prices,
                            epsilon=epsilon,
                            delta=delta,
                            sandbox=sandbox,
                        )
                    )
                except ResultsError as error:
                    refused.append(f"{name}, budget {budget:g}: {error.problem}")
    return StudyAdvice(tuple(given), tuple(estimates), tuple(refused))

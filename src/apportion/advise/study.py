"""Advice for a whole study: every model, task and method in it, at the budgets asked about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from apportion.advise.next_purchase import WORTH
from apportion.advise.regret import DELTA, EPSILON
from apportion.advise.shares import advise, advise_levels
from apportion.advise.types import Advice
from apportion.config.study import Prices
from apportion.errors import ResultsError
from apportion.prices import Amount
from apportion.surface.hierarchy import Estimate
from apportion.surface.model import PriorName, Surface, fit_surface
from apportion.surface.rows import ResultRow

SANDBOX_PREFIX = "sandbox:"


@dataclass(frozen=True)
class Question:
    """What is asked. `budgets` None: every measured one, in `unit` and at `prices`."""

    budgets: tuple[Amount, ...] | None = None
    prices: Prices | None = None
    unit: Literal["usd", "examples"] = "examples"
    have: tuple[int, int] = (0, 0)
    epsilon: float = EPSILON
    delta: float = DELTA
    step: float | None = None
    worth: float = WORTH
    prior: PriorName = "learnt"


@dataclass(frozen=True)
class StudyAdvice:
    """Advice, the surfaces behind it, and why there is none where there is none."""

    advice: tuple[Advice, ...]
    surfaces: tuple[Surface, ...]
    refused: tuple[str, ...]

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """Every group's cells by themselves."""
        return tuple(surface.estimate for surface in self.surfaces)


def advise_study(results: Iterable[ResultRow], question: Question | None = None) -> StudyAdvice:
    """Advice for each (model, task, method) of `results`.

    What cannot be answered is in `refused`, with the reason.
    """
    asked = question or Question()
    rows = list(results)
    given: list[Advice] = []
    surfaces: list[Surface] = []
    refused: list[str] = []
    for model, task, method in dict.fromkeys((r.model, r.task, r.method) for r in rows):
        name = f"{model} · {task} · {method}"
        surface = fit_surface(rows, model=model, task=task, method=method, prior=asked.prior)
        surfaces.append(surface)
        if surface.status != "ok":
            refused.append(f"{name}: {'; '.join(surface.reasons)}")
            continue
        some, without = _answers(surface, asked, sandbox=model.startswith(SANDBOX_PREFIX))
        given += some
        refused += [f"{name}{reason}" for reason in without]
    return StudyAdvice(tuple(given), tuple(surfaces), tuple(refused))


def _answers(surface: Surface, asked: Question, *, sandbox: bool) -> tuple[list[Advice], list[str]]:
    if asked.budgets is None:
        levels, without = advise_levels(
            surface,
            unit=asked.unit,
            prices=asked.prices,
            epsilon=asked.epsilon,
            delta=asked.delta,
            sandbox=sandbox,
        )
        if not levels and not without:
            return [], [": a lattice has no budgets of its own: ask with --budget"]
        return list(levels), [f": {reason}" for reason in without]
    given: list[Advice] = []
    refused: list[str] = []
    for amount in asked.budgets:
        try:
            given.append(
                advise(
                    surface,
                    amount,
                    prices=asked.prices,
                    have=asked.have,
                    epsilon=asked.epsilon,
                    delta=asked.delta,
                    step=asked.step,
                    worth=asked.worth,
                    sandbox=sandbox,
                )
            )
        except ResultsError as error:
            refused.append(f", budget {amount.value:g}: {error.problem}")
    return given, refused

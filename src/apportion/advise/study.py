"""Advice for a whole study: every model, task and method in it, at the budgets asked about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from apportion.advise.next_purchase import WORTH
from apportion.advise.phrases import number
from apportion.advise.regret import DELTA, EPSILON
from apportion.advise.shares import advise, advise_levels
from apportion.advise.timing import Timing, timing_of
from apportion.advise.types import Advice
from apportion.config.budget import Prices, Unit
from apportion.errors import ResultsError
from apportion.prices import Amount, needs_seconds
from apportion.surface.family import doubtful, prior_of_family, stand_in
from apportion.surface.hierarchy import Estimate
from apportion.surface.model import Surface, fit_surface
from apportion.surface.priors import PriorName
from apportion.surface.rows import ResultRow

SANDBOX_PREFIX = "sandbox:"


@dataclass(frozen=True)
class Question:
    """What is asked. `budgets` None: every measured one, in `unit` and at `prices`.

    `model`: the only one asked about. `family`: smaller relatives of it, the smallest first, whose
    rows are the prior; where `model` has too few cells, their surfaces stand in for its own.
    """

    budgets: tuple[Amount, ...] | None = None
    prices: Prices | None = None
    unit: Unit = "examples"
    have: tuple[int, int] = (0, 0)
    epsilon: float = EPSILON
    delta: float = DELTA
    step: float | None = None
    worth: float = WORTH
    prior: PriorName = "learnt"
    model: str | None = None
    family: tuple[str, ...] = ()


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

    What cannot be answered is in `refused`, with the reason. Where compute is paid and no seconds
    per example are given, they are measured on the group's own rows; ResultsError where those
    cannot say.
    """
    asked = question or Question()
    rows = list(results)
    given: list[Advice] = []
    surfaces: list[Surface] = []
    refused: list[str] = []
    untimed = _is_untimed(asked)
    for model, task, method in _groups(rows, asked):
        name = f"{model} · {task} · {method}"
        try:
            surface, stands_in = _surface(rows, asked, model, task, method)
        except ResultsError as error:
            if not asked.family:
                raise
            refused.append(f"{name}: {error.told}")
            continue
        surfaces.append(surface)
        if surface.status != "ok":
            refused.append(f"{name}: {'; '.join(surface.reasons)}")
            continue
        timing = timing_of(rows, model=model, task=task, method=method) if untimed else None
        sandbox = model.startswith(SANDBOX_PREFIX)
        some, without = _answers(surface, asked, timing, sandbox=sandbox)
        given += [_borrowed(one) for one in some] if stands_in else some
        refused += [f"{name}{reason}" for reason in without]
    return StudyAdvice(tuple(given), tuple(surfaces), tuple(refused))


def _groups(rows: list[ResultRow], asked: Question) -> list[tuple[str, str, str]]:
    """The (model, task, method) to answer; a model with a family may have no rows of its own."""
    found = dict.fromkeys((r.model, r.task, r.method) for r in rows)
    models = {model for model, _, _ in found}
    unknown = [name for name in asked.family if name not in models]
    if asked.model is not None and asked.model not in models and not asked.family:
        unknown.append(asked.model)
    if unknown or (asked.family and asked.model is None) or asked.model in asked.family:
        raise ResultsError(
            f"{', '.join(unknown)}: no such model has rows."
            if unknown
            else "a family is given, and no other model that it is to inform.",
            field="from" if asked.family else "model",
            mend=f"name models among {', '.join(sorted(models))}.",
        )
    if asked.model is None:
        return list(found)
    own = asked.family or (asked.model,)
    kept = dict.fromkeys((task, method) for model, task, method in found if model in own)
    return [(asked.model, task, method) for task, method in kept]


def _surface(
    rows: list[ResultRow], asked: Question, model: str, task: str, method: str
) -> tuple[Surface, bool]:
    """The surface of one group, and whether it is only its relatives' that stands in."""
    if not asked.family:
        return fit_surface(rows, model=model, task=task, method=method, prior=asked.prior), False
    present = {row.model for row in rows if (row.task, row.method) == (task, method)}
    relatives = [
        fit_surface(rows, model=name, task=task, method=method, prior=asked.prior)
        for name in asked.family
        if name in present
    ]
    able = [surface for surface in relatives if surface.status == "ok"]
    if model in present:
        prior = prior_of_family(able) if able else asked.prior
        surface = fit_surface(rows, model=model, task=task, method=method, prior=prior)
        if surface.status == "ok" or not able:
            return replace(surface, reasons=(*surface.reasons, *doubtful(able))), False
    return stand_in(able, model), True


def _borrowed(advice: Advice) -> Advice:
    """Nothing of a surface that stands in was measured on the model asked about."""
    shares = tuple(replace(row, measured=False) for row in advice.shares)
    return replace(advice, shares=shares, origin="extrapolated", extrapolated=True, confident=False)


def _is_untimed(asked: Question) -> bool:
    """Whether a budget asked about pays compute, of which no seconds are given."""
    units = {asked.unit} if asked.budgets is None else {one.unit for one in asked.budgets}
    return any(needs_seconds(asked.prices or Prices(), unit) for unit in units)


def _answers(
    surface: Surface, asked: Question, timing: Timing | None, *, sandbox: bool
) -> tuple[list[Advice], list[str]]:
    if asked.budgets is None:
        levels, without = advise_levels(
            surface,
            unit=asked.unit,
            prices=asked.prices,
            epsilon=asked.epsilon,
            delta=asked.delta,
            sandbox=sandbox,
            timing=timing,
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
                    timing=timing,
                )
            )
        except ResultsError as error:
            refused.append(f", budget {number(amount.value)}: {error.told}")
    return given, refused

"""From small models of a family to a large one: a prior, and a stand-in where nothing is measured.

| symbol | meaning                                                                        |
|--------|--------------------------------------------------------------------------------|
| panel  | what a small model's cells say of the law under the broad prior (`learnt`)      |
| s0²    | variance of a parameter in the broad prior                                     |
| omega² | `BETWEEN_SIZES` s0²: how far models of a family lie apart                       |
| level  | the law's base score, which a size moves more than the shape: `LEVEL` s0²       |

With few cells of the large model, its surface is fitted under `prior_of_family`. With none, the
small models' own surfaces stand in for it, each as likely as the other: they say where the best
split is, and nothing about the large model's scores.

A small model that hardly does the task misleads: what it cannot do, pairs do not teach it, and may
teach a larger one (docs/grid.md, summarization). `doubtful` names such models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from apportion.errors import ResultsError
from apportion.surface.learnt import PanelMoments, learn, moments
from apportion.surface.model import Surface
from apportion.surface.posterior import sample
from apportion.surface.shape import BROAD, FEATURES, LAW, Floats, Prior

BETWEEN_SIZES = 0.02
LEVEL = 0.05
WEAK = 0.25  # a best cell below it: hardly does the task. A judgement, from one task of the sandbox


def variances(between: float = BETWEEN_SIZES, level: float = LEVEL) -> Floats:
    """omega² / s0² of every parameter of the law and every weight (13,)."""
    value = np.full(LAW + len(FEATURES), between)
    value[LAW + FEATURES.index("base")] = level
    return value


def panel_of(surface: Surface) -> PanelMoments:
    """What one model's surface says of the law. ResultsError where it could not be fitted."""
    if not surface.posteriors:
        raise ResultsError(
            f"the surface of {surface.model} cannot be learnt from: {'; '.join(surface.reasons)}.",
            mend="Measure more cells of it.",
        )
    # Not the surface's own: a prior that others outdo is given up early there.
    return moments(surface.model, sample(BROAD, surface.seen, seed=0))


def prior_of_family(
    surfaces: Sequence[Surface], *, between: float = BETWEEN_SIZES, level: float = LEVEL
) -> Prior:
    """The prior of another model of the same family, task and method, for `fit_surface(prior=)`.

    `surfaces`: fitted ones of its smaller relatives. Raises ResultsError for one without a fit.
    """
    panels = [panel_of(surface) for surface in surfaces]
    return replace(learn(panels, between=variances(between, level)), name="family")


def doubtful(surfaces: Sequence[Surface]) -> tuple[str, ...]:
    """A reason to doubt for every relative whose best measured cell scores less than `WEAK`."""
    reasons = []
    for surface in surfaces:
        best = max((cell.mean for cell in surface.estimate.cells), default=0.0)
        if best < WEAK:
            reasons.append(
                f"{surface.model} hardly does this task ({100 * best:.0f} at its best cell): what "
                "pairs do to it may not be what they do to a model that can"
            )
    return tuple(reasons)


def stand_in(surfaces: Sequence[Surface], model: str) -> Surface:
    """A surface for a model that was not measured: its relatives' surfaces in equal parts.

    What is measured is the last relative's; give the nearest one last. Its scores are not those of
    `model`: only comparisons between splits carry over. ResultsError without a fitted surface.
    """
    able = [surface for surface in surfaces if surface.status == "ok"]
    if not able:
        raise ResultsError(
            f"no smaller model of {model} has a surface.", mend="Measure cells of one."
        )
    names = ", ".join(surface.model for surface in able)
    weights = [w / len(able) for surface in reversed(able) for w in surface.weights]
    return replace(
        able[-1],
        model=model,
        posteriors=tuple(p for surface in reversed(able) for p in surface.posteriors),
        weights=tuple(weights),
        reasons=(
            f"{model} was not measured: {names} stands in, for splits and not for scores",
            *doubtful(able),
        ),
    )

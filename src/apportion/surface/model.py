"""The surface of one (model, task, method): fitted once, asked about any counts.

| symbol | meaning                                                                     | shape |
|--------|-----------------------------------------------------------------------------|-------|
| F      | families: the same law under different priors, see `surface/priors.py`        |       |
| w_f    | weight of a family: its prior weight times its evidence, normalised          | F     |
| mu     | drawn score at counts asked about, over all runs and items of the task       | D, M  |

Weights follow from how well each prior foretold the data, one observation after the other, which is
what a marginal likelihood is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.special import logsumexp

from apportion.surface.hierarchy import Estimate, fit
from apportion.surface.observe import Observations, observe
from apportion.surface.posterior import Posterior, draw, sample
from apportion.surface.priors import PriorName, families
from apportion.surface.rows import ResultRow, finished_cells, item_contributions
from apportion.surface.shape import Floats, Prior, to_score

N_DRAWS = 2000
FEWEST_CELLS = 3  # trained cells; below, a surface is its prior
FEWEST_EFFECTIVE = 40.0  # effective thetas below which the integral is not trusted
SAME = 1e-9  # scores nearer to each other than this are the same
HOPELESS = 0.01  # a family with a smaller weight gets no more than the usual rounds of sampling


@dataclass(frozen=True, eq=False)
class Diagnostics:
    """How the fit went; see `Surface.status` for the verdict."""

    weights: dict[str, float]  # of the families
    effective: float  # effective number of thetas, of the heaviest family
    observations: int
    cells: int
    replicated: int  # cells with more than one replicate
    averaged: bool  # replicates were averaged, because there are very many rows
    run_sd: tuple[float, float, float]  # median and 90 % interval: a whole run, at a score of 0.5
    misfit: float  # mean squared standardised leave-one-out error; about 1 when the noise is right


@dataclass(frozen=True, eq=False)
class Surface:
    """Value, status and diagnostics of a fit."""

    model: str
    task: str
    method: str
    posteriors: tuple[Posterior, ...]
    weights: tuple[float, ...]
    estimate: Estimate  # every measured cell by itself, without the surface
    status: Literal["ok", "not enough evidence"]
    reasons: tuple[str, ...]
    absent: tuple[str, ...]

    @property
    def seen(self) -> Observations:
        """What the fit has seen."""
        return self.posteriors[0].seen

    @cached_property
    def diagnostics(self) -> Diagnostics:
        """How the fit went."""
        from apportion.surface.diagnose import diagnostics

        return diagnostics(self)

    def draws(
        self,
        n_sft: Sequence[float] | Floats,
        n_pref: Sequence[float] | Floats,
        *,
        n_draws: int = N_DRAWS,
        seed: int = 0,
    ) -> Floats:
        """Scores (D, M) at counts (M,), in [0, 1]; each row is one surface that fits the data."""
        s, p = np.asarray(n_sft, dtype=float), np.asarray(n_pref, dtype=float)
        rng = np.random.default_rng([seed, 1])
        counts = _split(n_draws, self.weights)
        parts = [
            draw(posterior, s, p, count, rng)
            for posterior, count in zip(self.posteriors, counts, strict=True)
            if count
        ]
        drawn = np.concatenate(parts)
        return np.asarray(to_score(drawn[rng.permutation(len(drawn))]))


def _split(n: int, weights: Sequence[float]) -> list[int]:
    """`n` whole draws by weight: the largest remainders get what rounding leaves."""
    exact = np.asarray(weights) * n
    counts = np.floor(exact).astype(int)
    for k in np.argsort(counts - exact, kind="stable")[: n - int(counts.sum())]:
        counts[k] += 1
    return [int(c) for c in counts]


def fit_observations(
    seen: Observations, priors: Sequence[tuple[Prior, float]], *, seed: int = 0
) -> tuple[tuple[Posterior, ...], tuple[float, ...]]:
    """A posterior for each family, and the families' weights."""
    found: dict[int, Posterior] = {}
    best = -np.inf
    # The first comes from elsewhere and fits least often: the others set the mark for it.
    for k in (*range(1, len(priors)), 0):
        prior, weight = priors[k]
        found[k] = sample(prior, seen, seed=seed + k, least=best + np.log(HOPELESS / weight))
        best = max(best, np.log(weight) + found[k].log_evidence)
    posteriors = [found[k] for k in range(len(priors))]
    logs = [np.log(w) + q.log_evidence for q, (_, w) in zip(posteriors, priors, strict=True)]
    return tuple(posteriors), tuple(float(w) for w in np.exp(logs - logsumexp(logs)))


def _status(seen: Observations) -> tuple[bool, list[str]]:
    trained = (seen.n_sft > 0) | (seen.n_pref > 0)
    cells = len({(a, b) for a, b in zip(seen.n_sft[trained], seen.n_pref[trained], strict=True)})
    if cells < FEWEST_CELLS:
        return False, [
            f"not enough evidence: {cells} trained cell(s) with a score and an error, and a "
            f"surface needs {FEWEST_CELLS}"
        ]
    reasons = []
    if not seen.replicated:
        reasons.append("no cell has a second replicate: the run-to-run noise is mostly the prior's")
    if np.ptp(seen.z[trained]) < SAME:
        reasons.append("every trained cell has the same score: nothing there compares splits")
    return True, reasons


def fit_surface(
    results: Iterable[ResultRow],
    *,
    model: str,
    task: str,
    method: str,
    prior: PriorName | Prior = "learnt",
    without: str | None = None,
    seed: int = 0,
) -> Surface:
    """Fit the surface of one (model, task, method); one to four seconds.

    Scores are in [0, 1]. `prior`: "learnt" from published evidence, or "broad". Raises ResultsError
    for a row that cannot be used. With too little evidence the status says so and why.
    """
    rows = list(results)
    estimate = fit(rows, model=model, task=task, method=method, seed=seed)
    groups, absent = finished_cells(rows, model=model, task=task, method=method)
    contributions = {
        id(row): found
        for many in groups.values()
        for row in many
        if (found := item_contributions(row)) is not None
    }
    seen = observe(groups, contributions)
    ok, reasons = _status(seen)
    lacking = sum(len(many) for many in groups.values()) - seen.rows
    if lacking:
        reasons.append(f"{lacking} row(s) left out: neither item scores nor a standard error")
    posteriors: tuple[Posterior, ...] = ()
    weights: tuple[float, ...] = ()
    if ok:
        posteriors, weights = fit_observations(seen, families(prior, without), seed=seed)
    surface = Surface(
        model, task, method, posteriors, weights, estimate,
        "ok" if ok else "not enough evidence", tuple(reasons), tuple(absent),
    )  # fmt: skip
    return replace(surface, reasons=(*surface.reasons, *_doubts(surface))) if ok else surface


def _doubts(surface: Surface) -> tuple[str, ...]:
    found = surface.diagnostics
    reasons = []
    if found.effective < FEWEST_EFFECTIVE:
        reasons.append(
            f"the fit rests on {found.effective:.0f} effective samples of its parameters: its "
            "intervals are rough"
        )
    if found.misfit > 2.5:
        reasons.append(
            f"the scores scatter {found.misfit**0.5:.1f} times as far around the surface as the "
            "noise explains"
        )
    return tuple(reasons)

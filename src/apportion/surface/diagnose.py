"""Diagnostics of a fitted surface.

| symbol | meaning                                                                  | shape |
|--------|--------------------------------------------------------------------------|-------|
| K, m   | prior covariance and mean of the observations z, see `posterior`          | N, N  |
| e_i    | leave-one-out error (K^-1 (z - m))_i / (K^-1)_ii, of variance 1 / (K^-1)_ii | N   |
| misfit | mean of e_i² (K^-1)_ii: 1 where model and noise are right                |       |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from apportion.surface.posterior import Posterior, prior_moments
from apportion.surface.shape import TAU_D, TAU_P, TAU_S

if TYPE_CHECKING:
    from apportion.surface.model import Diagnostics, Surface

_MOST = 60  # heaviest thetas that stand for the posterior


def _misfit(posterior: Posterior) -> float:
    keep = np.argsort(-posterior.weight)[:_MOST]
    weight = posterior.weight[keep] / posterior.weight[keep].sum()
    mean, covariance, _ = prior_moments(posterior.prior, posterior.seen, posterior.theta[keep])
    inverse = np.linalg.inv(covariance)
    pulled = (inverse @ (posterior.seen.z - mean)[:, :, None])[:, :, 0]
    own = np.diagonal(inverse, axis1=1, axis2=2)
    return float(weight @ (pulled**2 / own).mean(axis=1))


def _run_sd(posterior: Posterior) -> tuple[float, float, float]:
    """Median and 90 % interval of the sd of one whole run with plenty of SFT, at a score of 1/2."""
    total = np.sqrt((np.exp(posterior.theta[:, [TAU_D, TAU_S, TAU_P]]) ** 2).sum(axis=1))
    order = np.argsort(total)
    mass = np.cumsum(posterior.weight[order])
    low, middle, high = (float(total[order][np.searchsorted(mass, q)]) for q in (0.05, 0.5, 0.949))
    return middle, low, high


def diagnostics(surface: Surface) -> Diagnostics:
    """See `model.Diagnostics`."""
    from apportion.surface.model import Diagnostics

    heaviest = surface.posteriors[int(np.argmax(surface.weights))]
    seen = surface.seen
    return Diagnostics(
        weights={q.prior.name: w for q, w in zip(surface.posteriors, surface.weights, strict=True)},
        effective=heaviest.effective,
        observations=len(seen.z),
        cells=seen.cells,
        replicated=seen.replicated,
        averaged=seen.averaged,
        run_sd=_run_sd(heaviest),
        misfit=_misfit(heaviest),
    )

"""A prior learnt from surfaces measured elsewhere.

| symbol  | meaning                                                                       |
|---------|-------------------------------------------------------------------------------|
| m0, s0  | mean and sd of a parameter in the broad prior                                 |
| m_p, s_p| its posterior mean and sd on panel p, fitted alone under the broad prior       |
| e_p, v_p| what panel p itself says: 1 / v_p = 1 / s_p² - 1 / s0², e_p likewise           |
| omega²  | `BETWEEN` s0²: how far tasks lie apart                                        |
| m, s²   | learnt prior of a new task: mu's posterior mean, its variance plus omega²      |

e_p ~ N(mu, omega² + v_p) and mu ~ N(m0, s0²), so a parameter that no panel can tell keeps its broad
prior. Only the law's parameters and weights are learnt; the discrepancy and the noise are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from apportion.surface.posterior import Posterior, beta_moments
from apportion.surface.shape import BROAD, LAW, Floats, Prior

BETWEEN = 0.15


@dataclass(frozen=True)
class PanelMoments:
    """Posterior means and sds of the law's parameters and weights on one panel."""

    name: str
    mean: tuple[float, ...]
    sd: tuple[float, ...]


def moments(name: str, posterior: Posterior) -> PanelMoments:
    """What a panel's posterior under the broad prior says."""
    law = posterior.theta[:, :LAW]
    mean = posterior.weight @ law
    sd = np.sqrt(posterior.weight @ (law - mean) ** 2)
    beta, beta_sd = beta_moments(posterior)
    return PanelMoments(
        name,
        tuple(float(v) for v in (*mean, *beta)),
        tuple(float(v) for v in (*sd, *beta_sd)),
    )


def learn(panels: Sequence[PanelMoments], *, between: float | Floats = BETWEEN) -> Prior:
    """The prior of a new task; the broad one without panels.

    `between`: omega² / s0², one number or one for every parameter of the law and every weight.
    """
    m0 = np.array([*BROAD.theta[0][:LAW], *BROAD.beta[0]])
    s0 = np.array([*BROAD.theta[1][:LAW], *BROAD.beta[1]])
    precision, pull = 1 / s0**2, m0 / s0**2
    for panel in panels:
        m, s = np.array(panel.mean), np.array(panel.sd)
        own = np.maximum(1 / s**2 - 1 / s0**2, 0.0)
        told = own > 1e-6 / s0**2
        own = np.where(told, own, 1.0)
        said = np.where(told, (m / s**2 - m0 / s0**2) / own, 0.0)
        weight = np.where(told, 1 / (between * s0**2 + 1 / own), 0.0)
        precision = precision + weight
        pull = pull + weight * said
    mean, sd = pull / precision, np.sqrt(1 / precision + between * s0**2)
    return _prior("learnt", mean, np.minimum(sd, s0))


def _prior(name: str, mean: Floats, sd: Floats) -> Prior:
    def join(law: Floats, rest: tuple[float, ...]) -> tuple[float, ...]:
        return (*(float(v) for v in law[:LAW]), *rest[LAW:])

    return Prior(
        name,
        (join(mean, BROAD.theta[0]), join(sd, BROAD.theta[1])),
        (tuple(float(v) for v in mean[LAW:]), tuple(float(v) for v in sd[LAW:])),
    )

"""The priors that a surface is fitted under, and how likely each is before the data are seen.

| name   | what it says of a new task                                                  | weight |
|--------|-----------------------------------------------------------------------------|--------|
| learnt | the law's parameters are as published surfaces have them (`evidence`)        | 0.4    |
| usual  | both kinds of data help, share little, harm little; the law is nearly right  | 0.3    |
| step   | the same, but nothing shows before a number of demonstrations, then much     | 0.075  |
| broad  | orders of magnitude, and any sign                                            | 0.075  |
| flat   | data hardly move the score, and do no harm                                   | 0.075  |
| free   | the law is held down and the discrepancy is wide: an interpolator            | 0.075  |

The same noise stands under all six, and the same law (with a gate before all of it in `step`, see
`shape`); what is expected of them differs. Weights become posterior ones by how well each prior
foretold the data. `usual` was chosen among ten candidates by log evidence on calibration worlds
(`surface/worlds.py`) and on measured surfaces, `step` on measured ones, the weights by regret on
calibration worlds and on the published panels (docs/log.md, 28 November 2026).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from apportion.surface.evidence import prior_from_evidence
from apportion.surface.shape import BROAD, FEATURES, PARAMETERS, Prior

PriorName = Literal["learnt", "broad"]

LEARNT = 0.4  # of the published prior
OTHERS = {
    "usual": 4 / 8, "step": 1 / 8, "broad": 1 / 8, "flat": 1 / 8, "free": 1 / 8,
}  # fmt: skip  # of what `learnt` leaves
TRUST = 0.8  # weight of a prior that the caller gives: it is of the same family of models


def _with(
    name: str,
    beta: dict[str, tuple[float, float]],
    theta: dict[str, tuple[float, float]],
) -> Prior:
    """BROAD with other means and sds of weights, and other middles and sds of parameters."""
    weights = [
        beta.get(feature, old)
        for feature, old in zip(FEATURES, zip(*BROAD.beta, strict=True), strict=True)
    ]
    logs = [
        (float(np.log(theta[one][0])), theta[one][1]) if one in theta else old
        for one, old in zip(PARAMETERS, zip(*BROAD.theta, strict=True), strict=True)
    ]
    (beta_mean, beta_sd), (mean, sd) = zip(*weights, strict=True), zip(*logs, strict=True)
    return Prior(name, (mean, sd), (beta_mean, beta_sd))


_HELPS = {"sft": (0.35, 0.20), "pref": (0.15, 0.08), "common": (0.04, 0.05), "cold": (0.0, 0.10),
          "over": (0.005, 0.012)}  # fmt: skip
_NEARLY = {"sd": (0.02, 0.9)}
USUAL = _with("usual", _HELPS, _NEARLY)
_GATED = _with("step", {**_HELPS, "sft": (0.20, 0.20)}, {**_NEARLY, "k_g": (150.0, 1.3)})
STEP = replace(_GATED, beta=((*_GATED.beta[0], 0.35), (*_GATED.beta[1], 0.30)))
FLAT = _with(
    "flat",
    {"sft": (0.01, 0.015), "pref": (0.01, 0.015), "common": (0.0, 0.005), "cold": (0.0, 0.005),
     "over": (0.0, 0.001)},
    {"sd": (0.005, 0.7)},
)  # fmt: skip
FREE = _with(
    "free",
    {
        feature: (0.3 * mean, 0.3 * sd)
        for feature, mean, sd in zip(FEATURES, *BROAD.beta, strict=True)
        if feature != "base"
    },
    {"sd": (0.2, 0.7), "length_s": (4.0, 0.5), "length_p": (4.0, 0.5)},
)


def families(prior: PriorName | Prior, without: str | None = None) -> list[tuple[Prior, float]]:
    """Priors and their weights. `without`: a task of the published evidence to leave out."""
    rest = [(one, OTHERS[one.name]) for one in (USUAL, STEP, BROAD, FLAT, FREE)]
    if prior == "broad":
        return rest
    first = prior if isinstance(prior, Prior) else prior_from_evidence(without=without)
    trust = TRUST if first is prior else LEARNT
    return [(first, trust), *((one, (1 - trust) * weight) for one, weight in rest)]

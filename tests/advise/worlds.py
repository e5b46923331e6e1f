"""Surfaces made by hand, so that advice can be checked without fitting."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from apportion.surface.hierarchy import CellEstimate, Estimate, SigmaEstimate

SIGMA = SigmaEstimate(0.02, (0.01, 0.04), 4.0, 0.03, 6)


@dataclass
class Surface:
    """What advice needs of a surface: `law` is vectorised; each draw shifts every point alone."""

    law: object
    estimate: Estimate
    sd: float = 0.0
    status: str = "ok"
    reasons: tuple = ()
    model: str = "m"
    task: str = "math"
    method: str = "dpo"
    replicated: int = 4
    effective: float = 500.0

    @property
    def diagnostics(self):
        return SimpleNamespace(replicated=self.replicated, effective=self.effective)

    def draws(self, n_sft, n_pref, *, n_draws=2000, seed=0):
        s, p = np.asarray(n_sft, float), np.asarray(n_pref, float)
        normal = np.random.default_rng(seed).standard_normal((n_draws, len(s)))
        return np.clip(self.law(s, p) + self.sd * normal, 0, 1)


def budget_lines(levels, shares):
    """{(n_sft, n_pref): ((budget, share), ...)} at prices of one."""
    found = {}
    for level in levels:
        for share in shares:
            found.setdefault((round(level * share), round(level - level * share)), []).append(
                (float(level), float(share))
            )
    return {key: tuple(lines) for key, lines in found.items()}


def lattice(sft, pref):
    return {(a, b): () for a in sft for b in pref}


def surface(law, cells, *, replicates=2, **more):
    """`cells`: {(n_sft, n_pref): lines}; their means are the law's."""
    made = tuple(
        CellEstimate(
            n_sft=s,
            n_pref=p,
            mean=float(law(np.array([float(s)]), np.array([float(p)]))[0]),
            interval=(0.0, 1.0),
            replicates=replicates,
            n_items=300,
            lines=lines,
            item_noise="bootstrap",
        )
        for (s, p), lines in sorted(cells.items())
    )
    empty = np.zeros((1, len(made)))
    estimate = Estimate("m", "math", "dpo", made, empty, SIGMA, "ok", (), ())
    return Surface(law, estimate, **more)


def peak(at, height=0.5, steepness=1.0):
    """A law whose best share is `at`, whatever the total."""

    def law(s, p):
        share = s / np.maximum(s + p, 1e-9)
        return 0.2 + height * (1 - steepness * (share - at) ** 2) * (s + p > 0)

    return law

"""Estimates made by hand, so that advice can be checked without fitting."""

import numpy as np

from apportion.surface.hierarchy import CellEstimate, Estimate, SigmaEstimate, interval

SIGMA = SigmaEstimate(0.02, (0.01, 0.04), 4.0, 0.03, 6)


def estimate(draws_by_cell, *, lines=None, replicates=2, status="ok", reasons=()):
    """`draws_by_cell`: {(n_sft, n_pref): draws}; `lines`: {(n_sft, n_pref): ((budget, share),)}."""
    keys = sorted(draws_by_cell)
    draws = np.stack([np.asarray(draws_by_cell[k], dtype=float) for k in keys], axis=1)
    cells = tuple(
        CellEstimate(
            n_sft=k[0],
            n_pref=k[1],
            mean=float(draws[:, i].mean()),
            interval=interval(draws[:, i]),
            replicates=replicates,
            n_items=300,
            lines=tuple((lines or {}).get(k, ())),
            item_noise="bootstrap",
        )
        for i, k in enumerate(keys)
    )
    return Estimate("m", "math", "dpo", cells, draws, SIGMA, status, tuple(reasons), ())


def line_estimate(columns_by_budget, **more):
    """`columns_by_budget`: {budget: {share: draws}}."""
    draws, lines = {}, {}
    for budget, columns in columns_by_budget.items():
        for share, values in columns.items():
            n_sft = round(budget * share)
            draws[n_sft, round(budget - n_sft)] = values
            lines.setdefault((n_sft, round(budget - n_sft)), []).append((budget, share))
    return estimate(draws, lines=lines, **more)


def constant(value, n=50):
    return np.full(n, value)


def noisy(value, sd, seed, n=4000):
    return np.clip(value + sd * np.random.default_rng(seed).standard_normal(n), 0, 1)

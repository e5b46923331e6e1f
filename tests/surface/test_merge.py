"""Merged rows have the means, and the noise, that averaging them one by one would give."""

import numpy as np
import pytest

from apportion.surface import observe as module
from apportion.surface.merge import groups_of
from apportion.surface.observe import observe
from apportion.surface.simulate import SimulatedResult

KEYS = [(0, 0), (10, 0), (0, 30), (10, 50), (200, 50), (10, 500)]


def rows(replicates=3):
    rng = np.random.default_rng(0)
    return {
        key: [
            SimulatedResult(*key, r, float(rng.uniform(0.2, 0.7)), n_items=200)
            for r in range(replicates)
        ]
        for key in KEYS
    }


def test_merging_is_averaging(monkeypatch):
    whole = observe(rows(), {})
    monkeypatch.setattr(module, "VERY_MANY", 4)
    merged = observe(rows(), {})
    mean = np.kron(np.eye(len(KEYS)), np.full((1, 3), 1 / 3))
    order = np.lexsort((merged.n_pref, merged.n_sft))
    asked = np.lexsort(([k[1] for k in KEYS], [k[0] for k in KEYS]))
    theta = np.log(np.full((1, 14), 0.2))
    expected = (mean @ whole.noise(theta)[0] @ mean.T)[np.ix_(asked, asked)]
    jitter = module.JITTER * (1 - 1 / 3) * np.eye(len(KEYS))
    found = merged.noise(theta)[0][np.ix_(order, order)]
    assert found == pytest.approx(expected + jitter, abs=1e-9)
    assert merged.z[order] == pytest.approx((mean @ whole.z)[asked])
    assert merged.averaged and merged.rows == 18 and merged.cells == 6


def test_too_many_cells_become_neighbourhoods_and_zero_stays_zero():
    rng = np.random.default_rng(1)
    n_sft, n_pref = rng.integers(0, 5000, 3000), rng.integers(0, 5000, 3000)
    n_sft[:200], n_pref[100:300] = 0, 0
    label = groups_of(n_sft, n_pref, 260)
    assert label.max() < 260
    for side in (n_sft, n_pref):
        for group in set(label.tolist()):
            mine = side[label == group]
            assert (mine == 0).all() or (mine > 0).all()


def test_few_cells_are_their_own_groups():
    n_sft, n_pref = np.array([1, 1, 5, 5]), np.array([0, 0, 7, 8])
    assert len(set(groups_of(n_sft, n_pref, 260).tolist())) == 3

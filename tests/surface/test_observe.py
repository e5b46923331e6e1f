"""Observations: the scale, and the structure of their noise, against hand-made cases."""

import numpy as np
import pytest

from apportion.surface import observe as module
from apportion.surface.observe import JITTER, observe
from apportion.surface.simulate import SimulatedResult


def row(n_sft, n_pref, replicate, items=None, **more):
    score = more.pop("score", None)
    score = float(np.mean(items)) if score is None else score
    return SimulatedResult(
        n_sft, n_pref, replicate, score, tuple(items) if items is not None else None, **more
    )


def observed(rows):
    groups = {}
    for one in rows:
        groups.setdefault((one.n_sft, one.n_pref), []).append(one)
    return observe(groups, {id(r): r.item_scores for r in rows if r.item_scores is not None})


def test_which_runs_are_shared():
    seen = observed(
        [row(*key, score=0.4, n_items=100) for key in
         [(0, 0, 0), (10, 0, 0), (10, 5, 0), (10, 5, 1), (0, 5, 0)]]
    )  # fmt: skip
    data = [
        [0, 0, 0, 0, 0], [0, 1, 1, 0, 1], [0, 1, 1, 0, 1], [0, 0, 0, 1, 0], [0, 1, 1, 0, 1]
    ]  # fmt: skip
    sft = [
        [0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]
    ]  # fmt: skip
    assert (seen.same_data == data).all()
    assert (seen.same_sft == sft).all()
    assert np.diag(seen.own_pref).tolist() == [0, 0, 1, 1, 1]
    assert (seen.cells, seen.replicated, seen.rows) == (4, 1, 5)


def test_the_scale_by_hand():
    seen = observed([row(10, 0, 0, score=0.25, n_items=40), row(20, 0, 0, score=0.0, n_items=40)])
    expected = [np.arcsin(np.sqrt((10 + 0.375) / 40.75)), np.arcsin(np.sqrt(0.375 / 40.75))]
    assert seen.z == pytest.approx(expected)
    assert np.diag(seen.items) == pytest.approx([1 / (4 * 40 + 2) + JITTER] * 2)


def test_a_standard_error_counts_as_so_many_items():
    seen = observed([row(10, 0, 0, score=0.5, stderr=0.05), row(20, 0, 0, score=0.5, stderr=0.1)])
    assert np.diag(seen.items) == pytest.approx([1 / (4 * 100 + 2), 1 / (4 * 25 + 2)], rel=1e-3)
    assert seen.items[0, 1] == 0


def test_items_that_go_together_make_errors_that_go_together():
    rng = np.random.default_rng(0)
    hard = rng.random(4000) < 0.5
    alike = [np.where(rng.random(4000) < 0.9, hard, ~hard).astype(float) for _ in range(2)]
    alone = (rng.random(4000) < 0.5).astype(float)
    rows = [row(10, 0, 0, alike[0]), row(20, 0, 0, alike[1]), row(30, 0, 0, alone)]
    q = observed(rows).items
    scale = 1 / (4 * 4000 + 2)
    assert q[0, 1] / scale == pytest.approx(np.corrcoef(alike)[0, 1], abs=0.03)
    assert abs(q[0, 2] / scale) < 0.06


def test_rows_without_any_error_are_left_out():
    seen = observed([row(10, 0, 0, score=0.5), row(20, 0, 0, score=0.5, n_items=50)])
    assert seen.rows == 1 and seen.n_sft.tolist() == [20]


def test_averages_have_the_covariance_of_averages(monkeypatch):
    rng = np.random.default_rng(1)
    keys = [(10, 0), (10, 50), (200, 50)]
    rows = [row(*k, r, (rng.random(60) < 0.4).astype(float)) for k in keys for r in range(3)]
    theta = np.log(np.full((1, 14), 0.3))
    whole = observed(rows)
    monkeypatch.setattr(module, "MOST", 5)
    short = observed(rows)
    assert short.averaged and not whole.averaged
    mean = np.kron(np.eye(3), np.full((1, 3), 1 / 3))
    assert short.z == pytest.approx(mean @ whole.z)
    assert short.noise(theta)[0] == pytest.approx(mean @ whole.noise(theta)[0] @ mean.T)


def test_sets_of_replicates_are_averaged_apart(monkeypatch):
    """Four replicates of three cells, eight observations at most: two sets of two."""
    rng = np.random.default_rng(2)
    keys = [(10, 0), (10, 50), (200, 50)]
    rows = [row(*k, r, (rng.random(60) < 0.4).astype(float)) for k in keys for r in range(4)]
    theta = np.log(np.full((1, 14), 0.3))
    whole = observed(rows)
    monkeypatch.setattr(module, "MOST", 8)
    short = observed(rows)
    mean = np.kron(np.eye(3), [[0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5]])
    assert short.averaged and (short.rows, short.cells, short.replicated) == (12, 3, 3)
    assert short.n_sft.tolist() == [10, 10, 10, 10, 200, 200]
    assert short.z == pytest.approx(mean @ whole.z)
    assert short.noise(theta)[0] == pytest.approx(mean @ whole.noise(theta)[0] @ mean.T)


def test_the_noise_is_larger_where_there_is_little_sft():
    seen = observed([row(n, 10, 0, score=0.5, n_items=10**6) for n in (0, 200, 10**6)])
    theta = np.zeros((1, 14))
    theta[0, 10:13] = np.log([1e-9, 1e-9, 0.1])
    theta[0, 13] = np.log(2.0)
    sd = np.sqrt(np.diag(seen.noise(theta)[0]) - JITTER)
    assert sd == pytest.approx([0.3, 0.2, 0.1], rel=1e-2)

"""The formula against a simulation that knows nothing of it."""

from __future__ import annotations

import numpy as np
import pytest

from apportion.metrics.power import detectable_difference


@pytest.mark.parametrize(
    ("n_items", "replicates", "run_sd", "correlation"),
    [(300, 2, 0.03, 0.3), (100, 1, 0.0, 0.5), (400, 3, 0.05, 0.1)],
)
def test_a_difference_of_this_size_is_seen_four_times_in_five(
    n_items: int, replicates: int, run_sd: float, correlation: float
) -> None:
    """Right-or-wrong items of Beta-distributed difficulty, shared by both cells' runs."""
    rng = np.random.default_rng(0)
    delta = detectable_difference(n_items, replicates, run_sd=run_sd, correlation=correlation)
    assert 0 < delta < 0.3
    studies = 3000
    # E q = 1/2 and Var q = correlation / 4 make two runs' answers to an item correlate so.
    shape = (1 / correlation - 1) / 2
    difficulty = rng.beta(shape, shape, size=(studies, 1, 1, n_items))
    answers = rng.random((studies, 2, replicates, n_items), dtype=np.float32) < difficulty
    runs = answers.mean(axis=-1) + rng.normal(0, run_sd, (studies, 2, replicates))
    null = runs.mean(axis=-1) @ np.array([-1.0, 1.0])
    critical = np.quantile(np.abs(null), 0.95)  # the test of 5 %, found without any formula
    power = np.mean(np.abs(null + delta) > critical)
    assert power == pytest.approx(0.8, abs=0.03)


def test_more_evidence_sees_less() -> None:
    sizes = [detectable_difference(n, r) for n, r in ((100, 1), (300, 1), (300, 2), (300, 8))]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 4


def test_runs_limit_what_items_can_show() -> None:
    z = 1.959964 + 0.841621
    assert detectable_difference(10**9, 2, run_sd=0.03) == pytest.approx(z * 0.03, rel=1e-4)
    # One run each, independent items, p = 1/2: sqrt(2 · 0.25 / 200) = 0.05.
    assert detectable_difference(200, 1, run_sd=0, correlation=0) == pytest.approx(z * 0.05)


@pytest.mark.parametrize(
    "wrong", [{"n_items": 0}, {"replicates": 0}, {"p": 2}, {"correlation": -1}, {"level": 0},
              {"power": 1}, {"run_sd": -1}]
)  # fmt: skip
def test_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        detectable_difference(**{"n_items": 1, "replicates": 1, **wrong})  # type: ignore[arg-type]

"""Items that do not count alike: contributions, against a bootstrap that resamples weights too."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from apportion.errors import ResultsError
from apportion.findings.evidence import as_row, rescored
from apportion.findings.noise import CellData
from apportion.run.results import CellResult
from apportion.surface.hierarchy import PRIOR_DF, PRIOR_SCALE, fit
from apportion.surface.rows import item_contributions

NAMES = {"model": "m", "task": "instructions", "method": "dpo"}


def row(scores, weights, n_sft=10, n_pref=0, replicate=0):
    score = float(np.average(scores, weights=weights))
    return CellResult(
        **NAMES, n_sft=n_sft, n_pref=n_pref, replicate=replicate, status="done",
        lines=((10.0, 1.0),), score=score, n_items=len(scores), item_scores=tuple(scores),
        item_weights=None if weights is None else tuple(weights),
    )  # fmt: skip


def items(n=300, seed=1):
    """Two cells on the same items; what weighs more is harder, as where more is asked at once."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 4, n).astype(float)
    one, two = (rng.binomial(weights.astype(int), p / weights) / weights for p in (0.9, 0.7))
    return weights, one, two


def test_their_plain_mean_is_the_weighted_score():
    weights, one, _ = items()
    assert np.mean(item_contributions(row(one, weights))) == pytest.approx(
        np.sum(weights * one) / np.sum(weights), abs=1e-12
    )
    assert item_contributions(row(one, None)) == tuple(one)
    assert item_contributions(row(one, np.full(len(one), 2.0))) == pytest.approx(one)
    bare = SimpleNamespace(item_scores=(0.0, 1.0))  # of a kind of row that knows no weights
    assert item_contributions(bare) == (0.0, 1.0)
    assert item_contributions(SimpleNamespace(item_scores=None)) is None


def weighted_bootstrap(weights, *cells, n=20_000):
    """Independent: items drawn with replacement, each with its weight, the ratio taken anew."""
    rng = np.random.default_rng(7)
    counts = rng.multinomial(len(weights), np.full(len(weights), 1 / len(weights)), size=n)
    total = counts @ weights
    return [(counts @ (weights * scores)) / total for scores in cells]


def test_the_estimate_s_item_noise_is_that_of_a_weighted_bootstrap():
    weights, one, two = items()
    found = fit([row(one, weights), row(two, weights, 5, 5)], **NAMES, n_draws=40_000)
    run = 2 * PRIOR_DF * PRIOR_SCALE**2 / (PRIOR_DF - 2)  # what two runs add to a difference
    first, second = weighted_bootstrap(weights, one, two)
    wanted = np.var(first - second) * len(weights) / (len(weights) + 1)
    columns = {(cell.n_sft, cell.n_pref): k for k, cell in enumerate(found.cells)}
    a, b = found.draws[:, columns[10, 0]], found.draws[:, columns[5, 5]]
    assert np.var(a - b) - run == pytest.approx(wanted, rel=0.2)
    assert np.mean(a - b) == pytest.approx(np.mean(first - second), abs=1e-3)
    # Without runs: the closed form of the Bayesian bootstrap against the same draws, tightly.
    parts = np.array([item_contributions(row(scores, weights)) for scores in (one, two)])
    closed = np.cov(parts, bias=True) / len(weights)
    assert closed == pytest.approx(np.cov(first, second), rel=0.05)
    # Neither unweighted scores nor w s / mean(w), whose mean is right, have that noise.
    plain = np.var(one) / len(weights)
    scaled = np.var(weights * one / weights.mean()) / len(weights)
    assert abs(plain / closed[0, 0] - 1) > 0.10
    assert abs(scaled / closed[0, 0] - 1) > 0.10


def test_findings_resample_contributions_and_drop_the_weights_with_the_scores():
    weights, one, _ = items()
    cell = CellData.read(0, "instructions", (10, 0), [row(one, weights)])
    assert cell.items == pytest.approx(np.array([item_contributions(row(one, weights))]))
    kept = as_row(row(one, weights))
    assert kept.item_weights == tuple(weights)
    lenient = rescored([as_row(SimpleNamespace(**{**vars(row(one, weights)), "lenient": 0.9}))], "lenient")  # noqa: E501  # fmt: skip
    assert (lenient[0].item_scores, lenient[0].item_weights) == (None, None)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.0), (1.0, float("nan")), (1.0, -1.0)])
def test_weights_that_cannot_be_used(weights):
    bad = CellResult(
        **NAMES, n_sft=1, n_pref=0, replicate=0, status="done", score=0.5, n_items=2,
        item_scores=(0.0, 1.0), item_weights=weights,
    )  # fmt: skip
    with pytest.raises(ResultsError, match="one positive number for each"):
        fit([bad], **NAMES)

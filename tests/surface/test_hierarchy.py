"""The fit against closed forms, and its intervals against simulated truth."""

import math

import numpy as np
import pytest
from scipy import stats

from apportion.errors import ResultsError
from apportion.surface import hierarchy
from apportion.surface.hierarchy import PRIOR_DF, PRIOR_SCALE, fit
from apportion.surface.simulate import SimulatedResult, budget_cells, law, simulate

NAMES = {"model": "sandbox:simulated", "task": "math", "method": "dpo"}


def row(n_sft=10, n_pref=10, replicate=0, score=0.5, **more):
    return SimulatedResult(
        n_sft=n_sft, n_pref=n_pref, replicate=replicate, score=score, **{"stderr": 0.0, **more}
    )


def test_without_item_noise_the_interval_is_students_t():
    scores = {(10, 0): [0.50, 0.56], (0, 10): [0.40, 0.42], (5, 5): [0.61]}
    rows = [row(*key, r, s) for key, values in scores.items() for r, s in enumerate(values)]
    estimate = fit(rows, **NAMES, n_draws=100_000)
    df = PRIOR_DF + 2
    squares = 2 * 0.03**2 + 2 * 0.01**2
    scale = math.sqrt((PRIOR_DF * PRIOR_SCALE**2 + squares) / df)
    for cell in estimate.cells:
        values = scores[cell.n_sft, cell.n_pref]
        expected = stats.t.interval(
            0.90, df, loc=np.mean(values), scale=scale / math.sqrt(len(values))
        )
        assert cell.mean == pytest.approx(np.mean(values))
        assert cell.interval == pytest.approx(expected, abs=2e-3)
    assert estimate.sigma.prior_share == pytest.approx(PRIOR_DF / df)
    quantiles = np.sqrt(df * scale**2 / stats.chi2.ppf([0.95, 0.5, 0.05], df))
    assert estimate.sigma.interval == pytest.approx((quantiles[0], quantiles[2]), rel=0.02)
    assert estimate.sigma.median == pytest.approx(quantiles[1], rel=0.02)


def test_the_bootstrap_has_the_covariance_of_the_dirichlet():
    items = np.random.default_rng(1).random((3, 40))
    deviations = hierarchy._bootstrap(items, 60_000, np.random.default_rng(2))
    expected = np.cov(items, bias=True) / (items.shape[1] + 1)
    assert np.cov(deviations.T) == pytest.approx(expected, abs=4e-5)


def test_noise_that_all_cells_share_cancels_in_differences():
    items = tuple(np.tile([0.0, 1.0], 50))
    rows = [row(10, 0, score=0.5, item_scores=items), row(0, 10, score=0.5, item_scores=items)]
    estimate = fit(rows, **NAMES, n_draws=20_000)
    second = PRIOR_DF * PRIOR_SCALE**2 / (PRIOR_DF - 2)  # E[sigma²] under the prior
    assert estimate.draws[:, 0].var() == pytest.approx(second + 0.25 / 101, rel=0.1)
    assert (estimate.draws[:, 0] - estimate.draws[:, 1]).var() == pytest.approx(2 * second, rel=0.1)


def test_the_item_by_run_part_is_not_counted_twice():
    """Every bit of noise is interaction: the total is v / (I R), not twice that."""
    rng = np.random.default_rng(3)
    n_items, inter = 100, 0.3
    rows = []
    for k in range(40):
        for r in range(2):
            y = 0.5 + inter * rng.uniform(-math.sqrt(3), math.sqrt(3), n_items).clip(-1.6, 1.6)
            rows.append(row(k + 1, 1, r, float(y.mean()), item_scores=tuple(y)))
    widths = fit(rows, **NAMES).draws.std(axis=0)
    once = inter / math.sqrt(n_items * 2)
    assert once * 0.95 < widths.mean() < once * 1.3  # counted twice it would be 1.41, or more


def _covered(replicates, worlds, draw_sigma):
    truth = {k: law(*k) for k in budget_cells([400], [0, 0.25, 0.5, 1])}
    cells = [k for k in truth if k != (0, 0)]
    hits = differences = 0
    for world in range(worlds):
        rng = np.random.default_rng([replicates, world])
        sigma = draw_sigma(rng)
        rows = simulate(truth, replicates=replicates, sigma=sigma, n_items=150, seed=world)
        estimate = fit(rows, **NAMES, n_draws=800, seed=world)
        column = {(c.n_sft, c.n_pref): k for k, c in enumerate(estimate.cells)}
        a, b = (column[cells[k]] for k in (world % 4, (world + 1) % 4))
        low, high = hierarchy.interval(estimate.draws[:, a])
        hits += low <= truth[cells[world % 4]] <= high
        low, high = hierarchy.interval(estimate.draws[:, a] - estimate.draws[:, b])
        gap = truth[cells[world % 4]] - truth[cells[(world + 1) % 4]]
        differences += low <= gap <= high
    return hits, differences


@pytest.mark.parametrize("replicates", [1, 2, 4])
def test_intervals_cover_the_truth_as_often_as_they_say(replicates):
    worlds = 400

    def from_prior(rng):
        return PRIOR_SCALE * math.sqrt(PRIOR_DF / rng.chisquare(PRIOR_DF))

    low, high = stats.binom.interval(0.999, worlds, 0.9)
    for count in _covered(replicates, worlds, from_prior):
        assert low <= count <= high + worlds * 0.02  # a little caution is allowed, boldness is not


@pytest.mark.parametrize("sigma", [0.0, 0.015, 0.03])
def test_with_replicates_the_prior_does_not_make_intervals_bold(sigma):
    worlds = 150
    low, _ = stats.binom.interval(0.999, worlds, 0.9)
    for count in _covered(2, worlds, lambda rng: sigma):
        assert count >= low


def test_without_item_scores_the_standard_error_is_independent_noise():
    rows = [row(10, 0, stderr=0.04), row(0, 10, stderr=0.04)]
    estimate = fit(rows, **NAMES, n_draws=20_000)
    second = 2 * PRIOR_SCALE**2 + 0.04**2
    assert estimate.draws.var(axis=0) == pytest.approx([second, second], rel=0.1)
    assert np.cov(estimate.draws.T)[0, 1] == pytest.approx(0, abs=2e-4)
    assert {c.item_noise for c in estimate.cells} == {"stderr"}


def test_a_standard_error_is_bounded_by_the_number_of_items():
    estimate = fit([row(10, 0, stderr=None, n_items=100), row(0, 10)], **NAMES, n_draws=20_000)
    by_key = {(c.n_sft, c.n_pref): k for k, c in enumerate(estimate.cells)}
    variance = estimate.draws[:, by_key[10, 0]].var()
    assert variance == pytest.approx(2 * PRIOR_SCALE**2 + 0.25 / 100, rel=0.1)


def test_a_cell_without_any_error_is_left_out_and_said():
    estimate = fit([row(10, 0, stderr=None), row(0, 10), row(5, 5)], **NAMES)
    assert [(c.n_sft, c.n_pref) for c in estimate.cells] == [(0, 10), (5, 5)]
    assert any("10 + 0: left out" in reason for reason in estimate.reasons)


def test_item_scores_of_another_length_fall_back_to_the_standard_error():
    rows = [
        row(10, 0, item_scores=(0.0, 1.0), stderr=0.02),
        row(0, 10, item_scores=(0.0, 1.0), stderr=0.02),
        row(5, 5, item_scores=(0.0, 1.0, 0.5), stderr=0.02),
    ]
    estimate = fit(rows, **NAMES)
    noise = {(c.n_sft, c.n_pref): c.item_noise for c in estimate.cells}
    assert noise == {(0, 10): "bootstrap", (5, 5): "stderr", (10, 0): "bootstrap"}


def test_the_base_model_has_no_run_noise_and_says_nothing_of_sigma():
    base = [row(0, 0, r, 0.2) for r in range(3)]
    estimate = fit([*base, row(10, 0), row(0, 10)], **NAMES)
    assert estimate.cells[0].interval == pytest.approx((0.2, 0.2))
    assert estimate.sigma.data_df == 0
    assert estimate.sigma.prior_share == 1
    assert any("second replicate" in reason for reason in estimate.reasons)


def test_failed_and_missing_cells_are_absent_with_their_reasons():
    gone = row(7, 3, score=None, status="failed", reason="out of memory")
    estimate = fit([gone, row(10, 0), row(0, 10)], **NAMES)
    assert len(estimate.cells) == estimate.draws.shape[1] == 2
    assert estimate.absent == ("7 + 3, replicate 0: failed (out of memory)",)


@pytest.mark.parametrize("rows", [[], [row(10, 0)], [row(0, 0), row(10, 0)]])
def test_too_few_cells_are_not_enough_evidence(rows):
    estimate = fit(rows, **NAMES)
    assert estimate.status == "not enough evidence"
    assert "needs two" in " ".join(estimate.reasons)


def test_draws_stay_in_the_unit_interval_and_are_seeded():
    rows = [row(10, 0, score=0.99), row(0, 10, score=0.01)]
    first, again, other = (fit(rows, **NAMES, seed=s).draws for s in (1, 1, 2))
    assert first.min() >= 0
    assert first.max() <= 1
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_other_models_tasks_and_methods_are_not_mixed_in():
    rows = [
        row(10, 0),
        row(0, 10),
        row(5, 5, model="m"),
        row(5, 5, task="t"),
        row(5, 5, method="k"),
    ]
    assert len(fit(rows, **NAMES).cells) == 2


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (row(score=math.nan), "score"),
        (row(score=math.inf), "score"),
        (row(score=1.2), "score"),
        (row(score=None), "score"),
        (row(stderr=-0.1), "stderr"),
        (row(item_scores=()), "item_scores"),
        (row(item_scores=(0.5, math.nan)), "item_scores"),
        (row(n_sft=-1), "n_sft"),
        (row(n_sft=99), "replicate"),
    ],
)
def test_a_bad_row_is_named(bad, field):
    with pytest.raises(ResultsError) as caught:
        fit([row(n_sft=99), bad], **NAMES)
    assert (caught.value.row, caught.value.field) == (2, field)
    assert caught.value.mend

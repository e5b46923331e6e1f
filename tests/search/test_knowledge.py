"""What a run is worth, against closed forms and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.search.knowledge import Beliefs, choose, gains, worths
from apportion.search.start import first_cells


def test_the_gain_between_two_equal_splits_by_hand():
    s = np.array([[1.0], [-1.0]])
    assert gains(np.zeros(2), s)[0] == pytest.approx(np.sqrt(2 / np.pi), rel=0.01)  # E |e|


def test_the_gain_of_a_challenger_is_the_normal_loss():
    from scipy.stats import norm

    behind, moves = 0.3, 0.5
    expected = moves * norm.pdf(behind / moves) - behind * norm.cdf(-behind / moves)
    found = gains(np.array([0.3, 0.0]), np.array([[0.0], [moves]]))[0]
    assert found == pytest.approx(expected, rel=0.03)


@given(st.integers(0, 10_000))
def test_gains_are_never_negative_and_nothing_gains_nothing(seed):
    rng = np.random.default_rng(seed)
    m, s = rng.standard_normal(5), rng.standard_normal((5, 3))
    assert (gains(m, s) >= 0).all()
    assert gains(m, np.zeros((5, 2))) == pytest.approx(0, abs=1e-9)
    assert gains(m, np.ones((5, 1)))[0] == pytest.approx(0, abs=1e-9)  # all move together


def believed(covariance, mean, noise, targets=2, draws=200_000):
    rng = np.random.default_rng(0)
    drawn = rng.multivariate_normal(mean, covariance, draws)
    return Beliefs(drawn[:, :targets], ((0, targets),), drawn[:, targets:], np.asarray(noise))


def test_the_gain_is_what_regret_falls_by():
    """Two splits; one run measures the first. Simulate the posterior after it, as it would be."""
    noise = 0.5
    covariance = np.array([[1.0, 0.2, 1.0], [0.2, 0.5, 0.2], [1.0, 0.2, 1.0]])
    beliefs = believed(covariance, [0.1, 0.0, 0.1], [noise])
    (worth,) = worths(beliefs, [1.0])
    rng = np.random.default_rng(1)
    truth = rng.multivariate_normal([0.1, 0.0], covariance[:2, :2], 200_000)
    heard = truth[:, 0] + np.sqrt(noise) * rng.standard_normal(200_000)
    after = np.stack(
        [m + covariance[k, 0] / (1 + noise) * (heard - 0.1) for k, m in enumerate((0.1, 0.0))],
        axis=1,
    )
    chosen = truth[np.arange(len(truth)), after.argmax(axis=1)]
    assert worth.gain == pytest.approx(chosen.mean() - truth[:, 0].mean(), rel=0.08)


def test_cheap_knowledge_first_and_not_the_same_twice():
    # Candidates 0 and 1 say the same of split 0; candidate 2 says something of split 1.
    covariance = np.array(
        [
            [1.0, 0.0, 1.0, 1.0, 0.0],
            [0.0, 1.0, 0.0, 0.0, 0.9],
            [1.0, 0.0, 1.0, 1.0, 0.0],
            [1.0, 0.0, 1.0, 1.0, 0.0],
            [0.0, 0.9, 0.0, 0.0, 1.0],
        ]
    ) + 1e-9 * np.eye(5)
    beliefs = believed(covariance, np.zeros(5), [0.01, 0.01, 0.01], draws=20_000)
    picked = [worth.candidate for worth in choose(beliefs, [1.0, 1.1, 1.2], 2)]
    assert picked == [0, 2]
    cheap = [worth.candidate for worth in choose(beliefs, [5.0, 1.0, 9.0], 1)]
    assert cheap == [1]


def test_what_is_nearly_free_and_tells_nearly_nothing_does_not_hide_what_is_worth_its_cost():
    """Candidate 0 says nearly nothing of the two shares, candidate 1 which is better."""
    covariance = np.diag([1.0, 1.0, 1.0, 1.0])
    covariance[0, 2] = covariance[2, 0] = 0.05
    covariance[0, 3] = covariance[3, 0] = 0.7
    beliefs = believed(covariance, np.zeros(4), [0.01, 0.01], draws=20_000)
    costs = [0.001, 1.0]
    little, much = (worth.gain for worth in worths(beliefs, costs))
    assert 0 < little < 0.1 < 0.2 < much
    assert [one.candidate for one in choose(beliefs, costs, 1)] == [0]
    assert [one.candidate for one in choose(beliefs, costs, 1, least=0.1)] == [1]
    assert choose(beliefs, costs, 1, least=1.0) == []


def test_what_is_known_is_not_chosen():
    beliefs = believed(np.diag([1.0, 1.0, 0.0]), [5.0, 0.0, 0.0], [0.01])
    assert choose(beliefs, [1.0], 3) == []


def test_the_first_cells_of_a_lattice_and_of_lines():
    levels = (0, 50, 100, 200, 400, 800, 1600)
    lattice = [(a, b) for a in levels for b in levels]
    cells = first_cells(lattice, 4)
    assert cells[0] == (0, 0, 0)
    assert {c[:2] for c in cells} <= set(lattice)
    assert any(a == 0 and b > 0 for a, b, _ in cells), "no SFT at all"
    assert any(b == 0 and a > 0 for a, b, _ in cells), "all SFT"
    assert any(0 < a <= 50 and b > 0 for a, b, _ in cells), "a little SFT"
    assert {c[2] for c in cells} == {0, 1}
    assert len(cells) == len(set(cells)) <= 10
    one = first_cells(lattice, 1)
    assert {c[2] for c in one} == {0}


def test_a_study_of_one_cell_starts_with_it():
    assert first_cells([(0, 0), (100, 0)], 2) == [(0, 0, 0), (100, 0, 0), (100, 0, 1)]

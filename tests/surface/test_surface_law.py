"""The law's features by hand, and the scale of scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apportion.surface import shape
from apportion.surface.shape import BROAD, discrepancy, features, places, to_score, to_z


def theta(**values):
    logs = dict.fromkeys(shape.PARAMETERS, 0.0) | {k: np.log(v) for k, v in values.items()}
    return np.array([[logs[name] for name in shape.PARAMETERS]])


def test_the_features_by_hand():
    one = theta(k_s=100, a_s=1, k_p=300, a_p=1, k_g=50, k_c=10, k_o=100)
    n_s, n_p = np.array([0.0, 100.0, 100.0]), np.array([300.0, 0.0, 300.0])
    phi = features(one, n_s, n_p)[0]
    over = np.log(301 / 101) ** 2
    opened = 1 - np.exp(-2)
    assert phi[0] == pytest.approx([1, 0, 0, 0, -0.5, -over])
    assert phi[1] == pytest.approx([1, 0.5, 0, 0, 0, 0])
    assert phi[2] == pytest.approx([1, 0.5, opened / 2, -0.25, -np.exp(-10) / 2, -over])


def test_the_stepped_law_by_hand():
    """Nothing of the demonstrations or the pairs shows before the gate opens, then all of it."""
    one = theta(k_s=100, a_s=1, k_p=300, a_p=1, k_g=50, k_c=10, k_o=1000)
    n_s, n_p = np.array([0.0, 50.0, 100.0, 100.0]), np.array([300.0, 0.0, 0.0, 300.0])
    phi = features(one, n_s, n_p, stepped=True)[0]
    early, late = 1 - np.exp(-1), 1 - np.exp(-(2**shape.STEP_POWER))
    assert late > 0.99
    assert phi[0] == pytest.approx([1, 0, 0, 0, -0.5, 0, 0])
    assert phi[1] == pytest.approx([1, early / 3, 0, 0, 0, 0, early])
    assert phi[2] == pytest.approx([1, late / 2, 0, 0, 0, 0, late])
    assert phi[3] == pytest.approx(
        [1, late / 2, late / 2, -late / 4, -np.exp(-10) / 2, 0, late], abs=1e-12
    )


def test_the_discrepancy_is_a_covariance_and_falls_with_distance():
    one = theta(sd=0.1, length_s=2, length_p=1)
    u = places(np.array([0.0, 10.0, 100.0]), np.array([0.0, 10.0, 10.0]))
    k = discrepancy(one, u, u)[0]
    assert np.diag(k) == pytest.approx([0.01] * 3)
    assert np.linalg.eigvalsh(k).min() > 0
    far = np.sqrt(5) * np.log(101 / 11) / 2
    assert k[1, 2] == pytest.approx(0.01 * (1 + far + far**2 / 3) * np.exp(-far))


@given(st.floats(0, 1))
def test_the_scale_goes_there_and_back(score):
    assert to_score(to_z(score)) == pytest.approx(score, abs=1e-9)


def test_beyond_its_ends_the_scale_stays_at_the_bounds():
    assert to_score(np.array([-0.3, 2.0])) == pytest.approx([0, 1])


def test_a_prior_draws_what_its_density_says():
    drawn = BROAD.draw(40_000, np.random.default_rng(0))
    mean, sd = (np.array(part) for part in BROAD.theta)
    assert drawn.mean(axis=0) == pytest.approx(mean, abs=0.03)
    assert drawn.std(axis=0) == pytest.approx(sd, rel=0.03)
    from scipy.stats import norm

    expected = norm(mean, sd).logpdf(drawn[:5]).sum(axis=1)
    assert BROAD.log_density(drawn[:5]) == pytest.approx(expected)

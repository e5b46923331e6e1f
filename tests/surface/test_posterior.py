"""The sampler and its exact parts, against independent definitions."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from apportion.surface import posterior
from apportion.surface.observe import observe
from apportion.surface.posterior import (
    beta_moments,
    conditional,
    draw,
    log_likelihood,
    prior_moments,
    sample,
)
from apportion.surface.shape import BROAD, discrepancy, features, places
from apportion.surface.simulate import SimulatedResult
from apportion.surface.worlds import Laboratory, world

KEYS = [(0, 0), (100, 0), (0, 100), (50, 50), (400, 100), (100, 400), (500, 0), (0, 500)]


@pytest.fixture(scope="module")
def seen():
    rng = np.random.default_rng(5)
    groups = {
        key: [
            SimulatedResult(*key, r, 0.2 + 0.3 * rng.random(), n_items=300)
            for r in range(1 if key == (0, 0) else 2)
        ]
        for key in KEYS
    }
    return observe(groups, {})


def test_the_likelihood_is_a_gaussian_density(seen):
    theta = BROAD.draw(3, np.random.default_rng(0))
    mean, covariance, _ = prior_moments(BROAD, seen, theta)
    expected = [
        multivariate_normal(m, k).logpdf(seen.z) for m, k in zip(mean, covariance, strict=True)
    ]
    assert log_likelihood(BROAD, seen, theta) == pytest.approx(expected)


def test_its_moments_are_those_of_surfaces_drawn_forwards(seen):
    theta = BROAD.draw(1, np.random.default_rng(1))
    mean, covariance, _ = prior_moments(BROAD, seen, theta)
    rng = np.random.default_rng(2)
    phi = features(theta, seen.n_sft, seen.n_pref)[0]
    b, sd = (np.array(part) for part in BROAD.beta)
    u = places(seen.n_sft, seen.n_pref)
    n = 40_000
    beta = b + sd * rng.standard_normal((n, 6))
    smooth = rng.multivariate_normal(np.zeros(len(u)), discrepancy(theta, u, u)[0], n)
    noise = rng.multivariate_normal(np.zeros(len(u)), seen.noise(theta)[0], n)
    z = beta @ phi.T + smooth + noise
    assert z.mean(axis=0) == pytest.approx(mean[0], abs=0.02)
    assert np.cov(z.T) == pytest.approx(covariance[0], abs=0.02)


def test_the_conditional_is_that_of_the_joint_gaussian(seen):
    theta = BROAD.draw(2, np.random.default_rng(3))
    n_s, n_p = np.array([30.0, 800.0]), np.array([70.0, 200.0])
    mean, root = conditional(_as_posterior(seen), theta, n_s, n_p)
    b, sd = (np.array(part) for part in BROAD.beta)
    for k in range(2):
        one = theta[k : k + 1]
        s, p = np.concatenate([seen.n_sft, n_s]), np.concatenate([seen.n_pref, n_p])
        phi, u = features(one, s, p)[0], places(s, p)
        joint = (phi * sd**2) @ phi.T + discrepancy(one, u, u)[0]
        joint[:-2, :-2] += seen.noise(one)[0]
        centre = phi @ b
        gain = joint[-2:, :-2] @ np.linalg.inv(joint[:-2, :-2])
        assert mean[k] == pytest.approx(centre[-2:] + gain @ (seen.z - centre[:-2]), abs=1e-6)
        left = joint[-2:, -2:] - gain @ joint[:-2, -2:]
        assert root[k] @ root[k].T == pytest.approx(left, abs=1e-6)


def _as_posterior(seen):
    from apportion.surface.posterior import Posterior

    return Posterior(BROAD, seen, np.zeros((1, 14)), np.ones(1), 0.0)


def test_the_evidence_is_the_prior_mean_of_the_likelihood(seen):
    found = sample(BROAD, seen, seed=0)
    theta = BROAD.draw(20_000, np.random.default_rng(9))
    like = log_likelihood(BROAD, seen, theta)
    top = like.max()
    brute = top + np.log(np.mean(np.exp(like - top)))
    assert found.log_evidence == pytest.approx(brute, abs=0.4)  # sampled twice


def test_posterior_means_agree_with_brute_importance_sampling(seen):
    found = sample(BROAD, seen, seed=0)
    theta = BROAD.draw(20_000, np.random.default_rng(9))
    like = log_likelihood(BROAD, seen, theta)
    weight = np.exp(like - like.max())
    weight /= weight.sum()
    sd = np.array(BROAD.theta[1])
    assert (found.weight @ found.theta - weight @ theta) / sd == pytest.approx(0, abs=0.25)
    assert found.effective > 100


def test_the_sampler_goes_on_until_enough_thetas_carry_the_weight(monkeypatch):
    """A lattice that no law fits: after four rounds 22 thetas carry it, and it goes on."""
    lab = Laboratory(world("calibration", 9))
    levels = (0, 50, 100, 200, 400, 800, 1600)
    scores = {
        (a, b): [float(lab.items(a, b, r).mean()) for r in range(2 if a or b else 1)]
        for a in levels
        for b in levels
    }
    groups = {
        key: [SimulatedResult(*key, r, s, n_items=300) for r, s in enumerate(found)]
        for key, found in scores.items()
    }
    lattice = observe(groups, {})
    found = sample(BROAD, lattice, seed=1)
    assert found.effective >= posterior.ENOUGH
    monkeypatch.setattr(posterior, "MOST_ROUNDS", posterior.ROUNDS)
    short = sample(BROAD, lattice, seed=1)
    assert short.effective < posterior.ENOUGH
    assert len(short.theta) < len(found.theta)
    monkeypatch.undo()
    poor = sample(BROAD, lattice, seed=1, least=found.log_evidence + 1)
    assert (poor.theta == short.theta).all()  # of little weight: the usual rounds, and no more
    hopeless = sample(BROAD, lattice, seed=1, least=found.log_evidence + 50)
    assert len(hopeless.theta) < len(poor.theta)
    assert hopeless.log_evidence < found.log_evidence + 5


def test_without_information_the_prior_is_left():
    blank = observe({(100, 0): [SimulatedResult(100, 0, 0, 0.5, stderr=0.4)]}, {})
    found = sample(BROAD, blank, seed=1)
    mean, sd = (np.array(part) for part in BROAD.theta)
    assert (found.weight @ found.theta - mean) / sd == pytest.approx(0, abs=0.2)
    beta, beta_sd = beta_moments(found)
    # Of the weights only the common level is touched by one score, and hardly.
    assert beta_sd[2:] == pytest.approx(np.array(BROAD.beta[1])[2:], rel=0.05)
    assert beta[2:] == pytest.approx(np.array(BROAD.beta[0])[2:], abs=0.01)


def test_the_same_seed_gives_the_same_draws(seen):
    first, again = sample(BROAD, seen, seed=4), sample(BROAD, seen, seed=4)
    asked = np.array([10.0, 300.0])
    one, two = (draw(q, asked, asked, 50, np.random.default_rng(0)) for q in (first, again))
    assert (one == two).all()
    assert one.shape == (50, 2)

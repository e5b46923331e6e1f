"""From small models to a large one: the prior, the stand-in, and the worlds they are judged on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from apportion.errors import ResultsError
from apportion.surface.family import (
    BETWEEN_SIZES,
    LEVEL,
    doubtful,
    panel_of,
    prior_of_family,
    stand_in,
    variances,
)
from apportion.surface.kin import DRIFT, HALF_SD, SIZES, grown, kin
from apportion.surface.learnt import PanelMoments, learn, moments
from apportion.surface.model import fit_surface
from apportion.surface.posterior import sample
from apportion.surface.shape import BROAD, K_S, LAW
from apportion.surface.simulate import budget_cells, law, simulate
from apportion.surface.worlds import FAMILIES, Law

NAME = {"task": "math", "method": "dpo"}


def rows(model, seed, levels=(300, 2000), shares=(0, 0.25, 0.5, 1), shift=0.0, **more):
    cells = budget_cells(levels, shares)
    truth = {key: law(*key) + shift for key in cells}
    settings = {"replicates": 2, "sigma": 0.01, "n_items": 400, "seed": seed, "lines": cells} | more
    return [replace(row, model=model) for row in simulate(truth, **settings)]


@pytest.fixture(scope="module")
def smalls():
    return [fit_surface(rows(name, k), model=name, **NAME) for k, name in enumerate("ab")]


def test_the_priors_variance_by_hand():
    """Two panels that are sure of a parameter: their mean, with omega² (1 + 1 / 2) around it."""
    m0, s0 = (
        np.array([*BROAD.theta[0][:LAW], *BROAD.beta[0]]),
        np.array([*BROAD.theta[1][:LAW], *BROAD.beta[1]]),
    )
    said = m0 + s0
    panels = [PanelMoments(n, tuple(said), tuple(1e-4 * s0)) for n in "ab"]
    prior = learn(panels, between=variances(0.05, 0.15))
    for k, between in ((K_S, 0.05), (LAW, 0.15)):
        found = [*prior.theta[1][:LAW], *prior.beta[1]][k] ** 2 / s0[k] ** 2
        assert found == pytest.approx(between + 1 / (1 + 2 / between), rel=1e-3)


def test_a_family_prior_lies_where_the_small_models_are_and_is_narrower(smalls):
    prior = prior_of_family(smalls)
    assert prior.name == "family"
    law_sd, broad_sd = np.array(prior.theta[1][:LAW]), np.array(BROAD.theta[1][:LAW])
    assert (law_sd <= broad_sd + 1e-12).all() and law_sd[K_S] < 0.9 * broad_sd[K_S]
    assert prior.theta[0][LAW:] == BROAD.theta[0][LAW:], "discrepancy and noise are not learnt"
    # The base is z of 0.12; the models' own base scores are told by their (0, 0) cells.
    assert prior.beta[0][0] == pytest.approx(np.arcsin(np.sqrt(0.12)), abs=0.08)
    wide = prior_of_family(smalls, between=0.5)
    assert wide.theta[1][K_S] > prior.theta[1][K_S]
    assert 0 < BETWEEN_SIZES < LEVEL


def test_a_prior_that_others_outdo_is_still_learnt_from_in_full():
    """Where a step stands, the surface gives up the broad prior early; its panel may not."""
    cells = budget_cells((100, 400), (0, 0.1, 0.25, 0.4, 0.6, 1))
    truth = {key: 0.05 + 0.6 * key[0] ** 4 / (key[0] ** 4 + 60**4) for key in cells}
    made = simulate(truth, replicates=4, sigma=0.01, n_items=3000, seed=3, lines=cells)
    found = fit_surface(made, model="sandbox:simulated", task="math", method="dpo")
    own = next(q for q in found.posteriors if q.prior.name == "broad")
    full = sample(BROAD, found.seen, seed=7)
    assert own.effective < full.effective / 2
    expected, panel = moments("x", full), panel_of(found)
    assert panel.sd == pytest.approx(expected.sd, rel=0.5)


def test_it_sharpens_the_large_models_surface(smalls):
    few = [r for r in rows("large", 7, shift=0.1, replicates=1) if r.n_sft + r.n_pref in (0, 300)]
    with_family = fit_surface(few, model="large", **NAME, prior=prior_of_family(smalls))
    alone = fit_surface(few, model="large", **NAME)
    line = np.array([200.0, 500, 1000, 1600]), np.array([1800.0, 1500, 1000, 400])
    truth = np.array([law(a, b) + 0.1 for a, b in zip(*line, strict=True)])

    def wrong(surface):
        drawn = surface.draws(*line)
        gap = drawn - drawn.mean(axis=1, keepdims=True) - (truth - truth.mean())
        return float(np.sqrt((gap**2).mean()))

    assert wrong(with_family) < wrong(alone)


def test_a_stand_in_is_its_relatives_in_equal_parts(smalls):
    surface = stand_in(smalls, "large")
    assert surface.model == "large" and sum(surface.weights) == pytest.approx(1)
    n = len(smalls[1].weights)
    assert sum(surface.weights[:n]) == pytest.approx(0.5)
    asked = ([250.0, 1000], [750.0, 1000])
    mean = surface.draws(*asked, n_draws=8000).mean(axis=0)
    apart = np.mean([s.draws(*asked, n_draws=8000).mean(axis=0) for s in smalls], axis=0)
    assert mean == pytest.approx(apart, abs=0.003)
    assert "large was not measured" in surface.reasons[0]
    assert surface.estimate is smalls[1].estimate


def test_a_relative_that_hardly_does_the_task_is_named(smalls):
    cells = {(a, b): 0.02 + 0.1 * a / 400 for a in (0, 100, 400) for b in (0, 100, 400)}
    poor = [
        replace(r, model="poor")
        for r in simulate(cells, replicates=2, sigma=0.01, n_items=400, seed=1)
    ]
    weak = fit_surface(poor, model="poor", **NAME)
    (reason,) = doubtful([*smalls, weak])
    assert reason.startswith("poor hardly does this task (1")
    assert reason in stand_in([weak, smalls[0]], "large").reasons
    assert doubtful(smalls) == () and len(stand_in(smalls, "large").reasons) == 1


def test_nothing_can_be_learnt_from_too_few_cells(smalls):
    empty = fit_surface(rows("tiny", 0, levels=(300,), shares=(1,)), model="tiny", **NAME)
    with pytest.raises(ResultsError, match="tiny cannot be learnt from"):
        prior_of_family([empty])
    with pytest.raises(ResultsError, match="no smaller model of large"):
        stand_in([empty], "large")
    assert stand_in([empty, *smalls], "large").posteriors == stand_in(smalls, "large").posteriors


def test_kin_are_the_same_again_and_differ_between_splits():
    for index in range(len(FAMILIES)):
        one, again, other = kin("calibration", index), kin("calibration", index), kin("test", index)
        assert len(one) == len(SIZES) and one == again and one != other
        assert len({type(world.law) for world in one}) == 1
        assert {world.family for world in one} == {list(FAMILIES)[index]}
        line = np.linspace(0, 1, 5)
        assert (np.diff([w.truth(0, 0) for w in one]) >= -1e-12).all(), "a base never falls"
        assert not np.allclose(one[0].on_line(1000, line), one[2].on_line(1000, line))


def test_how_far_a_size_moves_is_as_stated():
    rng = np.random.default_rng(0)
    law_ = Law(base=0.1, sft=(0.3, 400.0, 1.0), pref=(0.1, 900.0, 1.0), gate=50.0)
    halves = np.log([grown(law_, rng).sft[1] for _ in range(4000)]) - np.log(400)
    assert halves.mean() == pytest.approx(DRIFT, abs=0.03)
    assert halves.std() == pytest.approx(HALF_SD, rel=0.05)

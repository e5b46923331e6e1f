"""Whole fits: what they find and refuse; the learnt prior is what its tool makes."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from apportion.errors import ResultsError
from apportion.surface.evidence import panels, prior_from_evidence
from apportion.surface.learnt import BETWEEN, PanelMoments, learn
from apportion.surface.model import fit_surface
from apportion.surface.priors import TRUST, families
from apportion.surface.shape import BROAD, LAW
from apportion.surface.simulate import budget_cells, law, simulate

NAME = {"model": "sandbox:simulated", "task": "math", "method": "dpo"}
TOOL = Path(__file__).parents[2] / "tools" / "learn_prior.py"


def rows(levels=(100, 1000), shares=(0, 0.1, 0.25, 0.5, 1), **more):
    cells = budget_cells(levels, shares)
    settings = {"replicates": 2, "sigma": 0.01, "n_items": 300, "seed": 3, "lines": cells} | more
    return simulate({key: law(*key) for key in cells}, **settings)


@pytest.fixture(scope="module")
def surface():
    return fit_surface(rows(), **NAME)


def test_a_fit_holds_the_truth_in_its_intervals(surface):
    n_sft, n_pref = np.array([50.0, 120.0, 250, 500, 30]), np.array([50.0, 300, 750, 500, 900])
    drawn = surface.draws(n_sft, n_pref)
    low, high = np.quantile(drawn, [0.01, 0.99], axis=0)
    truth = np.array([law(a, b) for a, b in zip(n_sft, n_pref, strict=True)])
    assert ((low <= truth) & (truth <= high)).all()
    assert (high - low).max() < 0.25
    assert surface.status == "ok" and surface.absent == ()


def test_its_diagnostics(surface):
    found = surface.diagnostics
    assert sum(found.weights.values()) == pytest.approx(1)
    assert set(found.weights) == {"usual", "step", "broad", "flat", "free", "learnt"}
    assert found.cells == 11 and found.observations == 22 and found.replicated == 11
    assert found.run_sd[1] < 0.02 < 3 * found.run_sd[2]
    assert 0.3 < found.misfit < 2.5


def test_the_same_rows_give_the_same_numbers(surface):
    again = fit_surface(rows(), **NAME)
    asked = ([0.0, 40.0], [10.0, 60.0])
    assert (surface.draws(*asked) == again.draws(*asked)).all()
    assert not (surface.draws(*asked) == surface.draws(*asked, seed=1)).all()


def test_replicates_that_disagree_make_the_run_noise_large():
    wild = [
        replace(
            row, score=0.4 + 0.2 * ((k // 2 + row.replicate) % 2), item_scores=None, stderr=0.001
        )
        for k, row in enumerate(rows())
    ]
    found = fit_surface(wild, **NAME, prior="broad")
    assert found.diagnostics.run_sd[1] > 0.04


def test_too_few_cells_are_refused_in_words():
    few = fit_surface(rows(levels=(100,), shares=(0, 1)), **NAME)
    assert few.status == "not enough evidence"
    assert "2 trained cell(s)" in few.reasons[0]


def test_rows_without_an_error_are_counted():
    made = rows()
    made[3] = replace(made[3], item_scores=None, stderr=None, n_items=None)
    found = fit_surface(made, **NAME, prior="broad")
    assert any(reason.startswith("1 row(s) left out") for reason in found.reasons)


@pytest.mark.parametrize("score", [1.2, -0.1, float("nan")])
def test_a_score_that_is_none_is_refused(score):
    with pytest.raises(ResultsError, match="not a number from 0 to 1"):
        fit_surface([replace(rows()[2], score=score)], **NAME)


def test_families_add_up():
    for prior in ("learnt", "broad"):
        assert sum(weight for _, weight in families(prior)) == pytest.approx(1)
    others = ["usual", "step", "broad", "flat", "free"]
    assert [p.name for p, _ in families("learnt")] == ["learnt", *others]
    assert "learnt" not in [p.name for p, _ in families("broad")]
    given = replace(BROAD, name="family")
    assert sum(weight for _, weight in families(given)) == pytest.approx(1)
    assert {p.name: w for p, w in families(given)}["family"] == TRUST


def test_a_sudden_step_is_known_as_one():
    """Between 40 and 100 demonstrations the task is learnt; a smooth law lies below the cells."""
    cells = budget_cells((100, 400), (0, 0.1, 0.25, 0.4, 0.6, 1))
    truth = {key: 0.05 + 0.6 * key[0] ** 4 / (key[0] ** 4 + 60**4) for key in cells}
    made = simulate(truth, replicates=2, sigma=0.01, n_items=300, seed=3, lines=cells)
    found = fit_surface(made, **NAME)
    assert max(found.diagnostics.weights, key=found.diagnostics.weights.__getitem__) == "step"
    n_sft = np.array([40.0, 100.0])
    drawn = found.draws(n_sft, np.array([60.0, 300.0])).mean(axis=0)
    assert drawn == pytest.approx([truth[40, 60], truth[100, 300]], abs=0.04)


def test_a_flat_surface_is_known_as_one():
    """Where data hardly matter, no share is called better than the rest."""
    made = [
        replace(row, score=0.5 + 0.005 * (k % 3), item_scores=None, stderr=0.02, n_items=600)
        for k, row in enumerate(rows())
    ]
    found = fit_surface(made, **NAME)
    assert max(found.diagnostics.weights, key=found.diagnostics.weights.__getitem__) == "flat"
    drawn = found.draws([0.0, 50.0, 100.0], [100.0, 50.0, 0.0])
    assert np.ptp(drawn.mean(axis=0)) < 0.01


def test_a_panel_that_says_nothing_leaves_the_broad_prior():
    m0, s0 = ((*BROAD.theta[k][:LAW], *BROAD.beta[k]) for k in (0, 1))
    nothing = learn([PanelMoments("x", m0, s0)])
    assert nothing.theta[0] == pytest.approx(BROAD.theta[0])
    assert nothing.theta[1] == pytest.approx(BROAD.theta[1])
    assert learn([]).beta[1] == pytest.approx(BROAD.beta[1])


def test_what_panels_say_by_hand():
    m0, s0 = (np.array([*BROAD.theta[k][:LAW], *BROAD.beta[k]]) for k in (0, 1))
    tiny = 1e-3 * s0
    many = [PanelMoments(str(k), tuple(m0 + s0), tuple(tiny)) for k in range(2)]
    found = learn(many)
    omega = BETWEEN + tiny[0] ** 2 / s0[0] ** 2
    pull = 2 / omega / (1 + 2 / omega)
    assert found.theta[0][0] == pytest.approx(m0[0] + pull * s0[0], abs=1e-3)
    variance = 1 / (1 + 2 / omega) + BETWEEN
    assert found.theta[1][0] == pytest.approx(s0[0] * np.sqrt(variance), rel=1e-3)


def test_leaving_a_panel_out_leaves_it_out():
    names = [panel.name for panel in panels()]
    assert len(names) == 4
    rest = learn([panel for panel in panels() if panel.name != names[0]])
    assert prior_from_evidence(without=names[0]) == rest
    assert prior_from_evidence() != rest


def test_the_shipped_moments_are_what_the_tool_makes():
    made = runpy.run_path(str(TOOL))["panels"]()
    for fresh, shipped in zip(made, panels(), strict=True):
        assert fresh.name == shipped.name
        scale = np.array([*BROAD.theta[1][:LAW], *BROAD.beta[1]])
        assert (np.array(fresh.mean) - shipped.mean) / scale == pytest.approx(0, abs=0.02)
        assert np.array(fresh.sd) / shipped.sd == pytest.approx(1, rel=0.05)

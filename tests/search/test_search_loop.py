"""The search over whole studies with quick bodies: it starts, decides, stops, resumes."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from apportion.config.budget import Lattice, Prices
from apportion.config.evaluation import Evaluation
from apportion.config.search import Search
from apportion.run.events import StageFinished
from apportion.run.layout import Layout
from apportion.run.results import collect
from apportion.search.log import LOG
from apportion.search.loop import SPENT, goal_of, search_plan
from apportion.store.store import Store
from fake_study import DOTTED, fake_plan

LEVELS = (0, 2, 8, 32)


def plan_of(**settings):
    search = Search(strategy="adaptive", **{"targets": (8, 32), "batch": 2} | settings)
    lattice = Lattice(n_sft=LEVELS, n_pref=LEVELS)
    study = SimpleNamespace(
        search=search,
        budget=None,
        lattice=lattice,
        prices=Prices(),
        stack="auto",
        evaluation=Evaluation(),
    )
    plan = fake_plan(n_sft=LEVELS, n_pref=LEVELS, replicates=2)
    return replace(plan, study=study, cells=tuple(replace(c, lines=()) for c in plan.cells))


def go(plan, store, **more):
    heard = []
    found = search_plan(
        plan, store, layout=Layout(0, 1), bodies=DOTTED,
        on_decision=lambda group, decision: heard.append(decision), **more,
    )  # fmt: skip
    return found, heard


def done(plan, store):
    with Store.open(store, create=False) as opened:
        return {
            (r.n_sft, r.n_pref, r.replicate) for r in collect(plan, opened) if r.status == "done"
        }


def test_it_runs_a_part_of_the_grid_and_says_why(tmp_path):
    plan = plan_of(most=0.6)
    found, heard = go(plan, tmp_path / "s")
    assert 0 < found.part_of_tokens <= 0.6
    assert found.cells_run == len(done(plan, tmp_path / "s")) < found.cells_in_grid == 32
    assert len(found.ends) == 1
    assert heard[0].why == "the search begins"
    lines = [json.loads(line) for line in (tmp_path / "s" / LOG).read_text().splitlines()]
    assert len(lines) == len(heard)
    later = [cell for line in lines[1:] for cell in line["cells"]]
    assert all("expected to lower regret" in cell["why"] for cell in later)


def test_a_finished_search_does_nothing_when_started_again(tmp_path):
    plan = plan_of(most=0.6)
    first, _ = go(plan, tmp_path / "s")
    before = done(plan, tmp_path / "s")
    again, heard = go(plan, tmp_path / "s")
    assert again.run.executed == 0 and len(heard) == 1
    assert done(plan, tmp_path / "s") == before
    assert again.ends[0].why == first.ends[0].why


def stop_after(n):
    """A listener that ends the run, as Ctrl-C does, after `n` stages."""
    left = [n]

    def listen(event):
        if isinstance(event, StageFinished) and not event.reused:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt

    return listen


def test_cut_into_pieces_it_runs_the_same_cells(tmp_path):
    plan = plan_of(most=0.5)
    go(plan, tmp_path / "whole")
    for _ in range(60):
        found, _ = go(plan, tmp_path / "pieces", on_event=stop_after(9))
        if found.ends:
            break
        assert found.run.interrupted
    assert done(plan, tmp_path / "pieces") == done(plan, tmp_path / "whole")


def test_a_cell_that_fails_is_tried_once_and_the_search_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_TROUBLE", json.dumps({"preference 8 after 8": "stage_error"}))
    plan = plan_of(most=1.0, worth=0.0, epsilon=1e-6)
    found, _ = go(plan, tmp_path / "s")
    assert found.ends
    assert (8, 8, 0) not in done(plan, tmp_path / "s")


def test_a_search_that_may_spend_everything_ends(tmp_path):
    found, _ = go(plan_of(worth=0.0, epsilon=1e-6), tmp_path / "s")
    assert found.ends[0].why in (SPENT, "every cell of the study has been run") or "regret" in (
        found.ends[0].why
    )


def test_a_lattice_without_targets_gets_three():
    goal = goal_of(plan_of(targets=()).study, 2)
    assert [amount.value for amount in goal.targets] == [2, 8, 32]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("gird", "is not one of grid, adaptive"),
        ({"strategy": "grid", "epsilon": 0.02}, "the grid uses no epsilon"),
        ({"strategy": "adaptive", "most": 0}, "greater than 0"),
    ],
)
def test_senseless_settings_are_refused(value, problem):
    with pytest.raises(ValueError, match=problem):
        Search.model_validate(value)


def test_a_torn_line_of_the_log_is_passed_over(tmp_path):
    plan = plan_of(most=0.5)
    found, _ = go(plan, tmp_path / "s", on_event=stop_after(9))
    assert found.run.interrupted
    with (tmp_path / "s" / LOG).open("a") as file:
        file.write('{"model": "fa')
    again, _ = go(plan, tmp_path / "s")
    assert again.ends

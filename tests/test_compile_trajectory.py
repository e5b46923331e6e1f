"""`trajectory: shared`: legs, their keys, what is audited, and what it cannot be used with."""

from __future__ import annotations

import random

import pytest

from apportion.compile import Plan, compile_study, problems, stage_key
from apportion.compile.audit import audited
from apportion.compile.trajectory import Leg, branch_point, legs
from apportion.config.recipe import SftRecipe
from apportion.config.study import Study
from apportion.run.survey import survey

BASE = {
    "models": "sandbox:tiny",
    "tasks": "math",
    "lattice": {"n_sft": [0, 50, 100, 200], "n_pref": [0, 60, 120]},
    "replicates": 2,
    "recipe": "sandbox",
    "evaluation": {"n_items": 4},
}


def study(**changes: object) -> Study:
    return Study.of({**BASE, **changes})


def compiled(**changes: object) -> Plan:
    return compile_study(study(**changes))


def test_legs_by_hand() -> None:
    recipe = SftRecipe(learning_rate=1e-3, epochs=2, batch_size=8, warmup_ratio=0.1)
    assert [branch_point(n, 8) for n in (5, 10, 50, 100, 101)] == [0, 8, 40, 80, 80]
    assert [branch_point(n, 2) for n in (1, 2, 3, 4, 5, 6)] == [0, 0, 0, 2, 2, 4]
    # 14 steps of the smallest size: two of warm-up.
    assert legs(100, [200, 50, 100], recipe) == (
        Leg(0, 40, False, 2), Leg(40, 80, False, 2), Leg(80, 100, True, 2),
    )  # fmt: skip
    assert legs(50, [200, 50, 100], recipe) == (Leg(0, 40, False, 2), Leg(40, 50, True, 2))
    # Less than a batch before its cool-down: all of it is one.
    assert legs(5, [5, 100], recipe) == (Leg(0, 5, True, 1),)
    assert legs(101, [100, 101], recipe)[:-1] == legs(100, [100, 101], recipe)[:-1]


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_every_size_sees_its_own_examples_and_shares_the_trunk(method: str) -> None:
    plan = compiled(trajectory="shared", methods=method)
    for cell in plan.cells:
        for side, n in (("sft", cell.n_sft), ("preference", cell.n_pref)):
            mine = [plan.stages[k] for k in cell.stages if plan.stages[k].kind == side]
            ends = [stage.spec["data"]["n"] for stage in mine]
            begins = [stage.spec["trajectory"]["begin"] for stage in mine]
            assert begins == [0, *ends[:-1]][: len(begins)] and (ends[-1:] == [n] or n == 0)
            assert [s.spec["trajectory"]["cooldown"] for s in mine[:-1]] == [False] * max(
                0, len(mine) - 1
            )
    sft = [s for s in plan.stages.values() if s.kind == "sft" and "trajectory" in s.spec]
    assert len(sft) == 2 * (3 + 3)  # replicates × (legs of the trunk, cool-downs)
    for key, stage in plan.stages.items():
        assert key == stage_key(stage.spec)
        assert all(parent in plan.stages for parent in stage.parents)
        if "trajectory" in stage.spec:
            before = stage.spec["trajectory"]["previous"]
            expected = [stage.spec.get("parent"), before]
            assert stage.parents == tuple(key for key in expected if key)


def test_a_larger_size_changes_no_key_of_the_smaller_ones() -> None:
    small = compiled(trajectory="shared", lattice={"n_sft": [0, 50, 100], "n_pref": [0]})
    large = compiled(trajectory="shared", lattice={"n_sft": [0, 50, 100, 200], "n_pref": [0]})
    own = {key for cell in small.cells for key in cell.stages}
    assert own <= set(large.stages)


def test_an_ordinary_study_keeps_its_keys_and_the_audit_has_them() -> None:
    plain, said = compiled(), compiled(trajectory="independent")
    shared = compiled(trajectory="shared")
    assert set(plain.stages) == set(said.stages) and plain.audit == ()
    assert not any("trajectory" in stage.spec for stage in plain.stages.values())
    places = {(c.n_sft, c.n_pref, c.replicate): c.stages for c in plain.cells}
    for cell in shared.audit:
        assert cell.stages == places[cell.n_sft, cell.n_pref, cell.replicate]
    assert not {c.score_key for c in shared.audit} & {c.score_key for c in shared.cells}
    # What a key is made of, as it was before there were trajectories.
    sft = next(s for s in plain.stages.values() if s.kind == "sft")
    assert set(sft.spec) == {
        "kind", "semantics_version", "model", "template", "task", "task_version", "data",
        "recipe", "lora", "max_length", "dtype", "train_seed",
    }  # fmt: skip


def test_which_cells_are_audited_is_a_function_of_the_plan_and_spread_over_sizes() -> None:
    cells = list(compiled(methods=["dpo", "kto"], replicates=5).cells)
    chosen = audited(cells)
    shuffled = random.Random(1).sample(cells, len(cells))
    assert set(audited(shuffled)) == set(chosen)
    for method in ("dpo", "kto"):
        mine = [cell for cell in chosen if cell.method == method]
        assert len(mine) == 6  # of 60
        sums = sorted(cell.n_sft + cell.n_pref for cell in mine)
        assert sums[0] < 120 < 200 < sums[-1]
        assert all(sums)  # the base model is the same either way
    few = [cell for cell in cells if cell.method == "dpo" and cell.replicate == 0][:3]
    assert [(c.n_sft, c.n_pref) for c in audited(few)] == [(0, 60), (0, 120)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trainer": "trl"}, "only the native trainer shares trajectories"),
        ({"recipe": "paper"}, "for adamw_8bit is not kept"),
        ({"search": {"strategy": "adaptive"}}, "picks cells one by one"),
    ],
)
def test_what_it_cannot_be_used_with_is_said(changes: dict[str, object], words: str) -> None:
    found = [e for e in problems(study(trajectory="shared", **changes)) if e.field == "trajectory"]
    assert len(found) == 1 and words in found[0].problem
    assert "trajectory: independent" in (found[0].mend or "")
    assert not [e for e in problems(study(**changes)) if e.field == "trajectory"]


def test_legs_are_not_stacked_and_asking_for_it_is_a_mistake() -> None:
    asked = study(trajectory="shared", recipe="default", stack=4)
    (found,) = [error for error in problems(asked) if error.field == "stack"]
    assert "legs of shared trajectories" in found.problem


def test_check_counts_what_is_saved_by_hand(tmp_path) -> None:
    told = survey(compiled(trajectory="shared"), tmp_path / "none", measure=False).trajectory
    assert told is not None
    plan = compiled()
    assert told.independent_tokens == plan.unique.training_tokens
    alone = {k: plan.stages[k].tokens for c in compiled(trajectory="shared").audit
             for k in c.stages if plan.stages[k].kind in ("sft", "preference")}  # fmt: skip
    assert told.audit_tokens == sum(alone.values()) and told.audit_cells == 3
    assert told.shared_tokens < told.independent_tokens
    assert survey(plan, tmp_path / "none", measure=False).trajectory is None

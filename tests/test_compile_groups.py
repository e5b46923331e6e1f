"""Groups of stages: who may be stacked, and what holds of every grouping."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apportion.compile import Stage, compile_study, stack_groups, stack_size, stage_key
from apportion.compile.groups import can_stack
from apportion.config.study import Study
from apportion.errors import ManyErrors

STUDY = {
    "models": ["sandbox:tiny"],
    "tasks": ["math"],
    "methods": ["dpo", "kto"],
    "lattice": {"n_sft": [0, 5, 10], "n_pref": [0, 8, 16]},
    "replicates": 2,
    "recipe": {"preset": "sandbox", "lora": {"r": 2, "alpha": 4}},
}


def plan(**changes):
    return compile_study(Study.of({**STUDY, **changes}))


LORA = {"r": 2, "dropout": 0.0}


def made(kind, n, seed, *, lora, rate, parent=None, **more):
    spec = {
        "kind": kind, "data": {"n": n}, "train_seed": seed, "lora": lora,
        "recipe": {"optimizer": "adamw", "rate": rate}, "parent": parent, "task": "t", **more,
    }  # fmt: skip
    return Stage(stage_key(spec), kind, (parent,) if parent else (), spec, "", n)


stages = st.builds(
    made,
    st.sampled_from(["sft", "preference", "generate"]),
    st.integers(1, 5),
    st.integers(0, 5),
    lora=st.sampled_from([None, LORA, {**LORA, "dropout": 0.1}]),
    rate=st.sampled_from([1, 2]),
    parent=st.sampled_from([None, "p", "q"]),
    stage_two=st.sampled_from(["chain", "merge_16bit"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(stages, max_size=40), st.integers(1, 6), st.integers(0, 99))
def test_what_holds_of_every_grouping(found, size, seed):
    by_key = {stage.key: stage for stage in found}
    groups = stack_groups(by_key, size)
    flat = [key for group in groups for key in group]
    assert len(flat) == len(set(flat)) and set(flat) <= set(by_key)
    for group in groups:
        assert 2 <= len(group) <= size
        members = [by_key[key] for key in group]
        for name in ("kind", "lora", "recipe", "task"):
            assert all(one.spec[name] == members[0].spec[name] for one in members)
        assert all(can_stack(one) for one in members)
        assert not set(group) & {parent for one in members for parent in one.parents}
    shuffled = list(by_key.items())
    random.Random(seed).shuffle(shuffled)
    assert stack_groups(dict(shuffled), size) == groups  # the order of stages does not matter
    # nobody is left alone that could have had company
    alone = [s for s in by_key.values() if can_stack(s) and s.key not in flat and size > 1]
    kinds = [(s.kind, s.spec["recipe"]["rate"]) for s in alone]
    assert size <= 2 or len(kinds) == len(set(kinds))


def test_a_study_in_groups():
    wanted = plan()
    groups = stack_groups(wanted.stages, 4)
    methods = [{wanted.stages[key].spec.get("method", "sft") for key in group} for group in groups]
    assert all(len(one) == 1 for one in methods)
    assert sorted(len(group) for group in groups) == [4] * 7  # 4 SFT, 12 of either method
    assert stack_groups(wanted.stages, 1) == ()
    assert plan(stack=4).stages.keys() == wanted.stages.keys()  # in no key


@pytest.mark.parametrize(
    "recipe",
    [
        "sandbox",
        {"preset": "sandbox", "lora": {"r": 2, "alpha": 4, "dropout": 0.1}},
    ],
    ids=["whole", "dropout"],
)
def test_what_is_trained_alone(recipe):
    assert stack_groups(plan(recipe=recipe).stages, 4) == ()
    with pytest.raises(ManyErrors, match="no stage of the study can be stacked"):
        plan(recipe=recipe, stack=4)


def test_merged_chains_are_trained_alone():
    recipe = {**STUDY["recipe"], "stage_two": "merge_16bit"}
    found = plan(recipe=recipe)
    for group in stack_groups(found.stages, 4):
        assert not any(found.stages[key].parents for key in group)


def test_sizes():
    assert (stack_size("auto"), stack_size("off"), stack_size(3)) == (1, 1, 3)

"""Order, layout, time left: the pure parts of a run."""

from __future__ import annotations

import pytest

from apportion.run.estimate import START_SECONDS, Rates, estimate, seconds_left
from apportion.run.layout import Layout, choose_layout
from apportion.run.schedule import Agenda, needed, path_tokens
from fake_study import fake_plan


def _next(agenda: Agenda) -> str | None:
    """The next stage of an agenda without groups."""
    taken = agenda.next_group()
    assert len(taken) < 2
    return taken[0] if taken else None


def test_small_models_get_one_thread_whatever_the_number_of_workers():
    assert choose_layout(7_000_000, cores=8) == Layout(8, 1)
    assert choose_layout(7_000_000, cores=8, workers=3) == Layout(3, 1)
    assert choose_layout(7_000_000, cores=8, workers=0) == Layout(0, 1)


@pytest.mark.parametrize("size", [None, 10**9])
def test_large_models_get_all_threads(size):
    assert choose_layout(size, cores=8) == Layout(1, 8)
    assert choose_layout(size, cores=8, workers=2) == Layout(2, 4)
    assert choose_layout(size, cores=2, workers=4) == Layout(4, 1)


def test_each_gpu_gets_a_worker():
    assert choose_layout(10**9, cores=16, gpus=("0", "3")) == Layout(2, 8, ("0", "3"))


def test_scores_then_answers_then_the_longest_chain():
    plan = fake_plan(n_sft=(0, 2, 4), n_pref=(0, 3))
    agenda = Agenda(plan.stages, plan.stages)
    order = []
    while not agenda.over:
        key = _next(agenda)
        order.append(plan.stages[key])
        agenda.done(key)
    assert [stage.kind for stage in order[:4]] == ["generate", "score", "sft", "generate"]
    assert order[2].spec["n"] == 4  # its chain has the most tokens
    training = [stage for stage in order if stage.kind in ("sft", "preference")]
    weight = path_tokens(plan.stages)
    assert weight[training[0].key] == 400 + 900 + 100  # sft, preference, generate


def test_only_what_is_used_is_needed():
    plan = fake_plan(n_sft=(2,), n_pref=(0, 3))
    scores = [cell.score_key for cell in plan.cells]
    kinds = {key: stage.kind for key, stage in plan.stages.items()}
    assert needed(plan.stages, scores, lambda key: True) == set()
    assert needed(plan.stages, scores, lambda key: False) == set(plan.stages)
    not_scored = needed(plan.stages, scores, lambda key: kinds[key] == "generate")
    assert {kinds[key] for key in not_scored} == {"score"}


def test_a_failure_blocks_its_descendants_alone():
    plan = fake_plan(n_sft=(0, 2), n_pref=(0, 3))
    agenda = Agenda(plan.stages, plan.stages)
    (sft,) = [key for key, stage in plan.stages.items() if stage.kind == "sft"]
    agenda.fail(sft, "no")
    left = 0
    while (key := _next(agenda)) is not None:
        assert plan.stages[key].spec.get("parent") != sft
        agenda.done(key)
        left += 1
    assert agenda.over and len(agenda.blocked) == 5 and left == len(plan.stages) - 6


def test_a_parent_that_is_lost_again_and_again_is_given_up():
    plan = fake_plan(n_sft=(2,), n_pref=(0,))
    sft, generate, _ = plan.stages
    agenda = Agenda(plan.stages, [generate])
    for _ in range(3):
        assert _next(agenda) == generate
        assert agenda.lost(generate, sft, lambda key: False)
        assert _next(agenda) == sft
        assert _next(agenda) is None
        agenda.done(sft)
    assert _next(agenda) == generate
    assert not agenda.lost(generate, sft, lambda key: False)
    assert "again and again" in agenda.failed[generate]


def test_two_stages_that_lose_one_parent_run_it_once():
    plan = fake_plan(n_sft=(2,), n_pref=(0, 3))
    by_kind = {stage.kind: key for key, stage in reversed(plan.stages.items())}
    sft, generate, preference = (by_kind[k] for k in ("sft", "generate", "preference"))
    agenda = Agenda(plan.stages, [generate, preference])
    assert {_next(agenda), _next(agenda)} == {generate, preference}
    agenda.lost(generate, sft, lambda key: False)
    assert _next(agenda) == sft
    agenda.lost(preference, sft, lambda key: False)
    assert _next(agenda) is None and agenda.running == {sft}


def test_an_estimate_is_work_by_workers_or_the_longest_chain():
    plan = fake_plan(n_sft=(2, 4), n_pref=(0,))
    rates = Rates({"sft": 10.0, "generate": 100.0}, artifact_bytes=1000)
    one = estimate(plan, rates, 1).seconds - START_SECONDS
    assert one == pytest.approx(20 + 40 + 2 * 1 + 2 * 0.2)
    many = estimate(plan, rates, 50).seconds - START_SECONDS
    assert many == pytest.approx(40 + 1 + 0.2)
    assert estimate(plan, rates, 1, todo=[]).seconds == 0
    assert estimate(plan, rates, 1).disk_bytes >= 2000


def test_time_left_goes_by_kind_and_is_unknown_at_first():
    assert seconds_left({"sft": 100}, {}, {}, 1) is None
    left = {"sft": 100, "generate": 50}
    tokens, seconds = {"sft": 200}, {"sft": 4.0}
    assert seconds_left(left, tokens, seconds, 1) == pytest.approx(150 * 0.02)
    tokens, seconds = {"sft": 200, "generate": 10}, {"sft": 4.0, "generate": 2.0}
    assert seconds_left(left, tokens, seconds, 2) == pytest.approx((100 * 0.02 + 50 * 0.2) / 2)

"""Twenty kills of a whole process group at random moments: the table is the same in the end."""

from __future__ import annotations

import os
import random
import signal
import time
from functools import partial

import pytest

from apportion.run.results import collect, to_csv
from apportion.store.executions import ran_again, read_executions
from apportion.store.store import Store
from fake_study import artifacts, end_of, fake_plan, in_child, run_fake

KILLS = 20


def table(plan, place) -> str:
    with Store.open(place) as store:
        return to_csv(collect(plan, store))


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path):
    chance = random.Random(20)
    plan = fake_plan(n_sft=(0, 2, 4, 8), n_pref=(0, 3, 5), replicates=2, delay=0.02, size=200_000)
    run_fake(plan, tmp_path / "truth", 2)
    truth = table(plan, tmp_path / "truth")
    kills, round_ = 0, 0
    while kills < KILLS:
        place = tmp_path / f"s{round_}"
        round_ += 1
        while kills < KILLS:
            done = artifacts(place)
            lines = len(read_executions(place / "executions.log"))
            child = in_child(partial(run_fake, plan, place, 2), own_group=True)
            time.sleep(chance.uniform(0.0, 1.2))
            os.killpg(child, signal.SIGKILL)
            if end_of(child) == 0:
                break  # it had ended before
            kills += 1
            new = read_executions(place / "executions.log")[lines:]
            assert not done & {line["key"] for line in new if line["event"] == "started"}
        assert run_fake(plan, place).exit_code == 0
        assert table(plan, place) == truth
        assert ran_again(place / "executions.log") == []
        assert artifacts(place) == set(plan.stages)
        assert list((place / "tmp").iterdir()) == []

"""Step records: told at once where the numbers are there, else when the next step was asked for."""

from __future__ import annotations

import pytest
import torch

from apportion.errors import StageError
from apportion.training.steps import Records, Step


def step(n, loss=(1.0, 2.0), norm=3.0):
    parts = [{"loss": torch.tensor(one), "margin": torch.tensor(one / 2)} for one in loss]
    return Step(n, 0.1, 40, parts, torch.tensor(norm))


def test_a_record_by_hand():
    told = []
    records = Records(2, {"dropped": 4.0}, lambda log, of: told.append((log.step, of)))
    records.add(step(1))
    assert told == [(1, 2)]
    (log,) = records.all()
    assert (log.step, log.loss, log.lr, log.grad_norm, log.tokens) == (1, 3.0, 0.1, 3.0, 40)
    assert log.extra == {"margin": 1.5, "dropped": 4.0}
    assert records.all() == [log]


def test_a_step_of_a_gpu_is_told_when_the_next_is_asked_for():
    told = []
    records = Records(2, {}, lambda log, of: told.append(log.step))
    for n in (1, 2):
        late = step(n)
        late.is_there = False
        records.add(late)
        assert told == list(range(1, n))
    assert [log.step for log in records.all()] == told == [1, 2]


@pytest.mark.parametrize("there", [True, False])
def test_a_step_that_is_not_finite_ends_the_training(there):
    records = Records(5, {}, None)
    bad = step(1, norm=float("nan"))
    bad.is_there = there
    with pytest.raises(StageError, match="gradient norm is nan at step 1 of 5"):
        records.add(bad)
        records.add(step(2))

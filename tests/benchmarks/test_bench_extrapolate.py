"""From measured processes to all of them: known truth, an independent fit, and what is refused."""

from __future__ import annotations

import random

import numpy as np
import pytest
from loops.extrapolate import Process, fit, total
from scipy.stats import linregress
from scipy.stats import t as student

RATE = {"sft": 1e-3, "dpo": 2e-3, "kto": 3e-3}
CONSTANT, EVALUATION = 12.0, 7.0


def truth(kind: str, tokens: int) -> float:
    return EVALUATION if kind == "evaluate" else CONSTANT + RATE[kind] * tokens


def processes(n: int, seed: int, noise: float = 0.0) -> list[Process]:
    stream = random.Random(seed)
    found = []
    for place in range(n):
        kind = ("sft", "dpo", "kto", "evaluate")[place % 4]
        tokens = 0 if kind == "evaluate" else stream.randrange(1_000, 200_000)
        found.append(Process(kind, tokens, truth(kind, tokens) + stream.gauss(0, noise)))
    return found


def test_without_noise_the_estimate_is_the_truth():
    measured, missing = processes(12, 0), processes(40, 1)
    found = total(measured, missing)
    exact = sum(one.seconds for one in (*measured, *missing))
    assert found.seconds == pytest.approx(exact, rel=1e-9)
    assert (found.measured, found.estimated) == (12, 40)
    fitted = fit(measured)
    assert fitted.value("constant") == pytest.approx(CONSTANT)
    assert fitted.value("kto") == pytest.approx(RATE["kto"])
    assert fitted.value("evaluate") == pytest.approx(EVALUATION)


def test_nothing_missing_is_a_sum_and_needs_no_fit():
    measured = processes(3, 0, noise=1.0)
    found = total(measured, [])
    assert found.seconds == found.low == found.high == sum(one.seconds for one in measured)


def test_of_one_kind_it_is_the_prediction_of_a_straight_line():
    """Against the textbook's interval for one more observation."""
    stream = random.Random(3)
    x = [stream.randrange(1_000, 100_000) for _ in range(9)]
    y = [truth("dpo", one) + stream.gauss(0, 2) for one in x]
    new = 50_000
    line = linregress(x, y)
    rest = np.array(y) - (line.intercept + line.slope * np.array(x))
    variance = rest @ rest / (len(x) - 2)
    spread = 1 + 1 / len(x) + (new - np.mean(x)) ** 2 / ((len(x) - 1) * np.var(x, ddof=1))
    half = student.ppf(0.95, len(x) - 2) * np.sqrt(variance * spread)
    found = total([Process("dpo", *both) for both in zip(x, y, strict=True)], [Process("dpo", new)])
    guess = line.intercept + line.slope * new
    assert found.seconds == pytest.approx(sum(y) + guess)
    assert found.high - found.low == pytest.approx(2 * half)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    hits = 0
    for seed in range(300):
        missing = processes(20, 1000 + seed, noise=3.0)
        found = total(measured := processes(16, seed, noise=3.0), missing)
        hits += found.low <= sum(one.seconds for one in (*measured, *missing)) <= found.high
    assert 0.85 <= hits / 300 <= 0.95


@pytest.mark.parametrize(
    ("measured", "missing"),
    [
        ([Process("sft", 500, 1.0)], [Process("sft", 900)]),  # one point is no line
        ([Process("sft", 500, 1.0), Process("sft", 500, 1.1)], [Process("sft", 900)]),
        (processes(8, 0)[:2], [Process("kto", 900)]),
        ([one for one in processes(12, 0) if one.kind != "kto"], [Process("kto", 900)]),
        ([], [Process("sft", 900)]),
    ],
)
def test_what_a_sample_does_not_tell_is_refused(measured, missing):
    with pytest.raises(ValueError, match="measure more cells"):
        total(measured, missing)

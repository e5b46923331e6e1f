"""The published figure and the surface through it."""

import csv

import numpy as np
import pytest

from apportion.advise import published
from apportion.advise.published import COLUMNS, FIGURE, by_task, load_published, posterior
from apportion.errors import DataError


def test_the_shipped_figure_is_whole():
    points = by_task(load_published())
    assert {task: len(rows) for task, rows in points.items()} == {
        "summarization": 31,
        "helpfulness": 26,
        "instruction_following": 31,
        "math": 31,
    }
    base = [p for p in points["math"] if p.n_sft == p.n_pref == 0]
    assert [p.score for p in base] == [0.154]
    assert (FIGURE.parent / "SOURCE.md").is_file()


def log_marginal_likelihood():
    total = 0.0
    for points in by_task(load_published()).values():
        x = published.coordinates(
            np.array([p.n_sft for p in points]), np.array([p.n_pref for p in points])
        )
        covariance = published.kernel(x, x) + np.diag(published.noise(points))
        y = np.array([p.score for p in points]) - published.CENTRE
        total -= (y @ np.linalg.solve(covariance, y) + np.linalg.slogdet(covariance)[1]) / 2
    return total


def test_the_kernel_s_constants_are_near_the_best(monkeypatch):
    best = log_marginal_likelihood()
    changes = [("SMOOTH_SD", published.SMOOTH_SD * f) for f in (0.7, 1.4)]
    changes += [
        ("LENGTHS", (2.9 * f, 5.2 * g)) for f, g in ((0.6, 1), (1.6, 1), (1, 0.6), (1, 1.6))
    ]
    changes += [
        ("SLOPE_SDS", (0.025 * f, 0.02 * g)) for f, g in ((0.3, 1), (3, 1), (1, 0.3), (1, 3))
    ]
    changes += [("COUNT_SCALE", scale) for scale in (5.0, 100.0)]
    for name, value in changes:
        with monkeypatch.context() as patch:
            patch.setattr(published, name, value)
            assert log_marginal_likelihood() < best + 0.5, (name, value)


def test_left_out_budgets_lie_within_the_intervals():
    """Predict a whole inner budget from the others: 90 % intervals hold about 90 %."""
    inside = total = 0
    for points in by_task(load_published()).values():
        for budget in (500, 1000, 5000):
            kept = [p for p in points if abs(p.n_sft + p.n_pref - budget) > 1]
            asked = [p for p in points if abs(p.n_sft + p.n_pref - budget) <= 1]
            mean, covariance = posterior(
                kept, np.array([p.n_sft for p in asked]), np.array([p.n_pref for p in asked])
            )
            sd = np.sqrt(np.diag(covariance) + published.noise(asked))
            errors = np.abs(np.array([p.score for p in asked]) - mean)
            inside += int((errors <= 1.645 * sd).sum())
            total += len(asked)
    assert total == 60
    assert inside >= 48


def write(path, rows, columns=COLUMNS):
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


GOOD = ["m", "math", "acc", "0.5", "100", "0.4", "0.01"]


@pytest.mark.parametrize(
    ("column", "value"),
    [(3, "1.5"), (3, ""), (4, "-1"), (5, "nan"), (5, "high"), (5, "1.2"), (6, "")],
)
def test_a_bad_row_is_named(tmp_path, column, value):
    bad = list(GOOD)
    bad[column] = value
    with pytest.raises(DataError) as caught:
        load_published(write(tmp_path / "t.csv", [GOOD, bad]))
    assert (caught.value.row, caught.value.field) == (3, COLUMNS[column])


def test_bad_tables(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load_published(tmp_path / "absent.csv")
    with pytest.raises(DataError, match="score"):
        load_published(write(tmp_path / "a.csv", [], [c for c in COLUMNS if c != "score"]))
    with pytest.raises(DataError, match="no rows"):
        load_published(write(tmp_path / "b.csv", []))

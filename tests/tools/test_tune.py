"""The sweep of nuisance hyper-parameters: what is tried, that it resumes, what the table says."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import pytest

import tune
import tune_table
from apportion.config.presets import RECIPES
from apportion.run.layout import Layout
from fake_study import DOTTED, fake_plan
from tune import CELLS, Trial


def test_one_factor_is_moved_at_a_time_and_only_where_it_acts():
    found = list(tune.trials("math", "sandbox:small", "dpo"))
    assert len(set(found)) == len(found)
    frozen = [trial for trial in found if trial.value is None]
    assert [trial.cell for trial in frozen] == list(CELLS)
    assert all(not trial.changes for trial in frozen)
    for trial in found:
        if trial.value is not None:
            ((stage, change),) = trial.changes.items()
            ((field, value),) = change.items()
            assert f"{stage}.{field}" == trial.factor
            assert value != RECIPES["sandbox"][stage][field]
    assert not any(t.cell == "no SFT" and t.factor.startswith("sft") for t in found)
    counts = Counter(trial.cell for trial in found)
    assert counts["middle"] == counts["few"] == counts["many"] > counts["no SFT"] > 1


def test_kto_has_its_own_beta():
    names = {trial.factor for trial in tune.trials("math", "sandbox:small", "kto")}
    assert "kto.beta" in names and "preference.beta" not in names


def test_the_stages_are_a_study_s_on_items_that_no_study_is_scored_on():
    from apportion.tasks.registry import get_task

    one = tune.plan_of(Trial("math", "sandbox:small", "dpo", "few", tune_table.FROZEN, None))
    other = tune.plan_of(Trial("math", "sandbox:small", "dpo", "few", "preference.beta", 0.1))
    sft, preference, generate, score = one.stages.values()
    assert [s.kind for s in (sft, preference, generate, score)] == [
        "sft", "preference", "generate", "score",
    ]  # fmt: skip
    assert set(one.stages) & set(other.stages) == {sft.key}  # only what the factor touches is new
    assert other.stages[other.cells[0].stages[1]].spec["recipe"]["beta"] == 0.1
    assert (generate.parents, score.parents) == ((preference.key,), (generate.key,))
    begin, n = tune.VALIDATION
    items = get_task("math").pool.items(begin + n)
    assert len(items[begin:]) == generate.spec["items"]["n"] == n
    tested = {item.prompt for item in items[:2000]}
    # chance makes a question twice now and then; what must not be is that the items are the tests'
    assert sum(item.prompt in tested for item in items[begin:]) < 0.02 * n


@pytest.fixture
def fake(monkeypatch):
    """Trials whose plans are of quick stages; the SFT stage is shared."""

    def plan_of(trial):
        salt = f"{trial.cell} {trial.factor} {trial.value} {trial.seed}"
        plan = fake_plan((2,), (3,), salt=salt)
        return plan

    monkeypatch.setattr(tune, "plan_of", plan_of)
    return {"bodies": DOTTED, "layout": Layout(0, 1)}


def test_a_sweep_goes_on_where_it_was_also_without_its_store(tmp_path, fake):
    todo = list(tune.trials("math", "sandbox:small", "dpo"))
    path, store = tmp_path / "data" / "x.jsonl", tmp_path / "s"
    assert tune.sweep(todo, path, store, seconds=1e-9, **fake) == len(todo)
    assert not path.exists()
    first = [trial for trial in todo if trial.cell == "middle"]
    assert tune.sweep(first, path, store, **fake) == 0
    lines = path.read_text().splitlines()
    assert len(lines) == len(first)
    shutil.rmtree(store)
    assert tune.sweep(todo, path, store, **fake) == 0
    after = path.read_text().splitlines()
    assert after[: len(lines)] == lines and len(after) == len(todo)
    assert tune.sweep(todo, path, store, **fake) == 0
    assert path.read_text().splitlines() == after
    assert {(r["cell"], r["factor"], r["value"]) for r in tune_table.read(path)} == {
        (t.cell, t.factor, t.value) for t in todo
    }


def row(cell, factor, value, score, seed=0, stderr=0.03):
    return {
        "task": "math", "model": "m", "method": "dpo", "cell": cell, "n_sft": 4, "n_pref": 5,
        "factor": factor, "value": value, "seed": seed, "score": score, "stderr": stderr,
    }  # fmt: skip


def test_the_table_shows_differences_from_the_frozen_recipe_in_points():
    text = tune_table.table(
        [
            row("middle", "frozen", None, 0.40),
            row("middle", "frozen", None, 0.50, seed=1, stderr=0.04),
            row("middle", "sft.epochs", 4, 0.46),
            row("middle", "sft.epochs", 4, 0.52, seed=1),
            row("few", "frozen", None, 0.10),
            row("middle", "preference.beta", 0.1, 0.35),
        ]
    )
    assert text.splitlines() == [
        "m · math · dpo",
        "",
        "| factor | value | middle (4, 5) | few (4, 5) |",
        "|---|---|---|---|",
        "| frozen | all | 45.0 ± 2.5 | 10.0 ± 3.0 |",
        "| sft.epochs | 4 | +4.0 | – |",
        "| preference.beta | 0.1 | -5.0 | – |",
    ]


def test_a_wrong_span_of_time_is_one_line(capsys, tmp_path):
    assert tune.main(["--data", str(tmp_path), "sweep", "--for", "soon"]) == 2
    assert "30m" in capsys.readouterr().err
    (tmp_path / "a.jsonl").write_text(json.dumps(row("few", "frozen", None, 0.1)) + "\n")
    assert tune.main(["--data", str(tmp_path), "table"]) == 0
    assert "| frozen | all | 10.0 ± 3.0 |" in capsys.readouterr().out

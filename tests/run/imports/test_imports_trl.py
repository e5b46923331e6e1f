"""A trainer's state: the last value of a metric that can be a score."""

from __future__ import annotations

import json

import pytest

from apportion.errors import ResultsError
from apportion.run.imports.place import Place
from apportion.run.imports.trl import find_state, result_of

PLACE = Place("m", "t", "dpo", 10, 20, 0)
HISTORY = [
    {"loss": 1.5, "step": 1},
    {"eval_loss": 0.9, "eval_exact": 0.25, "eval_runtime": 0.5, "step": 5},
    {"eval_loss": 0.7, "eval_exact": 0.5, "eval_bleu": 31.0, "eval_runtime": 0.5, "step": 10},
    {"train_loss": 1.0, "step": 10},
]


def state(folder, history=HISTORY):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    return folder / "trainer_state.json"


def test_the_last_value_is_the_score(tmp_path):
    one = result_of(state(tmp_path), PLACE, "eval_exact", 200)
    assert (one.score, one.n_items, one.n_sft, one.stderr) == (0.5, 200, 10, None)


@pytest.mark.parametrize("metric", [None, "eval_loss", "eval_bleu", "eval_runtime", "eval_none"])
def test_what_is_no_score_is_refused_with_what_there_is(tmp_path, metric):
    with pytest.raises(ResultsError) as caught:
        result_of(state(tmp_path), PLACE, metric, 200)
    if metric in (None, "eval_none"):
        assert "it logged: eval_exact." in caught.value.problem


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"log_history": 3}', '{"log_history": [1]}'])
def test_what_is_no_state(tmp_path, text):
    (tmp_path / "trainer_state.json").write_text(text)
    with pytest.raises(ResultsError):
        result_of(tmp_path / "trainer_state.json", PLACE, "eval_exact", 200)


def test_where_the_state_is(tmp_path):
    assert find_state(tmp_path) is None
    nine, ten = state(tmp_path / "checkpoint-9"), state(tmp_path / "checkpoint-10")
    assert find_state(tmp_path) == ten and find_state(nine) == nine
    assert find_state(state(tmp_path)) == find_state(tmp_path) == tmp_path / "trainer_state.json"

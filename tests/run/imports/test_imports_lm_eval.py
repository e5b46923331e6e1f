"""lm-eval's sample logs, as its evaluator writes them."""

from __future__ import annotations

import json

import pytest

from apportion.errors import ResultsError
from apportion.run.imports.lm_eval import looks_like_samples, read_samples, result_of
from apportion.run.imports.merge import add_to
from apportion.run.imports.place import Place

PLACE = Place("m", "gsm8k", "dpo", 250, 750, 1)
NAME = "samples_gsm8k_2026-11-23T02-30-05.123456.jsonl"


def sample(doc_id, kept, **metrics):
    """One line of a log: the keys of lm_eval.evaluator's `example`."""
    return {
        "doc_id": doc_id,
        "doc": {"question": f"q{doc_id}", "answer": "#### 1"},
        "target": "#### 1",
        "arguments": {"gen_args_0": {"arg_0": "Question: ...", "arg_1": {"until": ["\n"]}}},
        "resps": [["#### 1"]],
        "filtered_resps": ["1"],
        "filter": kept,
        "metrics": list(metrics),
        "doc_hash": f"hash{doc_id}",
        "prompt_hash": "p",
        "target_hash": "t",
        **metrics,
    }


def log(tmp_path, rows, name=NAME):
    path = tmp_path / name
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


GSM8K = [sample(i, "strict-match", exact_match=float(i in (1, 3))) for i in (3, 0, 1, 2)]
GSM8K += [sample(i, "flexible-extract", exact_match=float(i != 0)) for i in (0, 1, 2, 3)]


def test_gsm8k(tmp_path):
    samples = read_samples(log(tmp_path, GSM8K))
    assert samples.task == "gsm8k"
    one = result_of(samples, PLACE, "exact_match,strict-match")
    assert (one.n_sft, one.n_pref, one.replicate, one.model) == (250, 750, 1, "m")
    assert one.item_scores == (0.0, 1.0, 0.0, 1.0)  # in order of doc_id
    assert (one.score, one.strict, one.lenient, one.n_items) == (0.5, 0.5, 0.75, 4)
    assert one.stderr == pytest.approx(0.288675, abs=1e-6)
    other = result_of(samples, PLACE, "exact_match,flexible-extract")
    assert (other.score, other.strict, other.lenient) == (0.75, 0.5, 0.75)


def test_ifeval_s_instructions_are_counted_one_by_one(tmp_path):
    rows = [
        sample(i, "none", prompt_level_strict_acc=all(of), inst_level_strict_acc=list(of))
        for i, of in enumerate([(True, False, False), (True,)])
    ]
    samples = read_samples(log(tmp_path, rows))
    assert result_of(samples, PLACE, "prompt_level_strict_acc").score == 0.5
    one = result_of(samples, PLACE, "inst_level_strict_acc")
    assert one.score == 0.5 and one.item_scores == (1.0, 0.0, 0.0, 1.0)


def test_one_metric_needs_no_name(tmp_path):
    rows = [sample(i, "none", acc=1.0) for i in range(3)]
    assert result_of(read_samples(log(tmp_path, rows)), PLACE).score == 1.0


@pytest.mark.parametrize(
    ("rows", "row", "problem"),
    [
        ([], None, "no samples"),
        ([GSM8K[0], '{"doc_id": 1'], 2, "not JSON"),
        ([GSM8K[0], "[]"], 2, "JSON object"),
        ([GSM8K[0], GSM8K[0]], 2, "stands twice"),
        ([GSM8K[0], GSM8K[4]], None, "of 2 items"),
        ([GSM8K[0], {**GSM8K[7], "doc_hash": "x"}], 2, "another one"),
        ([{**GSM8K[0], "doc_id": "0"}], 1, "number of a test item"),
        ([{**GSM8K[0], "metrics": []}], 1, "no names of metrics"),
        ([sample(0, "none", bleu=27.1)], 1, "score from 0 to 1"),
        ([sample(0, "none", acc=None)], 1, "score from 0 to 1"),
        ([sample(0, "none", acc=[])], 1, "score from 0 to 1"),
        ([sample(0, "none", acc=float("nan"))], 1, "score from 0 to 1"),
    ],
)
def test_a_log_that_cannot_be_used(tmp_path, rows, row, problem):
    with pytest.raises(ResultsError, match=problem) as caught:
        read_samples(log(tmp_path, rows))
    assert caught.value.row == row


def test_a_metric_must_be_named_and_there(tmp_path):
    samples = read_samples(log(tmp_path, GSM8K))
    for metric in (None, "exact_match"):
        with pytest.raises(ResultsError, match="metric"):
            result_of(samples, PLACE, metric)


def test_what_is_a_log(tmp_path):
    assert looks_like_samples(log(tmp_path, GSM8K))
    assert not looks_like_samples(log(tmp_path, ['{"model": "m"}'], "x.jsonl"))
    assert not looks_like_samples(tmp_path)


def test_adding_keeps_what_is_there_and_refuses_what_is_twice(tmp_path):
    one = result_of(read_samples(log(tmp_path, GSM8K)), PLACE, "exact_match,strict-match")
    two = Place("m", "gsm8k", "dpo", 0, 0, 0).result(0.25, n_items=4)
    out = tmp_path / "table.jsonl"
    add_to(out, [one])
    assert len(add_to(out, [two])) == 2
    before = out.read_bytes()
    with pytest.raises(ResultsError, match="already in the table"):
        add_to(out, [two])
    assert out.read_bytes() == before


def test_other_test_items_are_refused(tmp_path):
    first = read_samples(log(tmp_path, [sample(i, "none", acc=1.0) for i in range(3)]))
    second = read_samples(log(tmp_path, [sample(i, "none", acc=1.0) for i in range(1, 4)]))
    out = tmp_path / "table.jsonl"
    add_to(out, [result_of(first, PLACE)])
    other = Place("m", "gsm8k", "dpo", 500, 500, 0)
    with pytest.raises(ResultsError, match="other test items"):
        add_to(out, [result_of(second, other)])
    assert len(add_to(out, [result_of(first, other)])) == 2

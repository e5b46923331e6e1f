"""The statements on the paper's own figure, and what a findings document looks like."""

from __future__ import annotations

import json

import pytest

from apportion.advise.published import FIGURE
from apportion.errors import ResultsError
from apportion.findings.sizes import size_of
from apportion.findings.study import find, is_published, published_rows
from findings.worlds import on_lines, paper


@pytest.fixture(scope="module")
def published():
    return {one.letter: one for one in find(published_rows()).findings}


def test_verdicts_on_the_figure(published):
    said = {letter: one.verdict for letter, one in published.items()}
    measured = {"a", "b", "c", "d", "g"}
    assert {letter for letter, verdict in said.items() if verdict != "not measured"} == measured
    places = {p.name.split(" · ")[1]: p for p in published["b"].places}
    assert places["summarization"].verdict == "holds"
    # From the table by hand: 72.0 at a quarter against 58.0.
    assert places["summarization"].estimate == pytest.approx(0.14)
    by_hand = [0.720 - 0.580, 0.701 - 0.651, 0.867 - 0.811, 0.698 - 0.651]  # at a quarter
    assert places["mean of 4 tasks"].estimate == pytest.approx(sum(by_hand) / 4)
    assert places["mean of 4 tasks"].verdict == "holds" and places["mean of 4 tasks"].summary
    cold = [p for p in published["d"].places if not p.summary]
    assert sum(p.verdict == "holds" for p in cold) == 3


def test_why_statements_were_not_measured(published):
    for letter, why in (("e", "up to 10 %"), ("f", "DPO and KTO"), ("h", "two model sizes")):
        assert why in published[letter].reason


def test_the_figure_s_file_is_known(tmp_path):
    assert is_published(FIGURE) and not is_published(tmp_path / "none.csv")
    assert len(published_rows()) == 119


def test_json_has_no_nan_and_the_same_results_give_the_same():
    rows = on_lines(paper, replicates=1)
    first, second = (json.dumps(find(rows, n_draws=500).to_json(), allow_nan=False) for _ in "12")
    assert first == second
    assert json.loads(first)["small"] == 1000


def test_nothing_to_find():
    with pytest.raises(ResultsError, match="no cell has a score"):
        find([])
    with pytest.raises(ResultsError, match="no budget"):
        find(on_lines(paper), small=float("nan"))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("meta-llama/Llama-3.1-8B", 8e9),
        ("Qwen2.5-1.5B-Instruct", 1.5e9),
        ("HuggingFaceTB/SmolLM2-135M", 135e6),
        ("org/mine", None),
        ("gpt2", None),
        ("sandbox:no-such", None),
    ],
)
def test_sizes_from_names(name, size):
    assert size_of(name) == size


def test_the_size_of_an_embedded_model():
    assert 1.5e6 < size_of("sandbox:small") < 2.5e6

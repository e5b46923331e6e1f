"""Which cell is meant: by its numbers, and by names where a study has several."""

from __future__ import annotations

import pytest

from apportion.compile import compile_study
from apportion.config.study import Study
from apportion.errors import StudyError
from apportion.run.export.cell import find_cell, parse_cell


@pytest.fixture(scope="module")
def plan(tiny_model_dir):
    values = {
        "models": ["sandbox:small", str(tiny_model_dir)],
        "tasks": "math",
        "lattice": {"n_sft": [0, 4], "n_pref": [0, 6]},
        "replicates": 2,
        "recipe": "sandbox",
        "evaluation": {"n_items": 3},
    }
    return compile_study(Study.of(values))


@pytest.mark.parametrize(
    ("text", "cell"), [("4,6", (4, 6, 0)), (" 4 , 6 , 1 ", (4, 6, 1)), ("0,0", (0, 0, 0))]
)
def test_numbers(text, cell):
    assert parse_cell(text) == cell


@pytest.mark.parametrize("text", ["", "4", "4,6,1,2", "4;6", "-4,6", "4.5,6", "four,six", "4,"])
def test_what_is_no_cell(text):
    with pytest.raises(StudyError, match="is not a cell"):
        parse_cell(text)


def test_its_stages(plan):
    parts = find_cell(plan, (4, 6, 1), model="sandbox:small")
    assert [stage.kind for stage in parts.training] == ["sft", "preference"]
    assert parts.sft.spec["train_seed"] == 1 and parts.lora is None
    assert find_cell(plan, (0, 0, 0), model="sandbox:small").training == ()


@pytest.mark.parametrize(
    ("wanted", "names", "problem"),
    [
        ((4, 6, 0), {}, "several models"),
        ((4, 6, 0), {"model": "gpt"}, "no model 'gpt'"),
        ((4, 6, 0), {"model": "sandbox:small", "task": "gsm"}, "no task 'gsm'"),
        ((4, 7, 0), {"model": "sandbox:small"}, "no cell 4,7"),
        ((4, 6, 2), {"model": "sandbox:small"}, "of replicate 2"),
    ],
)
def test_what_is_not_there(plan, wanted, names, problem):
    with pytest.raises(StudyError, match=problem):
        find_cell(plan, wanted, **names)

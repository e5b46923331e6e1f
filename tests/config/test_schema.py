from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema
import pytest
import yaml

from apportion.config.presets import RECIPES
from apportion.config.schema import study_json_schema
from apportion.config.study import Study
from apportion.config.template import study_template
from apportion.errors import ManyErrors

BASE: dict[str, Any] = {
    "models": ["sandbox:small"],
    "tasks": ["math"],
    "budget": {"levels": [250]},
    "shares": [0, 1],
    "recipe": "sandbox",
}
LATTICE = {"budget": None, "shares": None, "lattice": {"n_sft": [0, 5], "n_pref": [0]}}


@cache
def validator() -> jsonschema.Draft202012Validator:
    schema = study_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


GOOD: list[dict[str, Any]] = [
    {},
    {"models": "sandbox:small", "tasks": "math", "methods": "dpo"},
    {"prices": {"sft": "0.40..0.90", "preference": 2}},
    {"prices": {"sft": {"low": 0.4, "high": 0.9}}},
    {"prices": {"sft": {"price": "0.4..0.9", "fixed": 200, "rejected": 0.1, "redundancy": 1.5}}},
    {"prices": "human"},
    {"prices": {"preset": "synthetic", "sft": 2}},
    {"budget": {"unit": "usd", "levels": [100.5]}, "prices": {"sft": 1, "preference": 0.5}},
    LATTICE,
    {"recipe": {"preset": "paper", "sft": {"epochs": 1}, "lora": {"r": 8}}},
    {"recipe": {"sft": {"learning_rate": 0.1}, "preference": {"learning_rate": 0.1}}},
    {"seeds": {"data": 0, "train": "vary"}},
    {"evaluation": {"decoding": "paper", "n_items": 5}},
    {"stack": "off"},
    {"stack": 4},
    {"evaluation": {"decoding": {"strategy": "sample", "temperature": 0.5}}},
    *({"recipe": name} for name in RECIPES),
]
BAD: list[dict[str, Any]] = [
    {"modles": "x"},
    {"models": []},
    {"models": [3]},
    {"methods": ["rlhf"]},
    {"shares": [2]},
    {"stack": 0},
    {"stack": "on"},
    {"stack": 2.5},
    {"shares": [True]},
    {"shares": [0, 0]},
    {"shares": None},
    {"budget": None, "shares": None},
    {"lattice": LATTICE["lattice"]},
    {"budget": {"levels": [0]}},
    {"budget": {"levels": [1], "unit": "eur"}},
    {"replicates": 0},
    {"replicates": 2.5},
    {"prices": {"sft": 0}},
    {"prices": {"sft": "cheap"}},
    {"prices": {"sft": {"fixed": 200}}},
    {"prices": {"sft": {"price": 1, "rejected": 1}}},
    {"prices": "humans"},
    {"recipe": "sandobx"},
    {"recipe": {"preset": "sandbox", "sft": {"learning_rate": 0}}},
    {"recipe": {"preset": "sandbox", "sft": {"learning_rte": 0.1}}},
    {"recipe": {"sft": {"learning_rate": 0.1}}},
    {"seeds": {"data": "random"}},
    {"evaluation": {"decoding": "beam"}},
    {"evaluation": {"n_items": 0}},
]


@pytest.mark.parametrize("change", GOOD)
def test_accepts_what_the_loader_accepts(change: dict[str, Any]) -> None:
    values = {**BASE, **change}
    Study.of(values)
    validator().validate(values)


@pytest.mark.parametrize("change", BAD)
def test_refuses_what_the_loader_refuses(change: dict[str, Any]) -> None:
    values = {**BASE, **change}
    with pytest.raises(ManyErrors):
        Study.of(values)
    assert not validator().is_valid(values)


def test_accepts_a_dumped_study() -> None:
    validator().validate(Study.of(BASE).model_dump(mode="json"))


def test_bounds_have_json_schemas_own_names() -> None:
    def walk(node: Any) -> None:
        if isinstance(node, list):
            for value in node:
                walk(value)
        if isinstance(node, dict):
            assert not {"gt", "ge", "lt", "le"} & node.keys()
            for value in node.values():
                walk(value)

    walk(study_json_schema())


@pytest.mark.parametrize(
    ("task", "model"),
    [
        ("math", "sandbox:small"),
        ("gsm8k", "HuggingFaceTB/SmolLM2-135M"),
        ("math", "./my models/one: two"),
        ("cards/my task.yaml", "org/name@a1b2"),
        ("null", "123"),
    ],
)
def test_the_template_is_a_study(task: str, model: str, tmp_path: Any) -> None:
    text = study_template(task, model)
    (tmp_path / "study.yaml").write_text(text)
    study = Study.load(tmp_path / "study.yaml")
    # A task card is found from the study file's folder, wherever the command is run.
    wanted = str(tmp_path / task) if task.endswith(".yaml") else task
    assert (study.tasks, study.models) == ((wanted,), (model,))
    assert study.recipe.name == ("sandbox" if model.startswith("sandbox:") else "default")
    values = yaml.safe_load(text)
    validator().validate(values)
    assert text.count("#") >= 10


def test_what_the_template_shows_in_comments_is_right(tmp_path: Any) -> None:
    lines = study_template("math", "sandbox:small").splitlines()
    shown = dict(
        line.removeprefix("# ").split("   #")[0].split(": ", 1)
        for line in lines
        if line.startswith(("# seeds:", "# recipe:", "# lattice:"))
    )
    assert set(shown) == {"seeds", "recipe", "lattice"}
    kept = [line for line in lines if not line.startswith(("recipe:", "shares:"))]
    text = "\n".join(kept).replace("budget:\n  unit", "x:\n  unit")
    values = yaml.safe_load(text)
    values.pop("x")
    Study.of(
        {**values, **{key: yaml.safe_load(value) for key, value in shown.items()}}
        | {"recipe": {"preset": "default", "sft": {"learning_rate": 3e-4}}}
    )

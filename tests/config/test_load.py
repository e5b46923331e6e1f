"""What a right study file may look like, and which files cannot be read at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from apportion.config.load import load_study
from apportion.config.presets import DECODINGS, RECIPES
from apportion.config.price import Terms
from apportion.config.recipe import Recipe
from apportion.config.study import PriceRange, Study
from apportion.errors import ManyErrors, StudyError

BASE = """\
models: sandbox:small
tasks: math
recipe: sandbox
budget: {levels: [250, 1000]}
shares: [0, 0.5, 1]
"""


def load(tmp_path: Path, text: str) -> Study:
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return Study.load(path)


def test_a_single_text_is_a_list_of_one(tmp_path: Path) -> None:
    study = load(tmp_path, BASE + "methods: dpo\n")
    assert (study.models, study.tasks, study.methods) == (("sandbox:small",), ("math",), ("dpo",))


@pytest.mark.parametrize(
    ("written", "rate"),
    [("1e-5", 1e-5), ("1E-5", 1e-5), ("1.e-5", 1e-5), (".1", 0.1), ("0.1", 0.1), ("1", 1.0)],
)
def test_numbers_of_yaml_1_2(tmp_path: Path, written: str, rate: float) -> None:
    text = BASE.replace("sandbox\n", f"{{preset: sandbox, sft: {{learning_rate: {written}}}}}\n")
    assert load(tmp_path, text).recipe.sft.learning_rate == rate


@pytest.mark.parametrize(
    ("written", "whole"), [("010", 10), ("1_000", 1000), ("1e3", 1000), ("5.0", 5), ("0x10", 16)]
)
def test_whole_numbers(tmp_path: Path, written: str, whole: int) -> None:
    study = load(tmp_path, BASE + f"evaluation: {{n_items: {written}}}\n")
    assert study.evaluation.n_items == whole
    assert type(study.evaluation.n_items) is int


def test_aliases_in_reason_are_read(tmp_path: Path) -> None:
    text = BASE.replace("[0, 0.5, 1]", "&s [0, 1]") + "prices: {sft: &p 2, preference: *p}\n"
    study = load(tmp_path, text)
    assert (study.shares, study.prices.preference) == ((0.0, 1.0), 2.0)


def test_a_byte_order_mark_and_windows_rows_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())
    assert load_study(path) == load(tmp_path, BASE)


@pytest.mark.parametrize(
    ("written", "price"),
    [
        ("2.50", 2.5),
        ("'2.50'", 2.5),
        ("$2.50", 2.5),
        ("0.40..0.90", PriceRange(low=0.4, high=0.9)),
        ("{low: 0.4, high: 0.9}", PriceRange(low=0.4, high=0.9)),
        ("0.5..0.5", 0.5),
        ("{price: $2, fixed: 200}", Terms(price=2, fixed=200)),
        ("{price: 2, redundancy: 1}", 2.0),
    ],
)
def test_prices(tmp_path: Path, written: str, price: object) -> None:
    assert load(tmp_path, BASE + f"prices: {{sft: {written}}}\n").prices.sft == price


def test_a_preset_with_changes(tmp_path: Path) -> None:
    text = BASE.replace(
        "recipe: sandbox", "recipe: {preset: paper, sft: {epochs: 3}, lora: {r: 8}, max_length: 64}"
    )
    recipe = load(tmp_path, text).recipe
    paper = Recipe.model_validate("paper")
    assert recipe.sft == paper.sft.model_copy(update={"epochs": 3})
    assert recipe.preference == paper.preference
    assert recipe.lora is not None and paper.lora is not None
    assert recipe.lora == paper.lora.model_copy(update={"r": 8})
    assert (recipe.max_length, recipe.name) == (64, "paper, changed")


def test_the_preset_is_not_changed_by_changes() -> None:
    before = Recipe.model_validate("paper")
    Recipe.model_validate({"preset": "paper", "sft": {"epochs": 9}, "lora": {"r": 1}})
    assert Recipe.model_validate("paper") == before


@pytest.mark.parametrize("name", RECIPES)
def test_presets_are_whole_recipes(name: str) -> None:
    assert Recipe.model_validate(name).name == name


def test_the_paper_preset_states_the_released_facts() -> None:
    paper = Recipe.model_validate("paper")
    for stage, rate in ((paper.sft, 5e-5), (paper.preference, 5e-6)):
        assert (stage.learning_rate, stage.epochs) == (rate, 2)
        assert (stage.batch_size, stage.micro_batch_size) == (16, 1)
        assert (stage.optimizer, stage.weight_decay) == ("adamw_8bit", 0.01)
        assert (stage.schedule, stage.warmup_ratio) == ("cosine", 0.1)
    assert paper.sft.loss_weighting == "sequence"
    assert paper.lora is not None
    assert (paper.lora.r, paper.lora.alpha, paper.lora.dropout) == (32, 32, 0)
    assert paper.lora.target_modules == "all-linear"
    assert (paper.max_length, paper.dtype, paper.stage_two) == (1024, "bfloat16", "merge_16bit")
    assert paper.preference.beta == 1.0
    later = Recipe.model_validate("paper-beta0.1")
    assert later.preference == paper.preference.model_copy(update={"beta": 0.1})


def test_decodings_by_name(tmp_path: Path) -> None:
    study = load(tmp_path, BASE + "evaluation: {decoding: paper}\n")
    decoding = study.evaluation.decoding
    assert (decoding.strategy, decoding.temperature, decoding.top_p) == ("sample", 0.5, 0.9)
    assert set(DECODINGS) == {"greedy", "paper"}


@pytest.mark.parametrize(
    "extra",
    [
        "",
        "prices: {sft: 0.4..0.9}\n",
        "evaluation: {decoding: paper}\n",
        "seeds: {data: 3}\n",
        "methods: [dpo]\nreplicates: 1\n",
    ],
)
def test_a_study_survives_its_own_dump(tmp_path: Path, extra: str) -> None:
    study = load(tmp_path, BASE + extra)
    dumped = study.model_dump(mode="json")
    assert Study.of(dumped) == study
    assert Study.of(dumped).model_dump(mode="json") == dumped


def test_spelling_does_not_matter(tmp_path: Path) -> None:
    other = """\
tasks: ["math"]
shares: [0.0, 5e-1, 1.0]
lattice: null
budget: {unit: examples, levels: [250.0, 1e3]}
recipe: {preset: sandbox}
models: [sandbox:small]
replicates: 2
"""
    assert load(tmp_path, other) == load(tmp_path, BASE)


@pytest.mark.parametrize("kind", ["missing", "directory", "pipe"])
def test_files_that_cannot_be_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.yaml"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    says = {"missing": "no such file", "directory": "directory", "pipe": "regular file"}[kind]
    with pytest.raises(ManyErrors, match=says) as raised:
        load_study(path)
    (error,) = raised.value.errors
    assert isinstance(error, StudyError)
    assert error.file == str(path) and error.mend


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(BASE)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # chmod does not stop root
    with pytest.raises(ManyErrors, match="may not be read"):
        load_study(path)


@pytest.mark.parametrize("name", ["x\0y.yaml", "n" * 5000])
def test_names_that_no_file_has(name: str) -> None:
    with pytest.raises(ManyErrors):
        load_study(name)


def test_from_python() -> None:
    with pytest.raises(ManyErrors) as raised:
        Study.of({"models": 3, "tasks": "math", "recipe": "sandbox"})
    assert [e.field for e in raised.value.errors] == ["models", "budget"]

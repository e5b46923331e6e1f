"""What the trainer, KTO, trackers and 4-bit bases do to plans, and that they touch no other key."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from typing import Any

import pytest

from apportion.compile import compile_study, problems, stage_key
from apportion.compile.identity import Identity
from apportion.config.study import Study
from apportion.data.records import Label, labels_of, ordered_digest
from apportion.models.resolve import ModelRef
from test_compile import FakePool, fake_task, install, only, study

# Of the plan below, since training packs its sequences (version 2): whoever changes one of these
# throws finished work of every user away, and has to increase a semantics_version instead.
FROZEN = {
    "generate after no training": "115460f576cc1628cdd3727c0a0c6da0",
    "score after no training": "ad67a3517bad59d06ac1046290c15259",
    "dpo 6": "1a996723babfe5fb835cca28ecf3bde4",
    "generate after sft 0 and preference 6": "efbc6de9ea2e4648e098d1b9084ae8e4",
    "score after sft 0 and preference 6": "9e1cd1bbf849a5ab6df7e9ed66f17f65",
    "sft 4": "4be466f476f1ca07b32c95886bf0dd51",
    "generate after sft 4 and preference 0": "83b24bb07b7be9736237631a146efebe",
    "score after sft 4 and preference 0": "eb884395063aac3189e797f832b352ad",
    "dpo 6 after sft 4": "d0e153478b44919510ecc95755ec61ea",
    "generate after sft 4 and preference 6": "577c1dbba880bd759776af40b2422a3d",
    "score after sft 4 and preference 6": "6b88fc6bac8f307e4c86820593b35fc0",
    "sft 8": "c8114bc5e2550767504f53db7cca4775",
    "generate after sft 8 and preference 0": "6e485c5cbf9e003411213ea565793591",
    "score after sft 8 and preference 0": "779ab07c5a31d6e4fb039ba5168b6654",
    "dpo 6 after sft 8": "679ec12d6e1048cb5b65e3375659dc59",
    "generate after sft 8 and preference 6": "4bcc65171fdaba1579914195bc681a90",
    "score after sft 8 and preference 6": "2b320a9b2d843d6034aeb7ee888c6f20",
}


class LabelledPool(FakePool):
    def labels(self, n: int, *, seed: int) -> list[Label]:
        return labels_of(self.pairs(n, seed=seed))


@pytest.fixture(params=["local"])
def fixed(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> LabelledPool:
    """A task and a model whose contents never change."""
    pool = LabelledPool()
    install(monkeypatch, fake_task(pool))
    identity = Identity(
        ref=ModelRef("some/model", "", request.param, None),
        spec={"name": "some/model", "weights_digest": "w", "tokenizer_digest": "t"},
        template={"name": "plain", "digest": "d"},
    )
    for module in ("build", "problems"):
        place = sys.modules[f"apportion.compile.{module}"]  # the package has a function so called
        monkeypatch.setattr(place, "identify", lambda name: identity)
    return pool


def plan(**changes: Any) -> Any:
    return compile_study(study(models="some/model", **changes))


def training(made: Any) -> list[Any]:
    return [*only(made, "sft"), *only(made, "preference")]


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "apportion.training.trl.installed.find_spec", lambda n: None if n in names else real(n)
    )


def having(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    real, spec = importlib.util.find_spec, importlib.machinery.ModuleSpec("x", None)
    monkeypatch.setattr(
        "apportion.training.trl.installed.find_spec", lambda n: spec if n in names else real(n)
    )


def messages(**changes: Any) -> list[str]:
    return [str(error) for error in problems(study(models="some/model", **changes))]


def test_native_keys_are_what_they_were(fixed: LabelledPool) -> None:
    found = {s.label.split(" ·")[0]: s.key for s in plan(recipe="paper").stages.values()}
    assert found == FROZEN


def test_trl_is_in_the_keys_of_what_it_trains(fixed: LabelledPool) -> None:
    pytest.importorskip("trl", reason="TRL is not installed")
    native, trl = plan(trainer="native"), plan(trainer="trl")
    assert plan(trainer="auto").stages == native.stages
    assert not set(native.stages) & {s.key for s in training(trl)}
    assert all(s.spec["trainer"]["name"] == "trl" for s in training(trl))
    base = native.cells[0].stages
    assert trl.cells[0].stages == base  # nothing is trained for it


@pytest.mark.parametrize("fixed", ["hub"], indirect=True)
def test_auto_takes_trl_for_hub_models_where_there_is_one(
    fixed: LabelledPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trl", reason="TRL is not installed")
    assert plan().stages == plan(trainer="trl").stages != plan(trainer="native").stages
    without(monkeypatch, "trl")
    assert plan().stages == plan(trainer="native").stages
    assert any("needs TRL" in text for text in messages(trainer="trl"))


def test_trackers_are_recorded_but_in_no_key(
    fixed: LabelledPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trl", reason="TRL is not installed")
    having(monkeypatch, "wandb")
    quiet, told = plan(trainer="trl"), plan(trainer="trl", trackers="wandb")
    assert list(quiet.stages) == list(told.stages)
    assert all(s.spec["trackers"] == ["wandb"] for s in training(told))
    assert all(s.key == stage_key(s.spec) for s in told.stages.values())


def test_trackers_that_nothing_would_use_or_that_are_missing(
    fixed: LabelledPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    having(monkeypatch, "mlflow")
    assert any(
        "nothing would be reported" in text
        for text in messages(trackers="mlflow", trainer="native")
    )
    without(monkeypatch, "trackio")
    assert any("trackio is not installed" in text for text in messages(trackers="trackio"))


def test_kto_takes_labels_and_has_its_own_part_of_the_key(fixed: LabelledPool) -> None:
    both = plan(methods=["dpo", "kto"])
    dpo, kto = (
        [s for s in only(both, "preference") if s.spec["method"] == method]
        for method in ("dpo", "kto")
    )
    assert len(dpo) == len(kto) == 3
    assert kto[0].spec["data"]["digest"] == ordered_digest(fixed.labels(6, seed=0))
    assert dpo[0].spec["data"]["digest"] == ordered_digest(fixed.pairs(6, seed=0))
    assert "beta" not in kto[0].spec["recipe"] and "kto" not in dpo[0].spec
    assert kto[0].spec["kto"] == {
        "beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0, "group_size": 16,
    }  # fmt: skip
    assert kto[0].label.startswith("kto 6")
    assert kto[0].tokens < dpo[0].tokens


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        ({"kto": {"beta": 0.2}}, {"kto"}),
        ({"kto": {"desirable_weight": 2}}, {"kto"}),
        ({"kto": {"group_size": 4}}, {"kto"}),
        ({"kto": {"group_size": 16}}, set()),  # what it is anyway
        ({"preference": {"beta": 0.2}}, {"dpo"}),
        ({"preference": {"epochs": 3}}, {"dpo", "kto"}),
    ],
)
def test_what_changes_which_method(
    change: dict[str, Any], touched: set[str], fixed: LabelledPool
) -> None:
    def keys(recipe: Any) -> dict[str, str]:
        made = only(plan(methods=["dpo", "kto"], recipe=recipe), "preference")
        return {s.spec["method"]: s.key for s in made if not s.parents}

    old, new = keys("sandbox"), keys({"preset": "sandbox", **change})
    assert {method for method in old if old[method] != new[method]} == touched


def test_pools_are_asked_only_for_what_the_methods_need(fixed: LabelledPool) -> None:
    plan(methods=["dpo"])
    assert len([asked for asked in fixed.asked if asked[0] == "preference"]) == 1
    made = plan(methods=["kto"])
    assert {s.spec["method"] for s in only(made, "preference")} == {"kto"}


def test_groups_that_do_not_fit(fixed: LabelledPool) -> None:
    recipe = {"preset": "sandbox", "kto": {"group_size": 5}}
    assert any("groups of 5" in text for text in messages(methods="kto", recipe=recipe))
    assert messages(methods="dpo", recipe=recipe, trainer="native") == []  # nobody asks for a group
    alone = {"preset": "sandbox", "preference": {"batch_size": 1}}
    assert any("groups of 1" in text for text in messages(methods="kto", recipe=alone))


def test_a_4_bit_base_is_in_the_keys_of_all_that_use_it(fixed: LabelledPool) -> None:
    pytest.importorskip("trl", reason="TRL is not installed")
    recipe = {"preset": "default", "quantization": "4bit"}
    assert any("native loop does not" in text for text in messages(recipe=recipe, trainer="native"))
    plain, small = plan(recipe="default", trainer="trl"), plan(recipe=recipe, trainer="trl")
    kinds = {"sft", "preference", "generate"}
    assert all(s.spec["quantization"] == "4bit" for s in small.stages.values() if s.kind in kinds)
    assert not set(plain.stages) & set(small.stages)


@pytest.mark.parametrize(
    "change", [{"lora": None}, {"stage_two": "merge_16bit"}], ids=["whole", "merged"]
)
def test_a_4_bit_base_is_not_trained_or_merged(change: dict[str, Any]) -> None:
    from apportion.errors import ManyErrors

    recipe = {"preset": "default", "quantization": "4bit", **change}
    with pytest.raises(ManyErrors, match="4 bits"):
        Study.of({"models": "m", "tasks": "math", "lattice": {"n_sft": [1], "n_pref": [1]},
                  "recipe": recipe})  # fmt: skip

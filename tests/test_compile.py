"""A study to cells and stages: each thing once, and keyed by all that decides its outcome."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from apportion.compile import (
    Plan,
    Stage,
    canonical_json,
    check_file,
    compile_study,
    problems,
    stage_key,
)
from apportion.compile.estimate import CHARACTERS_PER_TOKEN, characters_per_token
from apportion.config.study import Study
from apportion.data.records import Demonstration, Item, Pair, ordered_digest
from apportion.errors import DataError, ManyErrors
from apportion.models.resolve import ModelRef, resolve_model
from apportion.tasks import registry
from apportion.tasks.base import ItemScore, Task


@dataclass
class FakePool:
    """Numbered examples; remembers what it was asked for."""

    sizes: dict[str, int | None] = field(default_factory=dict)
    gives: int = 10**9
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    salt: str = ""

    def demonstrations(self, n: int, *, seed: int) -> list[Demonstration]:
        self.asked.append(("sft", n, seed))
        n = min(n, self.gives)
        return [Demonstration(f"d {seed} {i}{self.salt}", "x" * 10) for i in range(n)]

    def pairs(self, n: int, *, seed: int) -> list[Pair]:
        self.asked.append(("preference", n, seed))
        return [Pair(f"p {seed} {i}", "good", "bad") for i in range(min(n, self.gives))]

    def items(self, n: int) -> list[Item]:
        self.asked.append(("test", n, -1))
        return [Item(str(i), f"item {i}", "x") for i in range(n)]

    def capacity(self, side: Literal["sft", "preference", "test"]) -> int | None:
        return self.sizes.get(side)


def fake_task(pool: FakePool, **changes: Any) -> Task:
    task = Task(
        name="fake",
        version=1,
        pool=pool,
        score=lambda item, response: ItemScore(0, 0, False),
        metric="none",
        metric_version=1,
        primary="strict",
        pref_unit="pair",
        stop=("\n",),
        max_new_tokens=20,
    )
    return dataclasses.replace(task, **changes)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> FakePool:
    pool = FakePool()
    install(monkeypatch, fake_task(pool))
    return pool


def install(monkeypatch: pytest.MonkeyPatch, task: Task) -> None:
    known = registry.get_task
    monkeypatch.setattr(registry, "get_task", lambda n: task if n == "fake" else known(n))


def study(**changes: Any) -> Study:
    base: dict[str, Any] = {
        "models": "sandbox:small",
        "tasks": "fake",
        "recipe": "sandbox",
        "evaluation": {"n_items": 10},
        "replicates": 1,
        "lattice": {"n_sft": [0, 4, 8], "n_pref": [0, 6]},
    }
    if "budget" in changes:
        del base["lattice"]
    return Study.of({**base, **changes})


def kinds(plan: Plan) -> dict[str, int]:
    return dict(plan.unique.stages)


def only(plan: Plan, kind: str) -> Iterator[Stage]:
    return (stage for stage in plan.stages.values() if stage.kind == kind)


def keys(plan: Plan, kind: str) -> set[str]:
    return {stage.key for stage in only(plan, kind)}


def test_a_lattice_shares_its_sft_stages(pool: FakePool) -> None:
    plan = compile_study(study())
    points = [(c.n_sft, c.n_pref) for c in plan.cells]
    assert points == [(0, 0), (0, 6), (4, 0), (4, 6), (8, 0), (8, 6)]
    assert kinds(plan) == {"sft": 2, "preference": 3, "generate": 6, "score": 6}
    assert dict(plan.naive.stages) == {"sft": 4, "preference": 3, "generate": 6, "score": 6}
    assert (plan.unique.total, plan.naive.total) == (17, 19)
    saved = {s.label: s.tokens for s in only(plan, "sft")}
    assert plan.naive.training_tokens - plan.unique.training_tokens == sum(saved.values())


def test_stages_are_in_order_keyed_by_their_spec_and_complete(pool: FakePool) -> None:
    plan = compile_study(study(replicates=2, recipe="default"))
    seen: set[str] = set()
    for key, stage in plan.stages.items():
        assert key == stage.key == stage_key(stage.spec)
        assert len(key) == 32 and set(key) <= set("0123456789abcdef")
        assert set(stage.parents) <= seen
        assert stage.parents == ((stage.spec["parent"],) if stage.spec.get("parent") else ())
        assert json.loads(canonical_json(stage.spec)) == stage.spec
        seen.add(key)
    for cell in plan.cells:
        assert cell.score_key == cell.stages[-1]
        assert [plan.stages[k].kind for k in cell.stages] == [
            *(["sft"] if cell.n_sft else []),
            *(["preference"] if cell.n_pref else []),
            "generate",
            "score",
        ]
        for parent, child in zip(cell.stages, cell.stages[1:], strict=False):
            assert plan.stages[child].parents == (parent,)


def test_specs_hold_what_the_contract_names(pool: FakePool) -> None:
    plan = compile_study(study(recipe="paper"))
    training = {
        "kind", "semantics_version", "model", "template", "task", "task_version", "data",
        "recipe", "lora", "max_length", "dtype", "train_seed",
    }  # fmt: skip
    sft = next(s for s in only(plan, "sft") if s.spec["data"]["n"] == 4)
    assert set(sft.spec) == training
    assert sft.spec["data"] == {
        "side": "sft",
        "n": 4,
        "seed": 0,
        "digest": ordered_digest(pool.demonstrations(4, seed=0)),
    }
    assert sft.spec["recipe"]["micro_batch_size"] == 1
    assert sft.spec["lora"]["r"] == 32
    preference = next(s for s in only(plan, "preference") if s.parents == (sft.key,))
    assert set(preference.spec) == training | {"method", "parent", "stage_two"}
    assert preference.spec["recipe"]["beta"] == 1.0
    assert preference.spec["data"]["digest"] == ordered_digest(pool.pairs(6, seed=0))
    generate = next(s for s in only(plan, "generate") if s.parents == (preference.key,))
    assert set(generate.spec) == {
        "kind", "semantics_version", "model", "template", "task", "parent", "dtype", "lora",
        "items", "decoding", "stop", "batch_size", "sample_seed", "engine",
    }  # fmt: skip
    assert generate.spec["decoding"]["max_new_tokens"] == 20
    assert generate.spec["items"] == {"n": 10, "digest": ordered_digest(pool.items(10))}
    score = next(s for s in only(plan, "score") if s.parents == (generate.key,))
    assert set(score.spec) == {
        "kind", "semantics_version", "parent", "task", "task_version", "items", "metric",
        "metric_version", "primary",
    }  # fmt: skip


def test_labels_are_for_people(pool: FakePool) -> None:
    labels = {s.label for s in compile_study(study()).stages.values()}
    assert "sft 4 · fake · sandbox:small · replicate 0" in labels
    assert "dpo 6 after sft 4 · fake · sandbox:small · replicate 0" in labels
    assert "generate after sft 4 and preference 6 · fake · sandbox:small · replicate 0" in labels
    assert "score after no training · fake · sandbox:small · replicate 0" in labels
    assert len(labels) == 17


def test_compiling_twice_gives_the_same_plan(pool: FakePool) -> None:
    first, second = compile_study(study(replicates=3)), compile_study(study(replicates=3))
    assert first == second
    assert list(first.stages) == list(second.stages)


def test_replicates_share_the_greedy_base_model_and_nothing_else(pool: FakePool) -> None:
    plan = compile_study(study(replicates=3))
    bases = [c.stages for c in plan.cells if (c.n_sft, c.n_pref) == (0, 0)]
    assert len(bases) == 3 and len(set(bases)) == 1
    one = kinds(compile_study(study()))
    assert kinds(plan) == {
        kind: 3 * n - (2 if kind in ("generate", "score") else 0) for kind, n in one.items()
    }


def test_sampled_base_models_differ_by_replicate(pool: FakePool) -> None:
    plan = compile_study(study(replicates=3, evaluation={"n_items": 10, "decoding": "paper"}))
    assert len({c.stages for c in plan.cells if (c.n_sft, c.n_pref) == (0, 0)}) == 3
    assert {s.spec["sample_seed"] for s in only(plan, "generate")} == {0, 1, 2}


def test_a_fixed_seed_fixes_that_noise_alone(pool: FakePool) -> None:
    plan = compile_study(study(replicates=2, seeds={"data": 7}))
    assert {s.spec["data"]["seed"] for s in only(plan, "sft")} == {7}
    assert {s.spec["train_seed"] for s in only(plan, "sft")} == {0, 1}
    assert {seed for _, _, seed in pool.asked} == {7, -1}


def test_pools_are_asked_once_for_the_most(pool: FakePool) -> None:
    compile_study(study(replicates=2, models=["sandbox:small"]))
    assert sorted(pool.asked) == [
        ("preference", 6, 0), ("preference", 6, 1), ("sft", 8, 0), ("sft", 8, 1), ("test", 10, -1),
    ]  # fmt: skip


def test_cells_know_their_lines(pool: FakePool) -> None:
    plan = compile_study(study(budget={"levels": [10, 20]}, shares=[0, 0.5, 1]))
    lines = {(c.n_sft, c.n_pref): c.lines for c in plan.cells}
    assert lines[(0, 0)] == ()
    assert lines[(10, 10)] == ((20.0, 0.5),)
    assert lines[(10, 0)] == ((10.0, 1.0),)
    assert all(c.lines == () for c in compile_study(study()).cells)


def test_a_larger_study_reuses_a_smaller_one(pool: FakePool) -> None:
    small = compile_study(study())
    large = compile_study(
        study(replicates=2, lattice={"n_sft": [0, 4, 8, 16], "n_pref": [0, 6, 12]})
    )
    assert set(small.stages) < set(large.stages)


CHANGES: list[tuple[str, dict[str, Any], set[str]]] = [
    ("sft rate", {"recipe": {"preset": "sandbox", "sft": {"learning_rate": 0.5}}}, {"sft"}),
    ("beta", {"recipe": {"preset": "sandbox", "preference": {"beta": 0.5}}}, {"preference"}),
    ("length", {"recipe": {"preset": "sandbox", "max_length": 99}}, {"sft", "preference"}),
    ("lora", {"recipe": {"preset": "sandbox", "lora": {"r": 2}}}, {"sft", "preference"}),
    ("dtype", {"recipe": {"preset": "sandbox", "dtype": "bfloat16"}},
        {"sft", "preference", "base"}),
    ("items", {"evaluation": {"n_items": 11}}, {"base"}),
    ("tokens", {"evaluation": {"n_items": 10, "decoding": {"max_new_tokens": 5}}}, {"base"}),
    ("decoding", {"evaluation": {"n_items": 10, "decoding": "paper"}}, {"base"}),
    ("recipe name", {"recipe": {"preset": "sandbox", "name": "mine"}}, set()),
    ("prices", {"prices": {"sft": 5}}, set()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "touched"), CHANGES, ids=[one[0] for one in CHANGES])
def test_what_a_change_touches(
    name: str, change: dict[str, Any], touched: set[str], pool: FakePool
) -> None:
    """sft: those stages have new keys; base: so has the untrained model's generation."""
    old, new = compile_study(study()), compile_study(study(**change))
    assert keys(old, "sft").isdisjoint(keys(new, "sft")) == ("sft" in touched)
    changed = {"sft", "preference"} & touched
    after_sft = [s.key for s in only(old, "preference") if s.parents]
    assert (not set(after_sft) & keys(new, "preference")) == bool(changed)
    bases = [next(c for c in p.cells if c.n_sft == c.n_pref == 0).stages for p in (old, new)]
    assert (bases[0] != bases[1]) == ("base" in touched)
    if not touched:
        assert set(old.stages) == set(new.stages)


TASK_CHANGES: list[tuple[dict[str, Any], set[str]]] = [
    ({"version": 2}, {"sft", "preference", "score"}),
    ({"metric_version": 2}, {"score"}),
    ({"primary": "lenient"}, {"score"}),
    ({"stop": ("x",)}, {"generate", "score"}),
    ({"max_new_tokens": 21}, {"generate", "score"}),
]


@pytest.mark.parametrize(("change", "touched"), TASK_CHANGES)
def test_what_a_change_of_the_task_touches(
    change: dict[str, Any], touched: set[str], pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = compile_study(study())
    install(monkeypatch, fake_task(pool, **change))
    new = compile_study(study())
    trained = {"sft", "preference", "generate", "score"} if "sft" in touched else touched
    for kind in ("sft", "preference", "score"):
        assert keys(old, kind).isdisjoint(keys(new, kind)) == (kind in trained)


def test_other_data_has_another_key(pool: FakePool) -> None:
    old = compile_study(study())
    pool.salt = "!"
    new = compile_study(study())
    assert keys(old, "sft").isdisjoint(keys(new, "sft"))
    from_base = [s.key for s in only(old, "preference") if not s.parents]
    assert set(from_base) <= keys(new, "preference")


def test_data_that_is_appended_changes_no_key(pool: FakePool) -> None:
    """The prefix of a larger pool is the smaller pool."""
    small = compile_study(study(lattice={"n_sft": [4], "n_pref": [6]}))
    large = compile_study(study(lattice={"n_sft": [4, 400], "n_pref": [6, 600]}))
    assert set(small.stages) <= set(large.stages)


def test_tokens_are_counted_by_hand(pool: FakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apportion.compile.build.characters_per_token", lambda *_: 2.0)
    plan = compile_study(study())
    tokens = {s.label.split(" · ")[0]: s.tokens for s in plan.stages.values()}
    assert tokens["sft 4"] == 4 * (len("d 0 0") + 10) / 2 * 2  # characters / 2 × 2 epochs
    assert tokens["dpo 6 after sft 4"] == 6 * (2 * len("p 0 0") + len("goodbad")) / 2  # 1 epoch
    assert tokens["generate after no training"] == 10 * len("item 0") / 2 + 10 * 10 / 2
    assert tokens["score after no training"] == 0


def test_long_examples_are_cut(pool: FakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apportion.compile.build.characters_per_token", lambda *_: 0.01)
    sft = next(only(compile_study(study()), "sft"))
    assert sft.tokens == 4 * 256 * 2


def test_characters_per_token_of_a_real_tokenizer() -> None:
    texts = ["Question: Anna has 98 blue pears.\nAnswer: 98 + 62 = 160"] * 20
    assert 1 < characters_per_token(resolve_model("sandbox:small"), texts) < 6
    elsewhere = ModelRef("org/name", "org/name", "hub", None)
    assert characters_per_token(elsewhere, texts) == CHARACTERS_PER_TOKEN
    assert characters_per_token(resolve_model("sandbox:small"), []) == CHARACTERS_PER_TOKEN


def test_the_papers_own_grid(pool: FakePool) -> None:
    """36 SFT stages become 23, and training tokens fall 1.06-fold (docs: the design).

    The fake examples differ in length, so sequences are counted: one of a demonstration, two of a
    pair.
    """
    plan = compile_study(
        study(
            budget={"levels": [100, 500, 1000, 5000, 10000, 20000]},
            shares=[1, 0.75, 0.5, 0.25, 0.1, 0.01, 0],
        )
    )
    assert (plan.naive.stages["sft"], plan.unique.stages["sft"]) == (36, 23)

    def sequences(stages: Iterable[Stage]) -> int:
        weights = {"sft": 1, "preference": 2}
        return sum(weights[s.kind] * s.spec["data"]["n"] for s in stages if s.kind in weights)

    naive = sequences(plan.stages[key] for cell in plan.cells for key in cell.stages)
    assert naive / sequences(plan.stages.values()) == pytest.approx(1.064, abs=0.0005)


def test_pools_that_are_too_small(pool: FakePool) -> None:
    pool.sizes = {"sft": 5, "preference": 100, "test": 3}
    found = problems(study())
    assert [e.field for e in found] == ["lattice.n_sft", "evaluation.n_items"]
    assert "5 demonstrations" in found[0].problem and "2 of the study's 6 cells" in found[0].problem
    assert "(8, 0), (8, 6)" in found[0].problem
    assert found[1].mend == "write n_items: 3."
    with pytest.raises(ManyErrors) as raised:
        compile_study(study())
    assert len(raised.value.errors) == 2
    pool.sizes = {"sft": 8, "preference": 6, "test": 10}
    assert problems(study()) == []


def test_a_pool_that_gives_less_than_it_promised(pool: FakePool) -> None:
    pool.gives = 5
    with pytest.raises(DataError, match="gave 5 demonstrations where 8"):
        compile_study(study())


def test_names_and_pools_at_once(pool: FakePool) -> None:
    pool.sizes = {"sft": 5}
    found = problems(study(tasks=["fake", "maths"], models=["sandbox:small", "sandbox:huge"]))
    assert [e.field for e in found] == ["tasks[1]", "models[1]", "lattice.n_sft"]
    assert all(e.exit_code == 2 and e.mend for e in found)


def test_checking_a_file_gives_rows(pool: FakePool, tmp_path: Any) -> None:
    pool.sizes = {"preference": 5, "test": 3}
    path = tmp_path / "study.yaml"
    path.write_text(
        "models: sandbox:small\n"
        "tasks:\n"
        "  - fake\n"
        "recipe: sandbox\n"
        "lattice:\n"
        "  n_sft: [0]\n"
        "  n_pref: [6]\n"
    )
    checked = check_file(path)
    assert checked.study is not None
    assert [(e.file, e.row, e.field) for e in checked.errors] == [
        (str(path), 1, "evaluation.n_items"),
        (str(path), 7, "lattice.n_pref"),
    ]


def test_models_by_tasks_by_replicates(
    pool: FakePool, monkeypatch: pytest.MonkeyPatch, tiny_model_dir: Any
) -> None:
    plan = compile_study(
        study(models=["sandbox:small", str(tiny_model_dir)], tasks=["fake", "math"], replicates=2)
    )
    assert len(plan.cells) == 2 * 2 * 2 * 6
    for cell in plan.cells:
        specs = [plan.stages[key].spec for key in cell.stages]
        assert all(spec["task"] == cell.task for spec in specs)
        assert all(s["model"]["name"] == cell.model for s in specs if s["kind"] != "score")
    digests = {s.spec["model"]["weights_digest"] for s in only(plan, "sft")}
    assert len(digests) == 2


def test_the_work_of_a_large_plan_is_shared(pool: FakePool) -> None:
    """Its time is what benchmarks/plan_scale.py measures."""
    levels = list(range(30))
    plan = compile_study(study(lattice={"n_sft": levels, "n_pref": levels}))
    assert len(plan.cells) == 900
    assert kinds(plan) == {"sft": 29, "preference": 870, "generate": 900, "score": 900}
    assert len(pool.asked) == 3

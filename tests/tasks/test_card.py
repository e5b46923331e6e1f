"""Task cards: ten lines make a task; what decides a score is in the key, where it stands is not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from apportion.compile import check_file, compile_study
from apportion.config.load import load_study
from apportion.data.records import Item
from apportion.errors import DataError, ManyErrors
from apportion.run.bodies import task_of
from apportion.tasks.card import card_task
from apportion.tasks.registry import get_task

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SUMS = {
    "card.yaml": (
        "name: sums\n"
        'prompt: "Q: {question}\\nA:"\n'
        "sft: {path: sft.jsonl, columns: {response: answer}}\n"
        "preference: pairs.jsonl\n"
        "test: {path: test.jsonl, columns: {reference: answer}}\n"
        "metric: exact\n"
        'stop: ["\\n"]\n'
        "max_new_tokens: 8\n"
    ),
    "study.yaml": (
        "models: [sandbox:small]\n"
        "tasks: [card.yaml]\n"
        "lattice: {n_sft: [0, 3, 6], n_pref: [0, 4]}\n"
        "replicates: 2\n"
        "recipe: {preset: sandbox, sft: {epochs: 1, batch_size: 4},"
        " preference: {epochs: 1, batch_size: 4}}\n"
        "evaluation: {n_items: 3}\n"
    ),
    "sft.jsonl": "".join(
        json.dumps({"question": f"{n}+1", "answer": str(n + 1)}) + "\n" for n in range(8)
    ),
    "pairs.jsonl": "".join(
        json.dumps({"question": f"{n}+2", "chosen": str(n + 2), "rejected": "0"}) + "\n"
        for n in range(6)
    ),
    "test.jsonl": "".join(
        json.dumps({"question": f"{n}+5", "answer": str(n + 5)}) + "\n" for n in range(4)
    ),
}


@pytest.fixture
def folder(tmp_path) -> Path:
    for name, text in SUMS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def keys(folder: Path, kind: str) -> set[str]:
    plan = compile_study(load_study(folder / "study.yaml"))
    return {key for key, stage in plan.stages.items() if stage.kind == kind}


def replace(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


def test_eight_lines_are_a_task(folder) -> None:
    task = card_task(folder / "card.yaml")
    assert [task.pool.capacity(side) for side in ("sft", "preference", "test")] == [8, 6, 4]
    (item,) = task.pool.items(1)
    assert item.prompt.startswith("Q: ") and item.prompt.endswith("\nA:")
    assert task.score(item, item.reference).strict == 1
    assert task.stop == ("\n",)


def test_larger_subsets_contain_smaller_ones_and_added_rows_move_nothing(folder) -> None:
    pool = card_task(folder / "card.yaml").pool
    before = pool.demonstrations(8, seed=1)
    assert before[:3] == pool.demonstrations(3, seed=1)
    assert before != pool.demonstrations(8, seed=2)
    with (folder / "sft.jsonl").open("a") as file:
        file.write(json.dumps({"question": "9+9", "answer": "18"}) + "\n")
    after = card_task(folder / "card.yaml").pool.demonstrations(9, seed=1)
    assert [e for e in after if e in before] == before


def test_the_path_is_relative_to_the_study_and_not_in_any_key(folder, tmp_path_factory) -> None:
    other = tmp_path_factory.mktemp("elsewhere") / "deep"
    shutil.copytree(folder, other)
    for kind in ("sft", "preference", "generate", "score"):
        assert keys(folder, kind) == keys(other, kind)


def test_the_order_of_the_rows_is_in_no_key(folder) -> None:
    before = {kind: keys(folder, kind) for kind in ("sft", "generate")}
    for name in ("sft.jsonl", "test.jsonl"):
        rows = (folder / name).read_text().splitlines()
        (folder / name).write_text("\n".join(reversed(rows)) + "\n")
    assert {kind: keys(folder, kind) for kind in before} == before


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        ("card.yaml", "metric: exact", "metric: contains", {"score"}),
        ("card.yaml", "max_new_tokens: 8", "max_new_tokens: 9", {"generate", "score"}),
        ("card.yaml", 'stop: ["\\n"]', 'stop: ["."]', {"generate", "score"}),
        ("card.yaml", "Q: ", "R: ", {"sft", "preference", "generate", "score"}),
        ("card.yaml", "name: sums", "name: sums\nsystem: Be brief.",
         {"sft", "preference", "generate", "score"}),
        ("sft.jsonl", '"1+1"', '"one+1"', {"sft", "preference", "generate", "score"}),
        ("pairs.jsonl", '"0"', '"1"', {"preference", "generate", "score"}),
        ("test.jsonl", '"6"', '"7"', {"generate", "score"}),
    ],
)  # fmt: skip
def test_what_decides_a_stage_is_in_its_key(folder, file, old, new, changes) -> None:
    kinds = ("sft", "preference", "generate", "score")
    before = {kind: keys(folder, kind) for kind in kinds}
    replace(folder, "card.yaml" if file == "card.yaml" else file, old, new)
    changed = {kind for kind in kinds if keys(folder, kind) != before[kind]}
    # Stages without training data (the base model's) stay; so compare sets, not all keys.
    assert changed == changes


def test_a_regex_s_pattern_is_in_the_metric_s_version(folder) -> None:
    versions = set()
    for pattern in ("A: (.*)", "A: (.+)"):
        text = SUMS["card.yaml"].replace("exact", f"{{regex: {{strict: '{pattern}'}}}}")
        (folder / "card.yaml").write_text(text)
        versions.add(card_task(folder / "card.yaml").metric_version)
    assert len(versions) == 2


def hook(folder: Path, body: str) -> None:
    (folder / "mine.py").write_text(f"def score(response, reference, prompt):\n    {body}\n")
    replace(folder, "card.yaml", "metric: exact", "metric: {python: 'mine:score'}")


def test_code_runs_only_when_allowed(folder) -> None:
    hook(folder, "raise SystemExit")
    (folder / "mine.py").write_text("raise RuntimeError('it ran')")
    with pytest.raises(ManyErrors, match="does not allow"):
        card_task(folder / "card.yaml")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return response == reference", (1.0, 1.0, True)),
        ("return 0.5", (0.5, 0.5, True)),
        ("return {'strict': 0, 'lenient': 1, 'format_ok': False}", (0.0, 1.0, False)),
    ],
)
def test_a_hook_scores(folder, body: str, expected: tuple) -> None:
    hook(folder, body)
    replace(folder, "card.yaml", "max_new_tokens", "allow_python: true\nmax_new_tokens")
    task = card_task(folder / "card.yaml")
    found = task.score(Item("x", "p", "r"), "r")
    assert (found.strict, found.lenient, found.format_ok) == expected
    (folder / "mine.py").write_text((folder / "mine.py").read_text() + "\n# changed\n")
    assert card_task(folder / "card.yaml").metric_version != task.metric_version


@pytest.mark.parametrize("body", ["return 2", "return None", "return 'yes'", "return float('nan')"])
def test_a_hook_s_answer_is_a_score_or_an_error(folder, body: str) -> None:
    hook(folder, body)
    replace(folder, "card.yaml", "max_new_tokens", "allow_python: true\nmax_new_tokens")
    with pytest.raises(DataError, match="not a number from 0 to 1"):
        card_task(folder / "card.yaml").score(Item("x", "p", "r"), "r")


def test_a_card_that_changes_while_a_study_runs_is_noticed(folder) -> None:
    plan = compile_study(load_study(folder / "study.yaml"))
    score = next(stage for stage in plan.stages.values() if stage.kind == "score")
    assert task_of(score.spec).name == "sums"
    replace(folder, "card.yaml", "metric: exact", "metric: contains")
    with pytest.raises(DataError, match="not what it was"):
        task_of(score.spec)


def test_built_in_tasks_read_no_data_until_asked() -> None:
    for name, metric in (("gsm8k", "final_number"), ("ifeval", "ifeval")):
        task = get_task(name)
        assert (task.name, task.metric, task.card) == (name, metric, None)


def test_gsm8k_is_asked_as_lm_eval_asks_it() -> None:
    task = get_task("gsm8k")
    assert task.pool.spec.prompt == "Question: {question}\nAnswer:"
    assert task.stop == ("Question:", "</s>", "<|im_end|>")


def test_local_gsm8k(tmp_path) -> None:
    from shared_data import data_file

    folder = data_file("gsm8k/train.jsonl").parent
    (tmp_path / "card.yaml").write_text(
        "base: gsm8k\nname: local\n"  # as examples/cards/gsm8k-local.yaml
        f"sft: {folder}/train.jsonl\n"
        f"preference: {{path: {folder}/preferences.jsonl, columns: {{question: prompt}}}}\n"
        f"test: {{path: {folder}/test.jsonl, rows: 900..1318}}\n"
    )
    task = card_task(tmp_path / "card.yaml")
    assert [task.pool.capacity(side) for side in ("sft", "preference", "test")] == [7473, 1671, 419]
    demonstrations = task.pool.demonstrations(7473, seed=0)
    assert not any("<<" in d.response for d in demonstrations)
    assert all(task.score(Item("x", "", d.response), d.response).strict for d in demonstrations)
    test = {item.prompt for item in task.pool.items(419)}
    assert not test & {pair.prompt for pair in task.pool.pairs(1671, seed=0)}


def test_ifeval_reads_all_prompts() -> None:
    from apportion.data.files import read_file
    from apportion.data.shape import Shape, item
    from apportion.tasks.metric import Metric, read_reference
    from shared_data import data_file

    read = read_reference(Metric(kind="ifeval"))
    shape = Shape()
    rows = read_file(data_file("ifeval/input_data.jsonl"))
    items = [item(row, shape, None, lambda row: read(row, shape)) for row in rows]
    assert len({i.item_id for i in items}) == 541
    assert sum(len(json.loads(i.reference)["instruction_id_list"]) for i in items) == 834


@pytest.mark.parametrize("path", sorted((EXAMPLES / "paper").glob("*.yaml")), ids=lambda p: p.name)
def test_paper_studies_check_without_the_hub(path: Path, monkeypatch) -> None:
    from apportion.data.hub import HubError
    from apportion.models import resolve
    from apportion.tasks import sources

    def no_hub(*_: object) -> None:
        raise ConnectionError("no network")

    def no_data(source: object) -> None:
        raise HubError("no network", file=source.name, mend="later")

    if "models:" not in path.read_text():
        assert card_task(path).name
        return
    monkeypatch.setattr(resolve, "_commit", no_hub)
    monkeypatch.setattr(sources, "read_hub", no_data)
    checked = check_file(path, offline=True)
    assert checked.errors == ()
    assert {error.field for error in checked.unchecked} >= {f"models[{n}]" for n in range(3)}
    assert any(isinstance(error, HubError) for error in checked.unchecked)
    assert len(check_file(path).errors) == len(checked.unchecked)


@pytest.mark.parametrize("name", ["gsm8k", "ifeval"])
def test_the_command_checks_paper_studies_offline(name: str) -> None:
    command = [sys.executable, "-m", "apportion", "check", "--offline"]
    study = EXAMPLES / "paper" / f"{name}.yaml"
    shown = subprocess.run([*command, study], capture_output=True, text=True, timeout=300)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "not checked" in shown.stdout


@pytest.mark.parametrize("path", sorted((EXAMPLES / "cards").glob("*.yaml")), ids=lambda p: p.name)
def test_every_example_card_reads(path: Path) -> None:
    assert card_task(path).card == str(path)


def test_example_cards_work() -> None:
    capitals = card_task(EXAMPLES / "cards" / "capitals.yaml")
    assert [capitals.pool.capacity(s) for s in ("sft", "preference", "test")] == [8, 8, 8]
    assert capitals.pool.findings() == ()
    letters = card_task(EXAMPLES / "cards" / "letters.yaml")
    assert letters.pool.demonstrations(1, seed=0)[0].context[0][0] == "system"
    (item,) = letters.pool.items(1)
    assert letters.score(item, f"Answer: {item.reference}").strict == 1
    assert letters.score(item, f"It is {item.reference}").lenient == 1


@pytest.mark.slow
def test_a_study_of_a_card_runs_in_workers(folder) -> None:
    from apportion.run.api import run_study

    results = run_study(load_study(folder / "study.yaml"), folder / "store", workers=1)
    assert {row.status for row in results} == {"done"}
    assert {row.task for row in results} == {"sums"}

"""Every wrong study file is refused with place, problem and mend; nothing else leaks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from apportion.compile import check_file, compile_study
from apportion.config.load import load_study
from apportion.config.study import Study
from apportion.errors import ManyErrors, UserError

from .table import GOOD_TEXT, NAMES, TABLE, Bad


def write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "study.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def assert_said(case: Bad, path: Path, errors: Sequence[UserError]) -> None:
    for error in errors:
        assert isinstance(error, UserError) and error.exit_code == 2
        assert error.file == str(path)
        assert error.problem and error.mend and error.mend.endswith((".", "?", ")"))
    said = [e for e in errors if e.field == case.field and e.row == case.row]
    assert any(case.problem in e.problem and case.mend in str(e.mend) for e in said), (
        f"expected {case.row}: {case.field}: ..{case.problem}.. Mend: ..{case.mend}..; got\n"
        + "\n".join(map(str, errors))
    )


def test_the_good_study_is_good(tmp_path: Path) -> None:
    checked = check_file(write(tmp_path, GOOD_TEXT))
    assert checked.errors == ()
    assert isinstance(checked.study, Study)


def test_the_table_is_large_and_its_names_are_different() -> None:
    names = [case.name for case in [*TABLE, *NAMES]]
    assert len(set(names)) == len(names) >= 45


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name)
def test_refused(case: Bad, tmp_path: Path) -> None:
    path = write(tmp_path, case.content)
    with pytest.raises(ManyErrors) as raised:
        load_study(path)
    assert raised.value.exit_code == 2
    assert_said(case, path, raised.value.errors)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name)
def test_one_change_makes_one_mistake(case: Bad, tmp_path: Path) -> None:
    """No second error that only follows from the first (files may be wrong in several ways)."""
    with pytest.raises(ManyErrors) as raised:
        load_study(write(tmp_path, case.content))
    if isinstance(case.content, str) and case.content.startswith("models: [sandbox:small]\n"):
        assert len(raised.value.errors) == 1, str(raised.value)


@pytest.mark.parametrize("case", NAMES, ids=lambda case: case.name)
def test_refused_by_the_check(case: Bad, tmp_path: Path) -> None:
    path = write(tmp_path, case.content)
    checked = check_file(path)
    assert checked.study is not None
    assert_said(case, path, checked.errors)
    with pytest.raises(ManyErrors):
        compile_study(checked.study)


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name)
def test_the_check_says_at_least_what_loading_says(case: Bad, tmp_path: Path) -> None:
    path = write(tmp_path, case.content)
    checked = check_file(path)
    assert checked.study is None
    assert_said(case, path, checked.errors)


def test_every_mistake_at_once(tmp_path: Path) -> None:
    """Mistakes of spelling, of values, between parts, and of names, in the order of the rows."""
    path = write(
        tmp_path,
        "models: [sandbox:huge]\n"
        "tasks: [maths]\n"
        "modles: 3\n"
        "budget: {unit: usd, levels: [100]}\n"
        "prices: {sft: 0.4..0.9, preference: 1}\n"
        "shares: [0, 25, true]\n"
        "replicates: 2.5\n"
        "recipe: {preset: sandbox, sft: {learning_rate: -1}}\n",
    )
    found = [(e.row, e.field) for e in check_file(path).errors]
    assert found == [
        (1, "models[0]"),
        (2, "tasks[0]"),
        (3, "modles"),
        (5, "prices.sft"),
        (6, "shares[1]"),
        (6, "shares[2]"),
        (7, "replicates"),
        (8, "recipe.sft.learning_rate"),
    ]

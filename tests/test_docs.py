"""The documents say what the program does: generated parts are compared, examples are loaded."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from apportion.compile import compile_study
from apportion.config.load import load_study
from apportion.config.schema import study_json_schema

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_cli_reference_is_what_help_prints() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "tools" / "cli_reference.py", "--print"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == made, (
        "docs/cli.md has drifted: run python tools/cli_reference.py"
    )


def test_schema_in_docs_is_the_program_s() -> None:
    shipped = json.loads((ROOT / "docs" / "study.schema.json").read_text(encoding="utf-8"))
    assert shipped == study_json_schema(), (
        "docs/study.schema.json has drifted: apportion schema > docs/study.schema.json"
    )


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_every_example_compiles(path: Path) -> None:
    assert compile_study(load_study(path)).cells


def test_study_in_readme_compiles(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", README, flags=re.S)
    assert blocks
    for number, block in enumerate(blocks):
        path = tmp_path / f"{number}.yaml"
        path.write_text(block, encoding="utf-8")
        assert compile_study(load_study(path)).cells


def test_every_file_readme_names_is_there() -> None:
    named = re.findall(r"\]\((?!https?://|#)([^)]+)\)", README)
    assert named
    missing = [name for name in named if not (ROOT / name.split("#")[0]).exists()]
    assert missing == []


def test_every_dependency_has_its_line() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    required = re.search(r"\ndependencies = \[(.*?)\n\]", pyproject, flags=re.S)
    assert required is not None
    names = re.findall(r'"([A-Za-z0-9_-]+)', required.group(1))
    table = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    assert names
    assert [name for name in names if f"| {name} |" not in table] == []

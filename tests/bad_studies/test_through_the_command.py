"""The same wrong study files through the command: exit 2, the message, no traceback, no store."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from apportion.cli.main import main

from .table import NAMES, TABLE, Bad


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("case", [*TABLE, *NAMES], ids=lambda case: case.name)
def test_exit_2_and_one_message_for_each_mistake(
    case: Bad,
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = tmp_path / "study.yaml"
    content = case.content if isinstance(case.content, bytes) else case.content.encode()
    study.write_bytes(content)
    monkeypatch.setattr(sys, "argv", ["apportion", command, str(study)])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr()
    assert stopped.value.code == 2
    place = str(study) if case.row is None else f"{study}:{case.row}"
    assert place in said.err
    assert case.problem in said.err and case.mend in said.err
    assert all("Mend: " in line for line in said.err.splitlines() if line.startswith(str(study)))
    assert said.out == ""
    assert "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == [study] and study.read_bytes() == content

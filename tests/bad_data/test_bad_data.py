"""Every wrong data file, card or model: one clear message with file and row, exit code 2."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from apportion.compile import check_file
from apportion.errors import UserError

from .table import GOOD, SFT, TABLE, Bad, Content, lines


def write(folder: Path, files: dict[str, Content]) -> Path:
    """The files in `folder`; its study."""
    for name, content in files.items():
        path = folder / name
        if callable(content):
            content(path)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            path.write_text(content, encoding="utf-8")
    return folder / "study.yaml"


def check(study: Path, capsys, monkeypatch) -> tuple[int, str]:
    """(exit code, standard error) of `apportion check`, as its `main` ends."""
    from apportion.cli.main import main

    monkeypatch.setattr(sys, "argv", ["apportion", "check", str(study), "--no-measure"])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0), capsys.readouterr().err


def test_the_good_files_are_good(tmp_path, capsys, monkeypatch) -> None:
    study = write(tmp_path, dict(GOOD))
    assert check_file(study).errors == ()
    assert check(study, capsys, monkeypatch) == (0, "")


def test_the_table_is_large_and_its_names_are_different() -> None:
    assert len({case.name for case in TABLE}) == len(TABLE) >= 40


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case.name)
def test_one_clear_message(case: Bad, tmp_path, capsys, monkeypatch) -> None:
    if ".parquet" in case.file:
        pytest.importorskip("pyarrow")
    study = write(tmp_path, {**GOOD, **case.files})
    errors = check_file(study).errors
    assert len(errors) == 1, "\n".join(map(str, errors))
    (error,) = errors
    assert isinstance(error, UserError)
    assert (error.file, error.row) == (str(tmp_path / case.file), case.row), str(error)
    assert case.problem in error.problem, str(error)
    assert error.mend is not None and case.mend in error.mend, str(error)
    code, said = check(study, capsys, monkeypatch)
    assert code == 2
    assert said == f"{error}\n" and "Traceback" not in said


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("sft.jsonl", b"\xef\xbb\xbf" + GOOD["sft.jsonl"].encode()),
        ("sft.jsonl", GOOD["sft.jsonl"].replace("\n", "\r\n").encode()),
        ("sft.jsonl", GOOD["sft.jsonl"].rstrip("\n").encode()),
        ("sft.jsonl", GOOD["sft.jsonl"].replace("\n", "\n\n").encode()),
        ("sft.jsonl", lines({"prompt": "a\u2028b\x0cc", "response": "r"}, *SFT[:2]).encode()),
    ],
    ids=["byte-order mark", "CRLF", "no last line end", "blank lines", "odd line ends in texts"],
)
def test_what_looks_odd_and_is_right(name: str, content: bytes, tmp_path) -> None:
    assert check_file(write(tmp_path, {**GOOD, name: content})).errors == ()


@pytest.fixture
def model(tmp_path, tiny_model_dir) -> Path:
    return Path(shutil.copytree(tiny_model_dir, tmp_path / "model"))


def with_model(folder: Path) -> Path:
    text = GOOD["study.yaml"].replace("sandbox:small", str(folder / "model"))
    return write(folder, {**GOOD, "study.yaml": text})


def no_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()


def half_tokenizer(model: Path) -> None:
    file = model / "tokenizer.json"
    file.write_text(file.read_text()[:100])


def half_config(model: Path) -> None:
    (model / "config.json").write_text('{"vocab_size": ')


def other_vocabulary(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"vocab_size": 200}))


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (no_tokenizer, "has no tokenizer"),
        (half_tokenizer, "tokenizer.json is damaged"),
        (half_config, "config.json is damaged"),
        (other_vocabulary, "258 tokens, its model only 200 embeddings"),
    ],
)
def test_a_damaged_model(damage, problem: str, model, tmp_path, capsys, monkeypatch) -> None:
    damage(model)
    code, said = check(with_model(tmp_path), capsys, monkeypatch)
    assert code == 2
    assert problem in said and str(model) in said and said.count("Mend:") == 1


def test_a_tokenizer_without_pad_and_template_works(tmp_path, capsys, monkeypatch) -> None:
    from tiny import make_tiny_model

    make_tiny_model(tmp_path / "model", pad=False, chat_template=None)
    capsys.readouterr()  # the library draws a bar when it saves
    assert check(with_model(tmp_path), capsys, monkeypatch) == (0, "")


def test_doubtful_rows_are_told_and_left_out(tmp_path, capsys, monkeypatch) -> None:
    from apportion.cli.main import main

    rows = [*SFT, SFT[0], {"prompt": "What is 1 + 3", "response": "4"}]
    rows.append({"prompt": "long " * 400, "response": "r"})
    study = write(tmp_path, {**GOOD, "sft.jsonl": lines(*rows)})
    monkeypatch.setattr(sys, "argv", ["apportion", "check", str(study), "--no-measure", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    said = json.loads(capsys.readouterr().out)["data_warnings"]
    assert any("row 5: the same as an earlier row" in line for line in said)
    assert any("row 6: left out: the prompt is a test item's but for" in line for line in said)
    assert any("1 of 5 demonstrations are longer than max_length = 256" in line for line in said)
    assert len(said) == 3

"""Whatever is in a file, reading it gives a study or a UserError."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apportion.config.load import load_study
from apportion.config.study import Study
from apportion.errors import ManyErrors, UserError

from .table import GOOD, GOOD_TEXT

ONE_FILE = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["sandbox", "dpo", "math", "vary", "usd", "0.4..0.9", "1e-5", "yes", "all"]),
)
keys = st.sampled_from(
    [*Study.model_fields, "unit", "levels", "n_sft", "n_pref", "sft", "preference", "low", "high",
     "preset", "lora", "learning_rate", "batch_size", "micro_batch_size", "target_modules",
     "decoding", "n_items", "data", "train", "sample", "dtype", "temperature", "strategy"]
) | st.text(max_size=5)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def read(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(raw)
    try:
        study = load_study(path)
    except ManyErrors as error:
        assert error.errors
        assert all(isinstance(e, UserError) and e.mend and e.problem for e in error.errors)
        str(error).encode()
    else:
        assert Study.of(study.model_dump(mode="json")) == study


@ONE_FILE
@given(raw=st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, raw: bytes) -> None:
    read(tmp_path, raw)


@ONE_FILE
@given(text=st.text(alphabet="abz019:-,[]{}&*!|>'\"%@#?~.\n\t <=\\x", max_size=60))
def test_any_punctuation(tmp_path: Path, text: str) -> None:
    read(tmp_path, text.encode())


@ONE_FILE
@given(changes=st.dictionaries(keys, values, max_size=4))
def test_any_values(tmp_path: Path, changes: dict[str, Any]) -> None:
    study = {**yaml.safe_load(GOOD_TEXT), **changes}
    read(tmp_path, yaml.safe_dump(study, allow_unicode=True).encode("utf-8", "surrogatepass"))


@ONE_FILE
@given(key=st.sampled_from(sorted(GOOD)), value=values)
def test_any_value_from_python(key: str, value: Any) -> None:
    study = {**yaml.safe_load(GOOD_TEXT), key: value}
    try:
        Study.of(study)
    except ManyErrors as error:
        assert all(e.field and e.mend for e in error.errors)


@pytest.mark.parametrize("size", [10, 1000, 999_000])
def test_long_nonsense_ends(tmp_path: Path, size: int) -> None:
    read(tmp_path, b"[a, {b: c" * (size // 9))
    read(tmp_path, b"? " * (size // 2))
    read(tmp_path, b"- " * (size // 2))

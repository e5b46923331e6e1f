"""What the tests of the sandbox share."""

from __future__ import annotations

import pytest

from apportion.models.resolve import sandbox_assets


@pytest.fixture(scope="session")
def tokenizer():  # type: ignore[no-untyped-def]
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(sandbox_assets() / "small")

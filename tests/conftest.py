from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import settings

# No test asserts a time: a loaded machine is not a failure.
settings.register_profile("apportion", deadline=None)
settings.load_profile("apportion")


@pytest.fixture(autouse=True)
def _one_thread():
    """Tests share few cores; torch is not loaded for tests that do without it."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory) -> Path:
    """A directory with a tiny random Llama and its tokenizer; do not write to it."""
    from tiny import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model")

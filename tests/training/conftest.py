from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def tiny(tiny_model_dir):
    from tiny_examples import Tiny

    return Tiny(tiny_model_dir)

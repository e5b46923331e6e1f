"""Rates are measured with real steps on the embedded model."""

from __future__ import annotations

import pytest

from apportion.config.recipe import Recipe
from apportion.models.resolve import resolve_model
from apportion.run.estimate import measure_rate


@pytest.mark.slow
def test_rates_of_every_kind_are_measured():
    import torch

    before = torch.get_num_threads()
    rates = measure_rate(resolve_model("sandbox:small"), Recipe.model_validate("sandbox"))
    assert set(rates.tokens_per_second) == {"sft", "preference", "generate"}
    assert all(rate > 1 for rate in rates.tokens_per_second.values())
    assert rates.artifact_bytes > 1_000_000
    assert torch.get_num_threads() == before

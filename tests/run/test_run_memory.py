"""A GPU whose memory is not enough: what to change, in one line."""

from __future__ import annotations

import pytest
import torch

from apportion.errors import StageError
from apportion.run.common import computing


def test_out_of_memory_says_what_to_change():
    threads = torch.get_num_threads()
    said = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB"
    with pytest.raises(StageError) as caught, computing(1):
        raise torch.OutOfMemoryError(said)
    text = str(caught.value)
    assert "memory is not enough: CUDA out of memory." in text
    for setting in ("micro_batch_size", "trainer: trl", "evaluation.batch_size"):
        assert setting in text
    assert torch.get_num_threads() == threads

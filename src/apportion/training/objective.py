"""What one training run learns from, apart from the model: rows, passes, and a loss of their log p.

The same objective is trained alone (`sft.py`, `dpo.py`, `kto.py`) and stacked with others of its
kind over one base (`stacked.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from apportion.training.batches import Row

Groups = Sequence[Sequence[Row]]  # one row, or two with a common beginning (see `packing.py`)
Indices = Sequence[int]
Schedule = Sequence[Sequence[Indices]]  # steps of forward passes of examples' indices
Means = dict[str, torch.Tensor]


class Objective(Protocol):
    """The examples of one run and their loss. `micro`: indices of one forward pass; `batch`: of
    its whole effective batch."""

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens per example, prompt and response."""
        ...

    @property
    def dropped(self) -> int:
        """Examples that are not trained on."""
        ...

    def groups(self, micro: Indices) -> Groups:
        """The sequences whose log p the loss is made of."""
        ...

    def groups_before(self, micro: Indices) -> Groups:
        """Sequences whose log p is wanted too, without gradient; mostly none."""
        ...

    def loss(
        self, logps: torch.Tensor, before: torch.Tensor | None, micro: Indices, batch: Indices
    ) -> tuple[torch.Tensor, Means]:
        """The pass's part of the batch's loss, and parts of named means, from log p in nats of the
        sequences of `groups` and `groups_before`, in their order."""
        ...

"""Which passes of a training are replayed from recordings, and how they become batches."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from apportion.models.policy import causal_lm
from apportion.training.batches import Batch, to_device, token_logps
from apportion.training.compiled import compiled, layers_of, worth_compiling
from apportion.training.graphs import (
    Capacity,
    Recording,
    can_record,
    capacities,
    fill,
    launch_bound,
    needs_of,
)
from apportion.training.objective import Groups
from apportion.training.packing import Lists, lists_of, pack
from apportion.training.varlen import sights


class Recorder:
    """The recordings of one packed model on a GPU, for one training."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._recordings: list[Recording] = []
        self.refused: list[str] = []  # why what was tried is not used

    @property
    def sizes(self) -> list[Capacity]:
        """What was recorded, the smallest first."""
        return [one.size for one in self._recordings]

    def prepare(self, passes: Sequence[Groups]) -> None:
        """Record what suits these passes, in the modes that the model is in. Nothing where it does
        not pay, or where the model cannot be recorded: then every pass is computed as ever."""
        needs = [needs_of(lists_of(groups).spans) for groups in passes]
        sizes = capacities(needs)
        if not sizes or not launch_bound(self._model, needs) or not can_record(self._model):
            return
        ways: list[Sequence[nn.Module]] = [()]
        if worth_compiling(self._model, sum(one.tokens for one in needs)):
            ways.insert(0, layers_of(self._model))
        for layers in ways:
            # Whatever cannot be compiled, or asks the device something midway.
            try:
                self._record(sizes, layers)
                if self._same(max(passes, key=len)):
                    return
                self._refuse("a replay gives other numbers", layers)
            except Exception as error:
                self._refuse(f"{type(error).__name__}: {error}", layers)

    def _record(self, sizes: Sequence[Capacity], layers: Sequence[nn.Module]) -> None:
        """`layers`: those that are compiled first."""
        lm, pool = causal_lm(self._model), torch.cuda.graph_pool_handle()
        trained = (weight for weight in self._model.parameters() if weight.requires_grad)
        buffers = {weight: torch.zeros_like(weight) for weight in trained}
        with compiled(layers):
            # The largest first: the others find room in its memory.
            found = [Recording(lm, size, buffers, pool) for size in reversed(sizes)]
        self._recordings = found[::-1]

    def _refuse(self, why: str, layers: Sequence[nn.Module]) -> None:
        self._recordings = []
        self.refused.append(why)
        what = "compiled layers" if layers else "CUDA graphs"
        warnings.warn(f"training without {what}: {why}", stacklevel=2)

    def _same(self, groups: Groups) -> bool:
        """Whether a replay gives what the model gives, on one pass and but for rounding."""
        device = next(self._model.parameters()).device
        replayed = self.batch(groups)
        if replayed is None:
            return False
        with torch.no_grad():
            found = token_logps(self._model, replayed)
            wanted = token_logps(self._model, pack(groups, device=device))
        return torch.allclose(found, wanted, rtol=0.02, atol=0.2)

    def batch(self, groups: Groups) -> Batch | None:
        """The groups as a batch whose states are replayed; None where no recording holds them."""
        row = lists_of(groups)
        needs = needs_of(row.spans)
        recording = next((one for one in self._recordings if one.size.holds(needs)), None)
        return None if recording is None else _filled(recording, row)


def _filled(recording: Recording, row: Lists) -> Batch:
    full = fill(recording.size, row.ids, row.positions, sights(row.spans))
    numbers = [full.ids, full.positions, full.ends_q, full.ends_k, full.seen]
    *numbers_there, place, target, owner = to_device(
        [*numbers, row.place, row.target, row.owner], recording.device
    )
    ids = numbers_there[0].unsqueeze(0)
    states = partial(recording, numbers_there)
    return Batch(ids, place, target, owner, row.n_rows, states=states)

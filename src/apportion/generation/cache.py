"""A key-value cache that is filled in place.

transformers' `DynamicCache` copies everything it holds at every token; for small models on a CPU
that costs more than the model. Here each layer's keys and values live in a tensor with room for the
longest sequence, and attention gets a view of the part in use. Pinned, a layer writes where a
tensor on the device says and shows all of its room: then every step has the same shapes and
addresses, and can be replayed (see `replayed`).
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer


class RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values (rows, heads, tokens, head size), views of tensors with `room` tokens."""

    def __init__(self, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._room = room
        self._used = 0
        self._slot: torch.Tensor | None = None

    def pin(self, slot: torch.Tensor) -> None:
        """From now on, states go to place `slot` (1,); what was never written is 0."""
        self._keys[:, :, self._used :] = 0  # a weight of 0 does not undo a NaN
        self._values[:, :, self._used :] = 0
        self._slot = slot
        self.keys, self.values = self._keys, self._values

    def unpin(self, used: int) -> None:
        """Back to filling up, behind `used` tokens."""
        self._slot, self._used = None, used
        self._show()

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the states of new tokens; the views of everything held so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._keys = self._empty(key_states, len(key_states))
            self._values = self._empty(value_states, len(value_states))
        if self._slot is not None:
            self._keys.index_copy_(2, self._slot, key_states)
            self._values.index_copy_(2, self._slot, value_states)
            return self._keys, self._values
        begin, self._used = self._used, self._used + key_states.shape[-2]
        self._keys[:, :, begin : self._used] = key_states
        self._values[:, :, begin : self._used] = value_states
        self._show()
        return self._keys[:, :, : self._used], self._values[:, :, : self._used]

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the rows `indices` alone."""
        if self.is_initialized:
            self._keys = self._moved(self._keys, indices)
            self._values = self._moved(self._values, indices)
            self._show()

    def _moved(self, states: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        kept = self._empty(states, len(rows))
        used = slice(0, self._used)
        torch.index_select(states[:, :, used], 0, rows, out=kept[:, :, used])
        return kept

    def _empty(self, like: torch.Tensor, rows: int) -> torch.Tensor:
        return like.new_empty(rows, like.shape[1], self._room, like.shape[3])

    def _show(self) -> None:
        self.keys = self._keys[:, :, : self._used]
        self.values = self._values[:, :, : self._used]


def roomy_cache(config: Any, room: int) -> DynamicCache:
    """An empty cache for `room` tokens; layers other than full attention stay transformers' own."""
    cache = DynamicCache(config=config)
    cache.layers = [
        RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache

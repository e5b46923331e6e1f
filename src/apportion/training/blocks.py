"""Packed attention sequence by sequence, with dense masks: for a CPU.

| symbol | meaning | shape |
|---|---|---|
| c, a, b | tokens of a group's common beginning, of the rest of the first, of the second | |
| N | tokens of one packed row | |

The second of a group sees the beginning and itself, never the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from apportion.training.attention import Span, only_known, told

_NAME = "apportion_packed"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the groups lie in a row. `masks`: per group with two sequences, which of the
    beginning and itself each token of the second sees, (b, c + b); `places`: the flat positions
    that a response token is predicted from, in order, each once."""

    spans: tuple[Span, ...]
    masks: tuple[torch.Tensor | None, ...]
    positions: torch.Tensor
    places: torch.Tensor

    @contextmanager
    def within(self, lm: Any) -> Iterator[dict[str, Any]]:
        """Within: attention follows this layout, and the last layer leaves out what is not used."""
        with told(lm, _NAME, _attend, self.places):
            yield {"position_ids": self.positions, "packed_layout": self}


def layout_of(
    spans: Sequence[Span], positions: Sequence[int], places: Sequence[int], device: torch.device
) -> Layout:
    """The layout of groups that lie side by side in this order."""
    masks: list[torch.Tensor | None] = []
    for span in spans:
        sees = torch.ones(span.own_b, span.common + span.own_b, dtype=torch.bool, device=device)
        masks.append(sees.tril(span.common) if span.own_b else None)
    return Layout(
        tuple(spans),
        tuple(masks),
        torch.tensor([list(positions)], device=device),
        torch.tensor(list(places), device=device),
    )


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packed_layout: Layout | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of transformers' interface over one packed row: (1, N, heads, head size)."""
    only_known(packed_layout, attention_mask, dropout, more)
    assert packed_layout is not None  # noqa: S101 - `only_known` has refused that
    repeats = query.shape[1] // key.shape[1]
    if repeats > 1:
        key, value = (x.repeat_interleave(repeats, dim=1) for x in (key, value))
    attend = partial(nn.functional.scaled_dot_product_attention, scale=scaling)
    sizes = [n for s in packed_layout.spans for n in (s.common + s.own_a, s.own_b) if n]
    parts = zip(*(torch.split(x, sizes, dim=2) for x in (query, key, value)), strict=True)
    found = []
    for span, mask in zip(packed_layout.spans, packed_layout.masks, strict=True):
        q, k, v = next(parts)
        found.append(attend(q, k, v, is_causal=True))
        if mask is not None:
            q, *own = next(parts)
            k, v = (
                torch.cat([first[:, :, : span.common], second], dim=2)
                for first, second in zip((k, v), own, strict=True)
            )
            found.append(attend(q, k, v, attn_mask=mask))
    return torch.cat(found, dim=2).transpose(1, 2), None

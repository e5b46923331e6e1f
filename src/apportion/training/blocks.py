"""Packed attention sequence by sequence, with dense masks: for a CPU.

| symbol | meaning | shape |
|---|---|---|
| c, a, b | tokens of a group's common beginning, of the rest of the first, of the second | |
| N | tokens of one packed row | |

The second of a group sees the beginning and itself, never the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from apportion.training.attention import Span


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the groups lie in a row. `masks`: per group with two sequences, which of the
    beginning and itself each token of the second sees, (b, c + b); `places`: the flat positions
    that a response token is predicted from, in order, each once."""

    spans: tuple[Span, ...]
    masks: tuple[torch.Tensor | None, ...]
    positions: torch.Tensor
    places: torch.Tensor

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None
    ) -> torch.Tensor:
        """What each token sees, (1, N, heads, head size), from (1, heads, N, head size)."""
        repeats = query.shape[1] // key.shape[1]
        if repeats > 1:
            key, value = (x.repeat_interleave(repeats, dim=1) for x in (key, value))
        of = partial(nn.functional.scaled_dot_product_attention, scale=scale)
        sizes = [n for s in self.spans for n in (s.common + s.own_a, s.own_b) if n]
        parts = zip(*(torch.split(x, sizes, dim=2) for x in (query, key, value)), strict=True)
        found = []
        for span, mask in zip(self.spans, self.masks, strict=True):
            q, k, v = next(parts)
            found.append(of(q, k, v, is_causal=True))
            if mask is not None:
                q, *own = next(parts)
                k, v = (
                    torch.cat([first[:, :, : span.common], second], dim=2)
                    for first, second in zip((k, v), own, strict=True)
                )
                found.append(of(q, k, v, attn_mask=mask))
        return torch.cat(found, dim=2).transpose(1, 2)


def sees(before: int, own: int, device: torch.device) -> torch.Tensor:
    """Which of `before` tokens and themselves the `own` behind them see: (own, before + own)."""
    return torch.ones(own, before + own, dtype=torch.bool, device=device).tril(before)


def layout_of(
    spans: Sequence[Span], positions: Sequence[int], places: Sequence[int], device: torch.device
) -> Layout:
    """The layout of groups that lie side by side in this order."""
    masks: list[torch.Tensor | None] = []
    for span in spans:
        masks.append(sees(span.common, span.own_b, device) if span.own_b else None)
    return Layout(
        tuple(spans),
        tuple(masks),
        torch.tensor([list(positions)], device=device),
        torch.tensor(list(places), device=device),
    )

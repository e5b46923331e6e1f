"""Packed attention by one kernel for all sequences: for a GPU, in 16 bits.

| symbol | meaning | shape |
|---|---|---|
| S | sequences of one packed row | |
| N | its tokens, those of a common beginning once | |
| K | tokens that are seen, sequence by sequence: a common beginning counts for both | |
| ends_q, ends_k | where each sequence's queries and keys end, after a 0 | (S + 1,) |
| seen | the flat position of each key; None where it is its own (nothing is shared) | (K,) |

The second of a group has queries for its own tokens and keys for the beginning and its own: causal
attention is aligned at the last of both, as in FlashAttention 2.1 and later. So a beginning's keys
are copied, and nothing else is computed twice. Used through `torch.nn.attention.varlen`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch

from apportion.training.attention import Span
from apportion.training.batches import to_device


@dataclass(frozen=True, slots=True)
class Layout:
    """See the table above. `positions`: each token's place in its own sequence, (1, N); `places`:
    the flat positions that a response token is predicted from, in order, each once; None: all of
    them are computed to the end."""

    positions: torch.Tensor
    places: torch.Tensor | None
    ends_q: torch.Tensor
    ends_k: torch.Tensor
    seen: torch.Tensor | None
    longest_q: int
    longest_k: int

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None
    ) -> torch.Tensor:
        """What each token sees, (1, N, heads, head size), from (1, heads, N, head size)."""
        kind = query.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else query.dtype
        q, k, v = (x[0].transpose(0, 1).to(dtype) for x in (query, key, value))
        if self.seen is not None:
            k, v = (x.index_select(0, self.seen) for x in (k, v))
        return _kernel(q, k, v, self, scale).unsqueeze(0)


def layout_of(
    spans: Sequence[Span], positions: Sequence[int], places: Sequence[int], device: torch.device
) -> Layout:
    """The layout of groups that lie side by side in this order."""
    ends_q, ends_k, seen = sights(spans)
    shared = len(seen) > ends_q[-1]
    bounds = [roomy(max(b - a for a, b in pairwise(ends))) for ends in (ends_q, ends_k)]
    where, at, *found = to_device([positions, places, ends_q, ends_k, seen], device)
    return Layout(
        where.unsqueeze(0),
        at,
        found[0].int(),
        found[1].int(),
        found[2] if shared else None,
        *bounds,
    )


def sights(spans: Sequence[Span]) -> tuple[list[int], list[int], list[int]]:
    """`ends_q`, `ends_k` and `seen` of groups side by side, in the words of the table above."""
    queries: list[int] = []
    keys: list[int] = []
    seen: list[int] = []
    begin = 0
    for span in spans:
        first = span.common + span.own_a
        queries.append(first)
        keys.append(first)
        seen.extend(range(begin, begin + first))
        if span.own_b:
            queries.append(span.own_b)
            keys.append(span.common + span.own_b)
            seen.extend(range(begin, begin + span.common))
            seen.extend(range(begin + first, begin + span.total))
        begin += span.total
    return [0, *accumulate(queries)], [0, *accumulate(keys)], seen


def roomy(longest: int) -> int:
    """A bound that few lengths share: the kernel's launch depends on it, its result does not."""
    return int(max(128, 1 << (longest - 1).bit_length()))


def can_compute(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this torch and device have the kernel for a model that computes in `dtype`."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return False
    try:
        from torch.nn.attention.varlen import varlen_attn  # noqa: F401 - torch 2.10 and later
    except ImportError:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _kernel(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layout: Layout, scale: float | None
) -> torch.Tensor:
    """(N, heads, head size) from queries (N, heads, ...), keys and values (K, key heads, ...)."""
    from torch.nn.attention.varlen import varlen_attn

    repeats = q.shape[1] // k.shape[1]
    if repeats > 1:
        k, v = (x.repeat_interleave(repeats, dim=1) for x in (k, v))
    found: Any = varlen_attn(
        q,
        k,
        v,
        layout.ends_q,
        layout.ends_k,
        layout.longest_q,
        layout.longest_k,
        scale=scale,
        window_size=(-1, 0),
    )
    return found  # type: ignore[no-any-return]

"""Log-probabilities under a large vocabulary: the logits are never all there at once.

| symbol | meaning |
|---|---|
| N | response tokens of one forward pass |
| V | vocabulary |
| C | response tokens of a chunk: as many as make about `CHUNK_LOGITS` logits |

The plain way keeps N * V logits, in 32 bits, at least three times over (logits, their logarithms,
their gradient): 16 responses of 512 tokens at V = 49,152 are 1.6 GB a time. Here the model runs up
to its output layer, the layer is applied chunk by chunk, and a chunk's logits are thrown away and
made again when its gradient is wanted: about 3 * C * V numbers in all, for one more product with
the output layer. Values and gradients are those of the plain way but for rounding.

Only for models whose logits are the output layer's own outputs; where they are scaled or capped
after it, the plain way is taken (`head_is_last` finds out by comparing the two).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from apportion.training.modes import evaluating

# Numbers of logits, N * V. No pass of an embedded model comes near the first (its vocabulary has
# about a thousand words), so their figures do not depend on this file.
CHUNKED_FROM = 2**26  # below (256 MiB in 32 bits) the plain way is a little faster
CHUNK_LOGITS = 2**24

_last: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def wants_chunks(lm: Any, n: int) -> bool:
    """Whether the logits of `n` response tokens of `lm` are to be made in chunks."""
    return n * int(lm.config.get_text_config().vocab_size) >= CHUNKED_FROM and head_is_last(lm)


def head_is_last(lm: Any) -> bool:
    """Whether the model's logits are what its output layer puts out, bit for bit.

    Tried out once per model on a few tokens, without a gradient and without dropout.
    """
    if lm not in _last:
        made: list[torch.Tensor] = []
        handle = lm.get_output_embeddings().register_forward_hook(
            lambda *call: made.append(call[2])
        )
        ids = torch.arange(1, 9, device=next(lm.parameters()).device).unsqueeze(0)
        try:
            with evaluating(lm), torch.no_grad():
                logits = lm(input_ids=ids, use_cache=False).logits
        finally:
            handle.remove()
        _last[lm] = len(made) == 1 and torch.equal(made[0].to(logits.dtype), logits)
    return _last[lm]


@contextmanager
def states_before(head: nn.Module, place: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    """Within: `head` is given one state alone; the list gets those at the flat positions `place`.

    So the whole model's own forward pass is run (whatever it does before its output layer), and
    its logits cost nothing.
    """
    kept: list[torch.Tensor] = []

    def keep(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        states = inputs[0].flatten(0, 1).index_select(0, place)
        kept.append(states)
        return (states[:1].detach().unsqueeze(0), *inputs[1:])

    handle = head.register_forward_pre_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()


def chunked_logps(
    head: nn.Module, states: torch.Tensor, target: torch.Tensor, vocabulary: int
) -> torch.Tensor:
    """log p of each target token, in nats: (N,), float32 or wider. `states`: (N, hidden size).

    `head` is called as the module it is, so a bias, a tied weight or an adapter of it is in.
    """
    size = max(1, CHUNK_LOGITS // vocabulary)
    parts = zip(torch.split(states, size), torch.split(target, size), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([logps_of(head(some), words) for some, words in parts])

    def again(some: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        return logps_of(head(some), words)

    found = [checkpoint(again, *part, use_reentrant=False) for part in parts]
    return torch.cat(found)


def logps_of(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """log p of each target token, in nats: (N,), float32 or wider. `logits`: (N, V)."""
    if logits.dtype != torch.float64:
        logits = logits.float()
    return -nn.functional.cross_entropy(logits, target, reduction="none")

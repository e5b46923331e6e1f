"""One decoding step as a CUDA graph: recorded once, replayed for every token.

| symbol | meaning                                                            | shape        |
|--------|--------------------------------------------------------------------|--------------|
| R, W   | rows that go on; tokens that the cache has room for                |              |
| ids, position | the last tokens, and their places in their rows             | R, 1         |
| slot   | where in the cache their keys and values go: the same in all rows  | 1            |
| seen   | True where a row may look: its own tokens, no padding              | R, 1, 1, W   |

A step of a model on a GPU is hundreds of kernels, and asking for them takes longer than running
them (32 ms a token for a model of 135M on an H100). A recorded step asks once. It attends over all
of the cache's room, with what is not there yet masked, so that shapes and addresses stay.
"""

from __future__ import annotations

from typing import Any

import torch

from apportion.generation.cache import RoomyLayer

FEWEST = 32  # steps to come for which a recording, three passes or so, is worth its time
WORTH_LEAVING = 0.25  # finished rows leave rarely: each time, a step is recorded anew


def recordable(lm: Any, cache: Any, device: torch.device) -> bool:
    """Whether steps of this model can be recorded: on a GPU, with plain full attention."""
    return (
        device.type == "cuda"
        and getattr(lm.config, "_attn_implementation", None) == "sdpa"
        and all(type(layer) is RoomyLayer for layer in cache.layers)
    )


def agree(replayed: torch.Tensor, plain: torch.Tensor) -> bool:
    """Whether logits are the same but for rounding in 16 bits."""
    far = (replayed.float() - plain.float()).abs().max()
    return bool(far <= 0.02 * plain.float().abs().max())


class Replayed:
    """Steps of one batch of rows; `close` hands the cache back, filled as far as it is."""

    def __init__(
        self, lm: Any, cache: Any, mask: torch.Tensor, position: torch.Tensor, used: int
    ) -> None:
        """`mask`: (R, W), 1 where a token is or will be; `used`: tokens in the cache; `position`:
        of the tokens that come next."""
        self._lm, self._cache, self._used = lm, cache, used
        self._ids = torch.zeros_like(position)
        self._position = position.clone()
        self._slot = torch.tensor([used], device=mask.device)
        self._seen = mask.bool()[:, None, None, :].clone()
        self._seen[..., used + 1 :] = False
        for layer in cache.layers:
            layer.pin(self._slot)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._logits: torch.Tensor | None = None

    def _forward(self) -> torch.Tensor:
        logits: torch.Tensor = self._lm(
            input_ids=self._ids,
            attention_mask=self._seen,
            position_ids=self._position,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        return logits

    def record(self) -> None:
        """Record the step; what it writes to the cache meanwhile is written over by the first.

        RuntimeError where the model asks the device something midway, where memory is not enough,
        or where a replay does not give what the model gives.
        """
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            plain = self._forward()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._logits = self._forward()
        graph.replay()
        if not agree(self._logits, plain):
            raise RuntimeError("a replay gives other numbers")
        self._graph = graph

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits (R, vocabulary) behind the tokens `ids` (R, 1); good until the next call."""
        self._ids.copy_(ids)
        if self._graph is None:
            logits = self._forward()
        else:
            self._graph.replay()
            assert self._logits is not None  # noqa: S101  (a recording has made them)
            logits = self._logits
        self._used += 1
        self._slot += 1
        self._position += 1
        if self._used < self._seen.shape[-1]:
            self._seen[..., self._used] = True
        return logits

    def close(self) -> None:
        """The cache fills up by itself again."""
        for layer in self._cache.layers:
            layer.unpin(self._used)

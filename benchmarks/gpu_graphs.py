"""An experiment: the packed layers of a model as CUDA graphs, recorded once per size and replayed.

| symbol | meaning |
|---|---|
| N, S, K | tokens, sequences and keys of a packed row, as in `apportion/training/varlen.py` |
| size | N, S and K rounded up, so that few sizes are recorded; the rest is sequences of filling |

A small model on a GPU waits for the processor, which asks for thousands of kernels a step; a
replay asks once. Nothing sees the filling and no loss is taken of it, so its gradients are 0.
Gradients are added to buffers that stay. Used by `gpu_step.py`; whether it moves into the package
is decided by what that measures, on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from apportion.models.policy import causal_lm
from apportion.training.attention import Span
from apportion.training.batches import Row, logps_of, to_device
from apportion.training.objective import Indices, Means, Objective
from apportion.training.packing import lists_of
from apportion.training.varlen import Layout, sights


@dataclass(frozen=True, slots=True)
class Size:
    tokens: int
    sequences: int
    keys: int  # 0: nothing is shared, the keys are the tokens
    longest: int


def size_for(spans: Sequence[Span]) -> Size:
    """What holds the groups and at least one token of filling."""
    tokens = sum(span.total for span in spans)
    keys = sum(span.common for span in spans if span.own_b)
    sequences = sum(2 if span.own_b else 1 for span in spans)
    grain = max(64, 1 << max(0, tokens.bit_length() - 4))
    room = _up(tokens + 1, grain)
    extra = _up(keys, 2 * grain) if keys else 0
    longest = max(span.common + max(span.own_a, span.own_b) for span in spans)
    bound = max(longest, room - tokens + extra - keys, 3 * grain)
    return Size(
        room, _up(sequences + 1, 16), room + extra if keys else 0, 1 << (bound - 1).bit_length()
    )


def _up(n: int, grain: int) -> int:
    return -(-n // grain) * grain


def filled(size: Size, groups: Sequence[Sequence[Row]]) -> tuple[list[list[int]], int]:
    """ids, positions, ends_q, ends_k and seen, filled up to `size`, then place, target and owner
    of the response tokens; and how many sequences are real."""
    row = lists_of(groups)
    n = len(row.ids)
    fill = size.tokens - n
    ends_q, ends_k, seen = sights(row.spans)
    ends_q += [size.tokens] * (size.sequences + 1 - len(ends_q))
    ends_k += [size.keys or size.tokens] * (size.sequences + 1 - len(ends_k))
    # every key of the filling is a token of the filling, or a real token's gradient would see it
    missing = size.keys - len(seen)
    seen = [*seen, *(n + min(i, fill - 1) for i in range(missing))] if size.keys else []
    first = [row.ids + [0] * fill, row.positions + list(range(fill)), ends_q, ends_k, seen]
    return [*first, row.place, row.target, row.owner], row.n_rows


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recorded: Recorded, anchor: torch.Tensor) -> torch.Tensor:
        ctx.recorded = recorded
        recorded.attach()
        recorded.ahead.replay()
        return recorded.states.detach()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[None, None]:  # type: ignore[override]
        ctx.recorded.wanted.copy_(grad)
        ctx.recorded.back.replay()
        return None, None


class Recorded:
    """The layers of one model for one size, forward and backward."""

    def __init__(
        self, lm: Any, size: Size, grads: dict[nn.Parameter, torch.Tensor], pool: Any
    ) -> None:
        self.lm, self.grads = lm, grads
        device = next(iter(grads)).device
        n, keys = size.tokens, size.keys or size.tokens
        self.ids = torch.zeros(1, n, dtype=torch.long, device=device)
        self.positions = torch.zeros_like(self.ids)
        # Recorded with sequences of about equal length: none may be longer than `longest`.
        even = torch.arange(size.sequences + 1, device=device)
        self.ends_q = (even * n // size.sequences).int()
        self.ends_k = (even * keys // size.sequences).int()
        self.seen = torch.zeros(size.keys, dtype=torch.long, device=device) if size.keys else None
        self.layout = Layout(self.positions, None, self.ends_q, self.ends_k, self.seen,
                             size.longest, size.longest)  # fmt: skip
        self.anchor = torch.zeros((), device=device, requires_grad=True)
        self.attach()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                states = self._run()
                states.backward(torch.zeros_like(states))
        torch.cuda.synchronize()
        self.ahead, self.back = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.ahead, pool=pool, stream=stream):
            self.states = self._run()
        self.wanted = torch.zeros_like(self.states)
        with torch.cuda.graph(self.back, pool=pool, stream=stream):
            self.states.backward(self.wanted)
        torch.cuda.synchronize()
        for weight in grads:
            weight.grad = None

    def _run(self) -> torch.Tensor:
        with (
            self.layout.within(self.lm) as more,
            torch.autocast("cuda", dtype=torch.bfloat16, cache_enabled=False),
        ):
            body = self.lm.base_model(input_ids=self.ids, use_cache=False, **more)
        states: torch.Tensor = body.last_hidden_state
        return states

    def attach(self) -> None:
        """Each weight's `grad` is its buffer; one that has none yet starts at 0."""
        fresh = [buffer for weight, buffer in self.grads.items() if weight.grad is None]
        if fresh:
            torch._foreach_zero_(fresh)
        for weight, buffer in self.grads.items():
            if weight.grad is not None and weight.grad is not buffer:
                buffer.copy_(weight.grad)
            weight.grad = buffer

    def __call__(self, numbers: Sequence[torch.Tensor]) -> torch.Tensor:
        here = (self.ids[0], self.positions[0], self.ends_q, self.ends_k)
        for mine, given in zip(here, numbers, strict=False):
            mine.copy_(given)
        if self.seen is not None:
            self.seen.copy_(numbers[4])
        states: torch.Tensor = _Replay.apply(self, self.anchor)  # type: ignore[no-untyped-call]
        return states


class Graphed:
    """The loss of an objective, its layers replayed: in place of `sft_loss` and its like."""

    def __init__(self, model: nn.Module, told: Objective) -> None:
        self.lm, self.told = causal_lm(model), told
        self.grads = {p: torch.zeros_like(p) for p in model.parameters() if p.requires_grad}
        self.pool = torch.cuda.graph_pool_handle()
        self.by_size: dict[Size, Recorded] = {}

    def __call__(self, micro: Indices, batch: Indices) -> tuple[torch.Tensor, Means]:
        groups = self.told.groups(micro)
        size = size_for(lists_of(groups).spans)
        if size not in self.by_size:
            self.by_size[size] = Recorded(self.lm, size, self.grads, self.pool)
        recorded = self.by_size[size]
        lists, n_rows = filled(size, groups)
        *numbers, place, target, owner = to_device(lists, recorded.ids.device)
        states = recorded(numbers)[0].index_select(0, place)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            per_token = logps_of(self.lm.get_output_embeddings()(states), target)
        logps = torch.zeros(n_rows, device=per_token.device).index_add(0, owner, per_token)
        return self.told.loss(logps, None, micro, batch)

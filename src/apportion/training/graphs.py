"""A model's layers on a GPU as CUDA graphs: recorded before the first step, then replayed.

| symbol | meaning |
|---|---|
| N, S, K | tokens, sequences and keys of a packed row, as in `varlen.py` |
| capacity | N, S and K of a recording; what a pass leaves free is sequences of filling |

A small model on a GPU waits for the processor, which asks for thousands of kernels a step; a replay
asks once (4 to 6 times as fast at 135M parameters and 4,000 tokens: docs/speed.md). The output
layer and the loss are computed as ever. Nothing sees the filling and no loss is taken of it, so its
gradients are 0. A recording adds gradients to buffers that stay, and all share one memory: the
backward pass of a replay comes before the next replay.

Not where a pass has so much to compute that the processor keeps up, nor where a stage is too short
to win back the recording: both follow from the model and the schedule alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from apportion.models.policy import causal_lm
from apportion.training.attention import Span, within
from apportion.training.batches import precision
from apportion.training.varlen import Layout, roomy
from apportion.training.vocabulary import head_is_last

ENOUGH = 8  # passes that win back a recording, which takes the time of about four
MORE_SIZES = (64, 256)  # passes from which 2 and 4 capacities waste less than they cost
LAUNCH_BOUND = 2e12  # tokens of a pass times parameters, up to which the processor is behind
_GRAIN = 64


@dataclass(frozen=True, slots=True)
class Needs:
    """Of one pass: tokens, sequences, tokens of common beginnings, tokens of the longest."""

    tokens: int
    sequences: int
    common: int
    longest: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """See the table above. `keys`: 0 where nothing is shared."""

    tokens: int
    sequences: int
    keys: int
    longest_q: int
    longest_k: int

    def holds(self, needs: Needs) -> bool:
        """Whether a pass fits in, with at least one token of filling."""
        filling = -(-(self.tokens - needs.tokens) // self.longest_q)
        return (
            needs.tokens < self.tokens
            and needs.sequences + filling <= self.sequences
            and needs.common <= max(0, self.keys - self.tokens)
            and needs.longest <= self.longest_q
        )


def needs_of(spans: Sequence[Span]) -> Needs:
    """What one pass over the groups needs."""
    return Needs(
        sum(span.total for span in spans),
        sum(2 if span.own_b else 1 for span in spans),
        sum(span.common for span in spans if span.own_b),
        max(span.common + max(span.own_a, span.own_b) for span in spans),
    )


def capacities(passes: Sequence[Needs]) -> list[Capacity]:
    """What to record for these passes, the smallest first; together they hold every pass. None
    where there are too few."""
    if len(passes) < ENOUGH:
        return []
    tokens = sorted(needs.tokens for needs in passes)
    n = sum((1, *(k for k, least in zip((1, 2), MORE_SIZES, strict=True) if len(passes) >= least)))
    tops = sorted({_up(tokens[-(-len(tokens) * (k + 1) // n) - 1] + 1) for k in range(n)})
    common = max(needs.common for needs in passes)
    extra = _up(common) if common else 0
    longest = roomy(max(needs.longest for needs in passes))
    sequences = max(needs.sequences for needs in passes)
    return [
        Capacity(
            top,
            sequences + -(-top // longest),
            top + extra if extra else 0,
            longest,
            roomy(longest + extra),
        )
        for top in tops
    ]


def _up(n: int) -> int:
    return -(-n // _GRAIN) * _GRAIN


@dataclass(frozen=True, slots=True)
class Filled:
    """A pass filled up to a capacity: whole numbers, as in `Layout`."""

    ids: list[int]
    positions: list[int]
    ends_q: list[int]
    ends_k: list[int]
    seen: list[int]


def fill(
    capacity: Capacity,
    ids: Sequence[int],
    positions: Sequence[int],
    sights: tuple[Sequence[int], Sequence[int], Sequence[int]],
) -> Filled:
    """`sights`: of the pass, from `varlen.sights`. The filling is sequences of at most the longest
    length; the last of them has all the keys that are left over."""
    n, room = len(ids), capacity.tokens - len(ids)
    ends_q, ends_k, seen = (list(numbers) for numbers in sights)
    for begin in range(0, room, capacity.longest_q):
        size = min(capacity.longest_q, room - begin)
        ends_q.append(ends_q[-1] + size)
        ends_k.append(ends_k[-1] + size)
    if capacity.keys:
        # Keys of the filling are tokens of the filling, or a real token would get its gradient.
        seen += [n + at % room for at in range(capacity.keys - len(seen))]
        ends_k[-1] = capacity.keys
    empty = capacity.sequences + 1 - len(ends_q)
    return Filled(
        [*ids, *[0] * room],
        [*positions, *(at % capacity.longest_q for at in range(room))],
        ends_q + [ends_q[-1]] * empty,
        ends_k + [ends_k[-1]] * empty,
        seen if capacity.keys else [],
    )


def launch_bound(model: nn.Module, passes: Sequence[Needs]) -> bool:
    """Whether a GPU waits for the processor in passes like these: see `LAUNCH_BOUND`."""
    parameters = sum(weight.numel() for weight in model.parameters())
    return max(needs.tokens for needs in passes) * parameters <= LAUNCH_BOUND


def can_record(model: nn.Module) -> bool:
    """Whether the layers of a packed model on a GPU are all there is before its output layer."""
    lm = causal_lm(model)
    quantised = any(getattr(lm, f"is_loaded_in_{bits}bit", False) for bits in (4, 8))
    return not quantised and lm.base_model is not lm and head_is_last(lm)


class _Replay(torch.autograd.Function):
    """The states as a function of the weights, whose gradients the recording adds up itself;
    `anchor` is there to want a gradient."""

    @staticmethod
    def forward(ctx: Any, recording: Recording, anchor: torch.Tensor) -> torch.Tensor:
        ctx.recording = recording
        recording.ahead.replay()
        return recording.states.detach()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[None, None]:
        ctx.recording.wanted.copy_(grad)
        ctx.recording.back.replay()
        return None, None


class Recording:
    """The layers of `lm` for one capacity, forward and backward.

    `buffers`: where the gradient of each trained weight is added up.
    """

    def __init__(
        self, lm: Any, size: Capacity, buffers: dict[nn.Parameter, torch.Tensor], pool: Any
    ) -> None:
        self._lm, self._buffers, self.size = lm, buffers, size
        self.device = device = next(lm.parameters()).device
        # Recorded over sequences of about equal length, none longer than the longest.
        even = torch.arange(size.sequences + 1, device=device)
        ends_q, ends_k = (
            (even * n // size.sequences).int() for n in (size.tokens, size.keys or size.tokens)
        )
        seen = torch.zeros(size.keys, dtype=torch.long, device=device) if size.keys else None
        self._ids = torch.zeros(1, size.tokens, dtype=torch.long, device=device)
        places = torch.zeros_like(self._ids)
        self._layout = Layout(places, None, ends_q, ends_k, seen, size.longest_q, size.longest_k)
        self._anchor = torch.zeros((), device=device, requires_grad=True)
        try:
            self._attach()
            self._record(pool)
        finally:  # what was added up while recording is no gradient
            for weight in buffers:
                weight.grad = None

    def _record(self, pool: Any) -> None:
        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):  # libraries set themselves up at the first call, which no graph may
                states = self._run()
                states.backward(torch.zeros_like(states))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        self.ahead, self.back = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.ahead, pool=pool, stream=stream):
            states = self._run()
        self.wanted = torch.zeros_like(states)
        with torch.cuda.graph(self.back, pool=pool, stream=stream):
            states.backward(self.wanted)  # type: ignore[no-untyped-call]
        self.states = states.detach()  # and its graph, which knows of the stream, goes
        torch.cuda.synchronize()

    def _run(self) -> torch.Tensor:
        with within(self._lm, self._layout) as more, precision(self._lm, cache=False):
            body = self._lm.base_model(input_ids=self._ids, use_cache=False, **more)
        states: torch.Tensor = body.last_hidden_state
        return states

    def _attach(self) -> None:
        """Each weight's `grad` is its buffer; one that has none yet starts at 0."""
        fresh = [buffer for weight, buffer in self._buffers.items() if weight.grad is None]
        if fresh:
            torch._foreach_zero_(fresh)
        for weight, buffer in self._buffers.items():
            if weight.grad is not None and weight.grad is not buffer:
                buffer.copy_(weight.grad)
            weight.grad = buffer

    def __call__(self, numbers: Sequence[torch.Tensor]) -> torch.Tensor:
        """States of all tokens, (N, hidden size), from the tensors of a `Filled`, in its order."""
        layout = self._layout
        mine = (self._ids[0], layout.positions[0], layout.ends_q, layout.ends_k, layout.seen)
        for place, given in zip(mine, numbers, strict=True):
            if place is not None:
                place.copy_(given)
        if torch.is_grad_enabled():
            self._attach()
        found: Any = _Replay.apply(self, self._anchor)  # type: ignore[no-untyped-call]
        return found[0]  # type: ignore[no-any-return]

"""Token rows, batches, and the log-probabilities of responses.

| symbol | meaning | shape |
|---|---|---|
| R | sequences of one forward pass | |
| T | length of the longest of them, in tokens | |
| N | response tokens of all of them | |
| V | vocabulary | |
| ids | token ids, padded on the right; or packed, as one row (see `packing.py`) | (R, T) |
| place | flat position (row * T + column) of the state that predicts a response token | (N,) |
| target | the response tokens | (N,) |
| row | the sequence that a response token belongs to | (N,) |

Padding is on the right and attention is causal, so no real token sees padding and neither a mask
nor position ids are needed; the loss is told where it is by position, never by token id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import nn

from apportion.data.records import Context
from apportion.models.policy import causal_lm
from apportion.models.template import Template
from apportion.training.attention import Layout, within
from apportion.training.vocabulary import chunked_logps, logps_of, states_before, wants_chunks


@dataclass(frozen=True, slots=True)
class Row:
    """One tokenised example: prompt and response ids, and where the response begins."""

    ids: tuple[int, ...]
    start: int

    @property
    def n_response(self) -> int:
        return len(self.ids) - self.start


def encode(
    template: Template, prompt: str, response: str, *, max_length: int, context: Context = ()
) -> Row | None:
    """The example cut at `max_length` tokens from its start, as TRL does.

    None where nothing of the response is left, or nothing stands before it that could predict it.
    """
    before = template.prompt_ids(prompt, context)
    if not 0 < len(before) < max_length:
        return None
    whole = (*before, *template.response_ids(response))
    return Row(ids=whole[:max_length], start=len(before))


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences as tensors; see the table above. `states`: computes the state of every token before
    the output layer, where that is not left to the model itself."""

    ids: torch.Tensor
    place: torch.Tensor
    target: torch.Tensor
    row: torch.Tensor
    n_rows: int
    packed: Layout | None = None
    states: Callable[[], torch.Tensor] | None = None


def collate(rows: Sequence[Row], *, pad: int, device: torch.device) -> Batch:
    """The rows, padded on the right with `pad`: any id will do, since nothing looks at it."""
    width = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), pad)
    place: list[int] = []
    target: list[int] = []
    owner: list[int] = []
    for index, row in enumerate(rows):
        ids[index, : len(row.ids)] = torch.tensor(row.ids)
        # the state at t - 1 predicts the token at t
        first = index * width + row.start - 1
        place.extend(range(first, first + row.n_response))
        target.extend(row.ids[row.start :])
        owner.extend([index] * row.n_response)
    places, targets, owners = to_device([place, target, owner], device)
    return Batch(_moved(ids, device), places, targets, owners, n_rows=len(rows))


def to_device(lists: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, ...]:
    """Whole numbers as tensors; to a GPU in one copy that nobody waits for."""
    together = torch.tensor(list(chain.from_iterable(lists)), dtype=torch.long)
    return torch.split(_moved(together, device), [len(some) for some in lists])


def _moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of this process where it is wanted; nobody waits for a copy to a GPU."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def numbers_like(values: Sequence[Any], like: torch.Tensor) -> torch.Tensor:
    """`values` where `like` is and in its precision; to a GPU in a copy that nobody waits for."""
    return _moved(torch.tensor(values, dtype=like.dtype), like.device)


@contextmanager
def _only_at(head: nn.Module, place: torch.Tensor) -> Iterator[None]:
    """Within: `head` computes logits at the flat positions `place` alone, as one row (1, N, V)."""

    def pick(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (inputs[0].flatten(0, 1).index_select(0, place).unsqueeze(0), *inputs[1:])

    handle = head.register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()


def token_logps(model: nn.Module, batch: Batch) -> torch.Tensor:
    """log p(token | what is before it) of each response token, in nats: (N,), float32 or wider.

    The output layer runs at the response's positions only; where that makes very many logits, in
    chunks that are never there at once (see `vocabulary.py`).
    """
    lm = causal_lm(model)
    head = lm.get_output_embeddings()
    if batch.states is not None:
        return _from_states(lm, batch.states(), batch)
    packed: AbstractContextManager[dict[str, Any]] = (
        nullcontext({}) if batch.packed is None else within(lm, batch.packed)
    )
    if wants_chunks(lm, len(batch.target)):
        with precision(lm):
            with states_before(head, batch.place) as states, packed as more:
                lm(input_ids=batch.ids, use_cache=False, **more)
            vocabulary = lm.config.get_text_config().vocab_size
            return chunked_logps(head, states[0], batch.target, vocabulary)
    with _only_at(head, batch.place), precision(lm), packed as more:
        logits = lm(input_ids=batch.ids, use_cache=False, **more).logits[0]
    return logps_of(logits, batch.target)


def _from_states(lm: Any, states: torch.Tensor, batch: Batch) -> torch.Tensor:
    """The same from the states of all tokens, (N, hidden size)."""
    head = lm.get_output_embeddings()
    wanted = states.index_select(0, batch.place)
    with precision(lm):
        if wants_chunks(lm, len(batch.target)):
            vocabulary = lm.config.get_text_config().vocab_size
            return chunked_logps(head, wanted, batch.target, vocabulary)
        return logps_of(head(wanted), batch.target)


def sequence_logps(model: nn.Module, batch: Batch) -> torch.Tensor:
    """log p(response | prompt), summed over its tokens, in nats: (R,)."""
    per_token = token_logps(model, batch)
    zeros = torch.zeros(batch.n_rows, dtype=per_token.dtype, device=per_token.device)
    return zeros.index_add(0, batch.row, per_token)


def precision(lm: Any, *, cache: bool = True) -> AbstractContextManager[Any]:
    """Autocast where float32 weights belong to a bfloat16 model (see `prepare_for_training`).
    `cache`: whether a weight is rounded once for all its uses."""
    weight = next(lm.parameters())
    if lm.config.dtype == torch.bfloat16 and weight.dtype == torch.float32:
        return torch.autocast(weight.device.type, dtype=torch.bfloat16, cache_enabled=cache)
    return nullcontext()


CPU_TOKENS = 512  # of one forward pass: activations of small models then stay in the cache
PACKED_TOKENS = 768  # of one packed pass: measured, see docs/log.md


def micro_batches(
    chosen: Sequence[int], lengths: Sequence[int], size: int | None, *, cpu: bool
) -> list[list[int]]:
    """One effective batch cut into forward passes of at most `size` examples.

    Without a size: the whole batch at once, but on a CPU passes of about `CPU_TOKENS` tokens, which
    is a third faster. Examples are sorted by length, which saves padding. None of this changes
    anything but rounding. `lengths`: tokens of every example, of both responses for a pair.
    """
    in_order = sorted(chosen, key=lambda index: (lengths[index], index))
    passes: list[list[int]] = []
    for index in in_order:
        full = not passes or (
            len(passes[-1]) == size
            if size
            else cpu and (len(passes[-1]) + 1) * lengths[index] > CPU_TOKENS
        )
        if full:
            passes.append([])
        passes[-1].append(index)
    return passes


def token_passes(chosen: Sequence[int], costs: Sequence[int]) -> list[list[int]]:
    """One effective batch, packed, cut into passes of about equally many tokens.

    As few as keep near `PACKED_TOKENS` each; in the order given. `costs`: tokens of every example.
    """
    total = sum(costs[index] for index in chosen)
    n = max(1, round(total / PACKED_TOKENS))
    passes: list[list[int]] = [[] for _ in range(n)]
    before = 0
    for index in chosen:
        # by the middle of the example, so that every pass ends nearest to its share
        passes[min(n - 1, int((before + costs[index] / 2) * n / total))].append(index)
        before += costs[index]
    return [found for found in passes if found]

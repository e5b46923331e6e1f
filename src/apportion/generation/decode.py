"""Decoding with transformers models: batches of similar length, a cache, finished rows leave.

A response ends with one of the template's ending tokens, with a stop string (cut off the text), or
with the limit of new tokens (`truncated`). Greedy decoding gives what `model.generate` gives.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from apportion.config.evaluation import Decoding
from apportion.data.records import Context
from apportion.errors import StageError
from apportion.generation.cache import roomy_cache
from apportion.generation.ending import Completion, Ending, ending_ids
from apportion.generation.prompts import check_room, encode_prompts
from apportion.generation.replayed import FEWEST, WORTH_LEAVING, Replayed, recordable
from apportion.generation.sampling import next_tokens
from apportion.models.policy import causal_lm
from apportion.models.template import Template

_WORTH_LEAVING = 0.8  # finished rows leave in groups: each time, the cache is copied


def generate(
    model: nn.Module,
    tokenizer: Any,
    template: Template,
    prompts: Sequence[str],
    *,
    decoding: Decoding,
    stop: Sequence[str],
    batch_size: int,
    seed: int | None,
    on_progress: Callable[[int, int], None] | None = None,
    contexts: Sequence[Context] | None = None,
) -> list[Completion]:
    """One completion per prompt, in their order.

    `contexts`: the turns before each prompt, where there are any.
    `seed` is needed for sampling, and not used otherwise; `on_progress(done, of all)` is called
    after each batch. Raises StageError for a prompt that leaves no room in the model's context.
    """
    limit = decoding.max_new_tokens
    if limit is None:
        raise StageError("the limit of new tokens was not resolved.")
    lm = causal_lm(model)
    ids = encode_prompts(template, prompts, contexts)
    check_room(lm.config, ids, limit)
    u = _uniform(decoding, seed, len(prompts), limit)
    ending = Ending(tokenizer, template, ending_ids(lm.generation_config, template), stop)
    completions: list[Completion | None] = [None] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda index: (len(ids[index]), index))
    with _decoding_state(model):
        for begin in range(0, len(order), batch_size):
            part = order[begin : begin + batch_size]
            rows = [ids[index] for index in part]
            found = _decode(model, rows, ending, decoding, None if u is None else u[part])
            for index, completion in zip(part, found, strict=True):
                completions[index] = completion
            if on_progress is not None:
                on_progress(begin + len(part), len(order))
    return [completion for completion in completions if completion is not None]


def _uniform(decoding: Decoding, seed: int | None, rows: int, limit: int) -> torch.Tensor | None:
    """The uniform numbers that sampling uses: (rows, new tokens); None for greedy."""
    if decoding.strategy == "greedy":
        return None
    if seed is None:
        raise StageError("sampling needs a seed.")
    stream = torch.Generator().manual_seed(seed)
    return torch.rand(rows, limit, generator=stream, dtype=torch.float64)


@contextmanager
def _decoding_state(model: nn.Module) -> Iterator[None]:
    """Within: no gradients, evaluation mode; then every module's mode as it was."""
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _left_padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask (1: real), each (rows, longest)."""
    width = max(map(len, rows))
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, width - len(row) :] = torch.tensor(row)
        mask[index, width - len(row) :] = 1
    return ids, mask


def _decode(
    model: nn.Module,
    rows: Sequence[Sequence[int]],
    ending: Ending,
    decoding: Decoding,
    u: torch.Tensor | None,
) -> list[Completion]:
    """One batch, token by token; `u`: (rows, new tokens) or None."""
    lm = causal_lm(model)
    limit = decoding.max_new_tokens or 0
    ids, mask = (tensor.to(lm.device) for tensor in _left_padded(rows))
    width = ids.shape[1]
    mask = torch.cat([mask, mask.new_ones(len(rows), limit)], dim=1)
    position = (mask[:, :width].cumsum(-1) - 1).clamp_min(0)
    steps = _Steps(lm, mask, position, limit)
    responses: list[list[int]] = [[] for _ in rows]
    lines = list(range(len(rows)))  # which row each line of the tensors belongs to
    going = set(lines)
    for step in range(limit):
        logits = steps.next(ids)
        chosen = next_tokens(logits, decoding, None if u is None else u[lines, step].to(lm.device))
        for row, token in zip(lines, chosen.tolist(), strict=True):
            if row in going:
                responses[row].append(token)
                if ending.reached(responses[row]):
                    going.discard(row)
        if not going:
            break
        ids = chosen.unsqueeze(1)
        if len(going) <= steps.worth_leaving * len(lines):
            stay = [line for line, row in enumerate(lines) if row in going]
            keep = torch.tensor(stay, device=lm.device)
            ids = ids[keep]
            steps.keep(keep)
            lines = [lines[line] for line in stay]
    return [ending.completion(response) for response in responses]


class _Steps:
    """A batch's forward passes over a cache of its own: the prompts, then token by token."""

    def __init__(self, lm: Any, mask: torch.Tensor, position: torch.Tensor, limit: int) -> None:
        """`mask`: (rows, prompt and `limit` new tokens); `position`: of the prompt's tokens."""
        self._lm, self._mask, self._position = lm, mask, position
        self._cache = roomy_cache(lm.config, mask.shape[1])
        self._used, self._left = 0, limit
        self._replayed: Replayed | None = None
        self._may_record = recordable(lm, self._cache, mask.device)

    @property
    def worth_leaving(self) -> float:
        """The part of the rows still going at which the others leave."""
        return _WORTH_LEAVING if self._replayed is None else WORTH_LEAVING

    def next(self, ids: torch.Tensor) -> torch.Tensor:
        """Logits (rows, vocabulary) behind `ids`: the prompts at first, then one token a row."""
        if self._may_record and self._used and not self._replayed and self._left >= FEWEST:
            self._record()
        if self._replayed is not None:
            logits = self._replayed(ids)
        else:
            logits = self._lm(
                input_ids=ids,
                attention_mask=self._mask[:, : self._used + ids.shape[1]],
                position_ids=self._position,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
        self._used += ids.shape[1]
        self._left -= 1
        self._position = self._position[:, -1:] + 1
        return logits

    def _record(self) -> None:
        """Record the step of the lines that are left; where that fails, go on as ever."""
        steps = Replayed(self._lm, self._cache, self._mask, self._position, self._used)
        try:
            steps.record()
        except RuntimeError as error:
            steps.close()
            self._may_record = False
            warnings.warn(f"generating without a CUDA graph: {error}", stacklevel=2)
        else:
            self._replayed = steps

    def keep(self, lines: torch.Tensor) -> None:
        """Go on with these lines of the batch alone."""
        if self._replayed is not None:
            self._replayed.close()
            self._replayed = None
        self._position, self._mask = self._position[lines], self._mask[lines]
        self._cache.batch_select_indices(lines)

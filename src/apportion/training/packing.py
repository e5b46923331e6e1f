"""Sequences without padding: side by side in one row, a beginning that two share computed once.

| symbol | meaning | shape |
|---|---|---|
| group | one sequence, or two with a common beginning | |
| N | tokens of one forward pass; those of a common beginning count once | |
| c, a, b | tokens of the common beginning, of the rest of the first, of the rest of the second | |
| ids | per group: the beginning, the rest of the first, the rest of the second | (1, N) |
| positions | place of each token in its own sequence | (1, N) |

Every product with weights sees N tokens instead of rows times the longest. Attention alone is
computed per sequence, in blocks on a CPU (`blocks.py`), by one kernel on a GPU (`varlen.py`): the
second of a group sees the beginning and itself, never the first. The mathematics is that of padded
rows; only the order of sums differs. In the last layer, what no response token is predicted from
is not computed behind the attention.

Used for models whose attention can be exchanged (transformers' attention interface), on a GPU
where it computes in 16 bits; every other model gets padded rows. Whether a model really can is
tried out on a few tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from apportion.models.policy import causal_lm
from apportion.training import blocks, varlen
from apportion.training.attention import Span, Unsuited
from apportion.training.batches import Batch, Row, collate, to_device, token_logps
from apportion.training.modes import evaluating
from apportion.training.objective import Objective, Schedule

if TYPE_CHECKING:
    from apportion.training.recorder import Recorder


@dataclass(frozen=True, slots=True)
class Batches:
    """How sequences become batches: packed, or padded with the id `pad`; with a `recorder`, its
    recordings are used where they hold a batch."""

    packed: bool
    pad: int
    device: torch.device
    recorder: Recorder | None = None

    def of(self, groups: Sequence[Sequence[Row]]) -> Batch:
        """One batch of all sequences of the groups, in their order."""
        recorded = None if self.recorder is None else self.recorder.batch(groups)
        if recorded is not None:
            return recorded
        if self.packed:
            return pack(groups, device=self.device)
        rows = [row for group in groups for row in group]
        return collate(rows, pad=self.pad, device=self.device)

    def costs(self, groups: Sequence[Sequence[Row]]) -> list[int] | None:
        """Tokens that are computed per group; None where padding decides that."""
        return [_span(group).total for group in groups] if self.packed else None

    def expecting(self, told: Objective) -> Callable[[Schedule], None] | None:
        """What wants to know the schedule of a training before its first step, if anything does."""
        recorder = self.recorder
        if recorder is None:
            return None

        def expect(schedule: Schedule) -> None:
            micros = [micro for step in schedule for micro in step]
            both = [(told.groups_before(micro), told.groups(micro)) for micro in micros]
            recorder.prepare([groups for pair in both for groups in pair if groups])

        return expect


def batches_for(model: nn.Module, *, pad: int, training: bool = False) -> Batches:
    """How sequences become batches for `model`: a function of it, of the library and the device.
    `training`: they are trained on, and `expecting` is told their schedule."""
    device, packed = next(model.parameters()).device, can_pack(model)
    if training and packed and device.type == "cuda":
        from apportion.training.recorder import Recorder

        return Batches(packed, pad, device, Recorder(model))
    return Batches(packed, pad, device)


def _span(group: Sequence[Row]) -> Span:
    if len(group) == 1:
        return Span(0, len(group[0].ids), 0)
    first, second = (row.ids for row in group)
    # Each has at least one token of its own: then no part is empty.
    most = min(len(first), len(second)) - 1
    same = next((i for i in range(most) if first[i] != second[i]), most)
    return Span(same, len(first) - same, len(second) - same)


@dataclass(frozen=True, slots=True)
class Lists:
    """A packed row as whole numbers: see `Batch` and the table above."""

    spans: list[Span]
    ids: list[int]
    positions: list[int]
    place: list[int]
    target: list[int]
    owner: list[int]
    n_rows: int


def lists_of(groups: Sequence[Sequence[Row]]) -> Lists:
    """Groups of one or two sequences in one row; the sequences are in the groups' order."""
    spans = [_span(group) for group in groups]
    found = Lists(spans, [], [], [], [], [], sum(map(len, groups)))
    n_rows = 0
    for group, span in zip(groups, spans, strict=True):
        begin = len(found.ids)
        for which, row in enumerate(group):
            # where the sequence's own tokens lie, less their positions in the sequence
            own = begin + which * span.own_a
            fresh = span.common if which else 0
            found.ids.extend(row.ids[fresh:])
            found.positions.extend(range(fresh, len(row.ids)))
            for at in range(row.start - 1, len(row.ids) - 1):
                found.place.append((begin if at < span.common else own) + at)
            found.target.extend(row.ids[row.start :])
            found.owner.extend([n_rows] * row.n_response)
            n_rows += 1
    return found


def pack(groups: Sequence[Sequence[Row]], *, device: torch.device) -> Batch:
    """One batch of groups of one or two sequences, packed."""
    row = lists_of(groups)
    layouts: Any = varlen if device.type == "cuda" else blocks
    layout = layouts.layout_of(row.spans, row.positions, sorted(set(row.place)), device)
    ids, place, target, owner = to_device([row.ids, row.place, row.target, row.owner], device)
    return Batch(ids.unsqueeze(0), place, target, owner, row.n_rows, layout)


def can_pack(model: nn.Module) -> bool:
    """Whether `model`, where it is, gives the same for packed sequences as for padded ones."""
    lm = causal_lm(model)
    device = next(lm.parameters()).device
    if not getattr(lm, "_supports_attention_backend", False):
        return False
    if device.type != "cpu" and not varlen.can_compute(device, lm.config.dtype):
        return False
    config = lm.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if config._attn_implementation != "sdpa" or kinds != {"full_attention"}:
        return False
    return _same_when_packed(model, config.vocab_size)


def _same_when_packed(model: nn.Module, vocabulary: int) -> bool:
    """Tried out on three sequences, two of which begin alike."""
    words = [index * 7919 % vocabulary for index in range(24)]
    pair = (Row(tuple(words[:9]), 3), Row((*words[:5], *words[15:20]), 3))
    groups = ((Row(tuple(words[9:15]), 2),), pair)
    device = next(model.parameters()).device
    plain = collate([row for group in groups for row in group], pad=0, device=device)
    with evaluating(model), torch.no_grad():
        try:
            packed = token_logps(model, pack(groups, device=device))
        except (Unsuited, TypeError, RuntimeError):
            return False
        wanted = token_logps(model, plain)
    rough = causal_lm(model).config.dtype in (torch.bfloat16, torch.float16)
    return torch.allclose(packed, wanted, rtol=0, atol=0.1 if rough else 1e-4)
